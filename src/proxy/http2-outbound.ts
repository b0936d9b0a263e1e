/**
 * One of the app's own h2c connections to an outbound listener. Each of its requests goes to the pool of the destination that its
 * authority names; the protocol itself is `wire/http2`.
 */
import type { Socket } from 'node:net'
import type { ConnectionOrigin } from '#audit/event'
import type { ReasonCode } from '#base/reasons'
import { normaliseHost } from '#http/authority'
import { addHeader, createHeaderList } from '#http/header-list'
import type { Peer } from '#identity/peer'
import { createLinkedRelay } from '#wire/http2/relay'
import type { LinkedRelay } from '#wire/http2/relay-contract'
import type { Http2Exchange } from '#wire/http2/relay-exchange'
import { ReaderPace } from './body-pace.ts'
import type { Flushable } from './flush-turn.ts'
import { FRAMING, headerClass, HOP } from './identity-headers.ts'
import { http2Answer } from './http2-answers.ts'
import { Http2Stream } from './http2-stream.ts'
import { OutboundCall } from './outbound-call.ts'
import { ALLOWED, type OutboundListenerState } from './outbound-service.ts'
import { consumePermit, issuePermit } from './permit.ts'
import { recordExchange, recordMalformed } from './record.ts'
import { type ConnectionDescription, type LiveConnection, describeConnection } from './registry.ts'
import { nameRequest } from './request-path.ts'
import { takeReservedHeaders } from './rewrite.ts'

/** How long a connection may take to finish after its last stream, ms. */
const CLOSE_MS = 2000

/** So many requests of one connection before others have their turn. */
const HEADS_PER_TURN = 32

const NOTHING = Buffer.alloc(0)

export class Http2Outbound implements LiveConnection, Flushable {
  marked = false
  readonly #listener: OutboundListenerState
  readonly #origin: ConnectionOrigin
  /** The same with the server's identity. */
  readonly #origins = new WeakMap<Peer, ConnectionOrigin>()
  readonly #app: Socket
  readonly #relay: LinkedRelay<OutboundCall>
  readonly #openedAt: number
  #touched: number
  #draining = false
  #closed = false
  #closingSince = 0
  #isCut = false
  readonly #reader = new ReaderPace()

  constructor(app: Socket, listener: OutboundListenerState, sourceIp: string) {
    this.#app = app
    this.#listener = listener
    this.#origin = { listener: listener.name, direction: 'outbound', protocol: 'http2', peer: undefined, sourceIp, tls: undefined }
    this.#openedAt = listener.clock.now()
    this.#touched = Math.max(this.#openedAt, listener.registry.coarseNow)
    const { limits, streams } = listener
    this.#relay = createLinkedRelay<OutboundCall>(
      {
        resources: listener.resources,
        limits: { ...limits, streams },
        headsPerCall: HEADS_PER_TURN,
        // What an app may claim is for the other side's sidecar to judge.
        keepTrailer: (name) => headerClass(name) !== HOP && headerClass(name) !== FRAMING,
      },
      {
        onRequest: (exchange) => this.#onRequest(exchange),
        onBadRequest: (exchange, { reason, detail }) => this.#onBadRequest(exchange, reason, detail),
        onStreamRefused: ({ reason, detail }) => void recordMalformed(listener, this.#origin, reason, detail, 0),
        onFailure: ({ context }, reason, detail) => context?.onFailure(reason, detail, listener.clock.now()),
        onUnprocessed: ({ context }) => context?.retryUnprocessed(listener.clock.now()),
        onEnd: (exchange) => this.#onEnd(exchange),
        onDownstreamFault: ({ reason, detail }) => {
          recordMalformed(listener, this.#origin, reason, detail, 0)
          this.#finish()
        },
        onIdle: () => this.#finish(),
        onOutput: () => listener.turn.mark(this),
      },
    )
    app.on('data', (chunk: Buffer) => {
      this.#touched = listener.registry.coarseNow
      this.#receive(chunk)
    })
    app.on('drain', () => this.#relay.holdData(false))
    app.on('end', () => app.end())
    app.on('error', () => {})
    app.on('close', () => this.#destroy())
    listener.turn.mark(this)
  }

  // The registry's calls.

  tick(now: number): void {
    const { timeouts } = this.#listener
    const stalled = this.#reader.stalls(now, this.#app, timeouts.idle, 0)
    if (this.#closingSince !== 0) {
      // What waits is the rest of answers: unless it was cut, it has as long as any.
      const patient = !this.#isCut && this.#app.writableLength > 0
      if (patient ? stalled : now - this.#closingSince > CLOSE_MS) this.#destroy()
      return
    }
    if (stalled) {
      this.#cutAll('ERR_DOWNSTREAM_STALLED', '')
      return this.#destroy()
    }
    for (const { context } of this.#relay.exchanges) {
      if (context === undefined) continue
      if (now >= context.stream.deadline) context.cut('ERR_GRPC_DEADLINE', '')
      else {
        const slow = context.stream.paceOfBodies(now, timeouts.idle, 0)
        if (slow !== undefined) context.cut(slow, '')
      }
    }
    const silent = now - this.#touched
    if (silent > timeouts.head && this.#relay.midway) this.#cutAll('ERR_HEAD_TIMEOUT', '')
    else if (silent > timeouts.idle && this.#relay.exchanges.size === 0) this.#leave()
  }

  /** Who may be called is the pools' to see to. */
  revalidate(): void {}

  drain(): void {
    if (this.#draining) return
    this.#draining = true
    this.#relay.drain()
    this.#listener.turn.mark(this)
  }

  cutAtDrainEnd(): void {
    this.#cutAll('ERR_DRAINED', '')
  }

  describe(): ConnectionDescription {
    const [first] = this.#relay.exchanges
    const call = first?.context
    return describeConnection(this.#originOf(call?.peer), this.#openedAt, Infinity, call?.stream.describe())
  }

  flush(): void {
    if (this.#closed) return
    for (let piece = this.#relay.takeDownstream(); piece !== undefined; piece = this.#relay.takeDownstream()) {
      if (this.#app.writable && !this.#app.write(piece)) this.#relay.holdData(true)
    }
  }

  #receive(bytes: Buffer): void {
    if (this.#closed) return
    this.#relay.receiveDownstream(bytes, this.#listener.clock.monotonic())
    this.#listener.turn.mark(this)
    if (this.#relay.behind) {
      this.#app.pause()
      setImmediate(() => this.#receive(NOTHING))
    } else if (bytes === NOTHING) this.#app.resume()
  }

  #onRequest(exchange: Http2Exchange<OutboundCall>): void {
    const { request } = exchange
    if (request === undefined) return
    const { clock, log, routes } = this.#listener
    const stream = new Http2Stream(exchange, request, clock.now(), clock.monotonic())
    const call = new OutboundCall(exchange, stream)
    exchange.context = call
    takeReservedHeaders(stream, request.headers, undefined, true, true)
    nameRequest(stream, stream.startedAt, this.#listener.randomHex)
    stream.host = normaliseHost(request.authority)
    stream.path = request.path
    exchange.requestId = stream.requestId
    if (log.overloaded) return call.failed('ERR_RECORDS_OVERLOADED', '')
    const route = routes.get(stream.host) ?? routes.get('')
    if (route?.http2 === undefined) return call.failed('ERR_OUTBOUND_NO_ROUTE', '')
    stream.decision = ALLOWED
    const { method, authority, target, headers, teTrailers, sensitive } = request
    const ours = createHeaderList()
    addHeader(ours, 'x-request-id', stream.requestId)
    addHeader(ours, 'traceparent', stream.traceparent)
    const permit = issuePermit(ALLOWED, { method, scheme: 'https', authority, path: target, headers, ours, teTrailers, sensitive })
    call.begin(consumePermit(permit), route.http2)
  }

  /** Too large a head is answered; what RFC 9113 calls malformed is reset by the codec. */
  #onBadRequest(exchange: Http2Exchange<OutboundCall>, reason: ReasonCode, detail: string): void {
    const answer = http2Answer(reason, false)
    exchange.requestId = recordMalformed(this.#listener, this.#origin, reason, detail, answer.status === 431 ? 431 : 0)
    if (answer.status === 431) exchange.refuse(answer, reason, detail)
  }

  #onEnd({ context }: Http2Exchange<OutboundCall>): void {
    if (context === undefined) return
    context.ended()
    recordExchange(this.#listener, this.#originOf(context.peer), context.stream)
  }

  #originOf(peer: Peer | undefined): ConnectionOrigin {
    if (peer === undefined) return this.#origin
    let origin = this.#origins.get(peer)
    if (origin === undefined) {
      origin = { ...this.#origin, peer }
      this.#origins.set(peer, origin)
    }
    return origin
  }

  #cutAll(reason: ReasonCode, detail: string): void {
    this.#isCut = true
    for (const { context } of this.#relay.exchanges) context?.cut(reason, detail)
    this.#leave()
  }

  /** No more streams; the connection ends with the last. Twice, because the first GOAWAY only announces. */
  #leave(): void {
    this.#draining = true
    this.#relay.drain()
    this.#relay.drain()
    this.#listener.turn.mark(this)
  }

  /** Writes what is left, then ends the socket. */
  #finish(): void {
    if (this.#closed || this.#closingSince !== 0) return
    this.flush()
    this.#closingSince = this.#listener.registry.coarseNow
    this.#app.end()
  }

  #destroy(): void {
    if (this.#closed) return
    this.#closed = true
    this.#relay.downstreamClosed()
    this.#app.destroy()
    this.#listener.registry.remove(this)
    this.#listener.connectionClosed()
  }
}
