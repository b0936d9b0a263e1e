/**
 * Who may send how much through a relay (RFC 9113 §5.2): windows that reach through to the one upstream, or windows of our own toward
 * many links (docs/decisions/0005-windows-of-our-own-toward-many-links.md). What is said here of the caller is its request's body, what
 * is said of a link is the response's.
 */
import type { Http2Connection } from './connection.ts'
import { DEFAULT_WINDOW } from './protocol.ts'
import type { RelayExchange } from './relay-exchange.ts'
import type { RelayLink } from './relay-link.ts'
import type { Http2Stream } from './stream.ts'

type Stream<C> = Http2Stream<RelayExchange<C>>

export interface RelayWindows<C> {
  /** Bytes of the caller came. */
  arrived(bytes: number): void
  /** They go nowhere. */
  dropped(bytes: number): void
  /** They wait until the exchange is forwarded. */
  held(exchange: RelayExchange<C>, bytes: number): void
  /** The exchange has its stream upstream, and what was held of it is about to be sent there. */
  forwarded(exchange: RelayExchange<C>, link: RelayLink<C>, upstream: Stream<C>): void
  /** The caller takes more: on a stream, or undefined for the connection. */
  callerTakes(stream: Stream<C> | undefined, bytes: number): void
  /** The upstream takes more: for an exchange, or undefined for the connection. */
  upstreamTakes(exchange: RelayExchange<C> | undefined, bytes: number): void
  /** The exchange is over: so many bytes that were on their way to the upstream, and to the caller, are dropped. */
  ended(exchange: RelayExchange<C>, toUpstream: number, toCaller: number): void
}

/** So much of bodies that wait for a decision does not count against what other streams may send. */
const MOST_LENT = 262_144

/** Each credit is passed on; what was dropped is credited back where it came from. */
export class ReachingWindows<C> implements RelayWindows<C> {
  readonly #caller: Http2Connection<RelayExchange<C>>
  readonly #upstream: RelayLink<C>
  /** Credit given to the caller ahead of the upstream's: of bodies still held, and of such as were forwarded. */
  #lentHeld = 0
  #lentForwarded = 0

  constructor(caller: Http2Connection<RelayExchange<C>>, upstream: RelayLink<C>) {
    this.#caller = caller
    this.#upstream = upstream
  }

  arrived(): void {}

  dropped(bytes: number): void {
    this.#caller.credit(undefined, bytes)
  }

  /** Lends the caller as much again, so that its other streams can send on. */
  held(exchange: RelayExchange<C>, bytes: number): void {
    if (this.#lentHeld + this.#lentForwarded + bytes > MOST_LENT) return
    exchange.lent += bytes
    this.#lentHeld += bytes
    this.#caller.credit(undefined, bytes)
  }

  forwarded(exchange: RelayExchange<C>, link: RelayLink<C>, upstream: Stream<C>): void {
    link.credit(upstream, exchange.earlyCredit)
    this.#lentHeld -= exchange.lent
    this.#lentForwarded += exchange.lent
    exchange.lent = 0
  }

  callerTakes(stream: Stream<C> | undefined, bytes: number): void {
    if (stream === undefined) return this.#upstream.credit(undefined, bytes)
    const exchange = stream.owner
    if (exchange === undefined || exchange.done) return
    if (exchange.upstream === undefined) exchange.earlyCredit += bytes
    else this.#upstream.credit(exchange.upstream, bytes)
  }

  /** Credit of the connection is for what was forwarded, or would have been: what the caller was lent of it is repaid first. */
  upstreamTakes(exchange: RelayExchange<C> | undefined, bytes: number): void {
    if (exchange !== undefined) return this.#caller.credit(exchange.downstream, bytes)
    const repaid = Math.min(bytes, this.#lentForwarded)
    this.#lentForwarded -= repaid
    this.#caller.credit(undefined, bytes - repaid)
  }

  ended(exchange: RelayExchange<C>, toUpstream: number, toCaller: number): void {
    this.#caller.credit(undefined, exchange.heldBytes - exchange.lent)
    this.#lentHeld -= exchange.lent
    this.upstreamTakes(undefined, toUpstream)
    this.#upstream.credit(undefined, toCaller)
  }
}

/** The caller may send so much at once on its connection, which is given back as it comes. */
export const CALLER_WINDOW = 1_048_576
/** Credit of a stream is saved up to so many bytes: half of the least window. */
const CREDIT_STEP = 32_768
/** A server may send as much at once on a stream as the caller takes, but no more than this. */
const LARGEST_RESPONSE_WINDOW = 1_048_576

/** Bytes are credited to a connection as they come, and to a stream once they have left for the other side. */
export class OwnWindows<C> implements RelayWindows<C> {
  readonly #caller: Http2Connection<RelayExchange<C>>

  constructor(caller: Http2Connection<RelayExchange<C>>) {
    this.#caller = caller
    caller.credit(undefined, CALLER_WINDOW - DEFAULT_WINDOW)
  }

  arrived(bytes: number): void {
    this.#caller.credit(undefined, bytes)
  }

  dropped(): void {}

  held(): void {}

  forwarded({ downstream }: RelayExchange<C>, link: RelayLink<C>, upstream: Stream<C>): void {
    const window = Math.min(downstream.sendWindow, LARGEST_RESPONSE_WINDOW)
    if (window >= upstream.receiveWindow + CREDIT_STEP) link.credit(upstream, window - upstream.receiveWindow)
  }

  callerTakes(): void {}

  upstreamTakes(): void {}

  ended(): void {}

  /** So many bytes of a request's body have left. @returns whether there is something to tell the caller */
  requestLeft(exchange: RelayExchange<C>, bytes: number): boolean {
    exchange.requestDue += bytes
    if (exchange.requestDue < CREDIT_STEP) return false
    this.#caller.credit(exchange.downstream, exchange.requestDue)
    exchange.requestDue = 0
    return true
  }

  /** The same of a response's body. */
  responseLeft(exchange: RelayExchange<C>, bytes: number): void {
    exchange.responseDue += bytes
    if (exchange.responseDue < CREDIT_STEP || exchange.upstream === undefined) return
    exchange.link?.credit(exchange.upstream, exchange.responseDue)
    exchange.responseDue = 0
  }
}
