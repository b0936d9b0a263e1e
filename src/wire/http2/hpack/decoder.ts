/** Decodes header blocks that share a dynamic table (RFC 7541 §2 to §6), strictly, and hands each field on as it comes. */
import type { Buffer } from 'node:buffer'
import { DEFAULT_TABLE_SIZE } from '../protocol.ts'
import { BlockCursor, type Scratch } from './cursor.ts'
import { BAD_VALUE, FIELD_OVERHEAD, type Field, type FieldName, isFieldValue, makeField, readFieldName, SOUND } from './field.ts'
import { STATIC_COUNT, STATIC_TABLE } from './static-table.ts'

export interface FieldSink {
  /** @param neverIndexed whoever encodes the field again must not index it either (RFC 7541 §6.2.3) */
  onField(field: Field, neverIndexed: boolean): void
}

/**
 * `complete`: every field was handed on · `too-large`: those beyond the limit were not, and the table is right still ·
 * `flood`: given up at many times the limit · `malformed`: the two ends no longer agree on the table, see `detail`.
 */
export type DecodeOutcome = 'complete' | 'too-large' | 'flood' | 'malformed'

/** A list this many times larger than the limit is no mistake. */
const FLOOD_FACTOR = 4
/** The smallest size since the last block, then the final one: more updates say nothing (RFC 7541 §4.2). */
export const MOST_UPDATES = 2
const FIRST_CAPACITY = 16

export class HpackDecoder {
  readonly #listLimit: number
  readonly #cursor: BlockCursor
  /** A ring whose length is a power of two; the newest entry stands before `#next`. */
  #ring: (Field | undefined)[] = []
  #next = 0
  #count = 0
  #size = 0
  #maxSize = DEFAULT_TABLE_SIZE
  #limit = DEFAULT_TABLE_SIZE
  #updateDue = false

  /** @param listLimit of the decoded list, counted as SETTINGS_MAX_HEADER_LIST_SIZE is */
  constructor(scratch: Scratch, listLimit: number) {
    this.#cursor = new BlockCursor(scratch)
    this.#listLimit = listLimit
  }

  /** SETTINGS_HEADER_TABLE_SIZE of ours is in force at the peer: it has acknowledged it. */
  setLimit(bytes: number): void {
    if (bytes < this.#maxSize) this.#updateDue = true
    this.#limit = bytes
  }

  /** What is malformed. */
  get detail(): string {
    return this.#cursor.detail
  }

  /** Of the dynamic table, as HPACK counts; at most the limit. */
  get tableSize(): number {
    return this.#size
  }

  get tableCount(): number {
    return this.#count
  }

  decode(bytes: Buffer, start: number, end: number, sink: FieldSink): DecodeOutcome {
    this.#cursor.begin(bytes, start, end)
    const outcome = this.#readSizeUpdates() ? this.#readFields(bytes, end, sink) : 'malformed'
    this.#cursor.release()
    return outcome
  }

  #readFields(bytes: Buffer, end: number, sink: FieldSink): DecodeOutcome {
    const cursor = this.#cursor
    const listLimit = this.#listLimit
    let listSize = 0
    while (cursor.at < end) {
      const first = bytes[cursor.at] as number
      let field: Field | undefined
      if (first >= 0x80) field = this.#lookUp(cursor.readInteger(0x7f))
      else if (first >= 0x40) {
        field = this.#readLiteral(0x3f)
        if (field !== undefined) this.#insert(field)
      } else if (first < 0x20) field = this.#readLiteral(0x0f)
      else cursor.detail = 'a size update after the first field'
      if (field === undefined) return 'malformed'
      listSize += field.size
      if (listSize <= listLimit) sink.onField(field, first >= 0x10 && first < 0x20)
      else if (listSize > FLOOD_FACTOR * listLimit) return 'flood'
    }
    return listSize <= listLimit ? 'complete' : 'too-large'
  }

  #readSizeUpdates(): boolean {
    const cursor = this.#cursor
    let updates = 0
    while (cursor.at < cursor.end && ((cursor.bytes[cursor.at] as number) & 0xe0) === 0x20) {
      const size = cursor.readInteger(0x1f)
      if (size === -1) return false
      if (size > this.#limit) return this.#fault('a table size above SETTINGS_HEADER_TABLE_SIZE')
      if (++updates > MOST_UPDATES) return this.#fault('more than two size updates')
      this.#maxSize = size
      this.#updateDue = false
      this.#evict(size)
    }
    if (this.#updateDue) return this.#fault('no size update although SETTINGS_HEADER_TABLE_SIZE became smaller')
    return true
  }

  #lookUp(index: number): Field | undefined {
    if (index > 0) {
      if (index <= STATIC_COUNT) return STATIC_TABLE[index]
      const back = index - STATIC_COUNT
      if (back <= this.#count) return this.#ring[(this.#next - back) & (this.#ring.length - 1)]
    }
    if (index !== -1) this.#fault(`index ${index} of a table with ${this.#count} entries`)
    return undefined
  }

  #readLiteral(mask: number): Field | undefined {
    const cursor = this.#cursor
    const index = cursor.readInteger(mask)
    let name: FieldName | undefined
    if (index !== 0) name = this.#lookUp(index)
    else if (cursor.readString()) name = readFieldName(cursor.source, cursor.from, cursor.to)
    if (name === undefined || !cursor.readString()) return undefined
    const { source, from, to } = cursor
    return makeField(name, source.toString('latin1', from, to), isFieldValue(source, from, to) ? SOUND : BAD_VALUE)
  }

  #insert(field: Field): void {
    this.#evict(this.#maxSize - field.size)
    // Larger than the whole table: it is emptied, and that is no error (RFC 7541 §4.4).
    if (field.size > this.#maxSize) return
    if (this.#count === this.#ring.length) this.#grow()
    this.#ring[this.#next] = field
    this.#next = (this.#next + 1) & (this.#ring.length - 1)
    this.#count++
    this.#size += field.size
  }

  /** Drops the oldest entries until the table is no larger than `size`. */
  #evict(size: number): void {
    while (this.#size > size && this.#count > 0) {
      const oldest = (this.#next - this.#count) & (this.#ring.length - 1)
      this.#size -= this.#ring[oldest]?.size ?? FIELD_OVERHEAD
      this.#ring[oldest] = undefined
      this.#count--
    }
  }

  /** The ring is full: its oldest entry stands at `#next`. */
  #grow(): void {
    const old = this.#ring
    const room = Array.from<undefined>({ length: Math.max(FIRST_CAPACITY, old.length) })
    this.#ring = [...old.slice(this.#next), ...old.slice(0, this.#next), ...room]
    this.#next = old.length
  }

  #fault(detail: string): false {
    this.#cursor.detail = detail
    return false
  }
}
