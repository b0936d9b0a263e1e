/** The one immutable value that decisions depend on, and where the next one comes from. */
import type { Problem } from '#base/located'
import type { ReasonCode } from '#base/reasons'
import type { TrustStore } from '#pki/trust-store'
import type { WorkloadIdentity } from '#pki/workload-identity'
import type { CompiledPolicy } from '#policy/compile'
import type { PolicyDocument } from '#policy/document'
import type { TokenVerifier } from '#token/verifier'
import type { SidecarConfig } from './sidecar-config.ts'

/** Everything in force at one moment. Never changed, only replaced. */
export interface Snapshot {
  /** Counts up from 1. */
  readonly generation: number
  /** SHA-256 over all inputs but private keys, 64 lower-case hex digits. */
  readonly digest: string
  /** The first twelve digits, for people. */
  readonly shortDigest: string
  /** The document in force; what needs a restart to change is as it was at start. */
  readonly config: SidecarConfig
  /** One for each of `config.inbound`, in its order. */
  readonly policies: readonly CompiledPolicy[]
  /** What the policies were compiled from, for `explain`. */
  readonly documents: readonly PolicyDocument[]
  readonly identity: WorkloadIdentity
  readonly trust: TrustStore
  /** Undefined where no issuer is configured. */
  readonly tokens: TokenVerifier | undefined
  readonly lease: IdentityLease
}

/** How one input stands. */
export interface InputStatus {
  /** Absolute path, or the address of what serves it. */
  readonly input: string
  readonly kind: 'sidecar' | 'policy' | 'certificate' | 'key' | 'bundle' | 'revocations' | 'keys'
  /** SHA-256 (hex) of the version in force; undefined where none is, and for keys. */
  readonly digest: string | undefined
  /** When that version went into force, ms since the epoch. */
  readonly appliedAt: number | undefined
  /** Why a newer version is not in force, one sentence a line; undefined if the newest is. */
  readonly error: string | undefined
  /** When that was found, ms since the epoch. */
  readonly failedAt: number | undefined
}

/** Until when identity and trust may be relied upon; the one part of a snapshot that moves on by itself. */
export interface IdentityLease {
  /** Ms since the epoch. Not after the end of our certificate; earlier where its source must be asked first, as after a suspension. */
  readonly validUntil: number
}

/** Our own SVID and the bundles we trust, at one moment. */
export interface Identity {
  readonly identity: WorkloadIdentity
  readonly trust: TrustStore
  /** Absent: until our certificate ends. */
  readonly lease?: IdentityLease
}

/** Where identity comes from and how that goes, for the admin address. Times are ms since the epoch. */
export interface IdentityOrigin {
  readonly source: 'files' | 'ca' | 'workloadApi'
  /** Of what serves it; undefined for files. */
  readonly address: string | undefined
  /** Undefined where others renew. */
  readonly nextRenewal: number | undefined
  readonly lastRenewal: { readonly at: number } | undefined
  readonly lastError: { readonly at: number; readonly reason: ReasonCode; readonly detail: string } | undefined
  /** Renewals that failed since the last that did not. */
  readonly failures: number
  /** Of the bundle in force, and the newest that its source was told of. */
  readonly sequence: number | undefined
  readonly acknowledged: number | undefined
  /** Ms by which the clock of this host is ahead of its source's; undefined where that is unknown. */
  readonly clockAhead: number | undefined
  /** Why the identity is not kept on disk, where it should be. */
  readonly cacheError: string | undefined
}

/** Where identity comes from, as a snapshot needs it; src/svid-source implements it. */
export interface IdentityFeed {
  readonly current: Identity
  /** Calls `listener` after `current` has changed. Returns what ends that. */
  subscribe(listener: () => void): () => void
  /** Looks for a newer version now; what fails is in `status`. */
  reload(): Promise<void>
  status(): readonly InputStatus[]
  /** A snapshot with this identity is in force: whoever waits for that may be told. */
  applied?(identity: Identity): void
  origin?(): IdentityOrigin
  close(): void
}

export interface ReloadReport {
  /** A new snapshot is in force. */
  readonly changed: boolean
  readonly generation: number
  /** Faults of documents whose last good version stays in force, and warnings. */
  readonly problems: readonly Problem[]
  /** Keys of the sidecar's document whose change waits for a restart, e.g. `spec.inbound[0].listen`. */
  readonly needsRestart: readonly string[]
}

export type SnapshotListener = (next: Snapshot, previous: Snapshot) => void

export interface SnapshotSource {
  readonly current: Snapshot
  /** Calls `listener` after each swap, in the turn of the swap. Returns what ends that. */
  subscribe(listener: SnapshotListener): () => void
  /** Reads all inputs again now (SIGHUP). Never throws: what fails is in the report and in `status`. */
  reload(): Promise<ReloadReport>
  /** Every input: sidecar's document, policies, identity. */
  status(): readonly InputStatus[]
  /** How the source of our identity does; undefined where it has nothing to tell. */
  identityOrigin(): IdentityOrigin | undefined
  /** The last reload. */
  readonly lastReload: { readonly at: number; readonly successful: boolean }
  close(): void
}
