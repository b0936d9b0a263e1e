/** Reads bodies as framed: by length, in chunks (`chunked-reader.ts`), or until the connection ends (RFC 9112 §6). */
import { Buffer } from 'node:buffer'
import { type Refusal, refusal } from '#base/result'
import type { HeaderList } from '#http/header-list'
import { createChunkedReader } from './chunked-reader.ts'
import { CHUNKED, type HeadLimits, UNTIL_CLOSE } from './limits.ts'

export interface BodySink {
  /** Content without framing, never empty: a part of the buffer that was read, or that buffer itself. Not copied. */
  onData(chunk: Buffer): void
  /** Once, after the last data. */
  onEnd(trailers: HeaderList | undefined): void
}

export interface BodyReader {
  /**
   * Reads from an index on and returns the index after the last byte that belongs to this body; the whole buffer unless
   * the body ended or is at fault in it.
   */
  read(bytes: Buffer, from: number, sink: BodySink): number
  /** The sender has ended its side: completes a body that lasts until then, puts any other that is unfinished at fault. */
  end(sink: BodySink): void
  /** A body of length 0 is done from the beginning, and its sink is never called. */
  readonly done: boolean
  /** Why the body cannot be read on; nothing is read or told any more once this is set. */
  readonly fault: Refusal | undefined
}

/**
 * @param bodyLength of a head that was read
 * @param limits for trailers, and for all chunk extensions of the body together
 */
export function createBodyReader(bodyLength: number, limits: HeadLimits): BodyReader {
  if (bodyLength === CHUNKED) return createChunkedReader(limits)
  if (bodyLength === UNTIL_CLOSE) return new UntilCloseReader()
  return new LengthReader(bodyLength)
}

/** A class, as one is made for every body: an object literal with accessors costs V8 a call into its runtime for each of them. */
class LengthReader implements BodyReader {
  readonly #length: number
  #remaining: number
  fault: Refusal | undefined = undefined

  constructor(length: number) {
    this.#length = length
    this.#remaining = length
  }

  get done(): boolean {
    return this.#remaining === 0
  }

  read(bytes: Buffer, from: number, sink: BodySink): number {
    if (this.#remaining === 0 || this.fault !== undefined || from >= bytes.length) return from
    const end = Math.min(bytes.length, from + this.#remaining)
    this.#remaining -= end - from
    sink.onData(part(bytes, from, end))
    if (this.#remaining === 0) sink.onEnd(undefined)
    return end
  }

  end(): void {
    if (this.#remaining !== 0) this.fault = refusal('ERR_HTTP_BODY_TRUNCATED', `${this.#remaining} of ${this.#length} bytes missing`)
  }
}

class UntilCloseReader implements BodyReader {
  readonly fault = undefined
  done = false

  read(bytes: Buffer, from: number, sink: BodySink): number {
    if (this.done || from >= bytes.length) return from
    sink.onData(part(bytes, from, bytes.length))
    return bytes.length
  }

  end(sink: BodySink): void {
    if (this.done) return
    this.done = true
    sink.onEnd(undefined)
  }
}

/** Spares the view where the body has the buffer to itself, which is the common case of large bodies. */
function part(bytes: Buffer, start: number, end: number): Buffer {
  return start === 0 && end === bytes.length ? bytes : bytes.subarray(start, end)
}
