/**
 * The algorithms that tokens may be signed with, and which of them a key is for (RFC 7518 §3.1; JWT-SVID §2.1). One key, one algorithm: a token
 * cannot choose. There is no symmetric one, no `none`, and no default.
 */

export const TOKEN_ALGORITHMS = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512'] as const

export type TokenAlgorithm = (typeof TOKEN_ALGORITHMS)[number]

export function isTokenAlgorithm(name: unknown): name is TokenAlgorithm {
  return (TOKEN_ALGORITHMS as readonly unknown[]).includes(name)
}

const BY_CURVE: Readonly<Record<string, TokenAlgorithm>> = { 'P-256': 'ES256', 'P-384': 'ES384', 'P-521': 'ES512' }

/**
 * The algorithm of a JWK: of a curve there is only one; an RSA key says its own, or is for RS256 (the default of OpenID Connect, and what
 * Kubernetes and SPIRE sign with). Undefined if what it says is not accepted, or not of its type.
 */
export function algorithmOf(jwk: Readonly<Record<string, unknown>>): TokenAlgorithm | undefined {
  const { kty, crv, alg } = jwk
  if (kty === 'RSA') {
    const stated = alg === undefined ? 'RS256' : alg
    return isTokenAlgorithm(stated) && !stated.startsWith('ES') ? stated : undefined
  }
  if (kty !== 'EC' || typeof crv !== 'string' || !Object.hasOwn(BY_CURVE, crv)) return undefined
  const ofCurve = BY_CURVE[crv]
  return alg === undefined || alg === ofCurve ? ofCurve : undefined
}
