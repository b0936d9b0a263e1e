/**
 * A strict reader of DER (X.690 §10): definite lengths in their shortest form, low tag numbers only, nothing past the end.
 * A cursor walks one constructed value. The first fault marks the whole document malformed, and every later read then yields nothing,
 * so that a reader is written straight down and asks once, at its end.
 */

/** What all cursors of one document share. */
interface DerDocument {
  readonly bytes: Buffer
  malformed: boolean
}

export interface DerCursor {
  readonly document: DerDocument
  at: number
  readonly end: number
}

/** Universal tags that certificates use; context-specific ones are written where they occur. */
export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  oid: 0x06,
  sequence: 0x30,
  utcTime: 0x17,
  generalizedTime: 0x18,
} as const

const NOTHING = Buffer.alloc(0)

export function openDer(bytes: Buffer): DerCursor {
  return { document: { bytes, malformed: false }, at: 0, end: bytes.length }
}

export function isMalformed(cursor: DerCursor): boolean {
  return cursor.document.malformed
}

export function markMalformed(cursor: DerCursor): void {
  cursor.document.malformed = true
}

/** Something is left to read here, and nothing was wrong so far. */
export function hasMore(cursor: DerCursor): boolean {
  return cursor.at < cursor.end && !cursor.document.malformed
}

/** The tag of the next element; -1 if there is none. */
export function nextTag(cursor: DerCursor): number {
  return hasMore(cursor) ? (cursor.document.bytes[cursor.at] ?? -1) : -1
}

/** Goes into a constructed element: a cursor over its content. This cursor goes past it. */
export function enter(cursor: DerCursor, tag: number): DerCursor {
  const start = readHeader(cursor, tag)
  return { document: cursor.document, at: start, end: cursor.at }
}

/** The content of an element. */
export function readContent(cursor: DerCursor, tag: number): Buffer {
  const start = readHeader(cursor, tag)
  return cursor.document.malformed ? NOTHING : cursor.document.bytes.subarray(start, cursor.at)
}

/** A whole element, header included. */
export function readElement(cursor: DerCursor, tag: number): Buffer {
  const start = cursor.at
  readHeader(cursor, tag)
  return cursor.document.malformed ? NOTHING : cursor.document.bytes.subarray(start, cursor.at)
}

/** Goes past an element of any tag. */
export function skip(cursor: DerCursor): void {
  readHeader(cursor, nextTag(cursor))
}

/** Says that this value ends here; what is left is a fault. */
export function finish(cursor: DerCursor): void {
  if (cursor.at !== cursor.end) cursor.document.malformed = true
}

/** A BOOLEAN, `false` where the element is absent. An explicit FALSE is let through where DER would leave out the default: many CAs write it. */
export function readOptionalBoolean(cursor: DerCursor): boolean {
  if (nextTag(cursor) !== TAG.boolean) return false
  const content = readContent(cursor, TAG.boolean)
  if (content.length !== 1 || (content[0] !== 0xff && content[0] !== 0)) cursor.document.malformed = true
  return content[0] === 0xff
}

/** The octets of a non-negative INTEGER without its sign octet; zero is one zero octet. */
export function readUnsigned(cursor: DerCursor, tag: number = TAG.integer): Buffer {
  const content = readContent(cursor, tag)
  const [first = 0xff, second] = content
  const padded = first === 0 && second !== undefined
  if (first >= 0x80 || (padded && second < 0x80)) cursor.document.malformed = true
  return padded ? content.subarray(1) : content
}

/** The octets of a BIT STRING that is made of whole octets. */
export function readOctetBits(cursor: DerCursor): Buffer {
  const content = readContent(cursor, TAG.bitString)
  if (content[0] !== 0) cursor.document.malformed = true
  return content.subarray(1)
}

/** A named bit list of up to 16 bits: bit 0 of the standard is 0x8000. */
export function readNamedBits(cursor: DerCursor): number {
  const content = readContent(cursor, TAG.bitString)
  const [unused = 8, high = 0, low = 0] = content
  const last = content[content.length - 1] ?? 0
  const isEmpty = content.length === 1
  if (content.length > 3 || unused > 7 || (isEmpty && unused !== 0) || (!isEmpty && (last & ((1 << unused) - 1)) !== 0)) {
    cursor.document.malformed = true
  }
  return (high << 8) | low
}

/** Goes past the header of an element, checks that it is whole, moves the cursor behind it. @returns where its content begins */
function readHeader(cursor: DerCursor, tag: number): number {
  const { document, end } = cursor
  const { bytes } = document
  let at = cursor.at
  if (document.malformed || at + 2 > end || bytes[at] !== tag || (tag & 0x1f) === 0x1f) return giveUp(cursor)
  let length = bytes[at + 1] ?? 0
  at += 2
  if (length >= 0x80) {
    const octets = length & 0x7f
    if (octets === 0 || octets > 3 || at + octets > end) return giveUp(cursor)
    length = 0
    for (let index = 0; index < octets; index++) length = (length << 8) | (bytes[at + index] ?? 0)
    if (length < 0x80 || length < 2 ** (8 * (octets - 1))) return giveUp(cursor)
    at += octets
  }
  if (at + length > end) return giveUp(cursor)
  cursor.at = at + length
  return at
}

function giveUp(cursor: DerCursor): number {
  cursor.document.malformed = true
  cursor.at = cursor.end
  return cursor.end
}
