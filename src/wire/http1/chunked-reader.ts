/** Reads a body in chunks (RFC 9112 §7.1). Extensions are checked, bounded and dropped; trailers are read as headers are. */
import { Buffer } from 'node:buffer'
import { type Refusal, refusal } from '#base/result'
import { FIELD_VALUE, HEX_VALUE, TOKEN } from '#http/characters'
import type { BodyReader, BodySink } from './body-reader.ts'
import type { HeadLimits } from './limits.ts'
import { createTrailerReader, type TrailerReader } from './trailer-reader.ts'

const LF = 0x0a
const CR = 0x0d
const HTAB = 0x09
const SP = 0x20
const QUOTE = 0x22
const SEMICOLON = 0x3b
const EQUALS = 0x3d
const BACKSLASH = 0x5c

/** 13 hexadecimal digits are 52 bits: every size is exact as a number, and none overflows. */
const MOST_DIGITS = 13

/** Of one chunk; bytes. All extensions of a body together are bounded by `limits.bytes`. */
const MOST_EXTENSION = 1024

/**
 * Where the reader stands between two bytes:
 * size → (extension → quoted ⇄ escaped) → sizeLf → data → dataCr → dataLf → size …, and after the chunk of size 0 → trailers → done.
 */
type State =
  | 'size'
  | 'blank'
  | 'extensionName'
  | 'extension'
  | 'extensionBlank'
  | 'quoted'
  | 'escaped'
  | 'sizeLf'
  | 'data'
  | 'dataCr'
  | 'dataLf'
  | 'trailers'
  | 'done'

export function createChunkedReader(limits: HeadLimits): BodyReader {
  return new ChunkedReader(limits)
}

class ChunkedReader implements BodyReader {
  readonly #limits: HeadLimits
  #state: State = 'size'
  /** While in `size` what was read of it, in `data` what is missing of it. */
  #size = 0
  #digits = 0
  #extension = 0
  #extensions = 0
  #trailers: TrailerReader | undefined
  #fault: Refusal | undefined

  constructor(limits: HeadLimits) {
    this.#limits = limits
  }

  get done(): boolean {
    return this.#state === 'done'
  }

  get fault(): Refusal | undefined {
    return this.#fault
  }

  end(): void {
    if (this.#state !== 'done' && this.#fault === undefined) this.#fault = refusal('ERR_HTTP_BODY_TRUNCATED', 'no last chunk')
  }

  read(bytes: Buffer, from: number, sink: BodySink): number {
    let position = from
    while (position < bytes.length && this.#fault === undefined && this.#state !== 'done') {
      if (this.#state === 'data') {
        const end = Math.min(bytes.length, position + this.#size)
        this.#size -= end - position
        if (this.#size === 0) this.#state = 'dataCr'
        sink.onData(bytes.subarray(position, end))
        position = end
      } else if (this.#state === 'trailers') {
        position = this.#readTrailers(bytes, position, sink)
      } else {
        this.#step(bytes[position] as number)
        position++
      }
    }
    return position
  }

  /** One byte of framing. */
  #step(code: number): void {
    switch (this.#state) {
      case 'size':
        this.#stepSize(code)
        return
      case 'sizeLf':
        if (code !== LF) this.#fail('bare CR after a chunk size')
        else if (this.#size !== 0) this.#state = 'data'
        else {
          this.#state = 'trailers'
          this.#trailers = createTrailerReader(this.#limits)
        }
        return
      case 'dataCr':
        if (code === CR) this.#state = 'dataLf'
        else this.#fail('no CR LF after the data of a chunk')
        return
      case 'dataLf':
        if (code !== LF) this.#fail('bare CR after the data of a chunk')
        this.#state = 'size'
        this.#digits = 0
        this.#extension = 0
        return
      default:
        this.#stepExtension(code)
    }
  }

  #stepSize(code: number): void {
    const digit = HEX_VALUE[code] as number
    if (digit <= 15) {
      if (++this.#digits > MOST_DIGITS) this.#fail('size has too many digits')
      else this.#size = this.#size * 16 + digit
    } else if (this.#digits === 0) this.#fail('size is not hexadecimal')
    else if (code === CR) this.#state = 'sizeLf'
    else if (code === SEMICOLON) this.#state = 'extensionName'
    else if (code === SP || code === HTAB) this.#state = 'blank'
    else this.#fail('size is not hexadecimal')
  }

  /** Extensions mean nothing here, but where they end must not be in doubt: a bare LF or an open quote is refused. */
  #stepExtension(code: number): void {
    if (++this.#extension > MOST_EXTENSION || ++this.#extensions > this.#limits.bytes) {
      this.#fail('extensions are too long')
      return
    }
    switch (this.#state) {
      case 'blank':
        if (code === SEMICOLON) this.#state = 'extensionName'
        else if (code !== SP && code !== HTAB) this.#fail('something other than an extension after a size')
        return
      case 'extensionName':
        if (TOKEN[code] === 1) this.#state = 'extension'
        else if (code !== SP && code !== HTAB) this.#fail('extension without a name')
        return
      case 'quoted':
        if (code === QUOTE) this.#state = 'extension'
        else if (code === BACKSLASH) this.#state = 'escaped'
        else if (FIELD_VALUE[code] !== 1) this.#fail('control character in an extension')
        return
      case 'escaped':
        if (FIELD_VALUE[code] === 1) this.#state = 'quoted'
        else this.#fail('control character in an extension')
        return
      default:
        // RFC 9112 §7.1.1 has blanks around `;` and `=`, none before the end of the line.
        if (code === CR && this.#state === 'extensionBlank') this.#fail('blank at the end of an extension')
        else if (code === CR) this.#state = 'sizeLf'
        else if (code === SEMICOLON) this.#state = 'extensionName'
        else if (code === QUOTE) this.#state = 'quoted'
        else if (code === SP || code === HTAB) this.#state = 'extensionBlank'
        else if (TOKEN[code] === 1 || code === EQUALS) this.#state = 'extension'
        else this.#fail('extension is malformed')
    }
  }

  #readTrailers(bytes: Buffer, from: number, sink: BodySink): number {
    const trailers = this.#trailers
    if (trailers === undefined) return from
    const position = trailers.read(bytes, from)
    this.#fault = trailers.fault
    if (trailers.done) {
      this.#state = 'done'
      sink.onEnd(trailers.headers)
    }
    return position
  }

  #fail(detail: string): void {
    this.#fault = refusal('ERR_HTTP_CHUNK', detail)
  }
}
