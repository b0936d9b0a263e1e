/** A place in a header block, and the two primitives all of HPACK is made of: integers and strings (RFC 7541 §5). */
import { Buffer } from 'node:buffer'
import { HUFFMAN_GROWTH, decodeHuffman } from './huffman.ts'

/** Room for decoded Huffman strings, which all cursors of a process share: nothing is kept in it. */
export interface Scratch {
  bytes: Buffer
}

export function createScratch(): Scratch {
  return { bytes: Buffer.allocUnsafeSlow(4096) }
}

const NO_BYTES = Buffer.alloc(0)

export class BlockCursor {
  bytes: Buffer = NO_BYTES
  at = 0
  end = 0
  /** What was wrong with what could not be read. */
  detail = ''
  /** The string read last stands in `source` from `from` to `to`, until the next is read. */
  source: Buffer = NO_BYTES
  from = 0
  to = 0
  readonly #scratch: Scratch

  constructor(scratch: Scratch) {
    this.#scratch = scratch
  }

  begin(bytes: Buffer, start: number, end: number): void {
    this.bytes = bytes
    this.at = start
    this.end = end
  }

  /** Lets go of the bytes: what came is held no longer than it is read. */
  release(): void {
    this.bytes = this.source = NO_BYTES
  }

  /** RFC 7541 §5.1, up to 2^28 and a little; -1 if it is larger or cut short. Must not be called at the end. */
  readInteger(mask: number): number {
    const { bytes } = this
    let value = (bytes[this.at++] as number) & mask
    if (value < mask) return value
    for (let shift = 0; shift <= 21; shift += 7) {
      if (this.at >= this.end) break
      const byte = bytes[this.at++] as number
      value += (byte & 0x7f) << shift
      if (byte < 0x80) return value
    }
    this.detail = 'an integer that is cut short or too large'
    return -1
  }

  /** RFC 7541 §5.2. @returns false if it is malformed */
  readString(): boolean {
    if (this.at >= this.end) return this.#cutShort()
    const huffman = (this.bytes[this.at] as number) >= 0x80
    const length = this.readInteger(0x7f)
    if (length === -1) return false
    if (length > this.end - this.at) return this.#cutShort()
    const start = this.at
    this.at += length
    if (!huffman) {
      this.source = this.bytes
      this.from = start
      this.to = this.at
      return true
    }
    const scratch = this.#scratch
    const most = Math.ceil(length * HUFFMAN_GROWTH)
    if (scratch.bytes.length < most) scratch.bytes = Buffer.allocUnsafeSlow(most)
    this.source = scratch.bytes
    this.from = 0
    this.to = decodeHuffman(this.bytes, start, this.at, scratch.bytes, 0)
    if (this.to !== -1) return true
    this.detail = 'a Huffman code with EOS or wrong padding'
    return false
  }

  #cutShort(): false {
    this.detail = 'a block that is cut short'
    return false
  }
}
