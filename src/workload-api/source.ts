/** What the Workload API serves, and where it comes from: a sidecar's snapshots, or an authority on the same machine. */
import type { SpiffeId } from '#identity/spiffe-id'
import type { TrustStore } from '#pki/trust-store'
import type { WorkloadIdentity } from '#pki/workload-identity'

/** One identity that whoever reaches the socket is entitled to. */
export interface OfferedIdentity {
  readonly identity: WorkloadIdentity
  /** Which of several this is, in the operator's words (SPIFFE_Workload_API §8); `''` for none. At most 1,024 bytes. */
  readonly hint: string
}

/** What holds at one moment. Never changed, only replaced. */
export interface WorkloadState {
  /** The default one first. Empty: whoever calls is entitled to none. */
  readonly identities: readonly OfferedIdentity[]
  /** Our own trust domain's bundle and the federated ones, with their JWT keys. */
  readonly trust: TrustStore
}

export interface JwtSvid {
  /** JWS compact serialisation. */
  readonly token: string
  /** Ms since the epoch. */
  readonly expiresAt: number
}

/** Mints a JWT-SVID of one of the identities. Rejects if it cannot be had. @param audience at least one */
export type IssueJwtSvid = (id: SpiffeId, audience: readonly string[], signal: AbortSignal) => Promise<JwtSvid>

export interface WorkloadSource {
  /** Undefined while an identity is on its way: callers are told to come back. */
  readonly current: WorkloadState | undefined
  /** Calls `listener` after `current` may have changed. Returns what ends that. */
  subscribe(listener: () => void): () => void
  /** Undefined where nobody mints them, as with identities from files. */
  readonly issueJwtSvid: IssueJwtSvid | undefined
}
