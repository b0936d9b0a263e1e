/**
 * One connection of a caller: reads requests one at a time with the strict codec, hands each to the API, writes its answer in one piece.
 *
 *   head → body → answering → head …          any → closed
 */
import type { Socket } from 'node:net'
import { refusal, type Refusal } from '#base/result'
import { headerValue } from '#http/header-list'
import { createRequestId, isRequestId } from '#http/request-id'
import type { RandomHex } from '#http/random-hex'
import { type BodyReader, createBodyReader } from '#wire/http1/body-reader'
import { findHeadEnd, oversizedHead } from '#wire/http1/head-end'
import type { Http1Request } from '#wire/http1/message'
import { readRequestHead } from '#wire/http1/request-reader'
import { writeStatusLine } from '#wire/http1/writer'
import { type ApiAnswer, type ApiRequest, refusedAnswer } from './api-message.ts'

export interface ConnectionContext {
  /** Who is there now: certificates end and are revoked while connections live. */
  caller(): ApiRequest['caller']
  readonly source: string
  answer(request: ApiRequest): Promise<ApiAnswer>
  /** A head or body that could not be read. */
  malformed(requestId: string, fault: Refusal, source: string): void
  readonly randomHex: RandomHex
  /** Ms since the epoch. */
  now(): number
  /** The value of `Date`. */
  date(): string
  /** No request after the one at hand. */
  draining(): boolean
  closed(): void
}

export interface ApiConnection {
  /** Looks at deadlines. @param now ms since the epoch */
  tick(now: number): void
  /** Ends it once it answers no request. */
  drain(): void
  destroy(): void
}

const LIMITS = { bytes: 16 * 1024, headers: 64 }
export const LARGEST_BODY = 64 * 1024
/** Ms: for a whole head or body from its first byte, and without any request. */
const MESSAGE_TIME = 10_000
const IDLE_TIME = 120_000
/** After a refusal that leaves bytes unread: how long its answer may take to be read. */
const LINGER_TIME = 2_000

/** What is written as headers is ASCII always. */
interface Written {
  readonly text: string
  readonly isAscii: boolean
}

type Phase = 'head' | 'body' | 'answering' | 'ending'

export function serveApi(socket: Socket, context: ConnectionContext): ApiConnection {
  let phase: Phase = 'head'
  let unread: Buffer | undefined
  let request: Http1Request | undefined
  let body: BodyReader | undefined
  let parts: Buffer[] = []
  let size = 0
  /** Since when the message at hand, or the silence, lasts. */
  let since = context.now()

  socket.on('data', (chunk: Buffer) => {
    if (phase === 'ending') return
    unread = unread === undefined ? chunk : Buffer.concat([unread, chunk])
    // Whoever sends more while it is being answered has broken the order of things, or fills our memory.
    if (phase === 'answering') {
      if (unread.length > LIMITS.bytes) socket.destroy()
      return
    }
    if (phase === 'head' && unread === chunk) since = context.now()
    advance()
  })
  socket.on('end', () => {
    if (phase === 'answering') phase = 'ending'
    else socket.end()
  })
  socket.on('error', () => {})
  socket.on('close', () => context.closed())

  function advance(): void {
    if (phase === 'head') readHead()
    if (phase === 'body') readBody()
  }

  function readHead(): void {
    if (unread === undefined) return
    const end = findHeadEnd(unread, 0)
    if (end === -1) {
      if (unread.length > LIMITS.bytes) refuse(oversizedHead(unread, 0, LIMITS))
      return
    }
    const head = readRequestHead(unread, 0, end, LIMITS)
    if (!head.ok) return refuse(head)
    if (head.bodyLength > LARGEST_BODY) return refuse(refusal('ERR_CA_REQUEST', `the body is larger than ${LARGEST_BODY} bytes`), 413)
    request = head
    body = head.bodyLength === 0 ? undefined : createBodyReader(head.bodyLength, LIMITS)
    parts = []
    size = 0
    take(end)
    phase = 'body'
    if (head.expectContinue) socket.write('HTTP/1.1 100 Continue\r\n\r\n')
  }

  function readBody(): void {
    if (body !== undefined) {
      if (unread === undefined) return
      take(body.read(unread, 0, { onData: keep, onEnd() {} }))
      if (body.fault !== undefined) return refuse(body.fault)
      if (size > LARGEST_BODY) return refuse(refusal('ERR_CA_REQUEST', `the body is larger than ${LARGEST_BODY} bytes`), 413)
      if (!body.done) return
    }
    phase = 'answering'
    void answer()
  }

  function keep(part: Buffer): void {
    size += part.length
    if (size <= LARGEST_BODY) parts.push(part)
  }

  function take(count: number): void {
    unread = unread === undefined || count >= unread.length ? undefined : unread.subarray(count)
  }

  async function answer(): Promise<void> {
    if (request === undefined) return
    const { method, path, headers, keepAlive } = request
    const requestId = idOf(headerValue(headers, 'x-request-id'))
    const [only] = parts
    const content = parts.length === 1 && only !== undefined ? only : Buffer.concat(parts)
    parts = []
    const isHead = method === 'HEAD'
    const reply = await context.answer({
      method: isHead ? 'GET' : method,
      path,
      headers,
      body: content,
      caller: context.caller(),
      source: context.source,
      requestId,
    })
    if (socket.destroyed) return
    const stays = keepAlive && !context.draining() && phase === 'answering'
    send(format(reply, requestId, stays, isHead))
    since = context.now()
    if (!stays) return end()
    phase = 'head'
    request = undefined
    if (unread !== undefined) advance()
  }

  function refuse(fault: Refusal, status = 400): void {
    const requestId = idOf(undefined)
    context.malformed(requestId, fault, context.source)
    send(format(refusedAnswer({ refusal: fault, requestId, status }), requestId, false, false))
    end()
  }

  /** ASCII goes out as it lies in memory; that it is ASCII shows in its length. */
  function send({ text, isAscii }: Written): void {
    socket.write(text, isAscii ? 'latin1' : 'utf8')
  }

  function end(): void {
    phase = 'ending'
    unread = undefined
    since = context.now()
    socket.end()
  }

  function idOf(given: string | undefined): string {
    return given !== undefined && isRequestId(given) ? given : createRequestId(context.now(), context.randomHex)
  }

  function format({ status, contentType, headers, body: text }: ApiAnswer, requestId: string, stays: boolean, isHead: boolean): Written {
    const length = Buffer.byteLength(text)
    let head = `${writeStatusLine(status)}date: ${context.date()}\r\nx-request-id: ${requestId}\r\n`
    if (status !== 304) head += `content-type: ${contentType}\r\ncontent-length: ${length}\r\n`
    for (const [name, value] of headers) head += `${name}: ${value}\r\n`
    if (!stays) head += 'connection: close\r\n'
    return { text: isHead ? `${head}\r\n` : `${head}\r\n${text}`, isAscii: length === text.length }
  }

  return {
    tick(now) {
      if (phase === 'answering') return
      const isIdle = phase === 'head' && unread === undefined
      const limit = phase === 'ending' ? LINGER_TIME : isIdle ? IDLE_TIME : MESSAGE_TIME
      if (now - since > limit || now < since - IDLE_TIME) socket.destroy()
    },
    drain() {
      if (phase === 'head' && unread === undefined) end()
    },
    destroy: () => socket.destroy(),
  }
}
