/** What proof of identity comes down to: an ID, and who vouched for it. Each kind has a file of its own here. */
import type { Result } from '#base/result'
import type { SpiffeId } from '#identity/spiffe-id'
import type { AttestationKind } from '../store/store.ts'

/** The kinds of `attestation.type` on the wire. */
export const ATTESTATION_TYPES = ['join_token', 'service_account_token', 'oidc'] as const
export type AttestationType = (typeof ATTESTATION_TYPES)[number]

/** Who a workload has proved to be. The ID comes from this alone. */
export interface Attested {
  readonly id: SpiffeId
  readonly by: AttestationKind
  /** Who or what vouched, for people; never a secret. */
  readonly evidence: string
  /** SHA-256 of a join token that is to be used up with the issuance. */
  readonly joinToken?: string
  /** Of a renewal: how the first certificate was attested is not known, but whose key is renewed is. */
  readonly renews?: string
}

export interface Attestor {
  /** @param now ms since the epoch */
  attest(token: string, now: number): Promise<Result<Attested>>
  close?(): void
}

/** No token that is taken is longer, in characters. */
export const LONGEST_TOKEN = 16 * 1024
