/** Apps that speak HTTP/2 without TLS: an ordinary one, and one on bare sockets whose frames the test writes. */
import { createServer as createHttp2Server, type IncomingHttpHeaders, type ServerHttp2Stream, type ServerOptions } from 'node:http2'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import { createFrameCutter } from '../support/frame-cutter.ts'
import { ACK, type Frame, PREFACE, settings, settingsAck } from '../support/http2-frames.ts'

export interface H2cApp extends AsyncDisposable {
  readonly port: number
  /** Connections that are open. */
  readonly sessions: ReadonlySet<{ destroy(): void }>
}

export async function startH2cApp(
  onStream: (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void,
  options: ServerOptions = {},
): Promise<H2cApp> {
  const server = createHttp2Server(options)
  const sessions = new Set<{ destroy(): void }>()
  server.on('session', (session) => {
    sessions.add(session)
    session.on('error', () => {})
    session.on('close', () => sessions.delete(session))
  })
  server.on('stream', (stream, headers) => {
    stream.on('error', () => {})
    onStream(stream as ServerHttp2Stream, headers)
  })
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    sessions,
    async [Symbol.asyncDispose]() {
      for (const session of sessions) session.destroy()
      await new Promise<void>((resolve) => void server.close(() => resolve()))
    },
  }
}

/** Reads the body, then answers 200 with its length, or with as many bytes as `x-bytes` says. */
export function answerWithLength(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
  let length = 0
  stream.on('data', (chunk: Buffer) => {
    length += chunk.length
  })
  stream.on('end', () => {
    if (stream.destroyed) return
    const wanted = headers['x-bytes']
    stream.respond({ ':status': 200 })
    stream.end(wanted === undefined ? String(length) : Buffer.alloc(Number(wanted), 'x'))
  })
}

export interface RawH2cConnection {
  readonly socket: Socket
  readonly frames: readonly Frame[]
  write(...frames: readonly Buffer[]): void
}

export interface RawH2cApp extends AsyncDisposable {
  readonly port: number
  readonly connections: readonly RawH2cConnection[]
}

/** `onFrame` is told of every frame but those of SETTINGS, which are acknowledged here. */
export async function startRawH2cApp(
  onFrame: (connection: RawH2cConnection, frame: Frame) => void,
  { first = settings() }: { readonly first?: Buffer } = {},
): Promise<RawH2cApp> {
  const connections: RawH2cConnection[] = []
  const server = createServer((socket) => {
    const frames: Frame[] = []
    const connection: RawH2cConnection = {
      socket,
      frames,
      write: (...written) => void (socket.destroyed || socket.write(Buffer.concat(written))),
    }
    connections.push(connection)
    const cut = createFrameCutter((frame) => {
      if (frame.type === 'SETTINGS') {
        if ((frame.flags & ACK) === 0) connection.write(settingsAck())
        return
      }
      frames.push(frame)
      onFrame(connection, frame)
    })
    let preface = PREFACE.length
    socket.on('error', () => {})
    socket.on('data', (chunk: Buffer) => {
      const skipped = Math.min(preface, chunk.length)
      preface -= skipped
      cut(chunk.subarray(skipped))
    })
    connection.write(first)
  })
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    connections,
    async [Symbol.asyncDispose]() {
      for (const { socket } of connections) socket.destroy()
      await new Promise<void>((resolve) => void server.close(() => resolve()))
    },
  }
}
