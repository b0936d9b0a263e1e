/**
 * A whole proxied HTTP/2 connection without sockets: one caller, one upstream, and every stream decided before the upstream hears of it.
 *
 * Windows reach through. What the upstream takes is what the caller may send, and the other way round: each credit is passed on, so
 * that nothing is stored here. What never reaches the other side (padding, data of dead streams) is credited back where it came from.
 * What does wait is bounded by windows given before: bodies of requests not yet decided, and the moments in which settings change.
 *
 *   caller ── server codec ── head ──→ onRequest ──→ forward ──→ client codec ── upstream
 *                 │                       └──→ refuse: answered here, the upstream never knows
 *                 └ malformed: RST_STREAM(PROTOCOL_ERROR)
 */
import { Buffer } from 'node:buffer'
import type { ReasonCode } from '#base/reasons'
import type { Refusal } from '#base/result'
import { type HeaderList, addHeader, createHeaderList } from '#http/header-list'
import type { LocalAnswer } from './block-writer.ts'
import { createHttp2ClientCodec, type Http2ClientCodec, type OutgoingRequest } from './client-codec.ts'
import type { Http2Connection } from './connection.ts'
import { CANCEL, errorName, type Http2Fault, INTERNAL_ERROR, NO_ERROR, REFUSED_STREAM } from './protocol.ts'
import type { Http2Relay, Http2RelayHandler, Http2RelayOptions } from './relay-contract.ts'
import { RelayExchange } from './relay-exchange.ts'
import type { ResponseBlock } from './response-block.ts'
import { createHttp2ServerCodec, type Http2ServerCodec } from './server-codec.ts'
import type { Http2Stream } from './stream.ts'

/** So much of bodies that wait for a decision does not count against what other streams may send. */
const MOST_LENT = 262_144
/** What one stream can have on its way to us, whatever the upstream would take: it may have to be held. */
const LARGEST_HELD = 262_144

export function createHttp2Relay<C>(options: Http2RelayOptions, handler: Http2RelayHandler<C>): Http2Relay<C> {
  return new Relay(options, handler)
}

type Stream<C> = Http2Stream<RelayExchange<C>>

class Relay<C> implements Http2Relay<C> {
  readonly exchanges = new Set<RelayExchange<C>>()
  readonly #options: Http2RelayOptions
  readonly #handler: Http2RelayHandler<C>
  readonly #server: Http2ServerCodec<RelayExchange<C>>
  readonly #client: Http2ClientCodec<RelayExchange<C>>
  readonly #downstream: Http2Connection<RelayExchange<C>>
  readonly #upstream: Http2Connection<RelayExchange<C>>
  /** Why the upstream is gone. */
  #upstreamGone: { readonly reason: ReasonCode; readonly detail: string } | undefined
  #drains = 0
  #idle = false
  /** Credit given to the caller ahead of the upstream's: of bodies still held, and of such as were forwarded. */
  #lentHeld = 0
  #lentForwarded = 0

  constructor(options: Http2RelayOptions, handler: Http2RelayHandler<C>) {
    this.#options = options
    this.#handler = handler
    this.#server = createHttp2ServerCodec<RelayExchange<C>>(options, {
      onRequest: (stream, request) => this.#onRequest(new RelayExchange(this, stream, request)),
      onBadRequest: (stream, refusal) => this.#onBadRequest(new RelayExchange(this, stream, undefined), refusal),
      onStreamRefused: (_, refusal) => handler.onStreamRefused(refusal),
      onData: (stream, bytes, start, end, endStream) => this.#onRequestData(stream, bytes, start, end, endStream),
      onTrailers: (stream, trailers) => this.#onRequestTrailers(stream, trailers),
      onReset: (stream, code) => this.#onDownstreamReset(stream, code),
      onEnded: (stream) => this.#finish(stream.owner),
      onStreamFault: (stream, fault) => this.#abort(stream.owner, fault.reason, fault.detail),
      onCredit: (stream, increment) => this.#onDownstreamCredit(stream, increment),
      onSettings: ({ initialWindow }) => this.#upstream.announce({ initialWindow }),
      onGoaway: () => this.#leave(),
      onFault: (fault) => this.#onDownstreamFault(fault),
    })
    this.#client = createHttp2ClientCodec<RelayExchange<C>>(
      { ...options, headBytes: options.limits.bytes },
      {
        onInformational: (stream, block) => {
          if (stream.owner !== undefined) this.#server.relayHead(stream.owner.downstream, block, '', false)
        },
        onResponse: (stream, block) => this.#onResponse(stream, block),
        onData: (stream, bytes, start, end, endStream) => this.#onResponseData(stream, bytes, start, end, endStream),
        onTrailers: (stream, block) => this.#onResponseTrailers(stream, block),
        onReset: (stream, code) => this.#onUpstreamReset(stream, code),
        onEnded: () => undefined,
        onStreamFault: (stream, fault) => this.#fail(stream.owner, fault.reason, fault.detail, INTERNAL_ERROR),
        onCredit: (stream, increment) => this.#onUpstreamCredit(stream, increment),
        onSettings: ({ initialWindow, maxConcurrentStreams }) =>
          this.#downstream.announce({
            initialWindow: Math.min(initialWindow, LARGEST_HELD),
            streams: Math.min(maxConcurrentStreams, options.limits.streams),
          }),
        onGoaway: (lastStreamId) => this.#onUpstreamGoaway(lastStreamId),
        onFault: (fault) => this.#onUpstreamFault(fault),
      },
    )
    this.#downstream = this.#server.connection
    this.#upstream = this.#client.connection
  }

  get midway(): boolean {
    return this.#downstream.midway
  }

  receiveDownstream(bytes: Buffer, now: number): void {
    this.#downstream.receive(bytes, now)
  }

  receiveUpstream(bytes: Buffer, now: number): void {
    if (this.#upstreamGone === undefined) this.#upstream.receive(bytes, now)
  }

  takeDownstream(): Buffer | undefined {
    return this.#downstream.takeOutput()
  }

  takeUpstream(): Buffer | undefined {
    return this.#upstream.takeOutput()
  }

  downstreamClosed(): void {
    for (const exchange of this.exchanges) this.#abort(exchange, 'ERR_DOWNSTREAM_ABORTED', '')
    this.#leave()
  }

  upstreamClosed(reason: ReasonCode, detail: string): void {
    if (this.#upstreamGone !== undefined) return
    this.#upstreamGone = { reason, detail }
    for (const exchange of this.exchanges) {
      if (exchange.upstream === undefined || exchange.upstream.remoteClosed) continue
      if (exchange.status === 0) this.#fail(exchange, reason, detail, INTERNAL_ERROR)
      else exchange.cut(reason, detail, GRPC_UNAVAILABLE)
    }
    this.#leave()
  }

  drain(): void {
    this.#drains++
    if (this.#drains === 1) this.#server.shutdown()
    else if (this.#drains === 2) this.#server.goaway()
    this.#checkIdle()
  }

  // What exchanges ask for.

  forward(exchange: RelayExchange<C>, request: OutgoingRequest): void {
    if (this.#upstreamGone !== undefined) return this.#fail(exchange, this.#upstreamGone.reason, this.#upstreamGone.detail, INTERNAL_ERROR)
    if (!this.#client.available) {
      // Truly not processed: the one case in which the caller may be told to try again.
      const limited = this.#upstream.streams.size >= this.#upstream.peer.maxConcurrentStreams
      return this.#reset(exchange, REFUSED_STREAM, limited ? 'ERR_HTTP2_STREAM_LIMIT' : 'ERR_HTTP2_UPSTREAM_GOAWAY', 'of the upstream')
    }
    const { downstream, held, heldTrailers } = exchange
    const complete = downstream.remoteClosed && heldTrailers === undefined
    const upstream = this.#client.open(request, complete && held === undefined)
    upstream.owner = exchange
    exchange.upstream = upstream
    this.#upstream.credit(upstream, exchange.earlyCredit)
    if (held === undefined && heldTrailers === undefined) return
    this.#lentHeld -= exchange.lent
    this.#lentForwarded += exchange.lent
    exchange.held = undefined
    exchange.heldBytes = exchange.lent = 0
    for (const [index, chunk] of (held ?? []).entries()) {
      this.#upstream.sendData(upstream, chunk, 0, chunk.length, complete && index + 1 === held?.length)
    }
    if (heldTrailers !== undefined) this.#client.sendTrailers(upstream, heldTrailers)
  }

  refuse(exchange: RelayExchange<C>, answer: LocalAnswer): void {
    exchange.status = answer.status
    exchange.grpcStatus = answer.grpcStatus ?? -1
    this.#server.answer(exchange.downstream, answer)
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
    this.#finish(exchange)
  }

  hasRoom({ downstream }: RelayExchange<C>): boolean {
    return this.#downstream.hasRoom(downstream)
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
    if (exchange === undefined || exchange.done) return this.#downstream.credit(undefined, length)
    exchange.bytesIn += length
    const { upstream } = exchange
    if (upstream === undefined) return this.#hold(exchange, bytes, start, end)
    if (upstream.gone) return this.#downstream.credit(undefined, length)
    this.#upstream.sendData(upstream, bytes, start, end, endStream)
  }

  #onRequestTrailers(stream: Stream<C>, trailers: HeaderList): void {
    const exchange = stream.owner
    if (exchange === undefined || exchange.done) return
    const kept = createHeaderList()
    for (const [index, name] of trailers.names.entries()) {
      if (this.#options.keepTrailer(name)) addHeader(kept, name, trailers.values[index] ?? '')
    }
    if (exchange.upstream === undefined) exchange.heldTrailers = kept
    else this.#client.sendTrailers(exchange.upstream, kept)
  }

  /** Keeps what comes before the decision, and lends the caller as much again, so that its other streams can send on. */
  #hold(exchange: RelayExchange<C>, bytes: Buffer, start: number, end: number): void {
    const length = end - start
    if (length === 0) return
    exchange.held ??= []
    exchange.held.push(Buffer.from(bytes.subarray(start, end)))
    exchange.heldBytes += length
    if (this.#lentHeld + this.#lentForwarded + length > MOST_LENT) return
    exchange.lent += length
    this.#lentHeld += length
    this.#downstream.credit(undefined, length)
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

  #onDownstreamCredit(stream: Stream<C> | undefined, increment: number): void {
    if (stream === undefined) return this.#upstream.credit(undefined, increment)
    const exchange = stream.owner
    if (exchange === undefined || exchange.done) return
    if (exchange.upstream === undefined) exchange.earlyCredit += increment
    else this.#upstream.credit(exchange.upstream, increment)
  }

  #onDownstreamFault(fault: Http2Fault): void {
    for (const exchange of this.exchanges) this.#abort(exchange, fault.reason, fault.detail)
    this.#handler.onDownstreamFault(fault)
  }

  // The upstream's side.

  #onResponse(stream: Stream<C>, block: ResponseBlock): void {
    const exchange = stream.owner
    if (exchange === undefined || exchange.done) return
    exchange.status = block.status
    exchange.grpcStatus = block.grpcStatus
    this.#server.relayHead(exchange.downstream, block, exchange.requestId, stream.remoteClosed)
  }

  #onResponseData(stream: Stream<C>, bytes: Buffer, start: number, end: number, endStream: boolean): void {
    const exchange = stream.owner
    if (exchange === undefined || exchange.done) return this.#upstream.credit(undefined, end - start)
    exchange.bytesOut += end - start
    this.#downstream.sendData(exchange.downstream, bytes, start, end, endStream)
  }

  #onResponseTrailers(stream: Stream<C>, block: ResponseBlock): void {
    const exchange = stream.owner
    if (exchange === undefined || exchange.done) return
    if (block.grpcStatus !== -1) exchange.grpcStatus = block.grpcStatus
    this.#server.relayTrailers(exchange.downstream, block)
  }

  #onUpstreamReset(stream: Stream<C>, code: number): void {
    const exchange = stream.owner
    if (exchange === undefined || exchange.done) return
    if (!stream.remoteClosed) {
      const passed = exchange.status !== 0 || code === REFUSED_STREAM
      if (passed) return this.#reset(exchange, code, 'ERR_HTTP2_UPSTREAM_RESET', errorName(code))
      return this.#fail(exchange, 'ERR_HTTP2_UPSTREAM_RESET', errorName(code), INTERNAL_ERROR)
    }
    // The response is whole, the rest of the request is not wanted: the caller hears so once it has the response.
    this.#creditCaller(dropQueue(stream))
    const { downstream } = exchange
    if (downstream.queue === undefined) this.#reset(exchange, code)
    else this.#downstream.afterData(downstream, () => this.#reset(exchange, code))
  }

  #onUpstreamCredit(stream: Stream<C> | undefined, increment: number): void {
    if (stream !== undefined) {
      const exchange = stream.owner
      if (exchange !== undefined && !exchange.done) this.#downstream.credit(exchange.downstream, increment)
      return
    }
    this.#creditCaller(increment)
  }

  /** Credit for what was forwarded, or would have been: what the caller was lent of it is repaid first. */
  #creditCaller(bytes: number): void {
    const repaid = Math.min(bytes, this.#lentForwarded)
    this.#lentForwarded -= repaid
    this.#downstream.credit(undefined, bytes - repaid)
  }

  #onUpstreamGoaway(lastStreamId: number): void {
    for (const exchange of this.exchanges) {
      if (exchange.upstream === undefined || exchange.upstream.id <= lastStreamId || exchange.status !== 0) continue
      this.#reset(exchange, REFUSED_STREAM, 'ERR_HTTP2_UPSTREAM_GOAWAY', 'not processed')
    }
    this.#leave()
  }

  #onUpstreamFault(fault: Http2Fault): void {
    this.upstreamClosed('ERR_HTTP2_UPSTREAM_PROTOCOL', `${fault.reason}: ${fault.detail}`)
    this.#handler.onUpstreamFault(fault)
  }

  // The ends of exchanges.

  /** The upstream failed: the owner may answer where nothing was answered yet, else the caller's stream is reset. */
  #fail(exchange: RelayExchange<C> | undefined, reason: ReasonCode, detail: string, code: number): void {
    if (exchange === undefined || exchange.done) return
    exchange.reason = reason
    exchange.detail = detail
    if (exchange.status === 0) this.#handler.onFailure(exchange, reason, detail)
    this.#reset(exchange, code)
  }

  #reset(exchange: RelayExchange<C>, code: number, reason?: ReasonCode, detail = ''): void {
    if (exchange.done) return
    if (reason !== undefined) {
      exchange.reason = reason
      exchange.detail = detail
    }
    this.#downstream.reset(exchange.downstream, code)
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
    const { upstream } = exchange
    if (exchange.heldBytes > 0) {
      this.#downstream.credit(undefined, exchange.heldBytes - exchange.lent)
      this.#lentHeld -= exchange.lent
      exchange.held = undefined
    }
    if (upstream !== undefined) {
      // Where both sides have ended, the stream is about to leave the table by itself.
      if (!upstream.localClosed || !upstream.remoteClosed) this.#upstream.reset(upstream, CANCEL)
      this.#creditCaller(dropQueue(upstream))
    }
    this.#upstream.credit(undefined, dropQueue(exchange.downstream))
    this.#handler.onEnd(exchange)
    this.#checkIdle()
  }

  #leave(): void {
    if (this.#drains === 0) this.drain()
    else this.#checkIdle()
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
