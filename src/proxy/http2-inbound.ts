/**
 * One caller's HTTP/2 connection to an inbound listener, and the one h2c connection to the app that belongs to it (DESIGN §4). The
 * protocol itself is `wire/http2`; here are sockets, decisions, deadlines and records.
 */
import type { Socket } from 'node:net'
import type { ConnectionOrigin } from '#audit/event'
import type { ReasonCode } from '#base/reasons'
import { isConnectFault } from '#base/sockets'
import type { Snapshot } from '#config/snapshot'
import { joinHeaders } from '#http/header-list'
import { lostTrust } from '#pki/still-trusted'
import type { PeerMetrics } from '#telemetry/metrics'
import { ENHANCE_YOUR_CALM } from '#wire/http2/protocol'
import { createHttp2Relay } from '#wire/http2/relay'
import type { Http2Relay } from '#wire/http2/relay-contract'
import type { Http2Exchange } from '#wire/http2/relay-exchange'
import { createHttp2Resources } from '#wire/http2/resources'
import { connectApp } from './app-socket.ts'
import { ReaderPace } from './body-pace.ts'
import { callerFields } from './caller-fields.ts'
import { type CallerReading, hasMuchUnread, readCaller } from './caller-reading.ts'
import { createIdentityFields, type IdentityFields } from './identity-fields.ts'
import { KEEP, headerClass } from './identity-headers.ts'
import type { InboundListenerState } from './inbound-state.ts'
import { READ_BUFFER } from './http1-upstream.ts'
import { http2Answer, grpcStatusOf } from './http2-answers.ts'
import { Http2Stream } from './http2-stream.ts'
import type { PeerUse } from './peer-usage.ts'
import { type Lapse, lapse } from './lapse.ts'
import { consumePermit, issuePermit } from './permit.ts'
import { recordInbound, recordMalformed } from './record.ts'
import { type ConnectionDescription, type LiveConnection, describeConnection } from './registry.ts'
import { authorize, certificateEnded, type Lapsed, type Outcome, redecide } from './request-path.ts'

/** Shared by every HTTP/2 connection of the process. */
const RESOURCES = createHttp2Resources()

/** So many requests of one connection before others have their turn: less than a millisecond. */
const HEADS_PER_TURN = 16

/** How long a connection may take to finish after its last stream, ms. */
const CLOSE_MS = 2000

export class Http2Inbound implements LiveConnection {
  readonly #listener: InboundListenerState
  readonly #origin: ConnectionOrigin
  readonly #peerMetrics: PeerMetrics
  readonly #fields: IdentityFields
  readonly #caller: Socket
  readonly #app: Socket
  readonly #relay: Http2Relay<Http2Stream>
  readonly #reading: CallerReading
  readonly #reader = new ReaderPace()
  readonly #use: PeerUse | undefined
  readonly #notAfter: number
  readonly #drainAt: number
  readonly #openedAt: number
  #touched: number
  #draining = false
  #closed = false
  #closingSince = 0
  #isCut = false
  #appPaused = false
  #lapse: Lapse | undefined

  /** @param notAfter the first end of validity among the peer's path and our own SVID, ms since the epoch */
  constructor(
    caller: Socket,
    listener: InboundListenerState,
    origin: ConnectionOrigin,
    peerMetrics: PeerMetrics,
    ownId: string,
    notAfter: number,
  ) {
    const { settings, clock } = listener
    this.#listener = listener
    this.#origin = origin
    this.#peerMetrics = peerMetrics
    this.#caller = caller
    this.#notAfter = notAfter
    this.#openedAt = clock.now()
    this.#touched = this.#openedAt
    this.#drainAt = this.#openedAt + 0.8 * (notAfter - this.#openedAt)
    const { peer } = origin
    this.#use = peer === undefined ? undefined : listener.peers.of(peer.id.uri)
    this.#fields = createIdentityFields(origin, ownId, peer !== undefined && settings.forwarders.has(peer.id.uri))
    this.#relay = createHttp2Relay<Http2Stream>(
      {
        resources: RESOURCES,
        headsPerCall: HEADS_PER_TURN,
        limits: { ...settings.headLimits, streams: settings.config.limits.streams },
        keepTrailer: (name) => headerClass(name) === KEEP,
      },
      {
        onRequest: (exchange) => this.#onRequest(exchange),
        onBadRequest: (exchange, { reason, detail }) => this.#onBadRequest(exchange, reason, detail),
        onStreamRefused: ({ reason, detail }) => void recordMalformed(listener, origin, reason, detail, 0),
        onFailure: (exchange, reason, detail) => exchange.refuse(http2Answer(reason, exchange.request?.grpc === true), reason, detail),
        onEnd: (exchange) => this.#onEnd(exchange),
        onDownstreamFault: ({ reason, detail, code }) => {
          recordMalformed(listener, origin, reason, detail, 0)
          if (code === ENHANCE_YOUR_CALM) this.#punish()
          this.#finish()
        },
        onUpstreamFault: () => this.#flush(),
        onIdle: () => this.#finish(),
      },
    )
    const { app, timeouts } = settings.config
    this.#app = connectApp(app, timeouts.connect, {
      buffer: READ_BUFFER,
      callback: (count) => this.#onAppBytes(count),
    })
    this.#reading = readCaller({
      caller,
      app: this.#app,
      relay: this.#relay,
      listener,
      flush: () => this.#flush(),
      destroy: () => this.#destroy(),
    })
    this.#listen()
    this.#flush()
  }

  // The registry's calls.

  tick(now: number): void {
    const { limits, timeouts } = this.#listener.settings.config
    const stalled = this.#reader.stalls(now, this.#caller, timeouts.idle, limits.bodyRate)
    if (this.#closingSince !== 0) {
      // What waits is the rest of answers: unless it was cut, it has as long as any.
      const patient = !this.#isCut && now < this.#notAfter && this.#caller.writableLength > 0
      if (patient ? stalled : now - this.#closingSince > CLOSE_MS) this.#destroy()
      return
    }
    if (this.#lapse !== undefined && now >= this.#lapse.until) return this.#cutAll(this.#lapse.why.reason, this.#lapse.why.detail)
    if (this.#lapse === undefined && now >= this.#notAfter) return this.#expire(certificateEnded(this.#origin, this.#notAfter), now)
    const silent = now - this.#touched
    if (stalled) {
      this.#cutAll('ERR_DOWNSTREAM_STALLED', '')
      return this.#destroy()
    }
    if (now >= this.#drainAt) this.drain()
    for (const { context } of this.#relay.exchanges) {
      if (context === undefined) continue
      if (now >= context.deadline) this.#cut(context, 'ERR_GRPC_DEADLINE', '')
      else if (now >= (context.lapse?.until ?? context.decision?.validUntil ?? Infinity)) this.#redecide(context, now)
      const slow = context.paceOfBodies(now, timeouts.idle, limits.bodyRate)
      if (slow !== undefined) this.#cut(context, slow, '')
    }
    if (silent > timeouts.head && this.#relay.midway) this.#cutAll('ERR_HEAD_TIMEOUT', '')
    else if (silent > timeouts.idle && this.#relay.exchanges.size === 0) this.#leave()
    this.#flush()
  }

  revalidate(snapshot: Snapshot, now: number): void {
    const { peer } = this.#origin
    const lost = peer === undefined ? undefined : lostTrust(snapshot.trust, peer)
    if (lost !== undefined) return this.#expire(lost, now)
    for (const { context } of this.#relay.exchanges) if (context?.lapse === undefined && context !== undefined) this.#redecide(context, now)
    this.#flush()
  }

  drain(): void {
    if (this.#draining) return
    this.#draining = true
    this.#relay.drain()
    this.#flush()
  }

  cutAtDrainEnd(): void {
    this.#cutAll('ERR_DRAINED', '')
  }

  describe(): ConnectionDescription {
    const [first] = this.#relay.exchanges
    return describeConnection(this.#origin, this.#openedAt, this.#notAfter, first?.context?.describe())
  }

  // Requests.

  #onRequest(exchange: Http2Exchange<Http2Stream>): void {
    const { request } = exchange
    if (request === undefined) return
    const { clock } = this.#listener
    const stream = new Http2Stream(exchange, request, clock.now(), clock.monotonic())
    exchange.context = stream
    const outcome = authorize(this.#listener, this.#origin, stream, undefined, request.grpc ? 'grpc' : 'http')
    exchange.requestId = stream.requestId
    if (!(outcome instanceof Promise)) return this.#proceed(stream, outcome)
    void outcome.then((settled) => {
      this.#proceed(stream, settled)
      this.#flush()
    })
  }

  #proceed(stream: Http2Stream, path: Outcome): void {
    const { exchange, request } = stream
    // While it waited for a key, its caller may have left, or it was cut.
    if (exchange.done) return
    if (typeof path !== 'string') {
      exchange.refuse(http2Answer(path.reason, request.grpc, stream.retryAfter), path.reason, path.detail)
      return
    }
    if (!this.#count(stream)) {
      const reason = 'ERR_LIMIT_PEER_STREAMS'
      return exchange.refuse(http2Answer(reason, request.grpc), reason, '')
    }
    const { method, authority, query, headers, teTrailers, sensitive } = request
    const fields = this.#fields.list(authority, stream.forwardedCertificates, stream.requestId, stream.traceparent)
    const caller = callerFields(this.#listener, this.#origin, stream, path)
    const ours = caller === undefined ? fields : joinHeaders(fields, caller)
    const permit = issuePermit(stream.decision, {
      method,
      scheme: 'http',
      authority: authority === '' ? this.#listener.appHost : authority,
      path: query === undefined ? path : `${path}?${query}`,
      headers,
      ours,
      teTrailers,
      sensitive,
    })
    exchange.forward(consumePermit(permit))
  }

  /** Adds a stream to what its caller's identity has under way. @returns false if that is as much as it may have */
  #count(stream: Http2Stream): boolean {
    const use = this.#use
    if (use === undefined) return true
    if (use.streams >= this.#listener.settings.config.limits.streamsPerPeer) {
      // Whoever reads the record must see a refusal.
      if (stream.decision !== undefined) stream.decision = { ...stream.decision, allow: false, reason: 'ERR_LIMIT_PEER_STREAMS' }
      return false
    }
    use.streams++
    stream.counted = true
    return true
  }

  /** Too large a head is answered; what RFC 9113 calls malformed is reset by the codec. */
  #onBadRequest(exchange: Http2Exchange<Http2Stream>, reason: ReasonCode, detail: string): void {
    const answer = http2Answer(reason, false)
    exchange.requestId = recordMalformed(this.#listener, this.#origin, reason, detail, answer.status === 431 ? 431 : 0)
    if (answer.status === 431) exchange.refuse(answer, reason, detail)
  }

  #onEnd(exchange: Http2Exchange<Http2Stream>): void {
    const { context } = exchange
    if (context?.counted === true && this.#use !== undefined) this.#use.streams--
    if (context !== undefined) recordInbound(this.#listener, this.#origin, this.#peerMetrics, context)
  }

  /** One stream may no longer run: it alone is cut, now or when its time to finish is over. */
  #redecide(stream: Http2Stream, now: number): void {
    const why = stream.lapse?.why ?? redecide(this.#listener, stream, now)
    if (why === undefined) return
    const next = stream.lapse ?? lapse(this.#listener, why, now)
    stream.lapse = next
    if (now < next.until) return
    stream.decision = why.decision ?? stream.decision
    this.#cut(stream, why.reason, why.detail)
  }

  /** The connection as a whole has lost its reason. */
  #expire(why: Lapsed, now: number): void {
    const next = lapse(this.#listener, why, now)
    if (next.until <= now) return this.#cutAll(why.reason, why.detail)
    if (this.#lapse !== undefined) return
    this.#lapse = next
    for (const { context } of this.#relay.exchanges) if (context !== undefined) context.lapse ??= next
    this.#leave()
  }

  #cut(stream: Http2Stream, reason: ReasonCode, detail: string): void {
    const { exchange } = stream
    if (exchange.status === 0) exchange.refuse(http2Answer(reason, stream.request.grpc), reason, detail)
    else exchange.cut(reason, detail, grpcStatusOf(reason))
  }

  #cutAll(reason: ReasonCode, detail: string): void {
    this.#isCut = true
    for (const { context } of this.#relay.exchanges) if (context !== undefined) this.#cut(context, reason, detail)
    this.#leave()
  }

  /** No more streams; the connection ends with the last. Twice, because the first GOAWAY only announces. */
  #leave(): void {
    this.#draining = true
    this.#relay.drain()
    this.#relay.drain()
    this.#flush()
  }

  // Sockets.

  #listen(): void {
    const { coarseNow } = this.#listener.registry
    this.#touched = Math.max(this.#touched, coarseNow)
    this.#caller.on('data', (chunk: Buffer) => {
      this.#touched = this.#listener.registry.coarseNow
      this.#reading.receive(chunk)
    })
    this.#caller.on('drain', () => {
      this.#resumeApp()
      this.#reading.goOn()
    })
    this.#caller.on('end', () => this.#listener.registry.leave(() => this.#caller.end()))
    this.#caller.on('error', () => {})
    this.#caller.on('close', () => this.#destroy())
    this.#app.on('drain', () => this.#reading.goOn())
    let fault: { readonly reason: ReasonCode; readonly detail: string } = { reason: 'ERR_UPSTREAM_CLOSED', detail: 'closed' }
    this.#app.on('error', (error: NodeJS.ErrnoException) => {
      const code = error.code ?? error.message
      if (code === 'ERR_UPSTREAM_CONNECT_TIMEOUT') fault = { reason: code, detail: '' }
      else fault = { reason: isConnectFault(error) ? 'ERR_UPSTREAM_UNREACHABLE' : 'ERR_UPSTREAM_CLOSED', detail: code }
    })
    this.#app.on('end', () => this.#app.destroy())
    this.#app.on('close', () => {
      this.#relay.upstreamClosed(fault.reason, fault.detail)
      this.#flush()
    })
  }

  /** The caller flooded: that its connection ends would alone cost it nothing. */
  #punish(): void {
    const { floodPenalty } = this.#listener.settings.config.limits
    this.#reading.discard()
    if (floodPenalty > 0) this.#listener.penalties.flooded(this.#origin.peer?.id.uri ?? '', this.#origin.sourceIp, floodPenalty)
  }

  #onAppBytes(count: number): boolean {
    this.#relay.receiveUpstream(READ_BUFFER.subarray(0, count), this.#listener.clock.monotonic())
    this.#flush()
    return !this.#appPaused
  }

  #resumeApp(): void {
    if (!this.#appPaused) return
    this.#appPaused = false
    this.#app.resume()
  }

  /** One write a side and turn; a side that cannot take more holds back the other. */
  #flush(): void {
    if (this.#closed) return
    const relay = this.#relay
    for (let piece = relay.takeDownstream(); piece !== undefined; piece = relay.takeDownstream()) {
      if (this.#caller.writable && !this.#caller.write(piece)) this.#appPaused = true
    }
    // Refusals and acknowledgements are made here: nothing but this holds back a caller that asks and never reads.
    if (hasMuchUnread(this.#caller)) this.#caller.pause()
    for (let piece = relay.takeUpstream(); piece !== undefined; piece = relay.takeUpstream()) {
      if (this.#app.writable && !this.#app.write(piece)) this.#caller.pause()
      // The kernel has it: nearly always so, and without this every 64 KB of a body would need new memory.
      if (this.#app.writableLength === 0) RESOURCES.slabs.reuse(piece)
    }
  }

  /** Writes what is left, then ends both sockets. */
  #finish(): void {
    if (this.#closed || this.#closingSince !== 0) return
    this.#flush()
    this.#closingSince = this.#listener.registry.coarseNow
    this.#caller.end()
    this.#app.end()
    this.#caller.resume()
  }

  #destroy(): void {
    if (this.#closed) return
    this.#closed = true
    this.#relay.downstreamClosed()
    this.#caller.destroy()
    this.#app.destroy()
    this.#listener.registry.remove(this)
    this.#listener.connectionClosed(this.#origin)
  }
}

/** Serves a caller until its connection ends. */
export function serveHttp2(...args: ConstructorParameters<typeof Http2Inbound>): void {
  const [, listener] = args
  listener.registry.add(new Http2Inbound(...args))
}
