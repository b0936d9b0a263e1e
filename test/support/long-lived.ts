/** A sidecar with a listener of each kind, and callers that hold on each of them what lives long: a gRPC stream, a WebSocket, a TCP tunnel, a download. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { ClientHttp2Stream } from 'node:http2'
import type { TLSSocket } from 'node:tls'
import { startRawApp } from '../fakes/apps.ts'
import { startH2cApp } from '../fakes/h2c-app.ts'
import { createTestMesh, type TestMesh, type TestSvid } from './authority.ts'
import { grpcHeaders, openSession } from './http2-client.ts'
import { dial, readUntil, sendRaw } from './mtls-client.ts'
import { advanceableClock } from './advanceable-clock.ts'
import { type RunningSidecar, runSidecar, type SidecarSetup } from './sidecar.ts'

export const DAY = 86_400_000

const WEBSOCKET =
  'GET /ws HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n'

export const KINDS = ['grpc', 'websocket', 'tcp', 'download'] as const
export type Kind = (typeof KINDS)[number]

/** What one caller holds open. */
export interface Held extends AsyncDisposable {
  /** Kinds that have ended, in any way. */
  readonly ended: ReadonlySet<Kind>
  /** Resolves when all four have. */
  readonly allEnded: Promise<void>
  /** Sends on each that lives, and waits until the answers came back. */
  exchange(): Promise<void>
  /** Of the gRPC stream: its status once it has ended. */
  readonly grpcStatus: string | undefined
}

export interface LongLived extends AsyncDisposable {
  readonly sidecar: RunningSidecar
  readonly mesh: TestMesh
  readonly clock: ReturnType<typeof advanceableClock>
  /** Opens all four, and waits for the first bytes of each. */
  hold(svid: TestSvid): Promise<Held>
  /** Lets the app end what it serves, as when a download is complete. */
  finishDownloads(): void
  ports: { readonly http1: number; readonly http2: number; readonly tcp: number }
}

export interface LongLivedSetup extends Omit<SidecarSetup, 'app' | 'clock' | 'inbound'> {
  /** One more key of every inbound listener: `onExpiry: drain`. */
  readonly expiry?: string
}

export async function startLongLived(setup: LongLivedSetup = {}): Promise<LongLived> {
  const clock = advanceableClock()
  const mesh = setup.mesh ?? (await createTestMesh())
  const downloads = new Set<() => void>()
  const plain = await startRawApp((socket, text) => {
    if (text.startsWith('GET /ws') && text.endsWith('\r\n\r\n'))
      socket.write('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nfirst')
    else if (text.startsWith('GET /download') && text.endsWith('\r\n\r\n')) {
      socket.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n')
      const timer = setInterval(() => void socket.write('4\r\nmore\r\n'), 20)
      socket.on('close', () => clearInterval(timer))
      downloads.add(() => {
        clearInterval(timer)
        socket.write('0\r\n\r\n')
      })
    } else if (text.startsWith('GET /short') && text.endsWith('\r\n\r\n')) socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok')
    else if (text.startsWith('GET /ws')) socket.write(text.slice(-4))
  })
  const echo = await startRawApp((socket, text) => void socket.write(text.length === 5 ? text : text.slice(-4)))
  const grpc = await startH2cApp((stream) => {
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true })
    stream.write('first')
    stream.on('data', (chunk: Buffer) => void stream.write(chunk))
  })
  const more = setup.expiry === undefined ? '' : `      ${setup.expiry}\n`
  const sidecar = await runSidecar({
    ...setup,
    mesh,
    clock,
    app: plain.port,
    svid: setup.svid ?? (await mesh.issue('/ns/test/sa/service', { ttl: 10 * DAY })),
    inbound: `${more}    - listen: 127.0.0.1:0\n      app: 127.0.0.1:${grpc.port}\n      protocol: http2\n${more}    - listen: 127.0.0.1:0\n      app: 127.0.0.1:${echo.port}\n      protocol: tcp\n${more}`,
  })
  const [http1 = 0, http2 = 0, tcp = 0] = sidecar.sidecar.inbound.map(({ port }) => port)

  async function open(port: number, svid: TestSvid, bytes: string): Promise<TLSSocket> {
    const socket = await dial(port, svid)
    socket.write(bytes)
    await readUntil(socket, 'first')
    return socket
  }

  return {
    sidecar,
    mesh,
    clock,
    ports: { http1, http2, tcp },
    finishDownloads() {
      for (const finish of downloads) finish()
    },
    async hold(svid) {
      const session = openSession(http2, svid)
      const stream: ClientHttp2Stream = session.request(grpcHeaders('/shop.Cart/Watch'))
      stream.on('error', () => {})
      let grpcStatus: string | undefined
      stream.on('trailers', (trailers) => (grpcStatus = String(trailers['grpc-status'])))
      await once(stream, 'data')
      const sockets = {
        websocket: await open(http1, svid, WEBSOCKET),
        tcp: await open(tcp, svid, 'first'),
        download: await open(http1, svid, 'GET /download HTTP/1.1\r\nhost: h\r\n\r\n'),
      }
      const ended = new Set<Kind>()
      const { promise: allEnded, resolve } = Promise.withResolvers<void>()
      const end = (kind: Kind): void => {
        ended.add(kind)
        if (ended.size === KINDS.length) resolve()
      }
      stream.on('close', () => end('grpc'))
      for (const [kind, socket] of Object.entries(sockets)) {
        socket.on('error', () => {})
        socket.on('close', () => end(kind as Kind))
        socket.on('end', () => socket.end())
        socket.resume()
      }
      return {
        ended,
        allEnded,
        get grpcStatus() {
          return grpcStatus
        },
        async exchange() {
          const answers: Promise<unknown>[] = []
          for (const kind of KINDS) {
            if (ended.has(kind)) continue
            const from = kind === 'grpc' ? stream : sockets[kind]
            answers.push(once(from, 'data'))
            if (kind !== 'download') from.write('ping')
          }
          await Promise.all(answers)
        },
        async [Symbol.asyncDispose]() {
          session.destroy()
          for (const socket of Object.values(sockets)) socket.destroy()
        },
      }
    },
    async [Symbol.asyncDispose]() {
      await sidecar[Symbol.asyncDispose]()
      for (const app of [plain, echo, grpc]) await app[Symbol.asyncDispose]()
    },
  }
}

/** Calls again and again until `done`, each time on a connection of its own; each must be allowed. @returns how many were */
export async function keepCalling(port: number, svid: TestSvid, done: Promise<unknown>): Promise<number> {
  let going = true
  void done.then(() => (going = false))
  let calls = 0
  do {
    assert.match(await sendRaw(port, svid, 'GET /short HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n'), /^HTTP\/1\.1 200 /)
    calls++
  } while (going)
  return calls
}
