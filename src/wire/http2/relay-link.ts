/**
 * The upstream end of relays: one connection to a server, and what its streams bring handed to the relays they belong to. A relay may
 * have one for itself, whose windows reach through; or links are shared by many relays, and every window is our own
 * (docs/decisions/0005-windows-of-our-own-toward-many-links.md).
 */
import type { Buffer } from 'node:buffer'
import type { ReasonCode } from '#base/reasons'
import type { HeaderList } from '#http/header-list'
import { createHttp2ClientCodec, type Http2ClientCodec, type Http2ClientOptions, type OutgoingRequest } from './client-codec.ts'
import type { Http2Connection } from './connection.ts'
import { writePing } from './frame-writer.ts'
import type { PeerSettings } from './peer-settings.ts'
import { CANCEL, DEFAULT_WINDOW, type Http2Fault, NO_ERROR } from './protocol.ts'
import type { Http2Exchange, RelayExchange } from './relay-exchange.ts'
import type { Http2Stream } from './stream.ts'

/** What a link on its own tells its owner. */
export interface Http2LinkHandler {
  /** The server's first settings came: it can be given requests. */
  onReady(): void
  /** A stream ended, so that there is room for another. */
  onRoom(): void
  /** The server takes no more streams; those it has are served. */
  onGoaway(): void
  /** The server broke the protocol: write what is in the output, close the socket, then say `closed`. */
  onFault(fault: Http2Fault): void
  /** There may be something to write. */
  onOutput(): void
}

/** One connection to a server, to which relays forward. */
export interface Http2Link<C> {
  /** It has room for a stream now. */
  readonly available: boolean
  readonly streams: number
  readonly exchanges: readonly Http2Exchange<C>[]
  /** @param now monotonic ms */
  receive(bytes: Buffer, now: number): void
  take(): Buffer | undefined
  /** While the socket takes no more, bodies wait, and their callers with them. */
  holdData(held: boolean): void
  /** Asks the server for a sign of life. */
  ping(): void
  /** Says to the server that we end the connection. */
  goaway(): void
  /** The connection is gone: whatever runs on it fails. */
  closed(reason: ReasonCode, detail: string): void
}

/** The server may send so much on a link at once. It is given back as it comes: what waits here is bounded by the windows of streams. */
export const LINK_WINDOW = 16_777_216

/** A link that many relays may share. */
export function createHttp2Link<C>(options: Http2ClientOptions, handler: Http2LinkHandler): Http2Link<C> {
  let ready = false
  const link: RelayLink<C> = new RelayLink<C>(
    { creditFrom: LINK_WINDOW / 4, ...options },
    {
      ownWindows: true,
      onCredit: () => undefined,
      onSettings() {
        if (ready) return handler.onRoom()
        ready = true
        handler.onReady()
      },
      onGoaway: () => handler.onGoaway(),
      onFault(fault) {
        link.closed('ERR_HTTP2_UPSTREAM_PROTOCOL', `${fault.reason}: ${fault.detail}`)
        handler.onFault(fault)
      },
      onRoom: () => handler.onRoom(),
      onOutput: () => handler.onOutput(),
    },
  )
  link.connection.credit(undefined, LINK_WINDOW - DEFAULT_WINDOW)
  return link
}

/** What a link tells whoever made it, and how it treats windows. */
export interface RelayLinkHandler {
  /** What was received is credited as it comes; else whoever took it credits it. */
  readonly ownWindows: boolean
  /** The server takes more on the connection. */
  onCredit(increment: number): void
  onSettings(settings: PeerSettings): void
  onGoaway(): void
  onFault(fault: Http2Fault): void
  readonly onRoom: (() => void) | undefined
  readonly onOutput: (() => void) | undefined
}

type Stream<C> = Http2Stream<RelayExchange<C>>

export class RelayLink<C> implements Http2Link<C> {
  readonly connection: Http2Connection<RelayExchange<C>>
  readonly #codec: Http2ClientCodec<RelayExchange<C>>
  readonly #handler: RelayLinkHandler
  #gone = false

  constructor(options: Http2ClientOptions, handler: RelayLinkHandler) {
    this.#handler = handler
    this.#codec = createHttp2ClientCodec<RelayExchange<C>>(options, {
      onInformational(stream, block) {
        const exchange = live(stream)
        if (exchange !== undefined) exchange.owner.onInformational(exchange, block)
      },
      onResponse(stream, block) {
        const exchange = live(stream)
        if (exchange !== undefined) exchange.owner.onResponse(exchange, block, stream.remoteClosed)
      },
      onData: (stream, bytes, start, end, endStream) => this.#onData(stream, bytes, start, end, endStream),
      onTrailers(stream, block) {
        const exchange = live(stream)
        if (exchange !== undefined) exchange.owner.onResponseTrailers(exchange, block)
      },
      onReset: (stream, code) => {
        const exchange = live(stream)
        if (exchange !== undefined) exchange.owner.onUpstreamReset(exchange, stream, code)
        handler.onRoom?.()
      },
      onEnded: () => handler.onRoom?.(),
      onStreamFault(stream, fault) {
        const exchange = live(stream)
        if (exchange === undefined) return
        // Whoever reads the record must see whose fault it was.
        if (fault.reason === 'ERR_UPSTREAM_RESPONSE') exchange.owner.onUpstreamFault(exchange, fault.reason, fault.detail)
        else exchange.owner.onUpstreamFault(exchange, 'ERR_HTTP2_UPSTREAM_PROTOCOL', `${fault.reason}: ${fault.detail}`)
      },
      onCredit(stream, increment) {
        if (stream === undefined) return handler.onCredit(increment)
        const exchange = live(stream)
        if (exchange !== undefined) exchange.owner.onUpstreamCredit(exchange, increment)
      },
      onSent: handler.ownWindows ? (stream, bytes) => stream.owner?.owner.onRequestSent(stream.owner, bytes) : undefined,
      onSettings: (settings) => handler.onSettings(settings),
      onGoaway: (lastStreamId) => this.#onGoaway(lastStreamId),
      onFault: (fault) => handler.onFault(fault),
    })
    this.connection = this.#codec.connection
  }

  get available(): boolean {
    return !this.#gone && this.#codec.available
  }

  get streams(): number {
    return this.connection.streams.size
  }

  get exchanges(): RelayExchange<C>[] {
    return [...this.connection.streams.values()].map(live).filter((exchange) => exchange !== undefined)
  }

  receive(bytes: Buffer, now: number): void {
    if (this.#gone) return
    this.connection.receive(bytes, now)
    // Acknowledgements, credit.
    this.#handler.onOutput?.()
  }

  take(): Buffer | undefined {
    return this.connection.takeOutput()
  }

  holdData(held: boolean): void {
    this.connection.holdData(held)
    this.#handler.onOutput?.()
  }

  ping(): void {
    if (this.connection.fault === undefined) writePing(this.connection.output)
    this.#handler.onOutput?.()
  }

  goaway(): void {
    this.connection.goaway(0, NO_ERROR)
    this.#handler.onOutput?.()
  }

  closed(reason: ReasonCode, detail: string): void {
    if (this.#gone) return
    this.#gone = true
    for (const stream of [...this.connection.streams.values()]) {
      const exchange = live(stream)
      if (exchange === undefined) continue
      // Of a response that is whole, only the rest of the request is lost.
      if (!stream.remoteClosed) exchange.owner.onUpstreamGone(exchange, reason, detail)
      else if (this.#handler.ownWindows) exchange.owner.onUpstreamReset(exchange, stream, NO_ERROR)
    }
  }

  // What relays do with it.

  open(exchange: RelayExchange<C>, request: OutgoingRequest, endStream: boolean): Stream<C> {
    const stream = this.#codec.open(request, endStream)
    stream.owner = exchange
    this.#handler.onOutput?.()
    return stream
  }

  send(stream: Stream<C>, bytes: Buffer, start: number, end: number, endStream: boolean): void {
    this.connection.sendData(stream, bytes, start, end, endStream)
    this.#handler.onOutput?.()
  }

  sendTrailers(stream: Stream<C>, trailers: HeaderList): void {
    this.#codec.sendTrailers(stream, trailers)
    this.#handler.onOutput?.()
  }

  credit(stream: Stream<C> | undefined, bytes: number): void {
    this.connection.credit(stream, bytes)
    this.#handler.onOutput?.()
  }

  /** Nobody waits for the response any longer. */
  abandon(stream: Stream<C>): void {
    // Where both sides have ended, the stream is about to leave the table by itself.
    if (stream.localClosed && stream.remoteClosed) return
    this.connection.reset(stream, CANCEL)
    this.#handler.onOutput?.()
    this.#handler.onRoom?.()
  }

  #onData(stream: Stream<C>, bytes: Buffer, start: number, end: number, endStream: boolean): void {
    const exchange = live(stream)
    if (exchange === undefined || this.#handler.ownWindows) this.connection.credit(undefined, end - start)
    if (exchange !== undefined) exchange.owner.onResponseData(exchange, bytes, start, end, endStream)
  }

  #onGoaway(lastStreamId: number): void {
    for (const stream of [...this.connection.streams.values()]) {
      const exchange = stream.id > lastStreamId ? live(stream) : undefined
      if (exchange !== undefined) exchange.owner.onUnprocessed(exchange, 'ERR_HTTP2_UPSTREAM_GOAWAY', 'not processed')
    }
    this.#handler.onGoaway()
  }
}

function live<C>(stream: Stream<C>): RelayExchange<C> | undefined {
  const exchange = stream.owner
  return exchange === undefined || exchange.done ? undefined : exchange
}
