/** Whether a peer that was admitted would still find its authority here: asked of every live connection when trust changes. */
import { type Refusal, refusal } from '#base/result'
import type { Peer } from '#identity/peer'
import type { TrustStore } from './trust-store.ts'

/** False once the root it chained to is gone or belongs to another trust domain, or the peer or an authority on its path is revoked. */
export function isStillTrusted(trust: TrustStore, peer: Peer): boolean {
  const root = trust.roots.get(peer.authorities.at(-1) ?? '')
  return root !== undefined && root.trustDomain === peer.id.trustDomain && !trust.revocations.isRevoked(peer)
}

/** What changed, in words, where the peer is no longer trusted; undefined where it is. */
export function lostTrust(trust: TrustStore, peer: Peer): Refusal | undefined {
  if (isStillTrusted(trust, peer)) return undefined
  const { trustDomain } = peer.id
  if (!trust.bundles.has(trustDomain)) return refusal('ERR_TRUST_WITHDRAWN', `there is no bundle of ${trustDomain} any more`)
  const root = peer.authorities.at(-1) ?? ''
  if (trust.roots.get(root)?.trustDomain === trustDomain) return refusal('ERR_SVID_REVOKED', peer.id.uri)
  return refusal('ERR_TRUST_WITHDRAWN', `the root ${root.slice(0, 16)} is gone from the bundle of ${trustDomain}`)
}
