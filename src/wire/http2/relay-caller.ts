/** The caller's side of a relay: its streams, what is held of them, and how each of them ends (RFC 9113 §5.2, §8.7). */
import { Buffer } from 'node:buffer'
import type { ReasonCode } from '#base/reasons'
import type { Refusal } from '#base/result'
import { type HeaderList, addHeader, createHeaderList } from '#http/header-list'
import type { LocalAnswer } from './block-writer.ts'
import type { OutgoingRequest } from './client-codec.ts'
import type { Http2Connection } from './connection.ts'
import { CANCEL, errorName, type Http2Fault, INTERNAL_ERROR, NO_ERROR, REFUSED_STREAM } from './protocol.ts'
import type { Http2CallerHandler, Http2Relay, Http2RelayOptions } from './relay-contract.ts'
import { type ExchangeOwner, RelayExchange } from './relay-exchange.ts'
import type { RelayLink } from './relay-link.ts'
import { OwnWindows, ReachingWindows, type RelayWindows } from './relay-windows.ts'
import type { ResponseBlock } from './response-block.ts'
import type { Announcement } from './own-settings.ts'
import { createHttp2ServerCodec, type Http2ServerCodec } from './server-codec.ts'
import type { Http2Stream } from './stream.ts'

type Stream<C> = Http2Stream<RelayExchange<C>>

export class CallerRelay<C> implements Http2Relay<C>, ExchangeOwner<C> {
  readonly exchanges = new Set<RelayExchange<C>>()
  readonly #options: Http2RelayOptions
  readonly #handler: Http2CallerHandler<C>
  readonly #server: Http2ServerCodec<RelayExchange<C>>
  readonly #downstream: Http2Connection<RelayExchange<C>>
  /** The one upstream, whose windows reach through; undefined where exchanges are given links. */
  readonly #upstream: RelayLink<C> | undefined
  readonly #own: OwnWindows<C> | undefined
  readonly #windows: RelayWindows<C>
  /** Why the upstream is gone. */
  #upstreamGone: { readonly reason: ReasonCode; readonly detail: string } | undefined
  #drains = 0
  #idle = false

  /** @param upstream undefined: over links */
  constructor(options: Http2RelayOptions, handler: Http2CallerHandler<C>, upstream: RelayLink<C> | undefined) {
    this.#options = options
    this.#handler = handler
    this.#upstream = upstream
    this.#server = createHttp2ServerCodec<RelayExchange<C>>(options, {
      onRequest: (stream, request) => this.#onRequest(new RelayExchange(this, stream, request)),
      onBadRequest: (stream, refusal) => this.#onBadRequest(new RelayExchange(this, stream, undefined), refusal),
      onStreamRefused: (_, refusal) => handler.onStreamRefused(refusal),
      onData: (stream, bytes, start, end, endStream) => this.#onRequestData(stream, bytes, start, end, endStream),
      onTrailers: (stream, trailers) => this.#onRequestTrailers(stream, trailers),
      onReset: (stream, code) => this.#onDownstreamReset(stream, code),
      onEnded: (stream) => this.#finish(stream.owner),
      onStreamFault: (stream, fault) => this.#abort(stream.owner, fault.reason, fault.detail),
      onCredit: (stream, increment) => this.#windows.callerTakes(stream, increment),
      onSent: upstream === undefined ? (stream, bytes) => this.#onResponseSent(stream, bytes) : undefined,
      onSettings: ({ initialWindow }) => upstream?.connection.announce({ initialWindow }),
      onGoaway: () => this.leave(),
      onFault: (fault) => this.#onDownstreamFault(fault),
    })
    this.#downstream = this.#server.connection
    if (upstream === undefined) this.#windows = this.#own = new OwnWindows(this.#downstream)
    else {
      this.#own = undefined
      this.#windows = new ReachingWindows(this.#downstream, upstream)
    }
  }

  get midway(): boolean {
    return this.#downstream.midway
  }

  get behind(): boolean {
    return this.#downstream.behind
  }

  receiveDownstream(bytes: Buffer, now: number): void {
    this.#downstream.receive(bytes, now)
  }

  receiveUpstream(bytes: Buffer, now: number): void {
    if (this.#upstreamGone === undefined) this.#upstream?.receive(bytes, now)
  }

  takeDownstream(): Buffer | undefined {
    return this.#downstream.takeOutput()
  }

  takeUpstream(): Buffer | undefined {
    return this.#upstream?.take()
  }

  holdData(held: boolean): void {
    this.#downstream.holdData(held)
  }

  downstreamClosed(): void {
    for (const exchange of this.exchanges) this.#abort(exchange, 'ERR_DOWNSTREAM_ABORTED', '')
    this.leave()
  }

  upstreamClosed(reason: ReasonCode, detail: string): void {
    if (this.#upstreamGone !== undefined) return
    this.#upstreamGone = { reason, detail }
    this.#upstream?.closed(reason, detail)
    this.leave()
  }

  drain(): void {
    this.#drains++
    if (this.#drains === 1) this.#server.shutdown()
    else if (this.#drains === 2) this.#server.goaway()
    this.#checkIdle()
  }

  /** Lets the caller open no more streams than are under way, and its connection end with the last. */
  leave(): void {
    if (this.#drains === 0) this.drain()
    else this.#checkIdle()
  }

  announce(announcement: Announcement): void {
    this.#downstream.announce(announcement)
  }

  /** The one upstream takes more. */
  upstreamTakes(bytes: number): void {
    this.#windows.upstreamTakes(undefined, bytes)
  }

  // What exchanges ask for.

  forward(exchange: RelayExchange<C>, request: OutgoingRequest, given: RelayLink<C> | undefined): void {
    const link = given ?? this.#upstream
    if (link === undefined) throw new TypeError('a request is forwarded without a link')
    if (this.#upstreamGone !== undefined) return this.#fail(exchange, this.#upstreamGone.reason, this.#upstreamGone.detail)
    if (!link.available) {
      // Truly not processed: the one case in which the caller may be told to try again.
      const limited = link.streams >= link.connection.peer.maxConcurrentStreams
      return this.#reset(exchange, REFUSED_STREAM, limited ? 'ERR_HTTP2_STREAM_LIMIT' : 'ERR_HTTP2_UPSTREAM_GOAWAY', 'of the upstream')
    }
    const { downstream, held, heldTrailers } = exchange
    const complete = downstream.remoteClosed && heldTrailers === undefined
    const upstream = link.open(exchange, request, complete && held === undefined)
    exchange.upstream = upstream
    exchange.link = link
    this.#windows.forwarded(exchange, link, upstream)
    if (held === undefined && heldTrailers === undefined) return
    exchange.held = undefined
    exchange.heldBytes = 0
    for (const [index, chunk] of (held ?? []).entries()) {
      link.send(upstream, chunk, 0, chunk.length, complete && index + 1 === held?.length)
    }
    if (heldTrailers !== undefined) this.#sendTrailers(exchange, heldTrailers)
  }

  refuse(exchange: RelayExchange<C>, answer: LocalAnswer): void {
    exchange.status = answer.status
    exchange.grpcStatus = answer.grpcStatus ?? -1
    this.#server.answer(exchange.downstream, answer)
    this.#handler.onOutput?.()
    this.#finish(exchange)
  }

  cut(exchange: RelayExchange<C>, grpcStatus: number): void {
    const { downstream, request, status } = exchange
    // The answer is out already, only the rest of the request is cut.
    if (downstream.localClosed) return this.#reset(exchange, NO_ERROR)
    if (status === 0 || request?.grpc !== true) return this.#reset(exchange, CANCEL)
    exchange.grpcStatus = grpcStatus
    const trailers = createHeaderList()
    addHeader(trailers, 'grpc-status', String(grpcStatus))
    this.#server.cutWithTrailers(downstream, trailers)
    this.#handler.onOutput?.()
    this.#finish(exchange)
  }

  rewind(exchange: RelayExchange<C>): boolean {
    const { upstream, link } = exchange
    if (upstream === undefined || link === undefined || this.#own === undefined || exchange.status !== 0 || exchange.begun) return false
    const { queue } = upstream
    upstream.queue = upstream.owner = undefined
    exchange.upstream = exchange.link = undefined
    link.abandon(upstream)
    exchange.reason = undefined
    exchange.detail = ''
    if (queue === undefined || queue.bytes === 0) return true
    exchange.held = queue.chunks
    exchange.heldBytes = queue.bytes
    return true
  }

  hasRoom({ downstream }: RelayExchange<C>): boolean {
    return this.#downstream.hasRoom(downstream)
  }

  maySend({ downstream }: RelayExchange<C>): boolean {
    return downstream.sendWindow > 0 && this.#downstream.sendWindow > 0
  }

  // The caller's side.

  #onRequest(exchange: RelayExchange<C>): void {
    this.exchanges.add(exchange)
    this.#handler.onRequest(exchange)
  }

  #onBadRequest(exchange: RelayExchange<C>, refusal: Refusal): void {
    this.exchanges.add(exchange)
    exchange.reason = refusal.reason
    exchange.detail = refusal.detail
    this.#handler.onBadRequest(exchange, refusal)
    // The codec resets what is not answered.
    this.#finish(exchange)
  }

  #onRequestData(stream: Stream<C>, bytes: Buffer, start: number, end: number, endStream: boolean): void {
    const exchange = stream.owner
    const length = end - start
    this.#windows.arrived(length)
    if (exchange === undefined || exchange.done) return this.#windows.dropped(length)
    exchange.bytesIn += length
    const { upstream, link } = exchange
    if (upstream === undefined || link === undefined) return this.#hold(exchange, bytes, start, end)
    if (upstream.gone) return this.#windows.dropped(length)
    link.send(upstream, bytes, start, end, endStream)
  }

  #onRequestTrailers(stream: Stream<C>, trailers: HeaderList): void {
    const exchange = stream.owner
    if (exchange === undefined || exchange.done) return
    const kept = createHeaderList()
    for (const [index, name] of trailers.names.entries()) {
      if (this.#options.keepTrailer(name)) addHeader(kept, name, trailers.values[index] ?? '')
    }
    if (exchange.upstream === undefined) exchange.heldTrailers = kept
    else this.#sendTrailers(exchange, kept)
  }

  #sendTrailers(exchange: RelayExchange<C>, trailers: HeaderList): void {
    exchange.begun = true
    if (exchange.upstream !== undefined) exchange.link?.sendTrailers(exchange.upstream, trailers)
  }

  /** Keeps what comes before the decision. */
  #hold(exchange: RelayExchange<C>, bytes: Buffer, start: number, end: number): void {
    if (start === end) return
    exchange.held ??= []
    exchange.held.push(Buffer.from(bytes.subarray(start, end)))
    exchange.heldBytes += end - start
    this.#windows.held(exchange, end - start)
  }

  onRequestSent(exchange: RelayExchange<C>, bytes: number): void {
    exchange.begun = true
    if (this.#own?.requestLeft(exchange, bytes) === true) this.#handler.onOutput?.()
  }

  #onDownstreamReset(stream: Stream<C>, code: number): void {
    const exchange = stream.owner
    if (exchange === undefined || exchange.done) return
    if (!stream.localClosed) {
      exchange.reason ??= 'ERR_HTTP2_RESET'
      exchange.detail ||= errorName(code)
    }
    this.#finish(exchange)
  }

  #onDownstreamFault(fault: Http2Fault): void {
    for (const exchange of this.exchanges) this.#abort(exchange, fault.reason, fault.detail)
    this.#handler.onDownstreamFault(fault)
  }

  // The upstream's side.

  onInformational(exchange: RelayExchange<C>, block: ResponseBlock): void {
    this.#server.relayHead(exchange.downstream, block, '', false)
    this.#handler.onOutput?.()
  }

  onResponse(exchange: RelayExchange<C>, block: ResponseBlock, endStream: boolean): void {
    exchange.status = block.status
    exchange.grpcStatus = block.grpcStatus
    this.#server.relayHead(exchange.downstream, block, exchange.requestId, endStream)
    this.#handler.onOutput?.()
  }

  onResponseData(exchange: RelayExchange<C>, bytes: Buffer, start: number, end: number, endStream: boolean): void {
    exchange.bytesOut += end - start
    this.#downstream.sendData(exchange.downstream, bytes, start, end, endStream)
    this.#handler.onOutput?.()
  }

  #onResponseSent(stream: Stream<C>, bytes: number): void {
    if (stream.owner !== undefined) this.#own?.responseLeft(stream.owner, bytes)
  }

  onResponseTrailers(exchange: RelayExchange<C>, block: ResponseBlock): void {
    if (block.grpcStatus !== -1) exchange.grpcStatus = block.grpcStatus
    this.#server.relayTrailers(exchange.downstream, block)
    this.#handler.onOutput?.()
  }

  onUpstreamReset(exchange: RelayExchange<C>, stream: Stream<C>, code: number): void {
    if (!stream.remoteClosed) {
      if (code === REFUSED_STREAM) return this.onUnprocessed(exchange, 'ERR_HTTP2_UPSTREAM_RESET', errorName(code))
      if (exchange.status !== 0) return this.#reset(exchange, code, 'ERR_HTTP2_UPSTREAM_RESET', errorName(code))
      return this.#fail(exchange, 'ERR_HTTP2_UPSTREAM_RESET', errorName(code))
    }
    // The response is whole, the rest of the request is not wanted: the caller hears so once it has the response.
    this.#windows.upstreamTakes(undefined, dropQueue(stream))
    const { downstream } = exchange
    if (downstream.queue === undefined) this.#reset(exchange, code)
    else this.#downstream.afterData(downstream, () => this.#reset(exchange, code))
  }

  onUpstreamCredit(exchange: RelayExchange<C>, increment: number): void {
    this.#windows.upstreamTakes(exchange, increment)
  }

  onUpstreamFault(exchange: RelayExchange<C>, reason: ReasonCode, detail: string): void {
    this.#fail(exchange, reason, detail)
  }

  onUpstreamGone(exchange: RelayExchange<C>, reason: ReasonCode, detail: string): void {
    if (exchange.status === 0) this.#fail(exchange, reason, detail)
    else exchange.cut(reason, detail, GRPC_UNAVAILABLE)
  }

  onUnprocessed(exchange: RelayExchange<C>, reason: ReasonCode, detail: string): void {
    const { upstream } = exchange
    if (exchange.status === 0) this.#handler.onUnprocessed?.(exchange, reason, detail)
    else if (reason === 'ERR_HTTP2_UPSTREAM_GOAWAY') return
    if (exchange.upstream === upstream) this.#reset(exchange, REFUSED_STREAM, reason, detail)
  }

  // The ends of exchanges.

  /** The upstream failed: the owner may answer where nothing was answered yet, or rewind; else the caller's stream is reset. */
  #fail(exchange: RelayExchange<C>, reason: ReasonCode, detail: string): void {
    if (exchange.done) return
    const { upstream } = exchange
    exchange.reason = reason
    exchange.detail = detail
    if (exchange.status === 0) this.#handler.onFailure(exchange, reason, detail)
    if (exchange.upstream === upstream) this.#reset(exchange, INTERNAL_ERROR)
  }

  #reset(exchange: RelayExchange<C>, code: number, reason?: ReasonCode, detail = ''): void {
    if (exchange.done) return
    if (reason !== undefined) {
      exchange.reason = reason
      exchange.detail = detail
    }
    this.#downstream.reset(exchange.downstream, code)
    this.#handler.onOutput?.()
    this.#finish(exchange)
  }

  /** The caller's stream or connection is gone already. */
  #abort(exchange: RelayExchange<C> | undefined, reason: ReasonCode, detail: string): void {
    if (exchange === undefined || exchange.done) return
    exchange.reason ??= reason
    exchange.detail ||= detail
    this.#finish(exchange)
  }

  #finish(exchange: RelayExchange<C> | undefined): void {
    if (exchange === undefined || exchange.done) return
    exchange.done = true
    this.exchanges.delete(exchange)
    const { upstream, link } = exchange
    if (upstream !== undefined) link?.abandon(upstream)
    this.#windows.ended(exchange, upstream === undefined ? 0 : dropQueue(upstream), dropQueue(exchange.downstream))
    exchange.held = undefined
    this.#handler.onEnd(exchange)
    this.#checkIdle()
  }

  #checkIdle(): void {
    if (this.#drains === 0 || this.exchanges.size > 0 || this.#idle) return
    this.#idle = true
    if (this.#drains === 1) this.drain()
    this.#handler.onIdle()
  }
}

/** UNAVAILABLE. */
const GRPC_UNAVAILABLE = 14

/** @returns how many bytes waited on a stream that is gone: they are credited to the side they came from */
function dropQueue(stream: Http2Stream<unknown>): number {
  const bytes = stream.queue?.bytes ?? 0
  stream.queue = undefined
  return bytes
}
