/** Reads a byte stream of HTTP/1.1 messages with the codec under test, as it comes in pieces, one message after another, like a connection. */
import type { HeaderList } from '#http/header-list'
import { type BodyReader, type BodySink, createBodyReader } from '#wire/http1/body-reader'
import { findHeadEnd } from '#wire/http1/head-end'
import type { HeadLimits } from '#wire/http1/limits'
import type { Http1Request, Http1Response } from '#wire/http1/message'
import { readRequestHead } from '#wire/http1/request-reader'
import { readResponseHead } from '#wire/http1/response-reader'
import { TEST_LIMITS } from './http1-bytes.ts'

export interface ReadMessage {
  /** Method and target, or status and phrase. */
  readonly first: string
  readonly second: string
  readonly minor: number
  readonly headers: HeaderList
  body: string
  trailers: HeaderList | undefined
  complete: boolean
}

export interface ReadMessages {
  readonly messages: readonly ReadMessage[]
  /** Reason code of what could not be read. */
  readonly fault: string | undefined
  /** Bytes not read: from a head that is refused or not complete on, of a tunnel, or behind the last message of a connection. */
  readonly rest: number
}

export interface ReadMessagesOptions {
  readonly limits?: HeadLimits
  /** The sender ends its side after the last piece. */
  readonly fin?: boolean
}

export function readMessages(kind: 'request' | 'response', pieces: readonly Buffer[], options: ReadMessagesOptions = {}): ReadMessages {
  const limits = options.limits ?? TEST_LIMITS
  const messages: ReadMessage[] = []
  let held: Buffer = Buffer.alloc(0)
  let searched = 0
  let body: BodyReader | undefined
  let last = false
  let fault: string | undefined

  const sink: BodySink = {
    onData: (chunk) => void (current().body += chunk.toString('latin1')),
    onEnd: (trailers) => void (current().trailers = trailers),
  }
  function current(): ReadMessage {
    const message = messages.at(-1)
    if (message === undefined) throw new Error('a body without a head')
    return message
  }

  /** @returns whether there is more to do with the bytes that are held */
  function readBody(reader: BodyReader): boolean {
    held = held.subarray(reader.read(held, 0, sink))
    current().complete = reader.done
    fault = reader.fault?.reason
    if (!reader.done) return false
    body = undefined
    searched = 0
    return true
  }

  function readHead(): boolean {
    const end = findHeadEnd(held, Math.max(0, searched - 3))
    searched = held.length
    if (end === -1) return false
    const head = kind === 'request' ? readRequestHead(held, 0, end, limits) : readResponseHead(held, 0, end, limits, 'GET')
    if (!head.ok) {
      fault = head.reason
      return false
    }
    held = held.subarray(end)
    body = createBodyReader(head.bodyLength, limits)
    messages.push({ ...firstLine(head), minor: head.minor, headers: head.headers, body: '', trailers: undefined, complete: body.done })
    const interim = 'status' in head && head.status < 200 && head.status !== 101
    last = (!head.keepAlive && !interim) || head.upgradeWebsocket
    return true
  }

  for (const piece of pieces) {
    held = held.length === 0 ? piece : Buffer.concat([held, piece])
    let more = fault === undefined
    while (more) more = body !== undefined ? readBody(body) : !last && readHead()
  }
  if (options.fin === true && body !== undefined && fault === undefined) {
    body.end(sink)
    current().complete = body.done
    fault = body.fault?.reason
  }
  return { messages, fault, rest: held.length }
}

function firstLine(head: Http1Request | Http1Response): { first: string; second: string } {
  return 'method' in head ? { first: head.method, second: head.target } : { first: String(head.status), second: head.reasonPhrase }
}
