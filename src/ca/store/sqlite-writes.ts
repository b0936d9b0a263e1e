/** The writes of the SQLite store, each as it is inside a transaction. SQLite has one writer at a time, so what is read here stays true. */
import type { DatabaseSync } from 'node:sqlite'
import type { Refusal } from '#base/result'
import {
  AUTHORITY_COLUMNS,
  ISSUANCE_COLUMNS,
  JOIN_TOKEN_COLUMNS,
  LEASE_COLUMNS,
  REVOCATION_COLUMNS,
  selected,
  valuesOf,
} from './columns.ts'
import { refuseJoinToken } from './join-token.ts'
import type { Write } from './sqlite-messages.ts'
import { type JoinToken, PURGE_BATCH } from './store.ts'

/** @returns the write's value; throws what SQLite does */
export type ApplyWrite = (write: Write) => unknown

function insert(table: string, columns: Readonly<Record<string, string>>): string {
  const fields = Object.values(columns)
  return `INSERT INTO ${table} (${fields.join(', ')}) VALUES (${fields.map(() => '?').join(', ')})`
}

/** Where the fields stand in the values of an issuance. */
const SPIFFE_ID = Object.keys(ISSUANCE_COLUMNS).indexOf('spiffeId')
const ISSUED_AT = Object.keys(ISSUANCE_COLUMNS).indexOf('issuedAt')

export function prepareWrites(database: DatabaseSync): ApplyWrite {
  const insertIssuance = database.prepare(insert('issuances', ISSUANCE_COLUMNS))
  const findToken = database.prepare(`SELECT ${selected(JOIN_TOKEN_COLUMNS)} FROM join_tokens WHERE hash = ?`)
  const useToken = database.prepare('UPDATE join_tokens SET used_at = ? WHERE hash = ?')
  const insertToken = database.prepare(insert('join_tokens', JOIN_TOKEN_COLUMNS))
  const putLease = database.prepare(
    `${insert('leases', LEASE_COLUMNS)} ON CONFLICT DO UPDATE SET sequence = excluded.sequence, expires_at = excluded.expires_at`,
  )
  const putRevocation = database.prepare(
    `${insert('revocations', REVOCATION_COLUMNS)} ON CONFLICT DO UPDATE SET reason = excluded.reason, ends_at = excluded.ends_at`,
  )
  const dropRevocation = database.prepare('DELETE FROM revocations WHERE kind = ? AND value = ? AND authority = ?')
  const putAuthority = database.prepare(insert('authorities', AUTHORITY_COLUMNS).replace('INSERT', 'INSERT OR REPLACE'))
  const sequenceNow = database.prepare('SELECT sequence FROM bundle')
  const raise = database.prepare('UPDATE bundle SET sequence = sequence + 1 RETURNING sequence')
  const probe = database.prepare('UPDATE bundle SET probed = probed + 1')
  const purgeIssuances = database.prepare(
    `DELETE FROM issuances WHERE id IN (SELECT id FROM issuances WHERE not_after < ? ORDER BY not_after LIMIT ${PURGE_BATCH})`,
  )
  const purgeRest = ['join_tokens WHERE expires_at', 'leases WHERE expires_at', 'revocations WHERE ends_at'].map((what) =>
    database.prepare(`DELETE FROM ${what} < ?`),
  )

  function issue(values: readonly (string | number | null)[], joinToken: string): Refusal | undefined {
    if (joinToken === '') {
      insertIssuance.run(...values)
      return undefined
    }
    const at = Number(values[ISSUED_AT])
    const token = findToken.get(joinToken) as JoinToken | undefined
    const refused = refuseJoinToken(token, String(values[SPIFFE_ID]), at)
    if (refused !== undefined) return refused
    // The record first: if it cannot be, the token is still good.
    insertIssuance.run(...values)
    useToken.run(at, joinToken)
    return undefined
  }

  const raised = (): number => Number(raise.get()?.['sequence'])

  return (write) => {
    switch (write[0]) {
      case 'issue':
        return issue(write[1], write[2])
      case 'lease':
        putLease.run(...valuesOf(LEASE_COLUMNS, write[1]))
        return undefined
      case 'joinToken':
        insertToken.run(...valuesOf(JOIN_TOKEN_COLUMNS, write[1]))
        return undefined
      case 'findToken':
        return findToken.get(write[1])
      case 'revoke':
        putRevocation.run(...valuesOf(REVOCATION_COLUMNS, write[1]))
        return raised()
      case 'withdraw':
        return dropRevocation.run(write[1].kind, write[1].value, write[1].authority).changes === 0 ? undefined : raised()
      case 'authorities':
        if (Number(sequenceNow.get()?.['sequence']) !== write[1]) return undefined
        for (const authority of write[2]) putAuthority.run(...valuesOf(AUTHORITY_COLUMNS, authority))
        return raised()
      case 'purge':
        for (const statement of purgeRest) statement.run(write[1])
        return Number(purgeIssuances.run(write[1]).changes)
      case 'probe':
        probe.run()
        return undefined
      default:
        return write satisfies never
    }
  }
}
