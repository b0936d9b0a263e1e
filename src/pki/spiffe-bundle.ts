/** The JSON form of a trust bundle: a JWK Set (SPIFFE Trust Domain and Bundle §4). What it does not know it ignores; what it knows must be right. */
import type { PosternError } from '#base/errors'

export interface SpiffeBundleContent {
  /** DER, one for each element of use `x509-svid`. */
  readonly certificates: readonly Buffer[]
  readonly jwtKeys: readonly Readonly<Record<string, unknown>>[]
  readonly sequence: bigint | undefined
  readonly refreshHintSeconds: number | undefined
}

type Complain = (why: string) => PosternError
type Jwk = Readonly<Record<string, unknown>>

const KNOWN_KEY_TYPES: readonly unknown[] = ['EC', 'RSA', 'OKP']

/** @throws what `complain` makes */
export function readSpiffeBundle(text: string, complain: Complain): SpiffeBundleContent {
  const document = parseJson(text, complain)
  const keys = document['keys']
  // Trust Domain and Bundle §5: several bundles in one document, of which nothing says which is meant.
  if (keys === undefined && 'trust_domains' in document)
    throw complain('it is a map of bundles (`trust_domains`); take the bundle of this trust domain out of it, into a file of its own')
  if (!Array.isArray(keys)) throw complain('it has no `keys`; a SPIFFE bundle must have them, even if empty')
  const certificates: Buffer[] = []
  const jwtKeys: Jwk[] = []
  for (const [index, key] of keys.entries()) {
    if (!isObject(key)) throw complain(`keys[${index}] is not an object`)
    if ('d' in key || 'k' in key) throw complain(`keys[${index}] holds a private or secret key, which must never be in a bundle`)
    if (!KNOWN_KEY_TYPES.includes(key['kty'])) continue
    if (key['use'] === 'x509-svid') certificates.push(...readX509Key(key, index, complain))
    if (key['use'] === 'jwt-svid') jwtKeys.push(readJwtKey(key, index, complain))
  }
  return {
    certificates,
    jwtKeys,
    sequence: readSequence(document['spiffe_sequence'], complain),
    refreshHintSeconds: readRefreshHint(document['spiffe_refresh_hint'], complain),
  }
}

/** X509-SVID §6.2: an element without certificate is ignored, and of several the first is taken. */
function readX509Key(key: Jwk, index: number, complain: Complain): Buffer[] {
  const x5c = key['x5c']
  if (x5c === undefined || (Array.isArray(x5c) && x5c.length === 0)) return []
  const first: unknown = Array.isArray(x5c) ? x5c[0] : undefined
  if (typeof first !== 'string' || !/^[A-Za-z0-9+/]+={0,2}$/.test(first))
    throw complain(`keys[${index}].x5c does not begin with base64 DER`)
  return [Buffer.from(first, 'base64')]
}

function readJwtKey(key: Jwk, index: number, complain: Complain): Jwk {
  if (typeof key['kid'] !== 'string' || key['kid'] === '') throw complain(`keys[${index}] is of use jwt-svid and has no kid`)
  return key
}

function readSequence(value: unknown, complain: Complain): bigint | undefined {
  if (value === undefined || typeof value === 'bigint') return value
  throw complain('`spiffe_sequence` is not an integer')
}

function readRefreshHint(value: unknown, complain: Complain): number | undefined {
  if (value === undefined || (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0)) return value
  throw complain('`spiffe_refresh_hint` is not a whole number of seconds')
}

/** A sequence number has 64 bits, and a JSON number read as a double has 53: it is taken from its digits. */
function parseJson(text: string, complain: Complain): Jwk {
  try {
    const document: unknown = JSON.parse(text, (name: string, value: unknown, context?: { readonly source?: string }) =>
      name === 'spiffe_sequence' && /^-?\d{1,20}$/.test(context?.source ?? '') ? BigInt(context?.source ?? 0) : value,
    )
    if (isObject(document)) return document
  } catch {
    throw complain('it is not JSON')
  }
  throw complain('it is not a JSON object')
}

function isObject(value: unknown): value is Jwk {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
