/** Works out how long a body is from the head alone (RFC 9112 §6.3). */
import { type Refusal, refusal } from '#base/result'
import { parseLength } from '#http/content-length'
import type { Fields } from './fields.ts'
import { CHUNKED } from './limits.ts'

/**
 * `CHUNKED`, a number of bytes, or undefined where the head declares nothing.
 * Lengths are digits alone: no sign, no list, no space, since intermediaries differ in how they read those.
 */
export function declaredLength(fields: Fields, minor: 0 | 1): number | undefined | Refusal {
  const { contentLength, transferEncoding } = fields
  if (transferEncoding !== undefined) {
    if (contentLength !== undefined) return refusal('ERR_HTTP_FRAMING_CONFLICT')
    if (minor === 0) return refusal('ERR_HTTP_TRANSFER_ENCODING', 'HTTP/1.0 has no Transfer-Encoding')
    if (transferEncoding === 'chunked' || transferEncoding.toLowerCase() === 'chunked') return CHUNKED
    return refusal(isOtherCoding(transferEncoding) ? 'ERR_HTTP_TRANSFER_CODING' : 'ERR_HTTP_TRANSFER_ENCODING')
  }
  if (contentLength === undefined) return undefined
  const length = parseLength(contentLength)
  if (length === -1) return refusal('ERR_HTTP_CONTENT_LENGTH')
  if (contentLength.length > 1 && contentLength.startsWith('0')) dropLeadingZeros(fields, length)
  return length
}

/** Well-formed, but with a registered coding under `chunked`: a request that is honest and merely not supported. */
function isOtherCoding(value: string): boolean {
  return /^(?:(?:x-)?gzip|deflate|(?:x-)?compress)(?:[ \t]*,[ \t]*chunked)$/i.test(value)
}

/** `010` is ten by the standard, and eight to whoever reads it as C does: what is forwarded says it without zeros. */
function dropLeadingZeros(fields: Fields, length: number): void {
  const { names, values } = fields.headers
  values[names.indexOf('content-length')] = String(length)
}
