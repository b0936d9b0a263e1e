/** What an HTTP/1.1 connection asks of the listener that it came to. */
import type { ConnectionOrigin } from '#audit/event'
import type { ReasonCode } from '#base/reasons'
import type { Snapshot } from '#config/snapshot'
import type { HeadLimits } from '#wire/http1/limits'
import type { Exchange } from './exchange.ts'
import type { Http1Upstream } from './http1-upstream.ts'
import type { Lapse } from './lapse.ts'
import type { Registry } from './registry.ts'
import type { Lapsed } from './request-path.ts'

export interface Http1Timeouts {
  /** Ms for a whole head, from its first byte. */
  readonly head: number
  /** Ms without a byte: between requests, in the middle of a request body. */
  readonly idle: number
  /** Ms without a byte on a tunnel that one side has closed. */
  readonly halfClosed: number
}

/** What a listener's kind (inbound, outbound) adds to a connection: one per connection. */
export interface Http1Service {
  readonly origin: ConnectionOrigin
  readonly headLimits: HeadLimits
  readonly timeouts: Http1Timeouts
  /** Bytes a second, at least, of a request's body; none unless said. */
  readonly bodyRate?: number
  readonly registry: Registry
  /** Ms since the epoch; Infinity without certificates. */
  readonly notAfter: number
  readonly drainAt: number
  /** Decides; calls `forward` or `refuse` of the exchange, now or later. */
  onRequestHead(exchange: Exchange): void
  /** Calls `attach` of the exchange with an upstream (a fresh one if asked), or `cut` if none can be had. */
  acquire(exchange: Exchange, fresh: boolean): void
  release(upstream: Http1Upstream): void
  /** Why the exchange, or a connection without one, may no longer run; undefined if it may. */
  revalidate(exchange: Exchange | undefined, snapshot: Snapshot, now: number): Lapsed | undefined
  /** Decides again because time passed. */
  redecide(exchange: Exchange, now: number): Lapsed | undefined
  /** In words for the record: `notAfter` is reached. */
  ended(): Lapsed
  /** How long that which runs may go on. */
  lapse(why: Lapsed, now: number): Lapse
  /** Calls `goOn` when others have had their turn. */
  later(goOn: () => void): void
  tick(now: number): void
  record(exchange: Exchange): void
  /** A head that could not be read, or did not come in time. @returns the request id it was recorded under */
  recordMalformed(reason: ReasonCode, detail: string, status: number): string
  now(): number
  monotonic(): number
  closed(): void
}
