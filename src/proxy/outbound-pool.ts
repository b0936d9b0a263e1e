/**
 * mTLS connections to one outbound destination. A connection is handed out only after its server has proved to be one of the expected
 * identities; it is used again only under the SVID it was made with, and ends with the certificates it stands on.
 */
import { isIP } from 'node:net'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import type { ReasonCode } from '#base/reasons'
import type { OutboundConfig } from '#config/sidecar-config'
import type { Snapshot } from '#config/snapshot'
import type { Peer } from '#identity/peer'
import { verifyPeerSocket } from '#pki/peer-from-socket'
import { clientTlsOptions, type TlsChoices } from '#pki/tls-options'
import { isStillTrusted } from '#pki/still-trusted'
import { createEndpoints, type Endpoint } from './endpoints.ts'
import { Http1Upstream } from './http1-upstream.ts'
import type { InboundListenerState } from './inbound-state.ts'

/** Who waits for a connection: exactly one of the two is called, maybe at once. */
export interface Waiting {
  ready(upstream: Http1Upstream, peer: Peer): void
  failed(reason: ReasonCode, detail: string): void
}

export interface OutboundPool {
  acquire(waiting: Waiting, fresh: boolean): void
  release(upstream: Http1Upstream): void
  /** Our SVID or what we trust has changed. */
  apply(snapshot: Snapshot): void
  tick(now: number): void
  close(): void
}

interface Connection {
  readonly endpoint: Endpoint
  readonly serial: string
  peer: Peer | undefined
  /** Ms since the epoch: the earlier end of the two certificates. */
  notAfter: number
  idleSince: number
}

/** Shorter than any sidecar's own idle time, so that it is we who close. */
const IDLE_MS = 30_000
const ATTEMPTS = 3

export interface OutboundPoolOptions extends Pick<InboundListenerState, 'clock'> {
  readonly config: OutboundConfig
  readonly snapshot: Snapshot
  readonly random: () => number
}

export function createOutboundPool(options: OutboundPoolOptions): OutboundPool {
  const { config, clock } = options
  const expected: ReadonlySet<string> = new Set(config.peer.map((id) => id.uri))
  const endpoints = createEndpoints(config.to, options.random)
  const connections = new Map<Http1Upstream, Connection>()
  const idle: Http1Upstream[] = []
  let snapshot = options.snapshot
  let tlsOptions = contextOf(snapshot)

  function contextOf(from: Snapshot): ReturnType<typeof clientTlsOptions> {
    const settings: TlsChoices = { ...from.config.tls, alpnProtocols: ['http/1.1'] }
    return clientTlsOptions(from.identity, from.trust, settings)
  }

  function takeIdle(endpoint: Endpoint): Http1Upstream | undefined {
    for (let index = idle.length - 1; index >= 0; index--) {
      const upstream = idle[index]
      if (upstream === undefined || connections.get(upstream)?.endpoint !== endpoint) continue
      idle.splice(index, 1)
      if (upstream.usable) return upstream
    }
    return undefined
  }

  function attempt(waiting: Waiting, fresh: boolean, tried: Endpoint[]): void {
    const endpoint = endpoints.pick(tried, clock.now())
    if (endpoint === undefined) return waiting.failed('ERR_UPSTREAM_UNREACHABLE', 'no address is left to try')
    const upstream = fresh ? undefined : takeIdle(endpoint)
    const peer = upstream === undefined ? undefined : connections.get(upstream)?.peer
    if (upstream !== undefined && peer !== undefined) {
      endpoint.inFlight++
      return waiting.ready(upstream, peer)
    }
    tried.push(endpoint)
    open(endpoint, {
      ready: (made, verified) => waiting.ready(made, verified),
      failed(reason, detail) {
        endpoints.failed(endpoint, clock.now())
        if (tried.length >= ATTEMPTS || tried.length >= endpoints.all.length) return waiting.failed(reason, detail)
        attempt(waiting, fresh, tried)
      },
    })
  }

  function open(endpoint: Endpoint, waiting: Waiting): void {
    const connection: Connection = {
      endpoint,
      serial: snapshot.identity.facts.serial,
      peer: undefined,
      notAfter: Infinity,
      idleSince: 0,
    }
    const where = `${endpoint.host}:${endpoint.port}`
    let socket: TLSSocket | undefined
    let settled = false
    let fault: { reason: ReasonCode; detail: string } = { reason: 'ERR_UPSTREAM_CLOSED', detail: `${where} closed during the handshake` }
    const timer = setTimeout(() => {
      fault = { reason: 'ERR_UPSTREAM_CONNECT_TIMEOUT', detail: where }
      socket?.destroy()
    }, config.timeouts.connect)
    endpoint.inFlight++
    const upstream = new Http1Upstream(
      (onread) => {
        socket = connectTls({
          ...tlsOptions,
          host: endpoint.host,
          port: endpoint.port,
          ...(isIP(endpoint.name) === 0 ? { servername: endpoint.name } : {}),
          // The types of tls.connect leave out what it takes over from net.connect.
          ...{ allowHalfOpen: true, onread },
        })
        socket.setNoDelay(true)
        return socket
      },
      (gone) => {
        clearTimeout(timer)
        connections.delete(gone)
        const index = idle.indexOf(gone)
        if (index !== -1) idle.splice(index, 1)
        else endpoint.inFlight--
        if (settled) return
        settled = true
        waiting.failed(fault.reason, fault.detail)
      },
    )
    connections.set(upstream, connection)
    socket?.prependListener('error', (error: NodeJS.ErrnoException) => {
      if (fault.reason === 'ERR_UPSTREAM_CLOSED')
        fault = {
          reason: error.syscall === 'connect' ? 'ERR_UPSTREAM_UNREACHABLE' : 'ERR_UPSTREAM_TLS',
          detail: `${where}: ${error.code ?? error.message}`,
        }
    })
    socket?.once('secureConnect', () => {
      clearTimeout(timer)
      if (socket === undefined) return
      const verdict = verifyPeerSocket(socket, snapshot.trust, clock.now(), { role: 'server', minVersion: snapshot.config.tls.minVersion })
      if (!verdict.ok) fault = { reason: 'ERR_UPSTREAM_TLS', detail: `${where}: ${verdict.reason} ${verdict.detail}` }
      else if (!expected.has(verdict.value.id.uri))
        fault = { reason: 'ERR_UPSTREAM_IDENTITY', detail: `${where} is ${verdict.value.id.uri}` }
      else {
        connection.peer = verdict.value
        connection.notAfter = Math.min(verdict.value.certificate.notAfter, snapshot.identity.facts.notAfter)
        settled = true
        endpoints.succeeded(endpoint)
        return waiting.ready(upstream, verdict.value)
      }
      upstream.destroy()
    })
  }

  return {
    acquire(waiting, fresh) {
      const refreshed = endpoints.refresh(clock.now())
      if (endpoints.known) {
        refreshed.catch(() => {})
        return attempt(waiting, fresh, [])
      }
      refreshed.then(
        () => attempt(waiting, fresh, []),
        (error: unknown) => waiting.failed('ERR_UPSTREAM_RESOLVE', (error as NodeJS.ErrnoException).code ?? String(error)),
      )
    },
    release(upstream) {
      const connection = connections.get(upstream)
      if (connection === undefined) return
      if (!upstream.usable || connection.serial !== snapshot.identity.facts.serial) return upstream.retire()
      connection.endpoint.inFlight--
      connection.idleSince = clock.now()
      idle.push(upstream)
    },
    apply(next) {
      const renewed = next.identity !== snapshot.identity || next.trust !== snapshot.trust
      snapshot = next
      if (!renewed) return
      tlsOptions = contextOf(next)
      for (const [upstream, { peer, serial }] of [...connections]) {
        if (peer === undefined) continue
        if (!isStillTrusted(next.trust, peer)) upstream.cut('ERR_TRUST_WITHDRAWN', peer.id.uri)
        else if (serial !== next.identity.facts.serial) upstream.retire()
      }
    },
    tick(now) {
      for (const [upstream, connection] of [...connections]) {
        if (connection.peer !== undefined && now >= connection.notAfter) upstream.cut('ERR_CERTIFICATE_ENDED', connection.peer.id.uri)
        else if (upstream.usable && connection.idleSince !== 0 && now - connection.idleSince > IDLE_MS) upstream.destroy()
      }
    },
    close() {
      for (const upstream of [...connections.keys()]) upstream.destroy()
    },
  }
}
