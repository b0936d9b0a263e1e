/** Makes verified mTLS connections to one outbound destination: nothing is handed out before the server has proved who it is. */
import { isIP } from 'node:net'
import { connect as connectTls, type ConnectionOptions, type TLSSocket } from 'node:tls'
import type { Clock } from '#base/clock'
import type { ReasonCode } from '#base/reasons'
import { isConnectFault } from '#base/sockets'
import type { OutboundConfig } from '#config/sidecar-config'
import type { Snapshot } from '#config/snapshot'
import type { Peer } from '#identity/peer'
import { verifyPeerSocket } from '#pki/peer-from-socket'
import { clientTlsOptions } from '#pki/tls-options'
import { createEndpoints, type Endpoint, type Endpoints } from './endpoints.ts'
import { lapsedLease } from './identity-lease.ts'
import type { OnRead } from './http1-upstream.ts'

/** Exactly one of the two is called, once. */
export interface DialOutcome {
  /** @param notAfter the first end of validity among the server's path and our own SVID, ms since the epoch */
  verified(peer: Peer, notAfter: number): void
  failed(reason: ReasonCode, detail: string): void
}

export interface OutboundDialer {
  readonly endpoints: Endpoints
  readonly snapshot: Snapshot
  /** @param onread undefined: the socket is read as a stream */
  dial(endpoint: Endpoint, onread: OnRead | undefined, outcome: DialOutcome): TLSSocket
  /** @returns whether our SVID or what we trust has changed */
  apply(snapshot: Snapshot): boolean
}

export interface OutboundDialerOptions {
  readonly config: OutboundConfig
  readonly snapshot: Snapshot
  readonly clock: Clock
  readonly random: () => number
  /** None for opaque TCP. */
  readonly alpnProtocols: readonly string[] | undefined
}

export function createOutboundDialer(options: OutboundDialerOptions): OutboundDialer {
  const { config, clock, alpnProtocols } = options
  const expected: ReadonlySet<string> = new Set(config.peer.map((id) => id.uri))
  const endpoints = createEndpoints(config.to, options.random)
  let snapshot = options.snapshot
  let context = contextOf(snapshot)

  function contextOf({ identity, trust, config: { tls } }: Snapshot): ConnectionOptions {
    return clientTlsOptions(identity, trust, alpnProtocols === undefined ? tls : { ...tls, alpnProtocols })
  }

  /** Undefined: the server is who it should be. */
  function judge(socket: TLSSocket, where: string, used: ConnectionOptions): Fault | { readonly peer: Peer; readonly notAfter: number } {
    const verdict = verifyPeerSocket(socket, snapshot.trust, clock.now(), {
      role: 'server',
      minVersion: snapshot.config.tls.minVersion,
      contextIsCurrent: used === context,
    })
    if (!verdict.ok) return { reason: 'ERR_UPSTREAM_TLS', detail: `${where}: ${verdict.reason} ${verdict.detail}` }
    const { value: peer, validUntil } = verdict
    if (!expected.has(peer.id.uri)) return { reason: 'ERR_UPSTREAM_IDENTITY', detail: `${where} is ${peer.id.uri}` }
    if (alpnProtocols !== undefined && socket.alpnProtocol === false && !alpnProtocols.includes('http/1.1')) {
      return { reason: 'ERR_UPSTREAM_TLS', detail: `${where} does not speak ${alpnProtocols.join(', ')}` }
    }
    return { peer, notAfter: Math.min(validUntil, snapshot.identity.facts.notAfter) }
  }

  return {
    endpoints,
    get snapshot() {
      return snapshot
    },
    dial(endpoint, onread, outcome) {
      const where = `${endpoint.host}:${endpoint.port}`
      const used = context
      let fault: Fault | undefined
      let verified = false
      const socket = connectTls({
        ...used,
        host: endpoint.host,
        port: endpoint.port,
        ...(isIP(endpoint.name) === 0 ? { servername: endpoint.name } : {}),
        // The types of tls.connect leave out what it takes over from net.connect.
        ...{ allowHalfOpen: true, ...(onread === undefined ? {} : { onread }) },
      })
      socket.setNoDelay(true)
      const lapsed = lapsedLease(snapshot, clock.now())
      if (lapsed !== undefined) {
        // Not a byte was sent: nobody sees a certificate that has ended.
        fault = { reason: lapsed.reason, detail: lapsed.detail }
        socket.destroy()
      }
      const timer = setTimeout(() => {
        fault ??= { reason: 'ERR_UPSTREAM_CONNECT_TIMEOUT', detail: where }
        socket.destroy()
      }, config.timeouts.connect)
      socket.once('error', (error: NodeJS.ErrnoException) => {
        const reason = isConnectFault(error) ? 'ERR_UPSTREAM_UNREACHABLE' : 'ERR_UPSTREAM_TLS'
        fault ??= { reason, detail: `${where}: ${error.code ?? error.message}` }
      })
      socket.once('close', () => {
        clearTimeout(timer)
        if (verified) return
        const { reason, detail } = fault ?? { reason: 'ERR_UPSTREAM_CLOSED', detail: `${where} closed during the handshake` }
        if (lapsed === undefined) endpoints.failed(endpoint, clock.now())
        outcome.failed(reason, detail)
      })
      socket.once('secureConnect', () => {
        clearTimeout(timer)
        const judged = judge(socket, where, used)
        if ('reason' in judged) {
          fault = judged
          socket.destroy()
          return
        }
        verified = true
        endpoints.succeeded(endpoint)
        outcome.verified(judged.peer, judged.notAfter)
      })
      return socket
    },
    apply(next) {
      const changed = next.identity !== snapshot.identity || next.trust !== snapshot.trust
      snapshot = next
      if (changed) context = contextOf(next)
      return changed
    },
  }
}

interface Fault {
  readonly reason: ReasonCode
  readonly detail: string
}
