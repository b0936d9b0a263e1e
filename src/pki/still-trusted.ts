/** Whether a peer that was admitted would still find its authority here: asked of every live connection when trust changes. */
import type { Peer } from '#identity/peer'
import type { TrustStore } from './trust-store.ts'

/** False once the root it chained to is gone or belongs to another trust domain, or the peer or an authority on its path is revoked. */
export function isStillTrusted(trust: TrustStore, peer: Peer): boolean {
  const root = trust.roots.get(peer.authorities.at(-1) ?? '')
  return root !== undefined && root.trustDomain === peer.id.trustDomain && !trust.revocations.isRevoked(peer)
}
