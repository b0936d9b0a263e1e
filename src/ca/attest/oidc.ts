/** OIDC tokens of any issuer: CI jobs, cloud instances. The document's template says which claims make the ID, and which values must be there. */
import { ok, refusal, type Result } from '#base/result'
import type { OidcConfig } from '#config/ca-config'
import type { TokenPrincipal } from '#identity/peer'
import type { Attested, Attestor } from './attestor.ts'
import { createVerifier, evidenceOf, idFrom, keyOriginOf, type TokenSurroundings, verifyWith } from './bearer-token.ts'

/** @param configs at least one; no two of one issuer and audience */
export function createOidcAttestor(configs: readonly OidcConfig[], surroundings: TokenSurroundings): Attestor {
  // Entries of one issuer are told apart by audience, so each has a verifier of its own.
  const entries = configs.map((config) => ({
    config,
    verifier: createVerifier(
      [
        {
          issuer: config.issuer,
          audiences: [config.audience],
          kind: 'oidc',
          trustDomain: undefined,
          origin: keyOriginOf(config.jwks, config.issuer),
        },
      ],
      surroundings,
    ),
  }))
  return {
    async attest(token, now): Promise<Result<Attested>> {
      let refused: Result<Attested> = refusal('ERR_TOKEN_ISSUER_UNKNOWN')
      for (const { config, verifier } of entries) {
        const principal = await verifyWith(verifier, token, now)
        if (principal.ok) return attested(config, principal.value)
        if (principal.reason !== 'ERR_TOKEN_ISSUER_UNKNOWN') refused = principal
        else if (refused.ok || refused.reason === 'ERR_TOKEN_ISSUER_UNKNOWN') refused = principal
      }
      return refused
    },
    close() {
      for (const { verifier } of entries) verifier.close()
    },
  }
}

function attested(config: OidcConfig, principal: TokenPrincipal): Result<Attested> {
  for (const { claim, values } of config.require) {
    const found = claimAt(principal.claims, claim)
    if (found === undefined || !values.includes(found)) {
      return refusal('ERR_CA_ATTESTED_ID', `the claim \`${claim}\` is ${found === undefined ? 'absent' : 'not one of those required'}`)
    }
  }
  const id = idFrom(config.id, (gap) => claimAt(principal.claims, gap.slice('claims.'.length)))
  return id.ok ? ok({ id: id.value, by: 'oidc', evidence: evidenceOf(principal) }) : id
}

/** The text of a claim: whole under its own name (`kubernetes.io`, `https://…`), or by its path. Numbers and booleans count as their text. */
function claimAt(claims: Readonly<Record<string, unknown>>, path: string): string | undefined {
  const value = Object.hasOwn(claims, path) ? claims[path] : path.split('.').reduce<unknown>(memberOf, claims)
  if (typeof value === 'string') return value
  return typeof value === 'boolean' || Number.isSafeInteger(value) ? String(value) : undefined
}

function memberOf(value: unknown, name: string): unknown {
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value)
  return isObject && Object.hasOwn(value, name) ? (value as Readonly<Record<string, unknown>>)[name] : undefined
}
