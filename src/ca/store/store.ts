/**
 * What the authority must not forget. SQLite keeps it for one replica, PostgreSQL for several; both pass `test/ca/store/contract.ts`.
 * Times are ms since the epoch, keys' hashes and serials lower-case hex. `open-store.ts` opens whichever the document names.
 *
 * Every call may reject with a PosternError whose code is an `ERR_CA_STORE…`: then nothing of it may be taken for done, and `fault` says
 * why until the store has been seen to work again.
 */
import type { ReasonCode } from '#base/reasons'
import type { Refusal } from '#base/result'

export type AttestationKind = 'joinToken' | 'serviceAccountToken' | 'oidc' | 'svid' | 'podCertificate' | 'socket'

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
   * _USED, _EXPIRED) and nothing of theirs is recorded. The token must be for the issuance's id (else _UNKNOWN) and not expired at `issuedAt`.
   * @param joinToken SHA-256 of the secret: a `JoinToken.hash`
   * @throws PosternError ERR_CA_STORE… when it cannot be written: nothing may be handed out then
   */
  recordIssuance(issuance: Issuance, joinToken?: string): Promise<Refusal | undefined>
  /** Newest first. An unknown `before` gives none. */
  issuances(query: IssuanceQuery): Promise<readonly Issuance[]>
  countIssuances(): Promise<number>
  /**
   * Forgets issuances that ended before, at most `PURGE_BATCH` of them so that nothing waits for long, and join tokens, leases and revocations
   * that did. @returns how many issuances went: call again while it is `PURGE_BATCH`
   */
  purge(endedBefore: number): Promise<number>

  /** @throws PosternError ERR_CA_STORE_CONFLICT for a hash that is there already */
  createJoinToken(token: JoinToken): Promise<void>
  /** By hash, used and expired ones included. */
  joinToken(hash: string): Promise<JoinToken | undefined>
  /** Newest first. */
  joinTokens(limit: number): Promise<readonly JoinToken[]>

  /**
   * Of what is revoked already, reason and end are replaced; when it was first revoked stays.
   * @returns the sequence of the bundle it takes part in from now on
   */
  revoke(revocation: RevocationRecord): Promise<number>
  /** Takes a revocation back, such as that of an id. @returns the new sequence; undefined if there was none like it */
  withdraw(revocation: Pick<RevocationRecord, 'kind' | 'value' | 'authority'>): Promise<number | undefined>
  revocations(): Promise<readonly RevocationRecord[]>

  authorities(): Promise<readonly AuthorityRecord[]>
  /**
   * Adds authorities and moves others to another state, all or nothing, and raises the sequence by one.
   * @param expected the sequence this was decided on: nothing happens if another replica was quicker
   * @returns the new sequence, or undefined if another was quicker
   */
  changeAuthorities(expected: number, changes: readonly AuthorityRecord[]): Promise<number | undefined>
  /** Of the bundle: raised by every change of authorities and revocations. Cheap; for noticing another replica's changes. */
  sequence(): Promise<number>
  /** All that a bundle is made of, as of one moment: what is labelled with a sequence must be what that sequence means. */
  trust(): Promise<Trust>

  renewLease(lease: Lease): Promise<void>
  leases(validAt: number): Promise<readonly Lease[]>

  /**
   * Runs on one replica at a time; what it does must be safe (`changeAuthorities`) even if this one is cut off in the middle.
   * On SQLite the process that opened it as `server` leads for as long as it runs; a `tool` only while there is no server.
   * @returns whether it was this one's turn
   */
  asLeader(work: () => Promise<void>): Promise<boolean>
  /** What is wrong with it, for `/readyz`; undefined while all is well. Looks by itself, every second, whether it is mended. */
  readonly fault: StoreFault | undefined
}

export interface StoreFault {
  readonly reason: ReasonCode
  /** A sentence or two: what is wrong, with which file or server, and what to do. */
  readonly detail: string
}

export interface Trust {
  readonly sequence: number
  readonly authorities: readonly AuthorityRecord[]
  readonly revocations: readonly RevocationRecord[]
}

/** Rows that one `purge` takes at most. */
export const PURGE_BATCH = 1000

/**
 * Who opens it. `server`: `ca run`, which holds an SQLite store for itself (a second one is refused, ERR_CA_STORE_IN_USE). `tool`: `ca token`,
 * `ca list`, `ca revoke`, beside a running server or without one.
 */
export type StoreRole = 'server' | 'tool'
