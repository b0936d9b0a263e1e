/** One header field as decoded, with what its name means to this codec, worked out once and kept with it (RFC 9113 §8.2). */
import { Buffer, isUtf8 } from 'node:buffer'
import { FIELD_VALUE, TOKEN } from '#http/characters'
import { knownField } from '../../http1/field-names.ts'

export const ORDINARY = 0
export const PSEUDO_METHOD = 1
export const PSEUDO_SCHEME = 2
export const PSEUDO_AUTHORITY = 3
export const PSEUDO_PATH = 4
export const PSEUDO_STATUS = 5
export const PSEUDO_UNKNOWN = 6
export const HOST = 7
export const CONTENT_LENGTH = 8
export const TE = 9
export const CONNECTION_SPECIFIC = 10
export const COOKIE = 11
export const CONTENT_TYPE = 12
export const GRPC_STATUS = 13
export const REQUEST_ID = 14
/** May not stand in trailers: framing, routing, authentication (RFC 9110 §6.5.1). */
export const HEAD_ONLY = 15

const KINDS: Readonly<Record<string, number>> = {
  ':method': PSEUDO_METHOD,
  ':scheme': PSEUDO_SCHEME,
  ':authority': PSEUDO_AUTHORITY,
  ':path': PSEUDO_PATH,
  ':status': PSEUDO_STATUS,
  host: HOST,
  'content-length': CONTENT_LENGTH,
  te: TE,
  connection: CONNECTION_SPECIFIC,
  'keep-alive': CONNECTION_SPECIFIC,
  'proxy-connection': CONNECTION_SPECIFIC,
  'transfer-encoding': CONNECTION_SPECIFIC,
  upgrade: CONNECTION_SPECIFIC,
  cookie: COOKIE,
  'content-type': CONTENT_TYPE,
  'grpc-status': GRPC_STATUS,
  'x-request-id': REQUEST_ID,
  expect: HEAD_ONLY,
  authorization: HEAD_ONLY,
  'proxy-authorization': HEAD_ONLY,
  'set-cookie': HEAD_ONLY,
  'www-authenticate': HEAD_ONLY,
  'proxy-authenticate': HEAD_ONLY,
}

export const SOUND = 0
export const BAD_NAME = 1
export const BAD_VALUE = 2

export interface FieldName {
  /** Lower-case; `''` if it is no name. */
  readonly name: string
  readonly kind: number
  /** A bit of its own if a request may have this field only once, else 0. */
  readonly single: number
  /** `SOUND` or `BAD_NAME`. */
  readonly fault: number
}

export interface Field extends FieldName {
  /** Bytes as latin1 characters. */
  readonly value: string
  /** As HPACK and SETTINGS_MAX_HEADER_LIST_SIZE count: both lengths plus 32. */
  readonly size: number
  /** `SOUND`, `BAD_NAME`, or `BAD_VALUE`: control characters, outer whitespace, or bytes that are not UTF-8. */
  readonly fault: number
}

export const FIELD_OVERHEAD = 32

const COLON = 0x3a

/** 1 for a token character that is no upper-case letter. */
const NAME = Uint8Array.from({ length: 256 }, (_, code) => (code >= 0x41 && code <= 0x5a ? 0 : (TOKEN[code] ?? 0)))

/** Class of a byte in a value: 0 not allowed, 1 ASCII, 3 obs-text. */
const VALUE = Uint8Array.from({ length: 256 }, (_, code) => (code >= 0x80 ? 3 : (FIELD_VALUE[code] ?? 0)))

const NO_NAME: FieldName = { name: '', kind: ORDINARY, single: 0, fault: BAD_NAME }

/** A sound name without a meaning here. */
const OTHER_NAME: FieldName = { name: '', kind: ORDINARY, single: 0, fault: SOUND }

/** Names met often, by the very string that names them, so that neither string nor meaning is made again. */
const memo = new Map<string, FieldName>()

/** The name that stands at `start` to `end`; names known beforehand come as one and the same object. */
export function readFieldName(bytes: Buffer, start: number, end: number): FieldName {
  const found = findFieldName(bytes, start, end)
  if (found !== OTHER_NAME) return found
  const name = bytes.toString('latin1', start, end)
  return memo.get(name) ?? { name, kind: name.startsWith(':') ? PSEUDO_UNKNOWN : ORDINARY, single: 0, fault: SOUND }
}

/** As `readFieldName` for names that mean anything in a response; all other sound ones are `OTHER_NAME`, and are not made into strings. */
export function findResponseName(bytes: Buffer, start: number, end: number): FieldName {
  const found = findFieldName(bytes, start, end)
  if (found !== OTHER_NAME) return found
  const telling = bytes[start] === COLON || end - start === GRPC_STATUS_LENGTH
  return telling ? readFieldName(bytes, start, end) : OTHER_NAME
}

const GRPC_STATUS_LENGTH = 'grpc-status'.length

/** One of the names met often, `NO_NAME` or `OTHER_NAME`. */
function findFieldName(bytes: Buffer, start: number, end: number): FieldName {
  if (bytes[start] === COLON) return OTHER_NAME
  if (!isFieldName(bytes, start, end)) return NO_NAME
  const known = knownField(bytes, start, end)
  if (known === undefined) return OTHER_NAME
  const found = memo.get(known.name)
  if (found !== undefined) return found
  const made = { name: known.name, kind: ORDINARY, single: known.single, fault: SOUND }
  // Bounded: there are only so many known names.
  memo.set(known.name, made)
  return made
}

/** A name without upper-case letters; pseudo-headers are none. */
export function isFieldName(bytes: Uint8Array, start: number, end: number): boolean {
  for (let index = start; index < end; index++) {
    if (NAME[bytes[index] as number] === 0) return false
  }
  return start < end
}

/** Characters that a value may hold (RFC 9110 §5.5), none of them white at either end (RFC 9113 §8.2.1), and UTF-8. */
export function isFieldValue(bytes: Buffer, start: number, end: number): boolean {
  let classes = 1
  for (let index = start; index < end; index++) {
    const kind = VALUE[bytes[index] as number] as number
    if (kind === 0) return false
    classes |= kind
  }
  if (start === end) return true
  if (isWhite(bytes[start] as number) || isWhite(bytes[end - 1] as number)) return false
  return classes === 1 || isUtf8(bytes.subarray(start, end))
}

function isWhite(code: number): boolean {
  return code === 0x20 || code === 0x09
}

/** A field of a name with a value that is known to be sound. */
export function makeField(name: FieldName, value: string, fault = SOUND): Field {
  return {
    name: name.name,
    kind: name.kind,
    single: name.single,
    value,
    size: name.name.length + value.length + FIELD_OVERHEAD,
    fault: name.fault === SOUND ? fault : name.fault,
  }
}

for (const [name, kind] of Object.entries(KINDS)) {
  const bytes = Buffer.from(name, 'latin1')
  const single = kind <= PSEUDO_UNKNOWN ? 0 : (knownField(bytes, 0, bytes.length)?.single ?? 0)
  memo.set(name, { name, kind, single, fault: SOUND })
}
