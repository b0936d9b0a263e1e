/** Whether a JWT-SVID is valid for an audience (JWT-SVID §4): with the keys of its subject's own trust domain, and no others. */
import { refusal, type Result } from '#base/result'
import type { TokenPrincipal } from '#identity/peer'
import { parseSpiffeId } from '#identity/spiffe-id'
import type { TrustStore } from '#pki/trust-store'
import { readKeySet } from '#token/key-set'
import { verifySignature } from '#token/signature'
import { judgeClaims, readToken } from '#token/verify'

/** @param now ms since the epoch */
export async function validateJwtSvid(text: string, audience: string, trust: TrustStore, now: number): Promise<Result<TokenPrincipal>> {
  const token = readToken(text)
  if (!token.ok) return token
  const id = parseSpiffeId(token.value.subject ?? '')
  if (!id.ok) return refusal('ERR_TOKEN_SUBJECT', `\`sub\` is no SPIFFE ID: ${id.detail}`)
  const { trustDomain } = id.value
  const bundle = trust.bundles.get(trustDomain)
  if (bundle === undefined) return refusal('ERR_TOKEN_KEY_UNKNOWN', `there is no bundle of the trust domain ${trustDomain}`)
  // JWT-SVID §3 gives `iss` no meaning: whose token it is, the bundle of its subject's trust domain says.
  const rules = { issuer: `spiffe://${trustDomain}`, audiences: [audience], kind: 'jwtSvid', trustDomain } as const
  const principal = judgeClaims(token.value, rules, now)
  if (!principal.ok) return principal
  const keys = await readKeySet(JSON.stringify({ keys: bundle.jwtKeys }), { jwtSvid: true })
  if (!keys.ok) return keys
  const key = await verifySignature(token.value.compact, keys.value)
  return 'ok' in key ? key : principal
}
