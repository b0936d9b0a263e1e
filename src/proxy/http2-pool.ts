/**
 * mTLS connections to one HTTP/2 destination, shared by all that the app calls there. A call goes to the less loaded of two addresses,
 * on the connection there that has the fewest streams; where there is none with room, one is opened, and the call waits for it.
 * Connections end with the certificates they stand on, and are replaced when our SVID is renewed or they have come of age.
 */
import { backoffDelay } from '#base/backoff'
import type { Clock } from '#base/clock'
import type { ReasonCode } from '#base/reasons'
import type { OutboundConfig } from '#config/sidecar-config'
import type { Snapshot } from '#config/snapshot'
import { lostTrust } from '#pki/still-trusted'
import type { Http2Resources } from '#wire/http2/resources'
import type { Endpoint } from './endpoints.ts'
import type { FlushTurn } from './flush-turn.ts'
import { READ_BUFFER } from './http1-upstream.ts'
import { Http2Upstream, type Http2UpstreamEvents } from './http2-upstream.ts'
import { createOutboundDialer } from './outbound-dial.ts'

/** A call without a connection: exactly one of `send` and `failed` is called, maybe at once, unless it is no longer wanted. */
export interface Http2Waiter {
  readonly wanted: boolean
  /** Addresses whose failures it was charged with. */
  readonly tried: Endpoint[]
  /** Ms since the epoch. */
  readonly since: number
  send(upstream: Http2Upstream): void
  failed(reason: ReasonCode, detail: string): void
}

export interface Http2Pool {
  acquire(waiter: Http2Waiter): void
  /** It waits no longer. */
  cancel(waiter: Http2Waiter): void
  apply(snapshot: Snapshot): void
  tick(now: number): void
  close(): void
}

export interface Http2PoolOptions {
  readonly clock: Clock
  readonly config: OutboundConfig
  readonly snapshot: Snapshot
  readonly random: () => number
  readonly resources: Http2Resources
  readonly turn: FlushTurn
}

/** One address: its connections, and who waits for one there. */
interface Site {
  readonly endpoint: Endpoint
  readonly upstreams: Set<Http2Upstream>
  /** In order of arrival. */
  readonly waiters: Set<Http2Waiter>
  /** A connection is being made that is not ready yet. */
  dialling: boolean
  failures: number
  /** Ms since the epoch; before, no connection is tried. */
  redialAt: number
  timer: NodeJS.Timeout | undefined
}

/** Shorter than any sidecar's own idle time, so that it is we who close. */
const IDLE_MS = 30_000
const ATTEMPTS = 3
/** A server that allows so few streams that these do not do makes calls wait. */
const MOST_PER_ADDRESS = 16
const REDIAL_FIRST_MS = 50
const REDIAL_MAX_MS = 500
/** Share of what remains of the certificates, after which a connection takes no more requests. */
const RETIRE_AFTER = 0.8

export function createHttp2Pool(options: Http2PoolOptions): Http2Pool {
  const { clock, config, random } = options
  const dialer = createOutboundDialer({ ...options, alpnProtocols: ['h2'] })
  const { endpoints } = dialer
  const sites = new Map<Endpoint, Site>()
  let closed = false

  const events: Http2UpstreamEvents = {
    onReady(upstream) {
      const site = siteOf(upstream.endpoint)
      site.dialling = false
      site.failures = 0
      serve(site)
      // Our SVID was renewed during its handshake: it did for those who waited.
      if (upstream.serial !== dialer.snapshot.identity.facts.serial) upstream.retire()
    },
    onRoom({ endpoint }) {
      const site = siteOf(endpoint)
      if (site.waiters.size > 0) serve(site)
    },
    onGone(upstream, ready, reason, detail) {
      const site = siteOf(upstream.endpoint)
      site.upstreams.delete(upstream)
      if (!ready) {
        endpoints.failed(upstream.endpoint, clock.now())
        onDialFailed(site, reason, detail)
      } else if (site.waiters.size > 0) serve(site)
    },
  }

  function siteOf(endpoint: Endpoint): Site {
    const known = sites.get(endpoint)
    if (known !== undefined) return known
    const site: Site = {
      endpoint,
      upstreams: new Set(),
      waiters: new Set(),
      dialling: false,
      failures: 0,
      redialAt: 0,
      timer: undefined,
    }
    sites.set(endpoint, site)
    return site
  }

  /** What `pick` balances by. */
  function countLoads(): void {
    if (endpoints.all.length < 2) return
    for (const { endpoint, upstreams, waiters } of sites.values()) {
      endpoint.inFlight = waiters.size
      for (const { link } of upstreams) endpoint.inFlight += link.streams
    }
  }

  function leastLoaded({ upstreams }: Site): Http2Upstream | undefined {
    let found: Http2Upstream | undefined
    for (const upstream of upstreams) {
      if (upstream.usable && (found === undefined || upstream.link.streams < found.link.streams)) found = upstream
    }
    return found
  }

  function begin(waiter: Http2Waiter): void {
    if (!waiter.wanted) return
    countLoads()
    const endpoint = endpoints.pick(waiter.tried, clock.now())
    if (endpoint === undefined || closed) return waiter.failed('ERR_UPSTREAM_UNREACHABLE', 'no address is left to try')
    const site = siteOf(endpoint)
    const upstream = site.waiters.size > 0 ? undefined : leastLoaded(site)
    if (upstream !== undefined) return waiter.send(upstream)
    site.waiters.add(waiter)
    dial(site)
  }

  function serve(site: Site): void {
    for (const waiter of site.waiters) {
      const upstream = leastLoaded(site)
      if (upstream === undefined) return dial(site)
      site.waiters.delete(waiter)
      if (waiter.wanted) waiter.send(upstream)
    }
  }

  /** One connection to an address at a time, and none too soon after one that failed. */
  function dial(site: Site): void {
    if (closed || site.dialling || site.timer !== undefined || site.upstreams.size >= MOST_PER_ADDRESS) return
    const wait = site.redialAt - clock.now()
    if (wait <= 0) return open(site)
    site.timer = setTimeout(() => {
      site.timer = undefined
      if (site.waiters.size > 0) open(site)
    }, wait)
  }

  function open(site: Site): void {
    const { endpoint } = site
    const { serial } = dialer.snapshot.identity.facts
    let upstream: Http2Upstream | undefined
    site.dialling = true
    const socket = dialer.dial(
      endpoint,
      { buffer: READ_BUFFER, callback: (count) => upstream?.onBytes(count) ?? true },
      {
        verified(peer, notAfter) {
          const now = clock.now()
          upstream = new Http2Upstream(
            socket,
            {
              ...options,
              endpoint,
              peer,
              serial,
              notAfter,
              retireAt: now + Math.min(config.connectionAge * (0.9 + 0.2 * random()), RETIRE_AFTER * (notAfter - now)),
              headBytes: config.limits.headBytes,
            },
            events,
          )
          site.upstreams.add(upstream)
        },
        failed: (reason, detail) => onDialFailed(site, reason, detail),
      },
    )
  }

  /** Charges all who wait there with the failure; they go on elsewhere. */
  function onDialFailed(site: Site, reason: ReasonCode, detail: string): void {
    site.dialling = false
    site.redialAt = clock.now() + backoffDelay(site.failures++, { first: REDIAL_FIRST_MS, max: REDIAL_MAX_MS, random })
    const waiters = [...site.waiters]
    site.waiters.clear()
    for (const waiter of waiters) {
      if (!waiter.wanted) continue
      waiter.tried.push(site.endpoint)
      if (waiter.tried.length >= Math.min(ATTEMPTS, endpoints.all.length)) waiter.failed(reason, detail)
      else begin(waiter)
    }
  }

  /** Ends what is over, retires what is old, idle or no longer among the addresses. */
  function tickUpstream(upstream: Http2Upstream, now: number): void {
    const { link, endpoint, peer } = upstream
    upstream.tick(now)
    if (now >= upstream.notAfter) upstream.cut('ERR_CERTIFICATE_ENDED', peer.id.uri)
    else if (!upstream.ready) {
      if (now - upstream.openedAt > config.timeouts.connect) upstream.cut('ERR_UPSTREAM_CONNECT_TIMEOUT', 'no SETTINGS')
    } else if (upstream.retired) return
    else if (now >= upstream.retireAt || (link.streams === 0 && now - upstream.idleSince > IDLE_MS) || !endpoints.all.includes(endpoint)) {
      upstream.retire()
    }
  }

  return {
    acquire(waiter) {
      const refreshed = endpoints.refresh(clock.now())
      if (endpoints.known) {
        refreshed.catch(() => {})
        return begin(waiter)
      }
      refreshed.then(
        () => begin(waiter),
        (error: unknown) => {
          if (waiter.wanted) waiter.failed('ERR_UPSTREAM_RESOLVE', (error as NodeJS.ErrnoException).code ?? String(error))
        },
      )
    },
    cancel(waiter) {
      for (const { waiters } of sites.values()) waiters.delete(waiter)
    },
    apply(next) {
      if (!dialer.apply(next)) return
      for (const { upstreams } of sites.values()) {
        for (const upstream of [...upstreams]) {
          const { peer, serial, ready } = upstream
          const lost = lostTrust(next.trust, peer)
          if (lost !== undefined) upstream.cut(lost.reason, `${peer.id.uri}: ${lost.detail}`)
          else if (ready && serial !== next.identity.facts.serial) upstream.retire()
        }
      }
    },
    tick(now) {
      for (const site of [...sites.values()]) {
        for (const upstream of [...site.upstreams]) tickUpstream(upstream, now)
        if (!site.dialling && site.timer === undefined) {
          for (const waiter of [...site.waiters]) {
            if (now - waiter.since <= config.timeouts.connect) continue
            site.waiters.delete(waiter)
            if (waiter.wanted) waiter.failed('ERR_HTTP2_STREAM_LIMIT', 'of the upstream')
          }
        }
        if (!endpoints.all.includes(site.endpoint) && site.upstreams.size + site.waiters.size === 0 && !site.dialling) {
          clearTimeout(site.timer)
          sites.delete(site.endpoint)
        }
      }
    },
    close() {
      closed = true
      for (const site of sites.values()) {
        clearTimeout(site.timer)
        for (const upstream of [...site.upstreams]) upstream.close()
      }
    },
  }
}
