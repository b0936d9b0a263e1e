/** The attestors that the document names; what verifies JWTs is loaded only where one needs it. */
import type { Clock } from '#base/clock'
import type { CaConfig } from '#config/ca-config'
import type { Log } from '#telemetry/log'
import type { Store } from '../store/store.ts'
import type { AttestationType, Attestor } from './attestor.ts'
import { createJoinTokenAttestor } from './join-token.ts'

export interface Attestors {
  readonly byType: ReadonlyMap<AttestationType, Attestor>
  close(): void
}

export interface AttestorOptions {
  readonly config: CaConfig
  readonly store: Pick<Store, 'joinToken'>
  readonly clock: Clock
  readonly log: Log
  /** [0, 1). */
  readonly random: () => number
}

export async function openAttestors({ config, store, clock, log, random }: AttestorOptions): Promise<Attestors> {
  const { trustDomain, attest } = config
  const byType = new Map<AttestationType, Attestor>()
  if (attest.joinToken !== undefined) byType.set('join_token', createJoinTokenAttestor(store, trustDomain))
  if (attest.serviceAccountToken.length > 0) {
    const { createServiceAccountAttestor } = await import('./service-account-token.ts')
    const reviews = attest.serviceAccountToken.some(({ verifiedBy }) => verifiedBy.kind === 'tokenReview')
      ? await import('./token-review.ts')
      : undefined
    byType.set(
      'service_account_token',
      createServiceAccountAttestor(attest.serviceAccountToken, {
        clock,
        log,
        random,
        trustDomain,
        reviewFor({ verifiedBy }) {
          if (verifiedBy.kind !== 'tokenReview' || reviews === undefined) throw new TypeError('This entry asks no API server.')
          return reviews.createTokenReview(verifiedBy, clock)
        },
      }),
    )
  }
  if (attest.oidc.length > 0) {
    const { createOidcAttestor } = await import('./oidc.ts')
    byType.set('oidc', createOidcAttestor(attest.oidc, { clock, log, random }))
  }
  return {
    byType,
    close() {
      for (const attestor of byType.values()) attestor.close?.()
    },
  }
}
