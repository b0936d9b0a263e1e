/**
 * What the authority must not forget. SQLite keeps it for one replica, PostgreSQL for several; both pass `test/ca/store/contract.ts`.
 * Times are ms since the epoch, keys' hashes and serials lower-case hex.
 */
import type { ReasonCode } from '#base/reasons'
import type { Refusal } from '#base/result'

export type AttestationKind = 'joinToken' | 'serviceAccountToken' | 'oidc' | 'svid'

/** One certificate or JWT-SVID that was handed out. */
export interface Issuance {
  readonly kind: 'x509' | 'jwt'
  /** Of the certificate; of a JWT-SVID, its `jti`. Unique. */
  readonly serial: string
  readonly spiffeId: string
  /** Of the authority that signed: a `AuthorityRecord.id`. */
  readonly authority: string
  readonly attestedBy: AttestationKind
  /** Who or what vouched, for people: an issuer and subject, a token's first characters, the serial that was renewed. Never a secret. */
  readonly evidence: string
  /** SHA-256 of the SubjectPublicKeyInfo; `''` for a JWT-SVID. */
  readonly keyHash: string
  readonly notBefore: number
  readonly notAfter: number
  readonly issuedAt: number
}

export interface IssuanceQuery {
  readonly spiffeId?: string
  readonly serial?: string
  /** Only those still valid at this time. */
  readonly validAt?: number
  readonly limit: number
  /** Only those older than the one with this serial: for the next page. */
  readonly before?: string
}

/** The secret itself is never kept. */
export interface JoinToken {
  /** SHA-256 of the secret. */
  readonly hash: string
  readonly spiffeId: string
  readonly createdAt: number
  readonly expiresAt: number
  /** 0 while it is unused. */
  readonly usedAt: number
}

/** What names revoked certificates: one of a serial under an authority, an id, or a whole authority. */
export interface RevocationRecord {
  readonly kind: 'serial' | 'id' | 'authority'
  readonly value: string
  /** Subject key id of the authority; `''` where kind is not `serial`. */
  readonly authority: string
  readonly reason: string
  readonly revokedAt: number
  /** When nothing it names can be valid any more; Infinity where that is unknown. */
  readonly until: number
}

/** An authority's way: prepared (only here) → published (in bundles) → active (signs) → retired (in bundles still) → tainted → revoked. */
export type AuthorityState = 'prepared' | 'published' | 'active' | 'retired' | 'tainted' | 'revoked'

export interface AuthorityRecord {
  /** Subject key id. */
  readonly id: string
  readonly state: AuthorityState
  readonly kind: 'x509' | 'jwt'
  /** x509: PEM of the signing certificate and what is above it, the trust anchor last. jwt: the public JWK as JSON. */
  readonly chain: string
  /** URI of the private key: `file:…`, `pkcs11:…`. */
  readonly key: string
  readonly notAfter: number
  readonly changedAt: number
}

/** A sidecar that has the bundle of this sequence, as it says itself. */
export interface Lease {
  readonly spiffeId: string
  /** Tells replicas of one identity apart; of the sidecar's choosing. */
  readonly instance: string
  /** `spiffe_sequence` in force there. */
  readonly sequence: number
  readonly expiresAt: number
}

export interface Store extends AsyncDisposable {
  /**
   * Resolves when it is durable; what comes while a commit is under way shares the next one. With `joinToken` the token is used up in the
   * same commit: exactly one of several that race gets it, the others are refused (ERR_JOIN_TOKEN_UNKNOWN,
   * _USED, _EXPIRED) and nothing of theirs is recorded.
   * @throws PosternError ERR_CA_STORE when it cannot be written: nothing may be handed out then
   */
  recordIssuance(issuance: Issuance, joinToken?: string): Promise<Refusal | undefined>
  /** Newest first. */
  issuances(query: IssuanceQuery): Promise<readonly Issuance[]>
  countIssuances(): Promise<number>
  /** Forgets those that ended before; a batch at a time. @returns how many went */
  purge(endedBefore: number): Promise<number>

  createJoinToken(token: JoinToken): Promise<void>
  /** By hash, used and expired ones included. */
  joinToken(hash: string): Promise<JoinToken | undefined>
  joinTokens(limit: number): Promise<readonly JoinToken[]>

  /** @returns the sequence of the bundle it takes part in from now on */
  revoke(revocation: RevocationRecord): Promise<number>
  revocations(): Promise<readonly RevocationRecord[]>

  authorities(): Promise<readonly AuthorityRecord[]>
  /**
   * Adds authorities and moves others to another state, all or nothing, and raises the sequence by one.
   * @param expected the sequence this was decided on: nothing happens if another replica was quicker
   * @returns the new sequence, or undefined if another was quicker
   */
  changeAuthorities(expected: number, changes: readonly AuthorityRecord[]): Promise<number | undefined>
  /** Of the bundle: raised by every change of authorities and revocations. */
  sequence(): Promise<number>

  renewLease(lease: Lease): Promise<void>
  leases(validAt: number): Promise<readonly Lease[]>

  /** Runs on one replica at a time. @returns whether it was this one's turn */
  asLeader(work: () => Promise<void>): Promise<boolean>
  /** What is wrong with it, for `/readyz`; undefined while all is well. */
  readonly fault: { readonly reason: ReasonCode; readonly detail: string } | undefined
}
