/**
 * One HTTP/1.1 connection to an app or to another sidecar, upstream side: sends one request at a time and reads its response.
 *
 *   connecting → idle ⇄ busy → (tunnel) → closed
 *
 * All upstreams read into one shared buffer: what a consumer is given is valid during the call only.
 */
import type { Socket } from 'node:net'
import type { ReasonCode } from '#base/reasons'
import { isConnectFault } from '#base/sockets'
import type { HeaderList } from '#http/header-list'
import { type BodyReader, type BodySink, createBodyReader } from '#wire/http1/body-reader'
import type { HeadLimits } from '#wire/http1/limits'
import { findHeadEnd } from '#wire/http1/head-end'
import type { Http1Response } from '#wire/http1/message'
import { readResponseHead } from '#wire/http1/response-reader'
import { LAST_CHUNK, writeChunkHead, writeTrailers } from '#wire/http1/writer'

/** Whoever waits for the response. Exactly one of `onResponseEnd`, `onTunnelEnd` and `onFailure` ends it. */
export interface ResponseConsumer {
  readonly requestMethod: string
  onInformational(response: Http1Response): void
  onResponse(response: Http1Response): void
  onResponseData(chunk: Buffer): void
  onResponseEnd(trailers: HeaderList | undefined): void
  /** The end of one read from the socket. @returns false to pause reading until `resume()` */
  onFlush(): boolean
  /** 101: from here on bytes go to `onTunnelData`. */
  onSwitched(response: Http1Response): void
  onTunnelData(chunk: Buffer): void
  onTunnelEnd(): void
  /** @param unanswered no byte of a response was received */
  onFailure(reason: ReasonCode, detail: string, unanswered: boolean): void
  /** Writing may go on after `writeBody` returned false. */
  onWritable(): void
}

/** Reads into `READ_BUFFER`, which all upstream sockets share. */
export const READ_BUFFER = Buffer.allocUnsafeSlow(65_536)

/** What `net.connect` and `tls.connect` take as `onread`. */
export interface OnRead {
  readonly buffer: Buffer
  callback(bytes: number): boolean
}

/** A response that never comes to its end would be relayed without end. */
const MOST_INFORMATIONAL = 16

const RESPONSE_LIMITS: HeadLimits = { bytes: 65_536, headers: 200 }

export class Http1Upstream implements BodySink {
  readonly #socket: Socket
  readonly #onGone: (upstream: Http1Upstream) => void
  #consumer: ResponseConsumer | undefined
  #partial: Buffer | undefined
  #body: BodyReader | undefined
  #tunnel = false
  #unanswered = true
  /** Responses before the final one. */
  #informational = 0
  #reusable = true
  #requestDone = true
  #chunkedRequest = false
  #closed = false
  #served = 0
  #stopped = false
  #ended = false
  #trailers: HeaderList | undefined

  /**
   * @param connect makes the socket with the `onread` it is given; may still be connecting
   * @param onGone called once, when the connection can no longer be used
   */
  constructor(connect: (onread: OnRead) => Socket, onGone: (upstream: Http1Upstream) => void) {
    this.#onGone = onGone
    this.#socket = connect({ buffer: READ_BUFFER, callback: (bytes) => this.#onBytes(bytes) })
    this.#socket.on('error', (error: NodeJS.ErrnoException) => this.#onSocketError(error))
    this.#socket.on('end', () => this.#onSocketEnd())
    this.#socket.on('close', () => this.#onSocketClose())
    this.#socket.on('drain', () => this.#consumer?.onWritable())
  }

  /** Requests served before the current one: 0 on a fresh connection. */
  get served(): number {
    return this.#served
  }

  get usable(): boolean {
    return !this.#closed && this.#reusable && this.#consumer === undefined
  }

  get closed(): boolean {
    return this.#closed
  }

  /** @param bodyLength as the codec gives it: -1 chunked, else exact */
  send(consumer: ResponseConsumer, head: string, bodyLength: number): void {
    this.#consumer = consumer
    this.#unanswered = true
    this.#informational = 0
    this.#requestDone = bodyLength === 0
    this.#chunkedRequest = bodyLength === -1
    this.#socket.write(head, 'latin1')
  }

  /** Gathers writes of one turn into one system call; pair with `uncork`. */
  cork(): void {
    this.#socket.cork()
  }

  uncork(): void {
    this.#socket.uncork()
  }

  /** @returns false when the other side should wait for `onWritable` */
  writeBody(chunk: Buffer): boolean {
    if (this.#closed) return true
    if (!this.#chunkedRequest) return this.#socket.write(chunk)
    this.#socket.cork()
    this.#socket.write(writeChunkHead(chunk.length), 'latin1')
    this.#socket.write(chunk)
    const more = this.#socket.write('\r\n', 'latin1')
    this.#socket.uncork()
    return more
  }

  endBody(trailers: HeaderList | undefined): void {
    this.#requestDone = true
    if (this.#closed || !this.#chunkedRequest) return
    this.#socket.write(trailers === undefined ? LAST_CHUNK : writeTrailers(trailers), 'latin1')
  }

  /** Tunnel bytes. @returns false when the other side should wait for `onWritable` */
  write(chunk: Buffer): boolean {
    return this.#closed ? true : this.#socket.write(chunk)
  }

  /** Half-closes a tunnel. */
  end(): void {
    if (!this.#closed) this.#socket.end()
  }

  /** Reading goes on after `onFlush` returned false. */
  resume(): void {
    if (!this.#stopped || this.#closed) return
    this.#stopped = false
    this.#socket.resume()
  }

  /** Serves the current exchange to its end, and no other. */
  retire(): void {
    this.#reusable = false
    if (this.#consumer === undefined) this.destroy()
  }

  /** Ends whatever runs on it, for a reason of ours. */
  cut(reason: ReasonCode, detail: string): void {
    this.#fail(reason, detail)
  }

  /** Nobody waits any longer for the current response: the connection is of no further use. */
  abandon(): void {
    this.#consumer = undefined
    this.destroy()
  }

  destroy(): void {
    if (this.#closed) return
    this.#closed = true
    this.#socket.destroy()
    this.#onGone(this)
  }

  #onBytes(count: number): boolean {
    const consumer = this.#consumer
    const chunk = READ_BUFFER.subarray(0, count)
    if (consumer === undefined) {
      // A byte while idle can only be meant for a request that was never made.
      this.destroy()
      return true
    }
    this.#unanswered = false
    if (this.#tunnel) consumer.onTunnelData(chunk)
    else this.#read(chunk, consumer)
    if (consumer.onFlush() || this.#closed) return true
    this.#stopped = true
    return false
  }

  #read(chunk: Buffer, consumer: ResponseConsumer): void {
    let bytes = chunk
    let at = 0
    if (this.#body === undefined) {
      at = this.#readHeads(chunk, consumer)
      if (at === -1) return
      bytes = this.#headBytes
      if (this.#tunnel) {
        if (at < bytes.length) consumer.onTunnelData(bytes.subarray(at))
        return
      }
    }
    const body = this.#body
    if (body === undefined) return
    at = body.read(bytes, at, this)
    if (body.fault !== undefined) this.#fail('ERR_UPSTREAM_RESPONSE', `${body.fault.reason} ${body.fault.detail}`)
    else if (this.#ended) this.#complete(at < bytes.length)
  }

  #headBytes: Buffer = READ_BUFFER

  /** Reads 1xx heads and the final one. @returns where the body begins in `#headBytes`, or -1 if there is nothing more to do now */
  #readHeads(chunk: Buffer, consumer: ResponseConsumer): number {
    const bytes = this.#partial === undefined ? chunk : Buffer.concat([this.#partial, chunk])
    const from = this.#partial === undefined ? 0 : Math.max(0, this.#partial.length - 3)
    this.#partial = undefined
    let start = 0
    let end = findHeadEnd(bytes, from)
    for (;;) {
      if (end === -1) {
        if (bytes.length - start > RESPONSE_LIMITS.bytes) this.#fail('ERR_UPSTREAM_RESPONSE', 'the head is longer than 64 KiB')
        else this.#partial = Buffer.from(bytes.subarray(start))
        return -1
      }
      const response = readResponseHead(bytes, start, end, RESPONSE_LIMITS, consumer.requestMethod)
      if (!response.ok) {
        this.#fail('ERR_UPSTREAM_RESPONSE', `${response.reason} ${response.detail}`)
        return -1
      }
      if (response.status >= 200) return this.#begin(response, consumer, bytes, end)
      if (response.status === 101) {
        this.#tunnel = true
        this.#reusable = false
        consumer.onSwitched(response)
        if (this.#consumer !== consumer) return -1
        this.#headBytes = bytes
        return end
      }
      if (++this.#informational > MOST_INFORMATIONAL) {
        this.#fail('ERR_UPSTREAM_RESPONSE', 'too many informational responses')
        return -1
      }
      consumer.onInformational(response)
      start = end
      end = findHeadEnd(bytes, start)
    }
  }

  #begin(response: Http1Response, consumer: ResponseConsumer, bytes: Buffer, end: number): number {
    if (!response.keepAlive) this.#reusable = false
    this.#headBytes = bytes
    consumer.onResponse(response)
    if (this.#consumer !== consumer) return -1
    const left = bytes.length - end
    if (response.bodyLength !== 0 && response.bodyLength !== left) {
      this.#body = createBodyReader(response.bodyLength, RESPONSE_LIMITS)
      return end
    }
    // None, or all of it in this read: the common cases need no reader.
    if (response.bodyLength !== 0) consumer.onResponseData(bytes.subarray(end))
    if (this.#consumer === consumer) this.#complete(response.bodyLength === 0 && left > 0)
    return -1
  }

  onData(chunk: Buffer): void {
    this.#consumer?.onResponseData(chunk)
  }

  onEnd(trailers: HeaderList | undefined): void {
    this.#ended = true
    this.#trailers = trailers
  }

  /** @param surplus more bytes came than the one response: they must never be taken for the next one */
  #complete(surplus: boolean): void {
    const consumer = this.#consumer
    const trailers = this.#trailers
    this.#consumer = undefined
    this.#body = undefined
    this.#trailers = undefined
    this.#ended = false
    this.#served++
    if (surplus || !this.#requestDone || !this.#reusable) this.destroy()
    consumer?.onResponseEnd(trailers)
  }

  #fail(reason: ReasonCode, detail: string): void {
    const consumer = this.#consumer
    const unanswered = this.#unanswered
    this.#consumer = undefined
    this.destroy()
    consumer?.onFailure(reason, detail, unanswered)
  }

  #onSocketError(error: NodeJS.ErrnoException): void {
    if (this.#consumer === undefined) return this.destroy()
    const code = error.code ?? error.message
    if (code === 'ERR_UPSTREAM_CONNECT_TIMEOUT') return this.#fail(code, 'no connection in time')
    if (isConnectFault(error)) return this.#fail('ERR_UPSTREAM_UNREACHABLE', code)
    this.#fail(this.#body === undefined ? 'ERR_UPSTREAM_CLOSED' : 'ERR_UPSTREAM_TRUNCATED', code)
  }

  #onSocketEnd(): void {
    const consumer = this.#consumer
    if (consumer === undefined) return this.destroy()
    if (this.#tunnel) return consumer.onTunnelEnd()
    const body = this.#body
    if (body !== undefined) {
      body.end(this)
      if (this.#ended) {
        this.#complete(false)
        consumer.onFlush()
        return
      }
      return this.#fail('ERR_UPSTREAM_TRUNCATED', 'closed in the middle of the response')
    }
    this.#fail('ERR_UPSTREAM_CLOSED', this.#unanswered ? 'closed before a response' : 'closed in the middle of a head')
  }

  #onSocketClose(): void {
    if (this.#closed) return
    if (this.#consumer !== undefined)
      return this.#fail(this.#body === undefined ? 'ERR_UPSTREAM_CLOSED' : 'ERR_UPSTREAM_TRUNCATED', 'closed')
    this.destroy()
  }
}
