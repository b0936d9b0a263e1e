/** A certificate authority that speaks docs/ca-api.md as far as a sidecar can tell, keeps nothing, and fails as it is told to. */
import { once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer, type Server } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { parsePem } from '#pki/pem'
import { bundleDocument } from '#pki/bundle-document'
import { readBundle } from '#pki/bundle'
import { readCsr } from '#pki/csr'
import { issueSvid } from '#pki/issue'
import { verifyPeerSocket } from '#pki/peer-from-socket'
import { serverTlsOptions } from '#pki/tls-options'
import { createTrustStore } from '#pki/trust-store'
import { readWorkloadIdentity } from '#pki/workload-identity'
import { createTestMesh, type TestMesh } from '../support/authority.ts'

/** One request as the authority saw it. */
export interface SeenRequest {
  readonly path: string
  readonly body: Readonly<Record<string, unknown>>
  /** Of the client certificate; undefined without one. */
  readonly peer: { readonly id: string; readonly serial: string } | undefined
  /** Ms since the epoch. */
  readonly at: number
}

export interface FakeAnswer {
  readonly status?: number
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: unknown
}

export interface FakeCa extends AsyncDisposable {
  readonly mesh: TestMesh
  port: number
  /** Secret → path of the ID. Taken away when it is used. */
  readonly tokens: Map<string, string>
  readonly requests: SeenRequest[]
  /** Ms. */
  ttl: number
  /** Seconds. */
  pollAfter: number
  sequence: number
  renewNow: boolean
  revocations: unknown[]
  /** PEM. Changing it wants a higher `sequence`. */
  bundlePem: string
  /** Who signs from now on. */
  issuer: TestMesh
  /** Answers in the authority's stead. */
  answer: ((request: SeenRequest) => FakeAnswer | undefined | Promise<FakeAnswer | undefined>) | undefined
  /** Changes the answer of a success. */
  spoil: ((path: string, body: Record<string, unknown>) => void) | undefined
  /** Share of the life after which to renew; undefined: half. */
  renewShare: number
  /** The clock of its host. */
  now: () => number
  /** Resolves with the first request that `match` takes, past (from `after` on) or coming. */
  seen(match: (request: SeenRequest) => boolean, after?: number): Promise<SeenRequest>
  stop(): Promise<void>
  /** On the same port. */
  start(): Promise<void>
}

export interface FakeCaSetup {
  readonly mesh?: TestMesh
  readonly ttl?: number
  readonly pollAfter?: number
  /** Path of its own ID. */
  readonly path?: string
}

export async function startFakeCa(setup: FakeCaSetup = {}): Promise<FakeCa> {
  const mesh = setup.mesh ?? (await createTestMesh())
  const waiting = new Set<(request: SeenRequest) => void>()
  let server: Server | undefined
  /** Those in the middle of a handshake are none of the HTTP server's yet. */
  const sockets = new Set<Socket>()

  async function start(): Promise<void> {
    const own = readWorkloadIdentity(await ca.issuer.issue(setup.path ?? '/postern/ca'))
    const trust = trustNow()
    server = createServer(
      { ...serverTlsOptions(own, trust, { alpnProtocols: ['http/1.1'] }), keepAliveTimeout: 60_000 },
      (request, response) => {
        serve(request, response).catch((error: unknown) => {
          send(response, { status: 500, body: { title: String(error), code: 'ERR_CA_BUG' } })
        })
      },
    )
    server.on('connection', (socket: Socket) => {
      sockets.add(socket)
      socket.once('close', () => sockets.delete(socket))
    })
    server.listen(ca.port, '127.0.0.1')
    await once(server, 'listening')
    ca.port = (server.address() as AddressInfo).port
  }

  function trustNow(): ReturnType<typeof createTrustStore> {
    return createTrustStore(mesh.trustDomain, [readBundle(ca.bundlePem, mesh.trustDomain, 'fake')])
  }

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const socket = request.socket as TLSSocket
    // A server that rotates its roots: judged by those of now.
    const verdict = socket.getPeerX509Certificate() === undefined ? undefined : verifyPeerSocket(socket, trustNow(), ca.now())
    const chunks: Buffer[] = await request.toArray()
    const body = JSON.parse(Buffer.concat(chunks).toString() || '{}') as SeenRequest['body']
    const peer = verdict?.ok === true ? { id: verdict.value.id.uri, serial: verdict.value.certificate.serial } : undefined
    const seen: SeenRequest = { path: request.url ?? '', body, peer, at: Date.now() }
    ca.requests.push(seen)
    for (const look of waiting) look(seen)
    const answer = (await ca.answer?.(seen)) ?? (await answerTo(seen, verdict?.ok === false ? verdict.reason : undefined))
    if (answer.status === undefined) ca.spoil?.(seen.path, answer.body as Record<string, unknown>)
    send(response, { ...answer, headers: { ...dateOf(ca.now()), ...answer.headers } })
  }

  async function answerTo({ path, body, peer }: SeenRequest, refused: string | undefined): Promise<FakeAnswer> {
    if (refused !== undefined) return problem(403, refused, 'your certificate is refused')
    if (path === '/v1/x509-svid') {
      const token = (body['attestation'] as { readonly token?: unknown } | undefined)?.token
      const id = peer?.id.slice(`spiffe://${mesh.trustDomain}`.length) ?? ca.tokens.get(String(token))
      if (id === undefined) return problem(403, 'ERR_JOIN_TOKEN_UNKNOWN', 'nobody made such a token')
      if (peer === undefined) ca.tokens.delete(String(token))
      const { publicKey } = readCsr(Buffer.from(String(body['csr'])))
      const now = ca.now()
      const svid = await issueSvid({ authority: ca.issuer.issuer, id: `spiffe://${mesh.trustDomain}${id}`, now, ttl: ca.ttl, publicKey })
      return {
        body: {
          svid: [svid.certificatePem],
          bundle: bundleNow(),
          expires_at: new Date(svid.notAfter).toISOString(),
          renew_at: new Date(now + ca.ttl * ca.renewShare).toISOString(),
        },
      }
    }
    if (path === '/v1/trust') {
      if (peer === undefined) return problem(401, 'ERR_CA_NO_CERTIFICATE', 'show a certificate')
      return {
        body: {
          sequence: ca.sequence,
          bundle: bundleNow(),
          revocations: ca.revocations,
          poll_after: ca.pollAfter,
          renew_now: ca.renewNow,
        },
      }
    }
    if (path === '/v1/bundle') return { body: bundleNow() }
    return problem(404, 'ERR_CA_PATH', 'no such path')
  }

  function bundleNow(): unknown {
    const authorities = parsePem(ca.bundlePem).map(({ der }) => der)
    return JSON.parse(bundleDocument({ authorities, sequence: BigInt(ca.sequence), refreshHint: 5 }))
  }

  const ca: FakeCa = {
    mesh,
    port: 0,
    tokens: new Map([['secret', '/ns/test/sa/service']]),
    requests: [],
    ttl: setup.ttl ?? 3_600_000,
    pollAfter: setup.pollAfter ?? 0.2,
    sequence: 1,
    renewNow: false,
    revocations: [],
    bundlePem: mesh.bundlePem,
    issuer: mesh,
    answer: undefined,
    spoil: undefined,
    renewShare: 0.5,
    now: () => Date.now(),
    seen(match, after = 0) {
      const found = ca.requests.find((request) => request.at >= after && match(request))
      if (found !== undefined) return Promise.resolve(found)
      return new Promise((resolve) => {
        const look = (request: SeenRequest): void => {
          if (!match(request)) return
          waiting.delete(look)
          resolve(request)
        }
        waiting.add(look)
      })
    },
    async stop() {
      const running = server
      if (running === undefined) return
      server = undefined
      running.close()
      for (const socket of sockets) socket.destroy()
      await once(running, 'close')
    },
    start,
    [Symbol.asyncDispose]: () => ca.stop(),
  }
  await start()
  return ca
}

function problem(status: number, code: string, detail: string): FakeAnswer {
  return { status, body: { title: 'Refused', status, code, detail, request_id: 'r' } }
}

/** As one whose clock is wrong. */
function dateOf(now: number): Readonly<Record<string, string>> {
  return { date: new Date(now).toUTCString() }
}

function send(response: ServerResponse, { status = 200, headers = {}, body }: FakeAnswer): void {
  const type = status === 200 ? 'application/json' : 'application/problem+json'
  response.writeHead(status, { 'content-type': type, ...headers })
  response.end(typeof body === 'string' ? body : JSON.stringify(body))
}
