/** One request and its answer on their way through a relay: a stream on the caller's side and, once it is forwarded, one upstream. */
import type { Buffer } from 'node:buffer'
import type { ReasonCode } from '#base/reasons'
import type { HeaderList } from '#http/header-list'
import type { LocalAnswer } from './block-writer.ts'
import type { OutgoingRequest } from './client-codec.ts'
import type { Http2Link, RelayLink } from './relay-link.ts'
import type { Http2Request } from './request-fields.ts'
import type { ResponseBlock } from './response-block.ts'
import type { Http2Stream } from './stream.ts'

/** What the owner of a relay sees of an exchange. `C` is what it keeps with it. */
export interface Http2Exchange<C> {
  context: C | undefined
  /** Undefined if the head was malformed. */
  readonly request: Http2Request | undefined
  /** Set it before answering or forwarding; `''` for none. */
  requestId: string
  /** Of the answer; 0 while there is none. */
  readonly status: number
  /** -1 while there is none. */
  readonly grpcStatus: number
  /** Bytes of bodies, as they came. */
  readonly bytesIn: number
  readonly bytesOut: number
  /** Why it was refused, cut or failed. */
  readonly reason: ReasonCode | undefined
  readonly detail: string
  readonly done: boolean
  /** More of the request's body is to come, and the caller has leave to send it. */
  readonly awaitsBody: boolean
  /** The response is begun and not ended, and the caller gives no leave to send more of it. */
  readonly awaitsReader: boolean
  /** Bytes of the response's body that have left. */
  readonly bytesTaken: number
  /**
   * Sends the request upstream, with whatever of its body came meanwhile. At once or later: nobody else waits for it.
   * @param link where the relay has no upstream of its own
   */
  forward(request: OutgoingRequest, link?: Http2Link<C>): void
  /** Answers without the upstream. Nothing happens once a head was sent. */
  refuse(answer: Omit<LocalAnswer, 'requestId'>, reason: ReasonCode, detail: string): void
  /**
   * Ends an exchange that was admitted: gRPC gets trailers with `grpcStatus` where a head was sent already; all else is reset with
   * CANCEL, so that it neither looks complete nor is tried again.
   */
  cut(reason: ReasonCode, detail: string, grpcStatus: number): void
  /** Takes the request back from a link that did not answer, to be forwarded once more. @returns false if a part of its body is gone */
  rewind(): boolean
}

/** What an exchange asks of its relay, and what the link that it was forwarded to tells the relay. */
export interface ExchangeOwner<C> {
  forward(exchange: RelayExchange<C>, request: OutgoingRequest, link: RelayLink<C> | undefined): void
  refuse(exchange: RelayExchange<C>, answer: LocalAnswer): void
  cut(exchange: RelayExchange<C>, grpcStatus: number): void
  rewind(exchange: RelayExchange<C>): boolean
  /** The windows let the caller send. */
  hasRoom(exchange: RelayExchange<C>): boolean
  /** The windows let us send to the caller. */
  maySend(exchange: RelayExchange<C>): boolean
  onInformational(exchange: RelayExchange<C>, block: ResponseBlock): void
  onResponse(exchange: RelayExchange<C>, block: ResponseBlock, endStream: boolean): void
  onResponseData(exchange: RelayExchange<C>, bytes: Buffer, start: number, end: number, endStream: boolean): void
  onResponseTrailers(exchange: RelayExchange<C>, block: ResponseBlock): void
  onUpstreamReset(exchange: RelayExchange<C>, stream: Http2Stream<RelayExchange<C>>, code: number): void
  onUpstreamFault(exchange: RelayExchange<C>, reason: ReasonCode, detail: string): void
  /** The connection is gone in the middle of the response, or before it. */
  onUpstreamGone(exchange: RelayExchange<C>, reason: ReasonCode, detail: string): void
  /** GOAWAY says that it was never looked at. */
  onUnprocessed(exchange: RelayExchange<C>, reason: ReasonCode, detail: string): void
  /** The upstream takes more of the request. */
  onUpstreamCredit(exchange: RelayExchange<C>, increment: number): void
  /** So many bytes of the request's body have left. */
  onRequestSent(exchange: RelayExchange<C>, bytes: number): void
}

export class RelayExchange<C> implements Http2Exchange<C> {
  context: C | undefined
  readonly request: Http2Request | undefined
  requestId = ''
  status = 0
  grpcStatus = -1
  bytesIn = 0
  bytesOut = 0
  reason: ReasonCode | undefined
  detail = ''
  done = false
  readonly owner: ExchangeOwner<C>
  readonly downstream: Http2Stream<RelayExchange<C>>
  /** Both or neither. */
  link: RelayLink<C> | undefined
  upstream: Http2Stream<RelayExchange<C>> | undefined
  /** Until it is forwarded: what came of the body, and its trailers. */
  held: Buffer[] | undefined
  heldBytes = 0
  heldTrailers: HeaderList | undefined
  /** Bytes of those held for which the caller has credit already. */
  lent = 0
  /** What the caller takes of the response beside its initial window. */
  earlyCredit = 0
  /** A part of the request's body left, or its trailers are about to: it cannot be taken back. */
  begun = false
  /** Where windows are our own: bytes that have left, and that are not credited yet to the side they came from. */
  requestDue = 0
  responseDue = 0

  constructor(owner: ExchangeOwner<C>, downstream: Http2Stream<RelayExchange<C>>, request: Http2Request | undefined) {
    this.owner = owner
    this.downstream = downstream
    this.request = request
    downstream.owner = this
  }

  get awaitsBody(): boolean {
    return !this.done && !this.downstream.remoteClosed && this.owner.hasRoom(this)
  }

  get awaitsReader(): boolean {
    return !this.done && this.status !== 0 && !this.downstream.localClosed && !this.owner.maySend(this)
  }

  get bytesTaken(): number {
    return this.bytesOut - (this.downstream.queue?.bytes ?? 0)
  }

  forward(request: OutgoingRequest, link?: Http2Link<C>): void {
    // Only `createHttp2Link` makes links.
    if (!this.done && this.upstream === undefined) this.owner.forward(this, request, link as RelayLink<C> | undefined)
  }

  refuse(answer: Omit<LocalAnswer, 'requestId'>, reason: ReasonCode, detail: string): void {
    if (this.done || this.status !== 0) return
    this.reason = reason
    this.detail = detail
    this.owner.refuse(this, { ...answer, requestId: this.requestId })
  }

  cut(reason: ReasonCode, detail: string, grpcStatus: number): void {
    if (this.done) return
    this.reason = reason
    this.detail = detail
    this.owner.cut(this, grpcStatus)
  }

  rewind(): boolean {
    return !this.done && this.owner.rewind(this)
  }
}
