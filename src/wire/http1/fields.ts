/** Reads header and trailer lines (RFC 9112 §5) and keeps aside the fields that framing needs. */
import { Buffer, isUtf8 } from 'node:buffer'
import { type Refusal, refusal } from '#base/result'
import type { HeaderList } from '#http/header-list'
import { FIELD_VALUE, TOKEN } from '#http/characters'
import { disguisesFraming, knownField } from './field-names.ts'
import type { HeadLimits } from './limits.ts'

/** Header lines as read. The fields beside `headers` are values, undefined where the field did not come. */
export interface Fields {
  readonly ok: true
  readonly headers: HeaderList
  host: string | undefined
  contentLength: string | undefined
  transferEncoding: string | undefined
  /** Several lines joined by commas. */
  connection: string | undefined
  upgrade: string | undefined
  expect: string | undefined
  websocketKey: string | undefined
}

const HTAB = 0x09
const LF = 0x0a
const CR = 0x0d
const SP = 0x20
const COLON = 0x3a

/** Class of a byte in a name: 0 not a token character, 1 token, 3 upper-case letter. */
const NAME = Uint8Array.from({ length: 256 }, (_, code) => (code >= 0x41 && code <= 0x5a ? 3 : (TOKEN[code] ?? 0)))

/** Class of a byte in a value: 0 not allowed, 1 ASCII, 3 obs-text. */
const VALUE = Uint8Array.from({ length: 256 }, (_, code) => (code >= 0x80 ? 3 : (FIELD_VALUE[code] ?? 0)))

/**
 * Reads lines up to and including the empty one, which must be the last two bytes before `end`. One long loop over the bytes,
 * because this is where most of a head's time goes.
 *
 * Names with `_` are let through: they are legal, apps use them, and what could pass for one of our own headers
 * (`x_postern_principal`) is removed where headers are rewritten, by a comparison that ignores such differences. Only what
 * could pass for a framing header is refused here, as it has no business in any request.
 *
 * @param text the bytes from `base` to `end` as latin1: values are slices of it, so that a head is copied once
 * @param strict as callers are treated: a field that has one value may not come twice, and values are UTF-8
 */
export function readFields(
  bytes: Buffer,
  text: string,
  base: number,
  start: number,
  end: number,
  limits: HeadLimits,
  strict: boolean,
): Fields | Refusal {
  const names: string[] = []
  const values: string[] = []
  const fields: Fields = {
    ok: true,
    headers: { names, values },
    host: undefined,
    contentLength: undefined,
    transferEncoding: undefined,
    connection: undefined,
    upgrade: undefined,
    expect: undefined,
    websocketKey: undefined,
  }
  let seen = 0
  let position = start

  // With a line end as the last byte, no loop below can run past it: none of them takes LF for its own.
  if (bytes[end - 1] !== LF) return refusal('ERR_HTTP_LINE_END', 'the head has no empty line at its end')
  while (position < end) {
    const nameStart = position
    let nameClass = NAME[bytes[position] as number] as number
    while (nameClass === 1) nameClass = NAME[bytes[++position] as number] as number
    const upper = nameClass === 3
    while (nameClass !== 0) nameClass = NAME[bytes[++position] as number] as number
    if (bytes[position] !== COLON || position === nameStart) {
      if (position === nameStart && position === end - 2 && bytes[position] === CR) return fields
      return nameFault(bytes, position, names.length)
    }
    const nameEnd = position++

    while (bytes[position] === SP || bytes[position] === HTAB) position++
    const valueStart = position
    while (VALUE[bytes[position] as number] === 1) position++
    const ascii = VALUE[bytes[position] as number] === 0
    if (!ascii) while (VALUE[bytes[position] as number] !== 0) position++
    if (bytes[position] !== CR || bytes[position + 1] !== LF) return valueFault(bytes, position, names.length)
    let valueEnd = position
    while (valueEnd > valueStart && (bytes[valueEnd - 1] === SP || bytes[valueEnd - 1] === HTAB)) valueEnd--
    position += 2

    if (names.length === limits.headers) return refusal('ERR_HTTP_TOO_MANY_HEADERS', `more than ${limits.headers}`)
    if (!ascii && strict && !isUtf8(bytes.subarray(valueStart, valueEnd))) {
      return refusal('ERR_HTTP_HEADER_VALUE', `header ${names.length + 1} is not UTF-8`)
    }
    const value = text.slice(valueStart - base, valueEnd - base)
    const known = knownField(bytes, nameStart, nameEnd)
    if (known === undefined) {
      if (disguisesFraming(bytes, nameStart, nameEnd)) return refusal('ERR_HTTP_HEADER_NAME', 'looks like a framing header')
      const name = text.slice(nameStart - base, nameEnd - base)
      names.push(upper ? name.toLowerCase() : name)
      values.push(value)
      continue
    }
    if (known.single !== 0) {
      if ((seen & known.single) !== 0) {
        if (strict || known.name === 'content-length' || known.name === 'transfer-encoding') {
          return refusal('ERR_HTTP_HEADER_REPEATED', known.name)
        }
      }
      seen |= known.single
    }
    names.push(known.name)
    values.push(value)
    if (known.framing) keepAside(fields, known.name, value)
  }
  return refusal('ERR_HTTP_LINE_END', 'the head has no empty line at its end')
}

function keepAside(fields: Fields, name: string, value: string): void {
  switch (name) {
    case 'host':
      fields.host = value
      break
    case 'content-length':
      fields.contentLength = value
      break
    case 'transfer-encoding':
      fields.transferEncoding = value
      break
    case 'connection':
      fields.connection = fields.connection === undefined ? value : `${fields.connection},${value}`
      break
    case 'upgrade':
      fields.upgrade = value
      break
    case 'expect':
      fields.expect = value
      break
    case 'sec-websocket-key':
      fields.websocketKey = value
      break
  }
}

/** Why a line has no name that ends in a colon. Details never hold what the peer sent: it is hostile here. */
function nameFault(bytes: Buffer, position: number, index: number): Refusal {
  const line = `header line ${index + 1}`
  switch (bytes[position]) {
    case CR:
    case LF:
      return refusal('ERR_HTTP_LINE_END', `${line} has no colon, or a bare CR or LF stands before it`)
    case SP:
    case HTAB:
      return refusal('ERR_HTTP_HEADER_NAME', `${line} is folded, or has a space before its colon`)
    case COLON:
      return refusal('ERR_HTTP_HEADER_NAME', `${line} has an empty name`)
    default:
      return refusal('ERR_HTTP_HEADER_NAME', `${line} has a character in its name that is not allowed`)
  }
}

function valueFault(bytes: Buffer, position: number, index: number): Refusal {
  const line = `header line ${index + 1}`
  const code = bytes[position]
  if (code === CR || code === LF) return refusal('ERR_HTTP_LINE_END', `${line} ends in a bare ${code === CR ? 'CR' : 'LF'}`)
  return refusal('ERR_HTTP_HEADER_VALUE', `${line} has a control character in its value`)
}
