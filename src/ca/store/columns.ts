/** What both databases call the fields of records, and how a row reads back as one. */

/** Record field → column, in the order of the tables. */
export const ISSUANCE_COLUMNS = {
  kind: 'kind',
  serial: 'serial',
  spiffeId: 'spiffe_id',
  authority: 'authority',
  attestedBy: 'attested_by',
  evidence: 'evidence',
  keyHash: 'key_hash',
  notBefore: 'not_before',
  notAfter: 'not_after',
  issuedAt: 'issued_at',
} as const

export const JOIN_TOKEN_COLUMNS = {
  hash: 'hash',
  spiffeId: 'spiffe_id',
  createdAt: 'created_at',
  expiresAt: 'expires_at',
  usedAt: 'used_at',
} as const

export const REVOCATION_COLUMNS = {
  kind: 'kind',
  value: 'value',
  authority: 'authority',
  reason: 'reason',
  revokedAt: 'revoked_at',
  until: 'ends_at',
} as const

export const AUTHORITY_COLUMNS = {
  id: 'id',
  state: 'state',
  kind: 'kind',
  chain: 'chain',
  key: 'key',
  notAfter: 'not_after',
  changedAt: 'changed_at',
} as const

export const LEASE_COLUMNS = {
  spiffeId: 'spiffe_id',
  instance: 'instance',
  sequence: 'sequence',
  expiresAt: 'expires_at',
} as const

type Columns = Readonly<Record<string, string>>

/** `kind, serial, …`. */
export function names(columns: Columns): string {
  return Object.values(columns).join(', ')
}

/** `spiffe_id AS "spiffeId", …`: rows then have the fields of records. */
export function selected(columns: Columns): string {
  return Object.entries(columns)
    .map(([field, column]) => (field === column ? column : `${column} AS "${field}"`))
    .join(', ')
}

/** The values of a record in the order of its columns. An end that is unknown is NULL in the table. */
export function valuesOf<T extends object>(columns: { readonly [K in keyof T]: string }, record: T): (string | number | null)[] {
  return Object.keys(columns).map((field) => {
    const value = (record as Readonly<Record<string, string | number>>)[field] ?? null
    return value === Infinity ? null : value
  })
}
