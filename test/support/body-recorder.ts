/** Feeds bytes to a body reader in given pieces and writes down what it tells. */
import type { HeaderList } from '#http/header-list'
import { type BodySink, createBodyReader } from '#wire/http1/body-reader'
import type { HeadLimits } from '#wire/http1/limits'
import { TEST_LIMITS } from './http1-bytes.ts'

export interface ReadBody {
  readonly data: string
  readonly ends: number
  readonly trailers: HeaderList | undefined
  readonly done: boolean
  /** Reason code. */
  readonly fault: string | undefined
  /** Bytes taken of all that came. */
  readonly consumed: number
}

export interface ReadBodyOptions {
  readonly limits?: HeadLimits
  /** The sender ends its side after the last piece. */
  readonly fin?: boolean
}

/** @param pieces as they come from a socket; reading stops with the body, as the proxy's does */
export function readBody(bodyLength: number, pieces: readonly Buffer[], options: ReadBodyOptions = {}): ReadBody {
  const reader = createBodyReader(bodyLength, options.limits ?? TEST_LIMITS)
  let data = ''
  let ends = 0
  let trailers: HeaderList | undefined
  let consumed = 0
  const sink: BodySink = {
    onData(chunk) {
      if (ends !== 0) throw new Error('data after the end')
      if (chunk.length === 0) throw new Error('empty data')
      data += chunk.toString('latin1')
    },
    onEnd(fields) {
      ends++
      trailers = fields
    },
  }
  for (const piece of pieces) {
    const next = reader.read(piece, 0, sink)
    if (next < 0 || next > piece.length) throw new Error(`consumed ${next} of ${piece.length}`)
    consumed += next
    if (reader.done || reader.fault !== undefined) break
    if (next !== piece.length) throw new Error('stopped in the middle of a body')
  }
  if (options.fin === true) reader.end(sink)
  return { data, ends, trailers, done: reader.done, fault: reader.fault?.reason, consumed }
}

/** Every way to cut bytes in two, and byte by byte. */
export function* splits(bytes: Buffer): Generator<Buffer[]> {
  for (let at = 0; at <= bytes.length; at++) yield [bytes.subarray(0, at), bytes.subarray(at)].filter((piece) => piece.length > 0)
  yield Array.from(bytes, (_, index) => bytes.subarray(index, index + 1))
}
