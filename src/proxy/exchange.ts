/**
 * One HTTP/1.1 request and its answer, from head to record. It belongs to the connection it came on and, once forwarded, holds the
 * upstream it was sent to; as that upstream's consumer it writes the response anew toward the caller.
 */
import type { ReasonCode } from '#base/reasons'
import type { HeaderList } from '#http/header-list'
import { reasonPhrase } from '#http/reason-phrases'
import type { TokenPrincipal } from '#identity/peer'
import type { Decision } from '#policy/decision'
import type { RequestFacts } from '#policy/facts'
import type { BodySink } from '#wire/http1/body-reader'
import { CHUNKED, UNTIL_CLOSE } from '#wire/http1/limits'
import type { Http1Request, Http1Response } from '#wire/http1/message'
import { LAST_CHUNK, writeChunkHead, writeTrailers } from '#wire/http1/writer'
import { problemBody, problemResponse, statusOf } from './answers.ts'
import { BodyPace } from './body-pace.ts'
import type { Http1Connection } from './http1-connection.ts'
import type { Http1Upstream, ResponseConsumer } from './http1-upstream.ts'
import { isForbiddenTrailer } from './identity-headers.ts'
import { consumePermit, type Permit } from './permit.ts'

export class Exchange implements ResponseConsumer, BodySink {
  readonly connection: Http1Connection
  readonly request: Http1Request
  /** Ms since the epoch, and monotonic ms. */
  readonly startedAt: number
  readonly startedMono: number
  requestId = ''
  traceparent = ''
  /** The caller's own x-forwarded-client-cert, where the caller is a listed forwarder. */
  forwardedCertificates = ''
  path = ''
  host = ''
  token: TokenPrincipal | undefined
  facts: RequestFacts | undefined
  decision: Decision | undefined
  decideUs = 0
  retryAfter = 0
  status = 0
  readonly grpcStatus = -1
  reason: ReasonCode | undefined
  detail = ''
  bytesIn = 0
  bytesOut = 0
  /** The request's last byte was read. */
  requestDone: boolean
  #upstream: Http1Upstream | undefined
  #head = ''
  #retried = false
  #chunkedResponse = false
  #keepAlive: boolean
  #tunnel = false
  #downstreamEnded = false
  #upstreamEnded = false
  #done = false
  #pace: BodyPace | undefined

  constructor(connection: Http1Connection, request: Http1Request, startedAt: number, startedMono: number) {
    this.connection = connection
    this.request = request
    this.startedAt = startedAt
    this.startedMono = startedMono
    this.requestDone = request.bodyLength === 0
    this.#keepAlive = request.keepAlive && request.minor === 1
  }

  get requestMethod(): string {
    return this.request.method
  }

  /** Body bytes can be taken. */
  get ready(): boolean {
    return this.#upstream !== undefined
  }

  get isTunnel(): boolean {
    return this.#tunnel
  }

  get done(): boolean {
    return this.#done
  }

  /** Answers with a problem document. The connection goes on only if the request was read to its end. */
  refuse(reason: ReasonCode, detail: string, status = statusOf(reason)): void {
    if (this.#done) return
    this.reason = reason
    this.detail = detail
    this.#dropUpstream()
    if (this.status !== 0) return this.#finish(false, true)
    this.status = status
    // Of a request that is malformed, or whose body does not come, nobody knows where the next one would begin, or when.
    const close =
      !(this.requestDone || this.connection.canDiscard) || !this.#keepAlive || this.connection.closing || status === 400 || status === 408
    const body = problemBody(status, this.requestId)
    const headOnly = this.request.method === 'HEAD'
    if (!headOnly) this.bytesOut = body.length
    this.connection.write(problemResponse(status, this.requestId, body, close, headOnly, this.retryAfter))
    this.#finish(!close, false)
  }

  /** Sends the request to the upstream that the connection's service provides, now or once it is connected. */
  forward(permit: Permit): void {
    this.#head = consumePermit(permit)
    this.connection.service.acquire(this, false)
  }

  /** The service has the upstream. */
  attach(upstream: Http1Upstream): void {
    if (this.#done) {
      this.connection.service.release(upstream)
      return
    }
    this.#upstream = upstream
    if (this.requestDone) return upstream.send(this, this.#head, this.request.bodyLength)
    upstream.cork()
    upstream.send(this, this.#head, this.request.bodyLength)
    this.connection.pumpBody()
    upstream.uncork()
  }

  /** Ends the exchange from outside: refused if nothing was answered yet, else cut so that it cannot look complete. */
  cut(reason: ReasonCode, detail: string): void {
    if (this.status === 0) return this.refuse(reason, detail)
    this.#fail(reason, detail)
  }

  /** The caller's connection is gone. */
  abort(): void {
    if (this.#done) return
    if (this.#tunnel && this.#upstreamEnded) return this.#finish(false, true)
    this.#fail('ERR_DOWNSTREAM_ABORTED', '')
  }

  /** Why the body comes too slowly, as long as nothing was answered. @param held the caller could not send */
  paceOfBody(now: number, held: boolean, window: number, rate: number): ReasonCode | undefined {
    if (this.requestDone || this.status !== 0) return undefined
    this.#pace ??= new BodyPace(this.startedAt)
    return this.#pace.check(now, this.bytesIn, held || !this.ready, window, rate)
  }

  // The caller's side: its body, its end.

  onData(chunk: Buffer): void {
    this.bytesIn += chunk.length
    if (this.#upstream?.writeBody(chunk) === false) this.connection.pauseReading()
  }

  onEnd(trailers: HeaderList | undefined): void {
    this.requestDone = true
    this.#upstream?.endBody(trailers === undefined ? undefined : keptTrailers(trailers))
  }

  onTunnelInput(chunk: Buffer): void {
    this.bytesIn += chunk.length
    if (this.#upstream?.write(chunk) === false) this.connection.pauseReading()
  }

  /** The caller half-closed a tunnel. */
  onTunnelInputEnd(): void {
    this.#downstreamEnded = true
    if (this.#upstreamEnded) return this.#finish(false, false)
    this.#upstream?.end()
  }

  onDownstreamWritable(): void {
    this.#upstream?.resume()
  }

  // The upstream's side.

  onInformational(response: Http1Response): void {
    if (this.request.minor === 0) return
    this.connection.write(`HTTP/1.1 ${response.status} ${reasonPhrase(response.status)}\r\n${responseFields(response)}\r\n`)
  }

  onResponse(response: Http1Response): void {
    const { connection, request } = this
    this.status = response.status
    const length = response.bodyLength
    if (!this.requestDone || connection.closing) this.#keepAlive = false
    let framing = ''
    if (length === CHUNKED || length === UNTIL_CLOSE) {
      this.#chunkedResponse = request.minor === 1
      if (this.#chunkedResponse) framing = 'transfer-encoding: chunked\r\n'
      else this.#keepAlive = false
    }
    connection.write(
      `HTTP/1.1 ${response.status} ${response.reasonPhrase}\r\n${responseFields(response)}${framing}x-request-id: ${this.requestId}\r\n${this.#keepAlive ? '\r\n' : 'connection: close\r\n\r\n'}`,
    )
  }

  onResponseData(chunk: Buffer): void {
    this.bytesOut += chunk.length
    if (!this.#chunkedResponse) return this.connection.write(chunk)
    this.connection.write(writeChunkHead(chunk.length))
    this.connection.write(chunk)
    this.connection.write('\r\n')
  }

  onResponseEnd(trailers: HeaderList | undefined): void {
    if (this.#chunkedResponse) this.connection.write(trailers === undefined ? LAST_CHUNK : writeTrailers(trailers))
    const upstream = this.#upstream
    this.#upstream = undefined
    if (upstream !== undefined) this.connection.service.release(upstream)
    this.#finish(this.#keepAlive && this.requestDone, false)
  }

  onFlush(): boolean {
    return this.connection.flush()
  }

  onSwitched(response: Http1Response): void {
    if (!this.request.upgradeWebsocket) {
      this.#dropUpstream()
      return this.refuse('ERR_UPGRADE_UNASKED', '')
    }
    if (this.connection.hasUnreadBytes) return this.refuse('ERR_UPGRADE_EARLY_DATA', '')
    this.status = 101
    this.#tunnel = true
    const fields = `${responseFields(response)}connection: upgrade\r\nupgrade: websocket\r\nx-request-id: ${this.requestId}\r\n\r\n`
    this.connection.write(`HTTP/1.1 101 Switching Protocols\r\n${fields}`)
    this.connection.startTunnel()
  }

  onTunnelData(chunk: Buffer): void {
    this.bytesOut += chunk.length
    this.connection.write(chunk)
  }

  onTunnelEnd(): void {
    this.#upstreamEnded = true
    if (this.#downstreamEnded) return this.#finish(false, false)
    this.connection.endTunnelOutput()
  }

  onFailure(reason: ReasonCode, detail: string, unanswered: boolean): void {
    const upstream = this.#upstream
    this.#upstream = undefined
    if (this.#tunnel) return this.#fail(reason, detail)
    if (unanswered && upstream !== undefined && upstream.served > 0 && !this.#retried && isRetryable(this.request)) {
      this.#retried = true
      this.connection.service.acquire(this, true)
      return
    }
    this.cut(reason, detail)
  }

  onWritable(): void {
    this.connection.resumeReading()
  }

  #fail(reason: ReasonCode, detail: string): void {
    if (this.#done) return
    this.reason = reason
    this.detail = detail
    this.#dropUpstream()
    this.#finish(false, true)
  }

  #dropUpstream(): void {
    const upstream = this.#upstream
    this.#upstream = undefined
    upstream?.abandon()
  }

  /** @param cut the caller must see a broken connection, not an end */
  #finish(keepAlive: boolean, cut: boolean): void {
    if (this.#done) return
    this.#done = true
    if (this.#tunnel) this.#dropUpstream()
    this.connection.service.record(this)
    this.connection.exchangeDone(keepAlive, cut)
  }
}

/** RFC 9110 §9.2.2, and nothing that would have to be sent twice. */
function isRetryable(request: Http1Request): boolean {
  if (request.bodyLength !== 0 || request.upgradeWebsocket) return false
  const { method } = request
  return method === 'GET' || method === 'HEAD' || method === 'OPTIONS' || method === 'PUT' || method === 'DELETE' || method === 'TRACE'
}

function keptTrailers(trailers: HeaderList): HeaderList | undefined {
  const names: string[] = []
  const values: string[] = []
  trailers.names.forEach((name, index) => {
    if (isForbiddenTrailer(name)) return
    names.push(name)
    values.push(trailers.values[index] ?? '')
  })
  return names.length === 0 ? undefined : { names, values }
}

/** The end-to-end header fields of a response, each with its line end. Framing by length stays, the rest of framing is the writer's. */
function responseFields(response: Http1Response): string {
  const { names, values } = response.headers
  const { hopByHop } = response
  let text = ''
  for (let index = 0; index < names.length; index++) {
    const name = names[index] ?? ''
    switch (name) {
      case 'connection':
      case 'keep-alive':
      case 'proxy-connection':
      case 'transfer-encoding':
      case 'upgrade':
      case 'te':
      case 'x-request-id':
        continue
    }
    if (hopByHop !== undefined && hopByHop.includes(name) && name !== 'content-length') continue
    text += `${name}: ${values[index]}\r\n`
  }
  return text
}
