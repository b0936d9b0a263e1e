/** What a relay needs of its owner, tells it, and does for it. */
import type { Buffer } from 'node:buffer'
import type { ReasonCode } from '#base/reasons'
import type { Refusal } from '#base/result'
import type { Http2ConnectionOptions } from './connection-handler.ts'
import type { Http2Limits } from './limits.ts'
import type { Http2Fault } from './protocol.ts'
import type { Http2Exchange } from './relay-exchange.ts'

export interface Http2RelayOptions extends Http2ConnectionOptions {
  readonly limits: Http2Limits
  /** Which request trailers the upstream may see. */
  readonly keepTrailer: (name: string) => boolean
}

/** What every relay tells of its caller's side, and of exchanges. */
export interface Http2CallerHandler<C> {
  /** A head to decide: `forward` or `refuse` it, at once or later. */
  onRequest(exchange: Http2Exchange<C>): void
  /** A head that cannot be served. `refuse` may answer it within the call (431, say); else it is reset with PROTOCOL_ERROR. */
  onBadRequest(exchange: Http2Exchange<C>, refusal: Refusal): void
  /** A stream beyond the limit, which was refused without being looked at. */
  onStreamRefused(refusal: Refusal): void
  /** The upstream failed before it answered. `refuse` or `rewind` within the call; else the stream is reset. */
  onFailure(exchange: Http2Exchange<C>, reason: ReasonCode, detail: string): void
  /** The upstream says that it has not looked at the request. `rewind` within the call; else the caller is told REFUSED_STREAM. */
  onUnprocessed?(exchange: Http2Exchange<C>, reason: ReasonCode, detail: string): void
  /** Once for every exchange that `onRequest` or `onBadRequest` was told of. */
  onEnd(exchange: Http2Exchange<C>): void
  /** The caller broke the protocol: write what is in its output, then close its socket. */
  onDownstreamFault(fault: Http2Fault): void
  /** Going away, and no exchange is left: write the outputs, then close the sockets. */
  onIdle(): void
  /** There may be something to write to the caller, for what was done elsewhere than in `receiveDownstream`. */
  onOutput?(): void
}

export interface Http2RelayHandler<C> extends Http2CallerHandler<C> {
  /** The upstream broke the protocol: write what is in its output, then close its socket. */
  onUpstreamFault(fault: Http2Fault): void
}

/** The caller's side of a relay. */
export interface LinkedRelay<C> {
  /**
   * With `headsPerCall`, bytes that are not read yet are kept: they must stay as they are.
   * @param now monotonic ms
   */
  receiveDownstream(bytes: Buffer, now: number): void
  /** Not all was read: call `receiveDownstream` in the next turn, if only with nothing, and read no more from the socket until then. */
  readonly behind: boolean
  /** What is to be written next; call until it is undefined. */
  takeDownstream(): Buffer | undefined
  /** While the socket takes no more, bodies wait, and the links they come from with them. */
  holdData(held: boolean): void
  /** The caller's connection is gone. */
  downstreamClosed(): void
  /** Lets the caller open no more streams; what is under way is served. Twice is final: what comes after is refused. */
  drain(): void
  /** Those not ended. */
  readonly exchanges: ReadonlySet<Http2Exchange<C>>
  /** The caller has begun something that it must end in time. */
  readonly midway: boolean
}

export interface Http2Relay<C> extends LinkedRelay<C> {
  receiveUpstream(bytes: Buffer, now: number): void
  takeUpstream(): Buffer | undefined
  /** The upstream's connection is gone, or could not be had: what comes from now on fails with this reason. */
  upstreamClosed(reason: ReasonCode, detail: string): void
}
