/** Encodes header fields with a dynamic table of our own (RFC 7541 §6), without Huffman codes: the table saves more, for less work. */
import { DEFAULT_TABLE_SIZE } from '../protocol.ts'
import type { Output } from '../output.ts'
import { FIELD_OVERHEAD } from './field.ts'
import { STATIC_COUNT, STATIC_NAMES, STATIC_TABLE } from './static-table.ts'

/** What one more field can need in a block beside the characters of its name and value. */
export const FIELD_CODE_BYTES = 16

/** What size updates can need. */
export const UPDATE_BYTES = 12

/** A larger table than this costs memory on both sides and seldom finds more. */
const LARGEST_TABLE = 4096
/** Values of one name that are compared before a field is written out. */
const MOST_COMPARED = 4

/** Differ from one request to the next: indexing them would drive out what repeats. */
const VOLATILE: ReadonlySet<string> = new Set([
  ':path',
  'content-length',
  'date',
  'etag',
  'grpc-timeout',
  'idempotency-key',
  'if-match',
  'if-modified-since',
  'if-none-match',
  'if-range',
  'if-unmodified-since',
  'last-modified',
  'range',
  'traceparent',
  'tracestate',
  'x-b3-parentspanid',
  'x-b3-spanid',
  'x-b3-traceid',
  'x-request-id',
])

/** Whoever can make requests and see their sizes must not be able to guess these piece by piece (RFC 7541 §7.1). */
const SENSITIVE: ReadonlySet<string> = new Set(['authorization', 'cookie', 'proxy-authorization', 'set-cookie'])

interface Entry {
  readonly name: string
  readonly value: string
  readonly size: number
  /** Which insertion it was, from 1. */
  readonly number: number
}

const INDEXED = 0x80
const LITERAL_INDEXED = 0x40
const LITERAL = 0x00
const LITERAL_NEVER = 0x10

export class HpackEncoder {
  /** Oldest first from `#oldest` on. */
  readonly #entries: (Entry | undefined)[] = []
  #oldest = 0
  readonly #byName = new Map<string, Entry[]>()
  #inserted = 0
  #size = 0
  #maxSize = DEFAULT_TABLE_SIZE
  /** What the peer allows, and the least it allowed since the last block. */
  #wanted = DEFAULT_TABLE_SIZE
  #least = DEFAULT_TABLE_SIZE

  /** SETTINGS_HEADER_TABLE_SIZE of the peer. Takes effect with the next block. */
  setLimit(bytes: number): void {
    this.#wanted = Math.min(bytes, LARGEST_TABLE)
    this.#least = Math.min(this.#least, this.#wanted)
  }

  /** Begins a block: tells the peer of a change of size (RFC 7541 §4.2). */
  begin(output: Output): void {
    if (this.#least < this.#maxSize) this.#resize(output, this.#least)
    if (this.#wanted !== this.#maxSize) this.#resize(output, this.#wanted)
    this.#least = this.#wanted
  }

  /**
   * @param name lower-case, latin1 as the value
   * @param sensitive never to be indexed, here or further on
   */
  write(output: Output, name: string, value: string, sensitive = false): void {
    const entries = this.#byName.get(name)
    if (entries !== undefined && !sensitive) {
      for (let index = entries.length - 1, least = Math.max(0, entries.length - MOST_COMPARED); index >= least; index--) {
        const entry = entries[index]
        if (entry !== undefined && entry.value === value) return writeInteger(output, INDEXED, 0x7f, this.#indexOf(entry))
      }
    }
    let nameIndex = STATIC_NAMES.get(name) ?? 0
    if (nameIndex !== 0) {
      for (let index = nameIndex; ; index++) {
        const field = STATIC_TABLE[index]
        if (field === undefined || field.name !== name) break
        if (field.value === value && value !== '') return writeInteger(output, INDEXED, 0x7f, index)
      }
    } else if (entries !== undefined) nameIndex = this.#indexOf(entries.at(-1))

    let form = LITERAL
    if (sensitive || SENSITIVE.has(name)) form = LITERAL_NEVER
    else if (!VOLATILE.has(name) && name.length + value.length + FIELD_OVERHEAD <= this.#maxSize >>> 1) form = LITERAL_INDEXED
    if (nameIndex !== 0) writeInteger(output, form, form === LITERAL_INDEXED ? 0x3f : 0x0f, nameIndex)
    else {
      output.bytes[output.position++] = form
      writeText(output, name)
    }
    writeText(output, value)
    if (form === LITERAL_INDEXED) this.#insert(name, value)
  }

  #indexOf(entry: Entry | undefined): number {
    return entry === undefined ? 0 : STATIC_COUNT + 1 + this.#inserted - entry.number
  }

  #insert(name: string, value: string): void {
    const entry = { name, value, size: name.length + value.length + FIELD_OVERHEAD, number: ++this.#inserted }
    this.#evict(this.#maxSize - entry.size)
    this.#entries.push(entry)
    this.#size += entry.size
    const entries = this.#byName.get(name)
    if (entries === undefined) this.#byName.set(name, [entry])
    else entries.push(entry)
  }

  #evict(size: number): void {
    while (this.#size > size) {
      const entry = this.#entries[this.#oldest]
      if (entry === undefined) break
      this.#entries[this.#oldest++] = undefined
      this.#size -= entry.size
      const entries = this.#byName.get(entry.name)
      // The oldest entry of all is the oldest of its name.
      if (entries === undefined || entries.length === 1) this.#byName.delete(entry.name)
      else entries.shift()
    }
    if (this.#oldest > 64 && this.#oldest * 2 > this.#entries.length) {
      this.#entries.splice(0, this.#oldest)
      this.#oldest = 0
    }
  }

  #resize(output: Output, size: number): void {
    writeInteger(output, 0x20, 0x1f, size)
    this.#maxSize = size
    this.#evict(size)
  }
}

/** Short texts are copied faster here than by a call that leaves JavaScript. */
const SHORT_TEXT = 24

/** A length and the text as latin1. */
export function writeText(output: Output, text: string): void {
  const { length } = text
  writeInteger(output, 0, 0x7f, length)
  const { bytes } = output
  if (length > SHORT_TEXT) {
    output.position += bytes.write(text, output.position, length, 'latin1')
    return
  }
  let position = output.position
  for (let index = 0; index < length; index++) bytes[position++] = text.charCodeAt(index)
  output.position = position
}

/** RFC 7541 §5.1. @param pattern the bits above the prefix @param mask of the prefix */
export function writeInteger(output: Output, pattern: number, mask: number, value: number): void {
  const { bytes } = output
  if (value < mask) {
    bytes[output.position++] = pattern | value
    return
  }
  bytes[output.position++] = pattern | mask
  let rest = value - mask
  for (; rest >= 0x80; rest >>>= 7) bytes[output.position++] = 0x80 | (rest & 0x7f)
  bytes[output.position++] = rest
}
