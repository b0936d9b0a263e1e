/** The compact form of a signed token (RFC 7515 §3.1, §7.1), read strictly: one spelling for one token, and its algorithm judged before all else. */
import { ok, refusal, type Refusal, type Result } from '#base/result'
import { isTokenAlgorithm, type TokenAlgorithm } from './algorithms.ts'
import { type JsonObject, readJsonObject } from './bounded-json.ts'

/** Bytes of a whole token. */
export const LONGEST_TOKEN = 8192

/** A token whose signature nobody has checked. */
export interface CompactToken {
  readonly text: string
  readonly algorithm: TokenAlgorithm
  readonly kid: string | undefined
  /** Lower-case, without `application/`. */
  readonly type: string | undefined
  readonly payload: Buffer
}

/** Refused with `ERR_TOKEN_TOO_LARGE`, `ERR_TOKEN_MALFORMED`, `ERR_TOKEN_ALGORITHM` or `ERR_TOKEN_TYPE`. */
export function readCompactToken(text: string): Result<CompactToken> {
  if (text.length > LONGEST_TOKEN) return refusal('ERR_TOKEN_TOO_LARGE', `longer than ${LONGEST_TOKEN} bytes`)
  const first = text.indexOf('.')
  const second = text.indexOf('.', first + 1)
  if (first < 1 || second === -1 || text.includes('.', second + 1)) return malformed('it has not three parts')
  const header = readHeader(text.slice(0, first))
  if (!header.ok) return header
  const payload = decodeBase64Url(text.slice(first + 1, second))
  if (payload === undefined) return malformed('the payload is not base64url')
  const signature = decodeBase64Url(text.slice(second + 1))
  if (signature === undefined || signature.length === 0) return malformed('the signature is absent or not base64url')
  return ok({ text, ...header.value, payload })
}

type Header = Pick<CompactToken, 'algorithm' | 'kid' | 'type'>

function readHeader(part: string): Result<Header> {
  const bytes = decodeBase64Url(part)
  if (bytes === undefined) return malformed('the header is not base64url')
  const read = readObject(bytes, 'header')
  if (!read.ok) return read
  const header = read.value
  const { alg, kid, typ } = header
  if (!isTokenAlgorithm(alg)) return refusal('ERR_TOKEN_ALGORITHM', typeof alg === 'string' ? `\`alg\` is ${alg.slice(0, 32)}` : 'no `alg`')
  // Members of extensions would change what is signed (RFC 7797) or how it is read: none is understood. Keys in a header are never looked at.
  for (const name of ['crit', 'b64', 'zip', 'enc']) {
    if (Object.hasOwn(header, name)) return refusal('ERR_TOKEN_TYPE', `the header has \`${name}\``)
  }
  if (kid !== undefined && (typeof kid !== 'string' || kid === '')) return malformed('`kid` is not a string, or empty')
  if (typ !== undefined && typeof typ !== 'string') return malformed('`typ` is not a string')
  return ok({ algorithm: alg, kid, type: typ?.toLowerCase().replace(/^application\//, '') })
}

/** The claims. Refused with `ERR_TOKEN_MALFORMED` or `ERR_TOKEN_TOO_LARGE`. */
export function readClaims({ payload }: CompactToken): Result<JsonObject> {
  return readObject(payload, 'payload')
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function readObject(bytes: Buffer, name: string): Result<JsonObject> {
  let text: string
  try {
    text = utf8.decode(bytes)
  } catch {
    return malformed(`the ${name} is not UTF-8`)
  }
  const object = readJsonObject(text)
  if (object === 'nested too deep') return refusal('ERR_TOKEN_TOO_LARGE', `the ${name} is nested too deep`)
  return typeof object === 'string' ? malformed(`the ${name} is ${object}`) : ok(object)
}

/** Undefined unless the text is what encoding the bytes gives: no padding, no spaces, no loose bits at the end. */
function decodeBase64Url(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64url')
  return bytes.toString('base64url') === text ? bytes : undefined
}

function malformed(detail: string): Refusal {
  return refusal('ERR_TOKEN_MALFORMED', detail)
}
