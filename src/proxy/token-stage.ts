/**
 * The token stage of the request path: whom the bearer token of a request speaks for. Read only where issuers are configured; what is there and
 * cannot be verified is a refusal, never nobody (RFC 6750 §3.1).
 */
import type { ReasonCode } from '#base/reasons'
import { type Refusal, refusal, type Result } from '#base/result'
import type { HeaderList } from '#http/header-list'
import type { Peer, TokenPrincipal } from '#identity/peer'
import type { Decision } from '#policy/decision'
import type { TokenVerifier } from '#token/verifier'

/** A verified token, why the one that came is refused, or undefined: there is none, or it is the business of the app. */
export type TokenVerdict = TokenPrincipal | Refusal | undefined

/**
 * At once for a token that was verified before; a new one is verified, its key maybe fetched, while only its own request waits. A verified token
 * leaves the headers here unless its issuer's tokens are forwarded, so that policy sees what the app will see.
 * @param pass tokens of unknown issuers are left to the app
 */
export function recogniseToken(
  tokens: TokenVerifier,
  pass: boolean,
  peer: Peer | undefined,
  headers: HeaderList,
  now: number,
): TokenVerdict | Promise<TokenVerdict> {
  const { names, values } = headers
  const at = names.indexOf('authorization')
  if (at === -1) return undefined
  if (names.includes('authorization', at + 1)) return refusal('ERR_TOKEN_REPEATED')
  const credentials = values[at] ?? ''
  const token = bearerToken(credentials)
  // Whatever begins like a bearer token is one: an app may read it more leniently.
  if (token === undefined) return pass && !/^\s*bearer\b/i.test(credentials) ? undefined : refusal('ERR_TOKEN_SCHEME')
  const verdict = tokens.verify(token, now, pass)
  if (verdict === undefined) return undefined
  return verdict instanceof Promise
    ? verdict.then((result) => accept(tokens, result, peer, headers))
    : accept(tokens, verdict, peer, headers)
}

/** What follows the scheme, in any case, and one space (RFC 6750 §2.1). Whether it is a token is for the verifier to say. */
function bearerToken(credentials: string): string | undefined {
  if (credentials.charCodeAt(6) !== 0x20) return undefined
  return credentials.startsWith('Bearer') || credentials.slice(0, 6).toLowerCase() === 'bearer' ? credentials.slice(7) : undefined
}

function accept(tokens: TokenVerifier, result: Result<TokenPrincipal>, peer: Peer | undefined, headers: HeaderList): TokenVerdict {
  if (!result.ok) return result
  const principal = result.value
  const { boundTo } = principal
  // RFC 8705 §3: each time, as the same token may come from another caller.
  if (boundTo !== undefined && boundTo !== peer?.certificate.fingerprint) {
    return refusal('ERR_TOKEN_CONFIRMATION', boundTo === '' ? 'it is bound in a way that is not understood' : `it is bound to ${boundTo}`)
  }
  if (!tokens.forwards(principal)) {
    const at = headers.names.indexOf('authorization')
    headers.names.splice(at, 1)
    headers.values.splice(at, 1)
  }
  return principal
}

export function isTokenRefusal(verdict: TokenVerdict): verdict is Refusal {
  return verdict !== undefined && 'ok' in verdict
}

/** Why what a token admitted may not go on. @param now ms since the epoch */
export function tokenFault(tokens: TokenVerifier | undefined, token: TokenPrincipal | undefined, now: number): ReasonCode | undefined {
  if (token === undefined) return undefined
  return tokens === undefined ? 'ERR_TOKEN_KEY_WITHDRAWN' : tokens.judge(token, now)
}

/** A decision on a token holds no longer than the token, and is looked at again as often as the token is. */
export function untilTokenEnds(
  decision: Decision,
  tokens: TokenVerifier | undefined,
  token: TokenPrincipal | undefined,
  now: number,
): Decision {
  if (token === undefined) return decision
  const until = tokens === undefined ? token.expiresAt : tokens.judgeAgainAt(token, now)
  return until >= decision.validUntil ? decision : { ...decision, validUntil: until }
}
