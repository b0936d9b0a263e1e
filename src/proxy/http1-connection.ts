/**
 * One caller's HTTP/1.1 connection, downstream side: reads requests one at a time, gathers what is written within one turn into one
 * write, keeps deadlines on the registry's tick. What a request is allowed to do is its service's business.
 *
 *   head → busy (→ discarding) → head … → lingering → closed          busy → tunnel → closed
 */
import type { Socket } from 'node:net'
import type { ReasonCode } from '#base/reasons'
import type { Snapshot } from '#config/snapshot'
import { type BodyReader, type BodySink, createBodyReader } from '#wire/http1/body-reader'
import { findHeadEnd, oversizedHead } from '#wire/http1/head-end'
import { readRequestHead } from '#wire/http1/request-reader'
import { problemBody, problemResponse, statusOf } from './answers.ts'
import { ReaderPace } from './body-pace.ts'
import { Exchange } from './exchange.ts'
import { hasMuchUnread } from './caller-reading.ts'
import { createGather, type Gather } from './gather.ts'
import type { Http1Service } from './http1-service.ts'
import { type Lapse, lapseNote } from './lapse.ts'
import { type ConnectionDescription, type LiveConnection, describeConnection } from './registry.ts'
import type { Lapsed } from './request-path.ts'

type Phase = 'head' | 'busy' | 'discarding' | 'tunnel' | 'lingering' | 'closed'

/** A refused request's body up to so many bytes is read and dropped: cheaper than the handshake that closing would cost. */
const DISCARD_BYTES = 65_536

/** So many requests that were sent at once, and refused at once, before others have their turn. */
const HEADS_PER_TURN = 16

const NOWHERE: BodySink = { onData() {}, onEnd() {} }

/** After our last byte: how long, and how many bytes, an unfinished upload is still read so that the answer is not lost to a reset. */
const LINGER_MS = 2000
const LINGER_BYTES = 1 << 20

export class Http1Connection implements LiveConnection {
  readonly service: Http1Service
  readonly #socket: Socket
  readonly #openedAt: number
  #phase: Phase = 'head'
  #exchange: Exchange | undefined
  #body: BodyReader | undefined
  /** The beginning of a head that is not complete. */
  #partial: Buffer | undefined
  #partialSince = 0
  /** Bytes that came before their turn: a pipelined request, or a body before its upstream. */
  #unread: Buffer | undefined
  readonly #output: Gather
  readonly #reader = new ReaderPace()
  #touched: number
  #draining = false
  #ended = false
  #paused = false
  #advancing = false
  #lingered = 0
  #isCut = false
  #lapse: Lapse | undefined

  constructor(socket: Socket, service: Http1Service) {
    this.#socket = socket
    this.#output = createGather(socket)
    this.service = service
    this.#openedAt = service.now()
    this.#touched = this.#openedAt
    socket.on('data', (chunk: Buffer) => this.#onData(chunk))
    socket.on('end', () => this.#onEnd())
    socket.on('drain', () => {
      if (this.#exchange !== undefined) this.#exchange.onDownstreamWritable()
      else this.#advance()
    })
    socket.on('error', () => {})
    socket.on('close', () => this.#onClose())
  }

  /** No request after the current one. */
  get closing(): boolean {
    return this.#draining || this.#ended || this.service.registry.coarseNow >= this.service.drainAt
  }

  /** The rest of the request's body is little enough to be read and dropped. */
  get canDiscard(): boolean {
    const request = this.#exchange?.request
    return request !== undefined && request.bodyLength > 0 && request.bodyLength <= DISCARD_BYTES && !request.expectContinue
  }

  /** No request runs. */
  get isBetween(): boolean {
    return this.#phase === 'head' || this.#phase === 'discarding'
  }

  get hasUnreadBytes(): boolean {
    return this.#unread !== undefined
  }

  /** Gathers; `flush` sends. */
  write(piece: string | Buffer): void {
    this.#output.write(piece)
  }

  /** @returns false when the writer should wait for `onDownstreamWritable` */
  flush(): boolean {
    if (this.#phase === 'closed' || this.#output.isEmpty) return true
    this.#touched = this.service.registry.coarseNow
    return this.#output.flush()
  }

  pauseReading(): void {
    if (this.#paused) return
    this.#paused = true
    this.#socket.pause()
  }

  resumeReading(): void {
    if (!this.#paused || this.#unread !== undefined) return
    this.#paused = false
    this.#socket.resume()
  }

  /** The exchange has its upstream: the body bytes that came before it can go. */
  pumpBody(): void {
    const bytes = this.#unread
    if (bytes === undefined) return this.resumeReading()
    this.#unread = undefined
    this.#readBody(bytes)
    // The caller may have ended while its bytes were waiting: the rest of the body will never come.
    const exchange = this.#exchange
    if (this.#ended && exchange !== undefined && !exchange.requestDone) return exchange.abort()
    this.resumeReading()
  }

  startTunnel(): void {
    this.#phase = 'tunnel'
    this.flush()
    if (this.#ended) this.#exchange?.onTunnelInputEnd()
    this.resumeReading()
  }

  endTunnelOutput(): void {
    this.flush()
    this.#socket.end()
  }

  /** @param cut close at once, without the end of TLS: what was sent is not complete */
  exchangeDone(keepAlive: boolean, cut: boolean): void {
    const requestDone = this.#exchange?.requestDone === true
    this.#exchange = undefined
    if (cut) return this.#destroy()
    this.flush()
    if (!keepAlive || this.closing) return this.#close(requestDone)
    if (requestDone) this.#body = undefined
    this.#phase = requestDone ? 'head' : 'discarding'
    this.#advance()
  }

  // The registry's calls.

  tick(now: number): void {
    this.service.tick(now)
    const { timeouts } = this.service
    const silent = now - this.#touched
    const stalled = this.#phase !== 'tunnel' && this.#reader.stalls(now, this.#socket, timeouts.idle, this.service.bodyRate ?? 0)
    if (this.#phase === 'lingering') {
      // What waits is the rest of an answer: unless it was cut, it has as long as any.
      const patient = !this.#isCut && now < this.service.notAfter && this.#socket.writableLength > 0
      if (patient ? stalled : silent > LINGER_MS) this.#destroy()
      return
    }
    if (this.#lapse !== undefined && now >= this.#lapse.until) return this.#cutLapsed(this.#lapse.why)
    if (now >= this.service.notAfter && this.#lapse === undefined) return this.#expire(this.service.ended(), now)
    const exchange = this.#exchange
    if (this.#partial !== undefined && now - this.#partialSince > timeouts.head) return this.#refuseMalformed('ERR_HEAD_TIMEOUT', '')
    if (exchange === undefined) {
      const isOver = silent > timeouts.idle || (this.closing && silent > 1000)
      if (this.isBetween && this.#partial === undefined && isOver) this.#close(true)
      return
    }
    if (this.#lapse === undefined && exchange.decision !== undefined && now >= exchange.decision.validUntil) {
      const why = this.service.redecide(exchange, now)
      if (why !== undefined) return this.#expire(why, now)
    }
    if (exchange.isTunnel) {
      if (silent > timeouts.halfClosed && (this.#ended || this.#socket.writableEnded)) this.#cut('ERR_TUNNEL_IDLE', '')
      return
    }
    if (silent > timeouts.idle && !exchange.requestDone && exchange.ready && !this.#paused) return exchange.cut('ERR_BODY_TIMEOUT', '')
    if (stalled) return exchange.cut('ERR_DOWNSTREAM_STALLED', '')
    const slow = exchange.paceOfBody(now, this.#paused, timeouts.idle, this.service.bodyRate ?? 0)
    if (slow !== undefined) exchange.cut(slow, '')
  }

  revalidate(snapshot: Snapshot, now: number): void {
    const why = this.service.revalidate(this.#exchange, snapshot, now)
    if (why !== undefined) this.#expire(why, now)
  }

  drain(): void {
    this.#draining = true
  }

  cutAtDrainEnd(): void {
    this.#cut('ERR_DRAINED', '')
  }

  describe(): ConnectionDescription {
    const { origin, notAfter } = this.service
    const exchange = this.#exchange
    const described =
      exchange === undefined
        ? undefined
        : { requestId: exchange.requestId, method: exchange.request.method, path: exchange.path, startedAt: exchange.startedAt }
    const connection = describeConnection(origin, this.#openedAt, notAfter, described)
    return this.#phase === 'tunnel' ? { ...connection, protocol: 'websocket' } : connection
  }

  // Reading.

  #onData(chunk: Buffer): void {
    this.#touched = this.service.registry.coarseNow
    switch (this.#phase) {
      case 'head':
        return this.#readHead(chunk)
      case 'busy':
        if (this.#unread === undefined && this.#body !== undefined && this.#exchange?.ready === true) return this.#readBody(chunk)
        return this.#setAside(chunk)
      case 'discarding':
        this.#unread = chunk
        return this.#advance()
      case 'tunnel':
        return this.#exchange?.onTunnelInput(chunk)
      case 'lingering':
        this.#lingered += chunk.length
        if (this.#lingered > LINGER_BYTES) this.#destroy()
        return undefined
      case 'closed':
        return undefined
    }
  }

  /** Keeps bytes whose turn has not come, and reads no more until it has. */
  #setAside(chunk: Buffer): void {
    this.#unread = this.#unread === undefined ? chunk : Buffer.concat([this.#unread, chunk])
    this.pauseReading()
  }

  #readHead(chunk: Buffer): void {
    const before = this.#partial
    const bytes = before === undefined ? chunk : Buffer.concat([before, chunk])
    const end = findHeadEnd(bytes, before === undefined ? 0 : Math.max(0, before.length - 3))
    const { headLimits } = this.service
    if (end === -1 && bytes.length <= headLimits.bytes) {
      if (before === undefined) this.#partialSince = this.#touched
      this.#partial = bytes
      return
    }
    this.#partial = undefined
    const request = end === -1 ? oversizedHead(bytes, 0, headLimits) : readRequestHead(bytes, 0, end, headLimits)
    if (!request.ok) return this.#refuseMalformed(request.reason, request.detail)
    const exchange = new Exchange(this, request, this.service.now(), this.service.monotonic())
    this.#exchange = exchange
    this.#phase = 'busy'
    if (request.bodyLength !== 0) this.#body = createBodyReader(request.bodyLength, headLimits)
    if (end < bytes.length) this.#unread = bytes.subarray(end)
    this.service.onRequestHead(exchange)
    this.flush()
    if (this.#unread !== undefined && this.#phase === 'busy') this.pauseReading()
  }

  #readBody(chunk: Buffer): void {
    const body = this.#body
    const exchange = this.#exchange
    if (body === undefined || exchange === undefined) return this.#setAside(chunk)
    const end = body.read(chunk, 0, exchange)
    if (this.#exchange !== exchange) return
    if (body.fault !== undefined) {
      exchange.cut(body.fault.reason, body.fault.detail)
      return
    }
    if (!body.done) return
    this.#body = undefined
    if (end < chunk.length) this.#setAside(chunk.subarray(end))
  }

  /** Takes up pipelined bytes. A loop, not recursion: a caller may have sent thousands of requests that are refused at once. */
  #advance(): void {
    if (this.#advancing) return
    this.#advancing = true
    let heads = 0
    while (this.#unread !== undefined && this.isBetween && heads < HEADS_PER_TURN && !hasMuchUnread(this.#socket)) {
      const bytes = this.#unread
      this.#unread = undefined
      if (this.#phase === 'head') heads++
      if (this.#phase === 'head') this.#readHead(bytes)
      else this.#discard(bytes)
    }
    this.#advancing = false
    if (!this.isBetween) return
    if (this.#unread === undefined && !hasMuchUnread(this.#socket)) {
      this.resumeReading()
      if (this.#ended) this.#close(true)
      return
    }
    this.pauseReading()
    // Else the socket's `drain` goes on.
    if (!hasMuchUnread(this.#socket)) this.service.later(() => this.#advance())
  }

  #discard(bytes: Buffer): void {
    const body = this.#body
    if (body === undefined) return
    const end = body.read(bytes, 0, NOWHERE)
    if (body.fault !== undefined) return this.#close(false)
    if (!body.done) return
    this.#body = undefined
    this.#phase = 'head'
    if (end < bytes.length) this.#unread = bytes.subarray(end)
  }

  #onEnd(): void {
    this.#ended = true
    const exchange = this.#exchange
    if (exchange === undefined) return this.#phase === 'lingering' ? this.#destroy() : this.service.registry.leave(() => this.#close(true))
    if (exchange.isTunnel) return exchange.onTunnelInputEnd()
    if (!exchange.requestDone && this.#unread === undefined) exchange.abort()
  }

  #onClose(): void {
    if (this.#phase === 'closed') return
    this.#phase = 'closed'
    this.#exchange?.abort()
    this.#gone()
  }

  // Ending.

  #refuseMalformed(reason: ReasonCode, detail: string): void {
    const status = statusOf(reason)
    const requestId = this.service.recordMalformed(reason, detail, status)
    this.#partial = undefined
    this.write(problemResponse(status, requestId, problemBody(status, requestId), true, false))
    this.flush()
    this.#close(false)
  }

  /** What was the reason to let it in is gone: no request after the current one, which may finish if the listener says so. */
  #expire(why: Lapsed, now: number): void {
    const next = this.service.lapse(why, now)
    if (next.until <= now) return this.#cutLapsed(why)
    if (this.#lapse !== undefined) return
    this.#lapse = next
    this.#draining = true
    if (this.#exchange === undefined) return this.#close(true)
    this.#exchange.detail = lapseNote(why)
  }

  #cutLapsed({ reason, detail, decision }: Lapsed): void {
    if (decision !== undefined && this.#exchange !== undefined) this.#exchange.decision = decision
    this.#cut(reason, detail)
  }

  #cut(reason: ReasonCode, detail: string): void {
    const exchange = this.#exchange
    this.#isCut = true
    if (exchange === undefined) return this.#close(true)
    this.#draining = true
    exchange.cut(reason, detail)
  }

  /** Ends after what was written. @param inputDone nothing of the caller's is still under way */
  #close(inputDone: boolean): void {
    if (this.#phase === 'closed' || this.#phase === 'lingering') return
    this.#phase = 'lingering'
    this.#unread = undefined
    this.#touched = this.service.registry.coarseNow
    this.#socket.end()
    if (inputDone && this.#ended) return
    this.#paused = false
    this.#socket.resume()
  }

  #destroy(): void {
    if (this.#phase === 'closed') return
    this.#phase = 'closed'
    this.#socket.destroy()
    this.#gone()
  }

  #gone(): void {
    this.#output.clear()
    this.service.registry.remove(this)
    this.service.closed()
  }
}

/** Serves a caller until its connection ends. */
export function serveHttp1(socket: Socket, service: Http1Service): void {
  service.registry.add(new Http1Connection(socket, service))
}
