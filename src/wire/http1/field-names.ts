/** Names of header fields that are met often or mean something to the codec, so that they are compared by identity, never copied. */
import { Buffer } from 'node:buffer'

export interface FieldName {
  /** Lower-case. */
  readonly name: string
  /** A bit of its own if a request may have this field only once, else 0. */
  readonly single: number
  /** The codec itself reads its value. */
  readonly framing: boolean
}

const FRAMING = new Set(['host', 'content-length', 'transfer-encoding', 'connection', 'upgrade', 'expect', 'sec-websocket-key'])

/** Two values of these let two readers choose differently; framing, routing, authentication and what apps decide on. */
const SINGLE = [
  'host',
  'content-length',
  'transfer-encoding',
  'content-type',
  'authorization',
  'proxy-authorization',
  'expect',
  'upgrade',
  'origin',
  'referer',
  'user-agent',
  'from',
  'max-forwards',
  'date',
  'range',
  'if-range',
  'if-modified-since',
  'if-unmodified-since',
  'access-control-request-method',
  'sec-websocket-key',
  'sec-websocket-version',
  'http2-settings',
]

const COMMON = [
  'accept',
  'accept-charset',
  'accept-encoding',
  'accept-language',
  'accept-ranges',
  'access-control-allow-credentials',
  'access-control-allow-headers',
  'access-control-allow-methods',
  'access-control-allow-origin',
  'access-control-expose-headers',
  'access-control-max-age',
  'access-control-request-headers',
  'age',
  'allow',
  'alt-svc',
  'baggage',
  'cache-control',
  'connection',
  'content-disposition',
  'content-encoding',
  'content-language',
  'content-location',
  'content-range',
  'content-security-policy',
  'cookie',
  'cross-origin-opener-policy',
  'cross-origin-resource-policy',
  'dnt',
  'etag',
  'expires',
  'forwarded',
  'grpc-timeout',
  'if-match',
  'if-none-match',
  'idempotency-key',
  'keep-alive',
  'last-modified',
  'link',
  'location',
  'origin-agent-cluster',
  'pragma',
  'priority',
  'proxy-authenticate',
  'proxy-connection',
  'referrer-policy',
  'retry-after',
  'sec-ch-ua',
  'sec-fetch-dest',
  'sec-fetch-mode',
  'sec-fetch-site',
  'sec-fetch-user',
  'sec-websocket-accept',
  'sec-websocket-extensions',
  'sec-websocket-protocol',
  'server',
  'server-timing',
  'set-cookie',
  'strict-transport-security',
  'te',
  'timing-allow-origin',
  'trailer',
  'traceparent',
  'tracestate',
  'upgrade-insecure-requests',
  'vary',
  'via',
  'www-authenticate',
  'x-b3-parentspanid',
  'x-b3-sampled',
  'x-b3-spanid',
  'x-b3-traceid',
  'x-content-type-options',
  'x-forwarded-client-cert',
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-port',
  'x-forwarded-proto',
  'x-frame-options',
  'x-powered-by',
  'x-real-ip',
  'x-request-id',
  'x-requested-with',
  'x-xss-protection',
]

/** All of them, those that may come only once first. */
export const KNOWN_NAMES: readonly string[] = [...SINGLE, ...COMMON]

/** A power of two, many times the number of names, so that a probe seldom meets another name. */
const SLOTS = 1024

interface Slot {
  readonly field: FieldName
  readonly lower: Uint8Array
}

const slots: (Slot | undefined)[] = Array.from({ length: SLOTS }, () => undefined)
for (const [index, name] of KNOWN_NAMES.entries()) {
  const lower = Buffer.from(name, 'latin1')
  let slot = slotOf(lower, 0, lower.length)
  while (slots[slot] !== undefined) slot = (slot + 1) & (SLOTS - 1)
  slots[slot] = { field: { name, single: index < SINGLE.length ? 1 << index : 0, framing: FRAMING.has(name) }, lower }
}

/** The field whose name stands at `start` to `end` in any case; undefined if it is none of the known. @param end after `start` */
export function knownField(bytes: Uint8Array, start: number, end: number): FieldName | undefined {
  let index = slotOf(bytes, start, end)
  for (;;) {
    const slot = slots[index]
    if (slot === undefined) return undefined
    if (equalsLower(slot.lower, bytes, start, end)) return slot.field
    index = (index + 1) & (SLOTS - 1)
  }
}

/** Length, first, middle and last character tell nearly all known names apart; the factors were found by trial. */
function slotOf(bytes: Uint8Array, start: number, end: number): number {
  const first = (bytes[start] as number) | 0x20
  const middle = (bytes[(start + end) >> 1] as number) | 0x20
  const last = (bytes[end - 1] as number) | 0x20
  return (end - start + 29 * first + 31 * middle + 57 * last) & (SLOTS - 1)
}

/** Known names hold letters, digits and hyphens only: among token characters, setting bit 5 maps nothing else onto these. */
function equalsLower(lower: Uint8Array, bytes: Uint8Array, start: number, end: number): boolean {
  const { length } = lower
  if (end - start !== length) return false
  for (let index = 0; index < length; index++) {
    if (((bytes[start + index] as number) | 0x20) !== lower[index]) return false
  }
  return true
}

const DISGUISED = [Buffer.from('contentlength'), Buffer.from('transferencoding')]

/**
 * A name that is no framing field to us but becomes one where punctuation is dropped or changed: `Content_Length` is
 * CONTENT_LENGTH to a CGI or WSGI app, and `Transfer--Encoding` has met readers that squeeze it. Never called with the true names.
 */
export function disguisesFraming(bytes: Uint8Array, start: number, end: number): boolean {
  return end - start >= 13 && DISGUISED.some((plain) => isWithPunctuation(plain, bytes, start, end))
}

function isWithPunctuation(plain: Uint8Array, bytes: Uint8Array, start: number, end: number): boolean {
  let matched = 0
  for (let index = start; index < end; index++) {
    const code = bytes[index] as number
    if (!isAlphanumeric(code)) continue
    if ((code | 0x20) !== plain[matched]) return false
    matched++
  }
  return matched === plain.length
}

function isAlphanumeric(code: number): boolean {
  const lower = code | 0x20
  return (code >= 0x30 && code <= 0x39) || (lower >= 0x61 && lower <= 0x7a)
}
