/**
 * Gives each sidecar its snapshot: `POST /v1/snapshot {digest, instance}` over mutual TLS, answered when what concerns the caller is not what it
 * has, or with 304 after a while. What a caller says it has in force is its acknowledgement.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer, type Server } from 'node:https'
import type { TLSSocket } from 'node:tls'
import type { Clock } from '#base/clock'
import type { ReasonCode } from '#base/reasons'
import type { Identity } from '#config/snapshot'
import type { Peer } from '#identity/peer'
import { verifyPeerSocket } from '#pki/peer-from-socket'
import { reloadServerContext, serverTlsOptions } from '#pki/tls-options'
import type { Mesh } from './mesh.ts'
import type { SidecarSnapshot } from './snapshot.ts'

/** One sidecar as it was last heard of. */
export interface SidecarReport {
  readonly namespace: string
  readonly serviceAccount: string
  readonly instance: string
  /** Of the snapshot in force there; `''` before the first. */
  readonly digest: string
  /** Ms since the epoch. */
  readonly at: number
}

export interface SnapshotServer {
  readonly server: Server
  /** Those heard of within two polls. */
  reports(): readonly SidecarReport[]
  /** New certificates: for connections from now on. */
  apply(identity: Identity): void
  close(): void
}

export interface SnapshotServerOptions {
  readonly mesh: Mesh
  readonly identity: Identity
  readonly clock: Clock
  readonly onRefused: (reason: ReasonCode, detail: string, address: string) => void
  /** Ms that a caller waits for news. Default 30,000. */
  readonly wait?: number
}

const LONGEST_BODY = 1024
const WAIT = 30_000
const INSTANCE = /^[\w.-]{1,128}$/
const DIGEST = /^[0-9a-f]{0,64}$/

interface Asked {
  readonly digest: string
  readonly instance: string
}

interface Waiting {
  readonly namespace: string
  readonly digest: string
  readonly response: ServerResponse
  readonly until: number
}

export function createSnapshotServer(options: SnapshotServerOptions): SnapshotServer {
  const { mesh, clock, onRefused, wait = WAIT } = options
  const peers = new WeakMap<TLSSocket, Peer>()
  const reports = new Map<string, SidecarReport>()
  const waiting = new Set<Waiting>()
  /** Thousands of sidecars of a namespace get the same bytes. */
  const bodies = new WeakMap<SidecarSnapshot, string>()
  let { trust } = options.identity

  const server = createServer(
    {
      ...serverTlsOptions(options.identity.identity, trust),
      keepAliveTimeout: 90_000,
      headersTimeout: 10_000,
      requestTimeout: 10_000,
      maxHeaderSize: 8192,
    },
    (request, response) => void serve(request, response),
  )
  server.on('secureConnection', (socket: TLSSocket) => {
    const verdict = verifyPeerSocket(socket, trust, clock.now())
    if (verdict.ok) {
      peers.set(socket, verdict.value)
      return
    }
    onRefused(verdict.reason, verdict.detail, socket.remoteAddress ?? '')
    socket.destroy()
  })
  server.on('tlsClientError', (error, socket) => {
    onRefused('ERR_TLS_HANDSHAKE', (error as NodeJS.ErrnoException).code ?? error.message, socket.remoteAddress ?? '')
    socket.destroy()
  })
  server.on('clientError', (_error, socket) => void socket.destroy())

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const peer = peers.get(request.socket as TLSSocket)
    if (peer === undefined) return void request.socket.destroy()
    if (request.method !== 'POST' || request.url !== '/v1/snapshot') return problem(response, 404, 'Not Found')
    const { namespace, serviceAccount } = peer.id
    if (namespace === undefined || serviceAccount === undefined) return problem(response, 403, 'Forbidden')
    const asked = await readAsked(request)
    if (asked === undefined) return problem(response, 400, 'Bad Request')
    const { digest, instance } = asked
    reports.set(`${peer.id.uri} ${instance}`, { namespace, serviceAccount, instance, digest, at: clock.now() })
    const snapshot = mesh.snapshot(namespace)
    if (snapshot !== undefined && snapshot.digest !== digest) return answer(response, snapshot)
    const entry: Waiting = { namespace, digest, response, until: clock.monotonic() + wait }
    waiting.add(entry)
    response.on('close', () => waiting.delete(entry))
  }

  function answer(response: ServerResponse, snapshot: SidecarSnapshot): void {
    let body = bodies.get(snapshot)
    if (body === undefined) bodies.set(snapshot, (body = JSON.stringify(snapshot)))
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }).end(body)
  }

  const unsubscribe = mesh.subscribe(() => {
    for (const entry of waiting) {
      const snapshot = mesh.snapshot(entry.namespace)
      if (snapshot === undefined || snapshot.digest === entry.digest) continue
      waiting.delete(entry)
      answer(entry.response, snapshot)
    }
  })
  const timer = setInterval(
    () => {
      const now = clock.monotonic()
      // In the order of arrival: the first that may wait on ends it.
      for (const entry of waiting) {
        if (entry.until > now) break
        waiting.delete(entry)
        entry.response.writeHead(mesh.synced ? 304 : 503, mesh.synced ? {} : { 'retry-after': '1' }).end()
      }
    },
    Math.min(1000, wait),
  )

  return {
    server,
    reports() {
      const since = clock.now() - 2 * wait - 5000
      for (const [key, { at }] of reports) if (at < since) reports.delete(key)
      return [...reports.values()]
    },
    apply(next) {
      ;({ trust } = next)
      reloadServerContext(server, serverTlsOptions(next.identity, next.trust))
    },
    close() {
      unsubscribe()
      clearInterval(timer)
      server.close()
      server.closeAllConnections()
    },
  }
}

async function readAsked(request: IncomingMessage): Promise<Asked | undefined> {
  let text = ''
  for await (const chunk of request as AsyncIterable<Buffer>) {
    text += chunk.toString('latin1')
    if (text.length > LONGEST_BODY) return undefined
  }
  try {
    const { digest, instance } = JSON.parse(text) as Readonly<Record<string, unknown>>
    if (typeof digest !== 'string' || !DIGEST.test(digest) || typeof instance !== 'string' || !INSTANCE.test(instance)) return undefined
    return { digest, instance }
  } catch {
    return undefined
  }
}

function problem(response: ServerResponse, status: number, title: string): void {
  response.writeHead(status, { 'content-type': 'application/problem+json' }).end(JSON.stringify({ title, status }))
}
