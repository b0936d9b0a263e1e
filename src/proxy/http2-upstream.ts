/**
 * One mTLS connection to a server of an HTTP/2 destination: a link of `wire/http2` and its socket. It is made once the server has
 * proved who it is; nothing was sent to it before.
 *
 *   verified → ready (the server's settings came) ⇄ full → retired (serves what it has) → ended
 */
import type { TLSSocket } from 'node:tls'
import type { Clock } from '#base/clock'
import type { ReasonCode } from '#base/reasons'
import type { Peer } from '#identity/peer'
import { createHttp2Link, type Http2Link } from '#wire/http2/relay-link'
import type { Http2Resources } from '#wire/http2/resources'
import type { Endpoint } from './endpoints.ts'
import type { Flushable, FlushTurn } from './flush-turn.ts'
import { READ_BUFFER } from './http1-upstream.ts'
import type { OutboundCall } from './outbound-call.ts'

export interface Http2UpstreamOptions {
  readonly endpoint: Endpoint
  readonly peer: Peer
  /** Serial of the SVID that it was made with. */
  readonly serial: string
  /** Ms since the epoch: the earlier end of the two certificates. */
  readonly notAfter: number
  /** Ms since the epoch: from then on it takes no more requests. */
  readonly retireAt: number
  /** Of a response's list of fields. */
  readonly headBytes: number
  readonly resources: Http2Resources
  readonly turn: FlushTurn
  readonly clock: Clock
}

/** What the pool is told. */
export interface Http2UpstreamEvents {
  onReady(upstream: Http2Upstream): void
  onRoom(upstream: Http2Upstream): void
  /** Once. @param ready it had become so */
  onGone(upstream: Http2Upstream, ready: boolean, reason: ReasonCode, detail: string): void
}

/** How long an ended connection waits for the server to end, too. */
const CLOSE_MS = 2000
/** So long after something was sent without a byte in return, a server with streams is asked for a sign of life, and has as long to give it. */
const SILENCE_MS = 10_000
/** TCP asks where nothing was sent: it is the app that would wait for ever, and we who answer its PINGs. */
const KEEP_ALIVE_MS = 20_000

export class Http2Upstream implements Flushable {
  readonly endpoint: Endpoint
  readonly peer: Peer
  readonly serial: string
  readonly notAfter: number
  readonly retireAt: number
  readonly link: Http2Link<OutboundCall>
  readonly openedAt: number
  /** Ms since the epoch of its last end of a stream. */
  idleSince: number
  ready = false
  marked = false
  readonly #socket: TLSSocket
  readonly #clock: Clock
  readonly #events: Http2UpstreamEvents
  #retired = false
  #endedAt = 0
  /** Ms since the epoch of what was sent first since a byte came; 0 if nothing was. */
  #unheardSince = 0
  #pingedAt = 0
  #gone = false
  #fault: { readonly reason: ReasonCode; readonly detail: string } | undefined

  constructor(socket: TLSSocket, options: Http2UpstreamOptions, events: Http2UpstreamEvents) {
    const { endpoint, peer, serial, notAfter, retireAt, turn, clock } = options
    this.endpoint = endpoint
    this.peer = peer
    this.serial = serial
    this.notAfter = notAfter
    this.retireAt = retireAt
    this.#socket = socket
    this.#clock = clock
    this.#events = events
    this.openedAt = this.idleSince = clock.now()
    this.link = createHttp2Link<OutboundCall>(
      { resources: options.resources, headBytes: options.headBytes },
      {
        onReady: () => {
          this.ready = true
          events.onReady(this)
        },
        onRoom: () => this.#onRoom(),
        onGoaway: () => this.retire(),
        onFault: ({ reason, detail }) => {
          this.#fault ??= { reason: 'ERR_HTTP2_UPSTREAM_PROTOCOL', detail: `${reason}: ${detail}` }
          this.#end()
        },
        onOutput: () => turn.mark(this),
      },
    )
    socket.on('error', (error: NodeJS.ErrnoException) => {
      this.#fault ??= { reason: 'ERR_UPSTREAM_CLOSED', detail: error.code ?? error.message }
    })
    socket.setKeepAlive(true, KEEP_ALIVE_MS)
    socket.on('drain', () => this.link.holdData(false))
    socket.on('end', () => socket.destroy())
    socket.on('close', () => this.#onClose())
    turn.mark(this)
  }

  /** It may be given a request. */
  get usable(): boolean {
    return this.ready && !this.#retired && !this.#gone && this.link.available
  }

  /** It takes no more requests. */
  get retired(): boolean {
    return this.#retired
  }

  /** What was read into the buffer that upstreams share. */
  onBytes(count: number): boolean {
    this.#unheardSince = this.#pingedAt = 0
    this.link.receive(READ_BUFFER.subarray(0, count), this.#clock.monotonic())
    return true
  }

  flush(): void {
    for (let piece = this.link.take(); piece !== undefined; piece = this.link.take()) {
      if (this.#unheardSince === 0) this.#unheardSince = this.#clock.now()
      if (this.#socket.writable && !this.#socket.write(piece)) this.link.holdData(true)
    }
  }

  /** Serves what it has and takes no more, then ends. */
  retire(): void {
    this.#retired = true
    if (this.link.streams === 0) this.#end()
  }

  /** Ends whatever runs on it, for a reason of ours. */
  cut(reason: ReasonCode, detail: string): void {
    this.#retired = true
    this.#fault ??= { reason, detail }
    for (const { context } of this.link.exchanges) context?.cut(reason, detail)
    this.#end()
    this.#socket.destroySoon()
  }

  /** @param now ms since the epoch */
  tick(now: number): void {
    if (this.#endedAt !== 0) {
      if (now - this.#endedAt > CLOSE_MS) this.#socket.destroy()
    } else if (this.#pingedAt !== 0) {
      if (now - this.#pingedAt > SILENCE_MS) this.cut('ERR_UPSTREAM_CLOSED', 'no answer to a PING')
    } else if (this.#unheardSince !== 0 && now - this.#unheardSince > SILENCE_MS && this.link.streams > 0) {
      this.#pingedAt = now
      this.link.ping()
    }
  }

  /** At the end of the process: what waits is written, nobody waited for. */
  close(): void {
    this.#end()
    this.flush()
    this.#socket.destroySoon()
  }

  #onRoom(): void {
    this.idleSince = this.#clock.now()
    if (this.#retired && this.link.streams === 0) this.#end()
    else this.#events.onRoom(this)
  }

  #end(): void {
    if (this.#endedAt !== 0 || this.#gone) return
    this.#retired = true
    this.#endedAt = this.#clock.now()
    this.link.goaway()
    this.flush()
    this.#socket.end()
  }

  #onClose(): void {
    if (this.#gone) return
    this.#gone = true
    const { reason, detail } = this.#fault ?? { reason: 'ERR_UPSTREAM_CLOSED', detail: 'closed' }
    this.link.closed(reason, detail)
    this.#events.onGone(this, this.ready, reason, detail)
  }
}
