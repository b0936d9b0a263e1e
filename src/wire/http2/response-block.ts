/**
 * Reads the header block of a response without a dynamic table, which the upstream was told not to use, and without making strings:
 * what must be known of it is read, all of it is checked, and its bytes go on to the caller as they came (RFC 9113 §8.1 to §8.3.2).
 */
import { Buffer } from 'node:buffer'
import type { StatelessBlock } from './block-writer.ts'
import { BlockCursor, type Scratch } from './hpack/cursor.ts'
import { MOST_UPDATES } from './hpack/decoder.ts'
import {
  CONNECTION_SPECIFIC,
  CONTENT_LENGTH,
  FIELD_OVERHEAD,
  type FieldName,
  findResponseName,
  GRPC_STATUS,
  isFieldValue,
  ORDINARY,
  PSEUDO_STATUS,
  PSEUDO_UNKNOWN,
  REQUEST_ID,
  SOUND,
  TE,
} from './hpack/field.ts'
import { STATIC_COUNT, STATIC_TABLE } from './hpack/static-table.ts'
import type { Output } from './output.ts'
import { COMPRESSION_ERROR, type Http2Fault, http2Fault, PROTOCOL_ERROR } from './protocol.ts'

/** Digits of a status, and more than a gRPC status has. */
const MOST_STATUS_DIGITS = 3
/** Fewer than those of 2^53 - 1, so that every number is exact; a petabyte is a body for nobody. */
const MOST_LENGTH_DIGITS = 15

/** What was read stands until the next `read`, the bytes only during the call that brought them. */
export class ResponseBlock implements StatelessBlock {
  /** 100 to 599; 0 in trailers. */
  status = 0
  /** -1 without a `grpc-status` that is a number. */
  grpcStatus = -1
  /** -1 without Content-Length. */
  contentLength = -1
  readonly #cursor: BlockCursor
  readonly #listLimit: number
  /** What goes on to the caller, as starts and ends in the bytes of the block. */
  readonly #kept: number[] = []
  #keptCount = 0
  #length = 0
  #trailers = false
  #fields = 0
  /** Of the list of fields, as SETTINGS_MAX_HEADER_LIST_SIZE counts. */
  #size = 0

  constructor(scratch: Scratch, listLimit: number) {
    this.#cursor = new BlockCursor(scratch)
    this.#listLimit = listLimit
  }

  /** Bytes that `writeTo` writes. */
  get length(): number {
    return this.#length
  }

  /** @returns a fault of the connection if its code is COMPRESSION_ERROR, else of the stream */
  read(bytes: Buffer, start: number, end: number, trailers: boolean): Http2Fault | undefined {
    const cursor = this.#cursor
    cursor.begin(bytes, start, end)
    this.status = this.#fields = this.#length = this.#size = 0
    this.grpcStatus = this.contentLength = -1
    this.#keptCount = 0
    this.#trailers = trailers
    if (!this.#readSizeUpdates()) return this.#uncompressible()
    let keptFrom = cursor.at
    while (cursor.at < end) {
      const fieldAt = cursor.at
      const name = this.#readField(bytes[fieldAt] as number)
      if (name === undefined) return this.#uncompressible()
      const fault = this.#check(name)
      if (fault !== undefined) return malformed(fault)
      this.#size += FIELD_OVERHEAD
      if (this.#size > this.#listLimit) return malformed('more bytes than the limit')
      if (name.kind === REQUEST_ID) {
        this.#keep(keptFrom, fieldAt)
        keptFrom = cursor.at
      }
    }
    this.#keep(keptFrom, end)
    if (!trailers && this.status === 0) return malformed('no :status')
    return undefined
  }

  /** Writes the block without size updates and without the upstream's `x-request-id`. Only during the call that brought the bytes. */
  writeTo(output: Output): void {
    const kept = this.#kept
    for (let index = 0; index < this.#keptCount; index += 2) {
      output.position += this.#cursor.bytes.copy(output.bytes, output.position, kept[index], kept[index + 1])
    }
  }

  /** The same, for later. */
  copy(): StatelessBlock {
    const parts: Buffer[] = []
    for (let index = 0; index < this.#keptCount; index += 2) {
      parts.push(this.#cursor.bytes.subarray(this.#kept[index], this.#kept[index + 1]))
    }
    const bytes = Buffer.concat(parts)
    return {
      length: bytes.length,
      writeTo(output) {
        output.position += bytes.copy(output.bytes, output.position)
      },
    }
  }

  /** Lets go of the bytes. */
  release(): void {
    this.#cursor.release()
  }

  #readSizeUpdates(): boolean {
    const cursor = this.#cursor
    for (let updates = 0; cursor.at < cursor.end && ((cursor.bytes[cursor.at] as number) & 0xe0) === 0x20; updates++) {
      const size = cursor.readInteger(0x1f)
      if (size === 0 && updates < MOST_UPDATES) continue
      cursor.detail = 'a table size above SETTINGS_HEADER_TABLE_SIZE, or more than two updates'
      return false
    }
    return true
  }

  /** The name of the next field; its value then stands in the cursor. Undefined if this is not HPACK without a table. */
  #readField(first: number): FieldName | undefined {
    const cursor = this.#cursor
    if (first >= 0x80) {
      const field = this.#lookUp(cursor.readInteger(0x7f))
      if (field === undefined) return undefined
      // Nothing is left to be checked of a value from the static table; of statuses, which alone are read, it is made a string.
      cursor.from = cursor.to = 0
      this.#size += field.size - FIELD_OVERHEAD
      if (field.kind === PSEUDO_STATUS) return this.#setStatus(Number(field.value)) ? field : BAD_STATUS
      return field
    }
    const index = cursor.readInteger(first >= 0x40 ? 0x3f : 0x0f)
    if (first >= 0x20 && first < 0x40) {
      cursor.detail = 'a size update after the first field'
      return undefined
    }
    let name: FieldName | undefined
    if (index !== 0) name = this.#lookUp(index)
    else if (cursor.readString()) name = findResponseName(cursor.source, cursor.from, cursor.to)
    if (name === undefined) return undefined
    this.#size += index === 0 ? cursor.to - cursor.from : name.name.length
    if (!cursor.readString()) return undefined
    this.#size += cursor.to - cursor.from
    if (name.kind === PSEUDO_STATUS) return this.#setStatus(this.#number(MOST_STATUS_DIGITS)) ? name : BAD_STATUS
    return name
  }

  #lookUp(index: number): ReturnType<typeof STATIC_TABLE.at> {
    if (index > 0 && index <= STATIC_COUNT) return STATIC_TABLE[index]
    if (index !== -1) this.#cursor.detail = `index ${index}, although SETTINGS_HEADER_TABLE_SIZE is 0`
    return undefined
  }

  /** Says what is wrong with a field. */
  #check(name: FieldName): string | undefined {
    const { source, from, to } = this.#cursor
    const { kind } = name
    if (name === BAD_STATUS) return ':status is repeated, misplaced or no status'
    if (name.fault !== SOUND) return 'a header name'
    if (from !== to && !isFieldValue(source, from, to)) return `the value of ${name.name}`
    if (kind !== PSEUDO_STATUS) this.#fields++
    if (kind === ORDINARY || kind === PSEUDO_STATUS) return undefined
    if (kind <= PSEUDO_UNKNOWN) return 'a pseudo-header that responses do not have'
    if (kind === CONNECTION_SPECIFIC || kind === TE) return `${name.name} over HTTP/2`
    if (kind === GRPC_STATUS) this.grpcStatus = this.#number(MOST_STATUS_DIGITS)
    if (kind !== CONTENT_LENGTH || this.#trailers) return undefined
    if (this.contentLength !== -1) return 'content-length twice'
    this.contentLength = this.#number(MOST_LENGTH_DIGITS)
    return this.contentLength === -1 ? 'content-length is no number' : undefined
  }

  #setStatus(status: number): boolean {
    if (this.#trailers || this.status !== 0 || this.#fields > 0 || status < 100 || status > 599) return false
    this.status = status
    return true
  }

  /** The value as a number; -1 if it is anything but digits, or more of them than that. */
  #number(mostDigits: number): number {
    const { source, from, to } = this.#cursor
    if (to === from || to - from > mostDigits) return -1
    let number = 0
    for (let index = from; index < to; index++) {
      const digit = (source[index] as number) - 0x30
      if (digit < 0 || digit > 9) return -1
      number = number * 10 + digit
    }
    return number
  }

  #keep(start: number, end: number): void {
    if (start === end) return
    this.#kept[this.#keptCount++] = start
    this.#kept[this.#keptCount++] = end
    this.#length += end - start
  }

  #uncompressible(): Http2Fault {
    return http2Fault(COMPRESSION_ERROR, 'ERR_HTTP2_COMPRESSION', this.#cursor.detail)
  }
}

const BAD_STATUS: FieldName = { name: ':status', kind: PSEUDO_STATUS, single: 0, fault: SOUND }

function malformed(detail: string): Http2Fault {
  return http2Fault(PROTOCOL_ERROR, 'ERR_UPSTREAM_RESPONSE', detail)
}
