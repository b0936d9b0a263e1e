/**
 * The verdict on a bearer token: RFC 7519 §7.2 and JWT-SVID §4 in the order of this file. Whoever has keys in hand needs `verifyToken` alone;
 * where keys are fetched, `readToken` comes before them, `judgeClaims` and `verifySignature` after.
 */
import { ok, refusal, type Refusal, type Result } from '#base/result'
import type { TokenPrincipal } from '#identity/peer'
import type { JsonObject } from './bounded-json.ts'
import { type CompactToken, readClaims, readCompactToken } from './compact.ts'
import type { KeySet } from './key-set.ts'
import { readSubject, type TokenKind } from './principal.ts'
import { verifySignature } from './signature.ts'

/** What is expected of the tokens of one issuer. */
export interface TokenRules {
  /** Equal to `iss`. Of kind jwtSvid it may be `spiffe://TRUST-DOMAIN`: JWT-SVIDs need no `iss`, and are told by their `sub`. */
  readonly issuer: string
  /** At least one; one of them must be in `aud`. */
  readonly audiences: readonly string[]
  readonly kind: TokenKind
  /** Whose workloads the tokens are about. JWT-SVIDs of another are refused. */
  readonly trustDomain: string | undefined
}

/** How far the issuer's clock may be ahead of ours, ms. A token ends exactly at its `exp`: what it admitted is cut then. */
export const CLOCK_LEEWAY = 10_000

/** A token that was read, whose signature nobody has checked. */
export interface UnverifiedToken {
  readonly compact: CompactToken
  readonly claims: JsonObject
  /** `iss`, as it claims. */
  readonly issuer: string | undefined
  readonly subject: string | undefined
}

/** @param now ms since the epoch */
export async function verifyToken(text: string, rules: TokenRules, keys: KeySet, now: number): Promise<Result<TokenPrincipal>> {
  const token = readToken(text)
  if (!token.ok) return token
  if (!isOfIssuer(token.value, rules)) return refusal('ERR_TOKEN_ISSUER_UNKNOWN', describeIssuer(token.value))
  const principal = judgeClaims(token.value, rules, now)
  if (!principal.ok) return principal
  const key = await verifySignature(token.value.compact, keys)
  return 'ok' in key ? key : principal
}

export function readToken(text: string): Result<UnverifiedToken> {
  const compact = readCompactToken(text)
  if (!compact.ok) return compact
  const claims = readClaims(compact.value)
  if (!claims.ok) return claims
  const { iss, sub } = claims.value
  return ok({
    compact: compact.value,
    claims: claims.value,
    issuer: typeof iss === 'string' ? iss : undefined,
    subject: typeof sub === 'string' ? sub : undefined,
  })
}

/** Whether it claims to be of the issuer: what then is verified with the issuer's keys. */
export function isOfIssuer({ claims, issuer, subject }: UnverifiedToken, rules: TokenRules): boolean {
  if (rules.kind === 'jwtSvid' && rules.issuer.startsWith('spiffe://')) {
    return (issuer === undefined && claims['iss'] === undefined) || issuer === rules.issuer
      ? subject?.startsWith(`${rules.issuer}/`) === true
      : false
  }
  return issuer === rules.issuer
}

/** All that can be said without a key. What it returns is a principal only once the signature is verified too. */
export function judgeClaims({ compact, claims }: UnverifiedToken, rules: TokenRules, now: number): Result<TokenPrincipal> {
  const wrongType = judgeType(compact.type, rules.kind)
  if (wrongType !== undefined) return wrongType
  const audiences = readAudiences(claims['aud'])
  if (!audiences.some((audience) => rules.audiences.includes(audience))) {
    return refusal('ERR_TOKEN_AUDIENCE', audiences.length === 0 ? 'no `aud`' : `\`aud\` is ${audiences.join(', ').slice(0, 200)}`)
  }
  const { exp, nbf } = claims
  if (typeof exp !== 'number' || !Number.isFinite(exp)) return refusal('ERR_TOKEN_NO_EXPIRY')
  const expiresAt = exp * 1000
  if (now >= expiresAt) return refusal('ERR_TOKEN_EXPIRED', `at ${instant(exp)}`)
  if (nbf !== undefined && typeof nbf !== 'number') return refusal('ERR_TOKEN_NOT_YET_VALID', '`nbf` is not a number')
  if (nbf !== undefined && now + CLOCK_LEEWAY < nbf * 1000) return refusal('ERR_TOKEN_NOT_YET_VALID', `before ${instant(nbf)}`)
  const subject = readSubject(rules.kind, claims, rules.trustDomain)
  if (!subject.ok) return subject
  return ok(
    Object.freeze({ issuer: rules.issuer, ...subject.value, audiences, claims, expiresAt, boundTo: readConfirmation(claims['cnf']) }),
  )
}

/** RFC 8725 §3.11: a logout token or a proof of possession is signed by the same key, and is no access token. */
function judgeType(type: string | undefined, kind: TokenKind): Refusal | undefined {
  const accepted = kind === 'jwtSvid' ? ['jwt', 'jose'] : ['jwt', 'at+jwt']
  return type === undefined || accepted.includes(type) ? undefined : refusal('ERR_TOKEN_TYPE', `\`typ\` is ${type.slice(0, 32)}`)
}

/** RFC 8705 §3.1. A token that is bound to another kind of key (RFC 9449, say) must not pass as one that is bound to none. */
function readConfirmation(cnf: unknown): string | undefined {
  if (cnf === undefined) return undefined
  const thumbprint: unknown = typeof cnf === 'object' && cnf !== null ? (cnf as JsonObject)['x5t#S256'] : undefined
  const bytes = typeof thumbprint === 'string' ? Buffer.from(thumbprint, 'base64url') : undefined
  return bytes?.length === 32 && Object.keys(cnf as JsonObject).length === 1 ? bytes.toString('hex') : ''
}

function readAudiences(aud: unknown): readonly string[] {
  const list: readonly unknown[] = Array.isArray(aud) ? aud : [aud]
  return list.filter((audience) => typeof audience === 'string' && audience !== '') as string[]
}

export function describeIssuer({ issuer }: UnverifiedToken): string {
  return issuer === undefined ? 'no `iss`' : `\`iss\` is ${issuer.slice(0, 200)}`
}

function instant(seconds: number): string {
  const date = new Date(seconds * 1000)
  return Number.isNaN(date.getTime()) ? `${seconds} s since 1970` : date.toISOString()
}
