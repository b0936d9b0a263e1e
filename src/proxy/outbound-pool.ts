/**
 * mTLS connections to one outbound destination. A connection is handed out only after its server has proved to be one of the expected
 * identities; it is used again only under the SVID it was made with, and ends with the certificates it stands on.
 */
import type { Clock } from '#base/clock'
import type { ReasonCode } from '#base/reasons'
import type { OutboundConfig } from '#config/sidecar-config'
import type { Snapshot } from '#config/snapshot'
import type { Peer } from '#identity/peer'
import { lostTrust } from '#pki/still-trusted'
import type { Endpoint } from './endpoints.ts'
import { Http1Upstream } from './http1-upstream.ts'
import { createOutboundDialer } from './outbound-dial.ts'

/** Who waits for a connection: exactly one of `ready` and `failed` is called, maybe at once, unless it is no longer wanted. */
export interface Waiting {
  /** False once nobody would use the connection. */
  readonly wanted: boolean
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

/** A request without a connection. Whichever connection is free first serves the one that waits longest. */
interface Waiter {
  readonly waiting: Waiting
  readonly fresh: boolean
  /** Endpoints whose failures it was charged with. */
  readonly tried: Endpoint[]
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

export interface OutboundPoolOptions {
  readonly clock: Clock
  readonly config: OutboundConfig
  readonly snapshot: Snapshot
  readonly random: () => number
}

export function createOutboundPool(options: OutboundPoolOptions): OutboundPool {
  const { clock } = options
  const dialer = createOutboundDialer({ ...options, alpnProtocols: ['http/1.1'] })
  const { endpoints } = dialer
  const connections = new Map<Http1Upstream, Connection>()
  const idle: Http1Upstream[] = []
  /** In order of arrival. */
  const waiters = new Set<Waiter>()
  let dialling = 0

  function takeIdle(endpoint: Endpoint): Http1Upstream | undefined {
    for (let index = idle.length - 1; index >= 0; index--) {
      const upstream = idle[index]
      if (upstream === undefined || connections.get(upstream)?.endpoint !== endpoint) continue
      idle.splice(index, 1)
      if (upstream.usable) return upstream
    }
    return undefined
  }

  function begin(waiter: Waiter): void {
    const { waiting, fresh } = waiter
    const endpoint = fresh ? undefined : endpoints.pick([], clock.now())
    const upstream = endpoint === undefined ? undefined : takeIdle(endpoint)
    const peer = upstream === undefined ? undefined : connections.get(upstream)?.peer
    if (endpoint !== undefined && upstream !== undefined && peer !== undefined) {
      endpoint.inFlight++
      return waiting.ready(upstream, peer)
    }
    waiters.add(waiter)
    dialForWaiters()
  }

  /** As many handshakes at once as requests that wait, those begun for requests that were given up since included. */
  function dialForWaiters(): void {
    for (const waiter of waiters) {
      if (!waiter.waiting.wanted) waiters.delete(waiter)
    }
    for (const waiter of waiters) {
      if (dialling >= waiters.size) return
      const endpoint = endpoints.pick(waiter.tried, clock.now())
      if (endpoint === undefined) fail(waiter, 'ERR_UPSTREAM_UNREACHABLE', 'no address is left to try')
      else open(endpoint)
    }
  }

  function fail(waiter: Waiter, reason: ReasonCode, detail: string): void {
    waiters.delete(waiter)
    waiter.waiting.failed(reason, detail)
  }

  /** Charges a failed handshake to whoever waits longest, and goes on elsewhere. */
  function onDialFailed(endpoint: Endpoint, reason: ReasonCode, detail: string): void {
    for (const waiter of waiters) {
      if (!waiter.waiting.wanted) continue
      waiter.tried.push(endpoint)
      if (waiter.tried.length >= Math.min(ATTEMPTS, endpoints.all.length)) fail(waiter, reason, detail)
      break
    }
    dialForWaiters()
  }

  /** Gives a free connection to whoever waits longest, else keeps it. @param isNew it has not served a request yet */
  function deliver(upstream: Http1Upstream, connection: Connection, peer: Peer, isNew: boolean): void {
    for (const waiter of waiters) {
      if (waiter.fresh && !isNew) continue
      waiters.delete(waiter)
      if (waiter.waiting.wanted) return waiter.waiting.ready(upstream, peer)
    }
    connection.endpoint.inFlight--
    connection.idleSince = clock.now()
    idle.push(upstream)
  }

  function open(endpoint: Endpoint): void {
    dialling++
    endpoint.inFlight++
    const connection: Connection = {
      endpoint,
      serial: dialer.snapshot.identity.facts.serial,
      peer: undefined,
      notAfter: Infinity,
      idleSince: 0,
    }
    const upstream = new Http1Upstream(
      (onread) =>
        dialer.dial(endpoint, onread, {
          verified(peer, notAfter) {
            dialling--
            connection.peer = peer
            connection.notAfter = notAfter
            deliver(upstream, connection, peer, true)
          },
          failed(reason, detail) {
            dialling--
            onDialFailed(endpoint, reason, detail)
          },
        }),
      (gone) => {
        connections.delete(gone)
        const index = idle.indexOf(gone)
        if (index === -1) endpoint.inFlight--
        else idle.splice(index, 1)
      },
    )
    connections.set(upstream, connection)
  }

  return {
    acquire(waiting, fresh) {
      const waiter: Waiter = { waiting, fresh, tried: [] }
      const refreshed = endpoints.refresh(clock.now())
      if (endpoints.known) {
        refreshed.catch(() => {})
        return begin(waiter)
      }
      refreshed.then(
        () => begin(waiter),
        (error: unknown) => waiting.failed('ERR_UPSTREAM_RESOLVE', (error as NodeJS.ErrnoException).code ?? String(error)),
      )
    },
    release(upstream) {
      const connection = connections.get(upstream)
      if (connection === undefined) return
      if (!upstream.usable || connection.serial !== dialer.snapshot.identity.facts.serial) return upstream.retire()
      if (connection.peer !== undefined) deliver(upstream, connection, connection.peer, upstream.served === 0)
    },
    apply(next) {
      if (!dialer.apply(next)) return
      for (const [upstream, { peer, serial }] of [...connections]) {
        if (peer === undefined) continue
        const lost = lostTrust(next.trust, peer)
        if (lost !== undefined) upstream.cut(lost.reason, `${peer.id.uri}: ${lost.detail}`)
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
