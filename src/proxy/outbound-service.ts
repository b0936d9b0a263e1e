/** What one of the app's own connections is to an outbound listener: where its requests go, and what is recorded of them. */
import type { ConnectionOrigin } from '#audit/event'
import type { ReasonCode } from '#base/reasons'
import type { OutboundConfig } from '#config/sidecar-config'
import { normaliseHost } from '#http/authority'
import type { Decision } from '#policy/decision'
import type { ListenerMetrics } from '#telemetry/metrics'
import type { HeadLimits } from '#wire/http1/limits'
import type { Http2Resources } from '#wire/http2/resources'
import type { Exchange } from './exchange.ts'
import type { FlushTurn } from './flush-turn.ts'
import type { Http1Service, Http1Timeouts } from './http1-service.ts'
import type { Http1Upstream } from './http1-upstream.ts'
import type { Http2Pool } from './http2-pool.ts'
import type { Surroundings } from './inbound-state.ts'
import type { OutboundPool } from './outbound-pool.ts'
import type { Lapse } from './lapse.ts'
import { issuePermit } from './permit.ts'
import { recordExchange, recordMalformed } from './record.ts'
import type { Registry } from './registry.ts'
import { type Lapsed, nameRequest } from './request-path.ts'
import { takeReservedHeaders, writeRequest } from './rewrite.ts'

/** A destination, with connections for each protocol that the listener takes. */
export interface OutboundRoute {
  readonly config: OutboundConfig
  readonly http1: OutboundPool | undefined
  readonly http2: Http2Pool | undefined
}

export interface OutboundListenerState extends Surroundings {
  readonly name: string
  readonly limits: HeadLimits
  /** HTTP/2 streams at once on one connection. */
  readonly streams: number
  readonly resources: Http2Resources
  readonly turn: FlushTurn
  readonly timeouts: Http1Timeouts
  readonly metrics: ListenerMetrics
  /** By normalised host; `''` is for any host. */
  readonly routes: ReadonlyMap<string, OutboundRoute>
  connectionClosed(): void
}

/** The app may call whomever its sidecar is configured to reach; who answers is checked by the pool. */
export const ALLOWED: Decision = {
  allow: true,
  reason: undefined,
  policy: '',
  rule: '',
  validUntil: Infinity,
  generation: 0,
  shadow: undefined,
}

export class OutboundService implements Http1Service {
  readonly listener: OutboundListenerState
  readonly headLimits: HeadLimits
  readonly timeouts: Http1Timeouts
  readonly registry: Registry
  readonly notAfter = Infinity
  readonly drainAt = Infinity
  #origin: ConnectionOrigin
  #pool: OutboundPool | undefined

  constructor(listener: OutboundListenerState, origin: ConnectionOrigin) {
    this.listener = listener
    this.#origin = origin
    this.headLimits = listener.limits
    this.timeouts = listener.timeouts
    this.registry = listener.registry
  }

  /** With the server's identity once one has answered. */
  get origin(): ConnectionOrigin {
    return this.#origin
  }

  onRequestHead(exchange: Exchange): void {
    const { request } = exchange
    takeReservedHeaders(exchange, request.headers, request.hopByHop, true, true)
    nameRequest(exchange, exchange.startedAt, this.listener.randomHex)
    exchange.host = normaliseHost(request.authority)
    exchange.path = request.path
    if (this.listener.log.overloaded) return exchange.refuse('ERR_RECORDS_OVERLOADED', '')
    const route = this.listener.routes.get(exchange.host) ?? this.listener.routes.get('')
    if (route?.http1 === undefined) return exchange.refuse('ERR_OUTBOUND_NO_ROUTE', '')
    exchange.decision = ALLOWED
    const head = writeRequest(
      exchange,
      request.path,
      request.authority === '' ? (route.config.hosts[0] ?? 'localhost') : request.authority,
      '',
    )
    this.#pool = route.http1
    exchange.forward(issuePermit(ALLOWED, head))
  }

  acquire(exchange: Exchange, fresh: boolean): void {
    const pool = this.#pool
    if (pool === undefined) throw new TypeError('a request is forwarded before it has a route')
    pool.acquire(
      {
        get wanted() {
          return !exchange.done
        },
        ready: (upstream, peer) => {
          if (this.#origin.peer !== peer) this.#origin = { ...this.#origin, peer }
          exchange.attach(upstream)
        },
        failed: (reason, detail) => exchange.refuse(reason, detail),
      },
      fresh,
    )
  }

  release(upstream: Http1Upstream): void {
    this.#pool?.release(upstream)
  }

  revalidate(): undefined {
    return undefined
  }

  redecide(): undefined {
    return undefined
  }

  /** The app calls without a certificate. */
  ended(): Lapsed {
    throw new TypeError('a connection without certificates has no end')
  }

  lapse(why: Lapsed, now: number): Lapse {
    return { why, until: now }
  }

  later(goOn: () => void): void {
    setImmediate(goOn)
  }

  tick(): void {}

  record(exchange: Exchange): void {
    recordExchange(this.listener, this.#origin, exchange)
  }

  recordMalformed(reason: ReasonCode, detail: string, status: number): string {
    return recordMalformed(this.listener, this.#origin, reason, detail, status)
  }

  now(): number {
    return this.listener.clock.now()
  }

  monotonic(): number {
    return this.listener.clock.monotonic()
  }

  closed(): void {
    this.listener.connectionClosed()
  }
}
