/**
 * Projected tokens of Kubernetes service accounts (KEP-1205). Against the issuer's JWKS, offline: a token counts until its end even if its pod is
 * gone. With a `review`, the API server is asked about each, and knows. Which of the two is in force stands in the evidence of every issuance.
 */
import { ok, refusal, type Result } from '#base/result'
import type { JwksConfig, ServiceAccountTokenConfig } from '#config/ca-config'
import type { TokenPrincipal } from '#identity/peer'
import type { Attested, Attestor } from './attestor.ts'
import { createVerifier, evidenceOf, idFrom, keyOriginOf, type TokenSurroundings, verifyWith } from './bearer-token.ts'

/** Who the API server says a token belongs to. */
export interface ReviewedAccount {
  readonly namespace: string
  readonly serviceAccount: string
  /** `''` where the token is not bound to a pod. */
  readonly podName: string
}

/** Asks the API server (TokenReview). Refused with a reason of tokens or of Kubernetes. */
export type ReviewToken = (token: string, audience: string) => Promise<Result<ReviewedAccount>>

export interface ServiceAccountSurroundings extends TokenSurroundings {
  readonly trustDomain: string
  /** For entries that are verified by TokenReview. */
  readonly reviewFor: (config: ServiceAccountTokenConfig) => ReviewToken
}

export function createServiceAccountAttestor(
  configs: readonly ServiceAccountTokenConfig[],
  surroundings: ServiceAccountSurroundings,
): Attestor {
  const entries = configs.map((config) =>
    config.verifiedBy.kind === 'tokenReview'
      ? byReview(config, surroundings.reviewFor(config))
      : byKeys(config, config.verifiedBy, surroundings),
  )
  return {
    async attest(token, now) {
      let refused: Result<Attested> = refusal('ERR_TOKEN_ISSUER_UNKNOWN')
      for (const entry of entries) {
        const outcome = await entry.attest(token, now)
        if (outcome.ok) return outcome
        // What the issuer's own entry says of its token says more than that others do not know it.
        if (refused.ok || outcome.reason !== 'ERR_TOKEN_ISSUER_UNKNOWN') refused = outcome
      }
      return refused
    },
    close() {
      for (const entry of entries) entry.close?.()
    },
  }
}

function byKeys(config: ServiceAccountTokenConfig, jwks: JwksConfig, surroundings: ServiceAccountSurroundings): Attestor {
  const issuer = config.issuer ?? ''
  const rules = { issuer, audiences: [config.audience], kind: 'serviceAccount' as const, trustDomain: surroundings.trustDomain }
  const verifier = createVerifier([{ ...rules, origin: keyOriginOf(jwks, issuer) }], surroundings)
  return {
    async attest(token, now) {
      const principal = await verifyWith(verifier, token, now)
      if (!principal.ok) return principal
      return attested(config, principal.value, `${evidenceOf(principal.value)}${podOf(principal.value)} by its keys`)
    },
    close: () => verifier.close(),
  }
}

function byReview(config: ServiceAccountTokenConfig, review: ReviewToken): Attestor {
  return {
    async attest(token) {
      const account = await review(token, config.audience)
      if (!account.ok) return account
      const { namespace, serviceAccount, podName } = account.value
      const pod = podName === '' ? '' : ` pod ${podName}`
      return attested(config, account.value, `system:serviceaccount:${namespace}:${serviceAccount}${pod} by TokenReview`)
    },
  }
}

interface Account {
  readonly namespace: string | undefined
  readonly serviceAccount: string | undefined
}

function attested(config: ServiceAccountTokenConfig, account: Account, evidence: string): Result<Attested> {
  const id = idFrom(config.id, (gap) => (gap === 'namespace' || gap === 'serviceAccount' ? account[gap] : undefined))
  return id.ok ? ok({ id: id.value, by: 'serviceAccountToken', evidence }) : id
}

function podOf({ pod }: TokenPrincipal): string {
  return pod === undefined ? '' : ` pod ${pod.name.slice(0, 253).replaceAll(/[^ -~]/g, '?')}`
}
