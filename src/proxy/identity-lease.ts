/** Whether this sidecar may still rely on who it is and whom it trusts: asked before anything new is served or carried. */
import { type Refusal, refusal } from '#base/result'
import type { Snapshot } from '#config/snapshot'

/** @param now ms since the epoch. @returns why not */
export function lapsedLease({ identity, lease }: Pick<Snapshot, 'identity' | 'lease'>, now: number): Refusal | undefined {
  if (now <= lease.validUntil) return undefined
  const { notAfter } = identity.facts
  return now > notAfter ? refusal('ERR_IDENTITY_ENDED', `it ended at ${new Date(notAfter).toISOString()}`) : refusal('ERR_TRUST_STALE')
}
