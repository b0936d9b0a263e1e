/** What the store and its worker say to one another. Arrays of plain values: they are cloned for every issuance. */
import type { SqliteFault } from './sqlite-faults.ts'
import type { AuthorityRecord, IssuanceQuery, JoinToken, Lease, RevocationRecord } from './store.ts'

export interface WorkerSettings {
  /** Absolute path. */
  readonly file: string
  readonly create: boolean
  /** Holds the store for this process alone. */
  readonly exclusive: boolean
  /** Ms to wait while another process has it locked. */
  readonly patience: number
}

/** Each in a transaction with others. */
export type Write =
  /** The values of the columns of an issuance, in order, and the hash of a join token or `''`. */
  | readonly ['issue', values: readonly (string | number | null)[], joinToken: string]
  | readonly ['lease', lease: Lease]
  | readonly ['joinToken', token: JoinToken]
  /** Writes nothing: it goes with those that do since each attestation begins with one, and a message of its own would cost more than the look. */
  | readonly ['findToken', hash: string]
  | readonly ['revoke', revocation: RevocationRecord]
  | readonly ['withdraw', revocation: Pick<RevocationRecord, 'kind' | 'value' | 'authority'>]
  | readonly ['authorities', expected: number, changes: readonly AuthorityRecord[]]
  | readonly ['purge', endedBefore: number]
  /** Only to see whether writing works. */
  | readonly ['probe']

export type Read =
  | readonly ['issuances', query: IssuanceQuery]
  | readonly ['countIssuances']
  | readonly ['joinTokens', limit: number]
  | readonly ['revocations']
  | readonly ['authorities']
  | readonly ['sequence']
  | readonly ['trust']
  | readonly ['leases', validAt: number]

export type Request =
  /** One group at a time. */
  | { readonly type: 'writes'; readonly writes: readonly Write[] }
  | { readonly type: 'read'; readonly id: number; readonly read: Read }
  /** Takes the lock that says who leads, or gives it back. */
  | { readonly type: 'lead'; readonly id: number; readonly take: boolean }
  | { readonly type: 'close' }

/** What became of one write. An error is of this write alone. */
export type WriteOutcome = { readonly value: unknown } | { readonly conflict: string }

export type Reply =
  | { readonly type: 'open'; readonly fault: SqliteFault | undefined }
  /** Undefined outcomes: all are without value. With a fault nothing was written. */
  | { readonly type: 'written'; readonly outcomes: readonly WriteOutcome[] | undefined; readonly fault: SqliteFault | undefined }
  | { readonly type: 'answer'; readonly id: number; readonly value: unknown; readonly fault: SqliteFault | undefined }
