/** Renewal: a certificate of this authority that is still valid vouches for its own ID, and for nothing else. */
import { ok, type Result } from '#base/result'
import type { Peer } from '#identity/peer'
import type { Attested } from './attestor.ts'

/** @param peer held against the current bundle and revocations by `caller` */
export function attestRenewal(peer: Peer): Result<Attested> {
  const { serial } = peer.certificate
  return ok({ id: peer.id, by: 'svid', evidence: `certificate ${serial}`, renews: serial })
}
