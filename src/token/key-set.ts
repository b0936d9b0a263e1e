/**
 * The keys of an issuer (RFC 7517 §5): from a JWK Set those that can verify, each with its one algorithm. Symmetric and private keys are never
 * used, whatever is asked; what is not understood is left out, as §5 says; what is ambiguous refuses the whole set.
 */
import { calculateJwkThumbprint, type CryptoKey, importJWK } from 'jose'
import { ok, refusal, type Refusal, type Result } from '#base/result'
import { algorithmOf, type TokenAlgorithm } from './algorithms.ts'
import { type JsonObject, readJsonObject } from './bounded-json.ts'
import type { CompactToken } from './compact.ts'

/** Bytes of a JWK Set or a discovery document. */
export const LONGEST_DOCUMENT = 262_144
const MOST_KEYS = 100
/** Bits of an RSA modulus (RFC 7518 §3.3); beyond the upper bound one verification would cost milliseconds. */
const RSA_BITS = { least: 2048, most: 8192 }

/** Opaque outside of this module. */
export interface VerificationKey {
  readonly kid: string | undefined
  readonly algorithm: TokenAlgorithm
  /** SHA-256 of the JWK (RFC 7638), base64url: equal keys have equal thumbprints. */
  readonly thumbprint: string
  readonly key: CryptoKey
}

export interface KeySet {
  readonly keys: readonly VerificationKey[]
  /** What was left out, and why: one sentence each. */
  readonly ignored: readonly string[]
}

export interface KeySetRules {
  /** Only elements of use `jwt-svid`, which must have a `kid` (JWT-SVID §6). */
  readonly jwtSvid?: boolean
}

/**
 * Reads a JWK Set. An empty one is an issuer without keys: no token of it is good any more.
 * Refused with `ERR_JWKS_MALFORMED`, `ERR_JWKS_TOO_LARGE`, `ERR_JWKS_AMBIGUOUS` or, if keys are there and none can verify, `ERR_JWKS_NO_KEY`.
 */
export async function readKeySet(text: string, rules: KeySetRules = {}): Promise<Result<KeySet>> {
  if (text.length > LONGEST_DOCUMENT) return refusal('ERR_JWKS_TOO_LARGE', `longer than ${LONGEST_DOCUMENT} bytes`)
  const document = readJsonObject(text)
  if (document === 'nested too deep') return refusal('ERR_JWKS_TOO_LARGE', document)
  if (typeof document === 'string') return refusal('ERR_JWKS_MALFORMED', `the document is ${document}`)
  const elements = document['keys']
  if (!Array.isArray(elements)) return refusal('ERR_JWKS_MALFORMED', 'there is no list `keys`')
  if (elements.length > MOST_KEYS) return refusal('ERR_JWKS_TOO_LARGE', `more than ${MOST_KEYS} keys`)
  const keys: VerificationKey[] = []
  const ignored: string[] = []
  for (const [index, element] of elements.entries()) {
    if (typeof element !== 'object' || element === null) return refusal('ERR_JWKS_MALFORMED', `keys[${index}] is not an object`)
    const read = await readKey(element as JsonObject, rules)
    if ('ok' in read) return { ...read, detail: `keys[${index}]: ${read.detail}` }
    if ('ignored' in read) ignored.push(`keys[${index}] ${read.ignored}`)
    else keys.push(read)
  }
  const twice = keys.find((key, index) =>
    keys.some((other, at) => at < index && other.kid === key.kid && other.algorithm === key.algorithm),
  )
  if (twice !== undefined)
    return refusal('ERR_JWKS_AMBIGUOUS', twice.kid === undefined ? 'two keys have no `kid`' : `two keys are \`${twice.kid}\``)
  if (keys.length === 0 && elements.length > 0) return refusal('ERR_JWKS_NO_KEY', ignored.join('; ').slice(0, 500))
  return ok({ keys, ignored })
}

interface Ignored {
  readonly ignored: string
}

async function readKey(jwk: JsonObject, { jwtSvid = false }: KeySetRules): Promise<VerificationKey | Ignored | Refusal> {
  const { kty, use, key_ops: operations, kid } = jwk
  if (kty === 'oct' || Object.hasOwn(jwk, 'k')) return { ignored: 'is symmetric' }
  if (Object.hasOwn(jwk, 'd')) return { ignored: 'is a private key, which must never be published' }
  if (jwtSvid ? use !== 'jwt-svid' : use !== undefined && use !== 'sig')
    return { ignored: `is for another use than ${jwtSvid ? 'jwt-svid' : 'sig'}` }
  if (operations !== undefined && !(Array.isArray(operations) && operations.includes('verify'))) return { ignored: 'is not for verifying' }
  const algorithm = algorithmOf(jwk)
  if (algorithm === undefined) return { ignored: 'is of a type or algorithm that is not accepted' }
  if (kid !== undefined && (typeof kid !== 'string' || kid === '')) return refusal('ERR_JWKS_MALFORMED', '`kid` is not a string, or empty')
  if (jwtSvid && kid === undefined) return refusal('ERR_JWKS_MALFORMED', 'it is of use jwt-svid and has no `kid`')
  const { n, e, crv, x, y } = jwk
  // Only what is the public key itself: hints of where else it could be found (`x5u`) are never followed.
  const bare = kty === 'RSA' ? { kty, n, e } : { kty: 'EC', crv, x, y }
  if (!Object.values(bare).every((member) => typeof member === 'string'))
    return refusal('ERR_JWKS_MALFORMED', 'a member of the key is absent')
  const members = bare as Record<string, string> & { kty: string }
  try {
    const key = await importJWK(members, algorithm)
    if (key instanceof Uint8Array) return { ignored: 'is symmetric' }
    const weak = weakness(key)
    if (weak !== undefined) return { ignored: weak }
    return { kid, algorithm, key, thumbprint: await calculateJwkThumbprint(members) }
  } catch {
    return refusal('ERR_JWKS_MALFORMED', 'it is not a public key of its type')
  }
}

function weakness({ algorithm }: CryptoKey): string | undefined {
  if (!('modulusLength' in algorithm) || !('publicExponent' in algorithm)) return undefined
  const { modulusLength, publicExponent } = algorithm
  if (typeof modulusLength !== 'number' || modulusLength < RSA_BITS.least || modulusLength > RSA_BITS.most) {
    return `is an RSA key of ${String(modulusLength)} bits, not ${RSA_BITS.least} to ${RSA_BITS.most}`
  }
  const exponent = publicExponent instanceof Uint8Array ? BigInt(`0x${Buffer.from(publicExponent).toString('hex')}`) : 0n
  if (exponent < 3n || exponent % 2n === 0n || exponent > 0xffffffffn) return 'is an RSA key with a public exponent that is not safe'
  return undefined
}

/**
 * The key that verifies a token: by `kid` and algorithm; a token without `kid` is verified only where one key alone has its algorithm.
 * Refused with `ERR_TOKEN_KEY_UNKNOWN`, or `ERR_TOKEN_ALGORITHM` if the key named is for another algorithm.
 */
export function keyFor({ keys }: KeySet, { kid, algorithm }: Pick<CompactToken, 'kid' | 'algorithm'>): VerificationKey | Refusal {
  const named = kid === undefined ? keys : keys.filter((key) => key.kid === kid)
  const fitting = named.filter((key) => key.algorithm === algorithm)
  const [only, another] = fitting
  if (only !== undefined && another === undefined) return only
  if (only !== undefined)
    return refusal('ERR_TOKEN_KEY_UNKNOWN', `the token names no \`kid\`, and ${fitting.length} keys are for ${algorithm}`)
  if (kid !== undefined && named.length > 0)
    return refusal('ERR_TOKEN_ALGORITHM', `the key \`${kid.slice(0, 64)}\` is not for ${algorithm}`)
  return refusal('ERR_TOKEN_KEY_UNKNOWN', kid === undefined ? `no key is for ${algorithm}` : `no key is \`${kid.slice(0, 64)}\``)
}
