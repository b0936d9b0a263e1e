/** Reads the trailer section of a body in chunks (RFC 9112 §7.1.2). */
import { Buffer } from 'node:buffer'
import { type Refusal, refusal } from '#base/result'
import { type HeaderList, addHeader, createHeaderList } from '#http/header-list'
import { readFields } from './fields.ts'
import { findHeadEnd } from './head-end.ts'
import type { HeadLimits } from './limits.ts'

export interface TrailerReader {
  /** As `BodyReader.read`. */
  read(bytes: Buffer, from: number): number
  readonly done: boolean
  readonly fault: Refusal | undefined
  /** Once done; undefined if there are none. */
  readonly headers: HeaderList | undefined
}

const LF = 0x0a
const CR = 0x0d
const FIRST_HOLD = 256

/** A sender that puts one of these here means to change what was decided already (RFC 9110 §6.5.1). */
const REFUSED: ReadonlySet<string> = new Set([
  'host',
  'content-length',
  'transfer-encoding',
  'connection',
  'upgrade',
  'expect',
  'authorization',
  'proxy-authorization',
  'cookie',
  'set-cookie',
  'www-authenticate',
  'proxy-authenticate',
])

/** Harmless, but for one hop or for the head only: dropped, as any recipient may. */
const DROPPED: ReadonlySet<string> = new Set([
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'max-forwards',
  'cache-control',
  'pragma',
  'range',
  'if-match',
  'if-none-match',
  'if-modified-since',
  'if-unmodified-since',
  'if-range',
  'content-encoding',
  'content-type',
  'content-range',
  'age',
  'expires',
  'date',
  'location',
  'retry-after',
  'vary',
])

export function createTrailerReader(limits: HeadLimits): TrailerReader {
  // What came so far, after the LF that ends the line of the last chunk: with it, an empty section ends as any other does.
  let held = Buffer.alloc(0)
  let heldLength = 1
  let done = false
  let fault: Refusal | undefined
  let headers: HeaderList | undefined

  function hold(bytes: Buffer, start: number, end: number): void {
    const needed = heldLength + end - start
    if (needed > held.length) {
      const larger = Buffer.allocUnsafe(Math.max(needed, 2 * held.length, FIRST_HOLD))
      held.copy(larger, 0, 0, heldLength)
      larger[0] = LF
      held = larger
    }
    bytes.copy(held, heldLength, start, end)
    heldLength = needed
  }

  function finish(end: number): void {
    const fields = readFields(held, held.toString('latin1', 1, end), 1, 1, end, limits, true)
    const checked = fields.ok ? keepAllowed(fields.headers) : fields
    if (checked !== undefined && 'ok' in checked) fault = checked
    else {
      headers = checked
      done = true
    }
  }

  return {
    read(bytes, from) {
      if (heldLength === 1 && bytes[from] === CR && bytes[from + 1] === LF) {
        done = true
        return from + 2
      }
      const before = heldLength
      const room = Math.min(bytes.length, from + limits.bytes + 1 - (before - 1))
      hold(bytes, from, room)
      const end = findHeadEnd(held.subarray(0, heldLength), Math.max(0, before - 3))
      if (end === -1) {
        if (heldLength - 1 > limits.bytes) fault = refusal('ERR_HTTP_HEAD_TOO_LARGE', 'trailers')
        return room
      }
      finish(end)
      return from + end - before
    },
    get done() {
      return done
    },
    get fault() {
      return fault
    },
    get headers() {
      return headers
    },
  }
}

function keepAllowed(headers: HeaderList): HeaderList | Refusal | undefined {
  const kept = createHeaderList()
  for (const [index, name] of headers.names.entries()) {
    if (REFUSED.has(name)) return refusal('ERR_HTTP_TRAILER', name)
    if (!DROPPED.has(name)) addHeader(kept, name, headers.values[index] ?? '')
  }
  return kept.names.length === 0 ? undefined : kept
}
