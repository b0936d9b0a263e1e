/**
 * Bearer tokens with bytes changed, lost, doubled and put in, in their text, in their header and in their claims; and key sets treated alike. Nothing
 * throws, nothing that differs from a token that was issued is accepted, and no set of keys yields a symmetric key.
 */
import { systemClock } from '#base/clock'
import type { HeaderList } from '#http/header-list'
import { isTokenRefusal, recogniseToken } from '#proxy/token-stage'
import type { KeyOrigin } from '#token/key-origin'
import { readKeySet } from '#token/key-set'
import { createTokenVerifier, type IssuerOptions } from '#token/verifier'
import { encode, issuerKey, keySetText, serviceAccountClaims, signToken, signWithSecret } from '../support/token-issuer.ts'

type Random = () => number

/** Tokens judged at once. */
const TURN = 64
const EACH = 256

const PIECES = [
  ...['.', '..', '=', '==', '-', '_', '+', '/', ' ', '\n', '\0', 'é', 'A', 'AAAA', 'eyJhbGciOiJub25lIn0', 'Bearer '],
  ...[
    '{',
    '}',
    '[',
    ']',
    ',',
    ':',
    '"',
    '""',
    'null',
    'true',
    '1e999',
    '-1',
    '\\u0000',
    '"alg":"none",',
    '"alg":"HS256",',
    '"crit":["b64"],',
  ],
  ...['"b64":false,', '"kid":"rs",', '"__proto__":{},', '"iss":"https://login.example",', '"exp":99999999999,', '"aud":["catalog"],'],
  '['.repeat(40),
]

export async function fuzz(seconds: number, seed: number): Promise<{ readonly runs: number }> {
  const random = createRandom(seed)
  const now = Date.now()
  const exp = Math.floor(now / 1000) + 86_400
  const keys = [issuerKey('ES256', 'es'), issuerKey('RS256', 'rs'), issuerKey('PS256', 'ps'), issuerKey('ES384', 'e3')]
  const jwks = keySetText(...keys)
  const issued = keys.flatMap((key) => [
    signToken(key, serviceAccountClaims(now, 'shop', 'cart', { exp })),
    signToken(key, { iss: 'https://login.example', sub: 'ann', aud: 'catalog', exp, scope: 'a b' }),
    signToken(key, { sub: 'spiffe://example.org/ns/shop/sa/cart', aud: ['catalog'], exp }),
  ])
  const known = new Set(issued)
  const verifier = createTokenVerifier({ issuers: issuersOf(jwks), clock: systemClock, random: () => 0.5 })
  await verifier.reload()
  for (const token of issued) {
    const result = await verifier.verify(token, now, false)
    if (result?.ok !== true) throw new Error(`a token that was issued is refused: ${JSON.stringify(result)}`)
  }
  let runs = 0
  const end = performance.now() + seconds * 1000
  try {
    do {
      for (let turn = 0; turn < EACH / TURN; turn++) {
        await Promise.all(Array.from({ length: TURN }, () => tryToken(mutateToken(random, issued, jwks), random() < 0.5)))
        runs += TURN
      }
      await tryKeys(mutateText(random, jwks))
      runs++
    } while (performance.now() < end)
  } finally {
    verifier.close()
  }
  return { runs }

  async function tryToken(token: string, pass: boolean): Promise<void> {
    const headers: HeaderList = { names: ['host', 'authorization'], values: ['h', `Bearer ${token}`] }
    try {
      const verdict = await recogniseToken(verifier, pass, undefined, headers, now)
      if (verdict === undefined ? pass : isTokenRefusal(verdict) || known.has(token)) return
    } catch (error) {
      throw new Error(`${JSON.stringify(token)} throws`, { cause: error })
    }
    throw new Error(`${JSON.stringify(token)} is accepted`)
  }

  async function tryKeys(text: string): Promise<void> {
    const set = await readKeySet(text).catch((error: unknown) => {
      throw new Error(`${JSON.stringify(text)} throws`, { cause: error })
    })
    if (set.ok && set.value.keys.some(({ key }) => key.type !== 'public'))
      throw new Error(`${JSON.stringify(text)} yields a key that is not public`)
  }
}

function issuersOf(jwks: string): readonly IssuerOptions[] {
  const origin: KeyOrigin = {
    name: 'keys',
    isLocal: true,
    interval: 1e9,
    cooldown: 1e9,
    load: () => Promise.resolve({ ok: true, value: jwks }),
  }
  const svids = JSON.stringify({
    keys: (JSON.parse(jwks) as { readonly keys: readonly object[] }).keys.map((key) => ({ ...key, use: 'jwt-svid' })),
  })
  const common = { audiences: ['catalog'], keep: 1e12, forwardToken: false }
  return [
    { ...common, issuer: 'https://kubernetes.default.svc.cluster.local', kind: 'serviceAccount', trustDomain: 'example.org', origin },
    { ...common, issuer: 'https://login.example', kind: 'oidc', trustDomain: undefined, origin },
    {
      ...common,
      issuer: 'spiffe://example.org',
      kind: 'jwtSvid',
      trustDomain: 'example.org',
      origin: { ...origin, load: () => Promise.resolve({ ok: true, value: svids }) },
    },
  ]
}

/** Of the text as a whole, of header or claims before they are encoded, or of two tokens put together. */
function mutateToken(random: Random, issued: readonly string[], jwks: string): string {
  const token = pick(random, issued)
  const [header = '', claims = '', signature = ''] = token.split('.')
  const decoded = (part: string): string => Buffer.from(part, 'base64url').toString()
  switch (Math.floor(random() * 6)) {
    case 0:
      return `${encode(mutateText(random, decoded(header)))}.${claims}.${signature}`
    case 1:
      return `${header}.${encode(mutateText(random, decoded(claims)))}.${signature}`
    case 2: {
      const other = pick(random, issued).split('.')
      return [header, other[1], random() < 0.5 ? signature : other[2]].join('.')
    }
    case 3:
      return signWithSecret(random() < 0.5 ? jwks : '', JSON.parse(decoded(claims)) as Readonly<Record<string, unknown>>, {
        alg: pick(random, ['HS256', 'ES256', 'none', 'RS256']),
        kid: pick(random, ['es', 'rs', 'ps', 'x']),
      })
    default:
      return mutateText(random, token)
  }
}

function mutateText(random: Random, text: string): string {
  let result = text
  for (let times = 1 + Math.floor(random() * 3); times > 0; times--) {
    const at = Math.floor(random() * (result.length + 1))
    const length = Math.floor(random() * (random() < 0.2 ? result.length : 4))
    const middle = [pick(random, PIECES), '', result.slice(at, at + length).repeat(2), String.fromCharCode(Math.floor(random() * 128))]
    result = result.slice(0, at) + pick(random, middle) + result.slice(at + (random() < 0.5 ? 0 : length))
  }
  return result
}

function pick<T>(random: Random, from: readonly T[]): T {
  return from[Math.floor(random() * from.length)] as T
}

function createRandom(seed: number): Random {
  let state = seed | 0 || 1
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) / 2 ** 32
  }
}
