/** The reads of the SQLite store. Rows have the fields of records. */
import type { DatabaseSync, SQLInputValue } from 'node:sqlite'
import { AUTHORITY_COLUMNS, ISSUANCE_COLUMNS, JOIN_TOKEN_COLUMNS, LEASE_COLUMNS, REVOCATION_COLUMNS, selected } from './columns.ts'
import type { Read } from './sqlite-messages.ts'
import type { IssuanceQuery } from './store.ts'

export type AnswerRead = (read: Read) => unknown

export function prepareReads(database: DatabaseSync): AnswerRead {
  const authorities = database.prepare(`SELECT ${selected(AUTHORITY_COLUMNS)} FROM authorities ORDER BY changed_at, id`)
  const revocations = database.prepare(`SELECT ${selected(REVOCATION_COLUMNS)} FROM revocations ORDER BY revoked_at, kind, value`)
  const sequence = database.prepare('SELECT sequence FROM bundle')

  const readRevocations = (): unknown[] =>
    revocations.all().map((row) => ({ ...row, until: row['until'] === null ? Infinity : row['until'] }))
  const readSequence = (): number => Number(sequence.get()?.['sequence'])

  function readIssuances({ spiffeId, serial, validAt, before, limit }: IssuanceQuery): unknown[] {
    const conditions: string[] = []
    const values: SQLInputValue[] = []
    const add = (condition: string, value: SQLInputValue | undefined): void => {
      if (value === undefined) return
      conditions.push(condition)
      values.push(value)
    }
    add('spiffe_id = ?', spiffeId)
    add('serial = ?', serial)
    add('not_after > ?', validAt)
    add('id < (SELECT id FROM issuances WHERE serial = ?)', before)
    const where = conditions.length === 0 ? '' : `WHERE ${conditions.join(' AND ')}`
    // The unary plus: what is valid is most of it, and its order by end is not the one that is asked for.
    const order = `${where.replace('not_after', '+not_after')} ORDER BY id DESC LIMIT ?`
    return database.prepare(`SELECT ${selected(ISSUANCE_COLUMNS)} FROM issuances ${order}`).all(...values, limit)
  }

  return (read) => {
    switch (read[0]) {
      case 'issuances':
        return readIssuances(read[1])
      case 'countIssuances':
        return Number(database.prepare('SELECT count(*) AS n FROM issuances').get()?.['n'])
      case 'joinTokens':
        return database.prepare(`SELECT ${selected(JOIN_TOKEN_COLUMNS)} FROM join_tokens ORDER BY id DESC LIMIT ?`).all(read[1])
      case 'revocations':
        return readRevocations()
      case 'authorities':
        return authorities.all()
      case 'sequence':
        return readSequence()
      case 'trust':
        return inOneMoment(database, () => ({ sequence: readSequence(), authorities: authorities.all(), revocations: readRevocations() }))
      case 'leases':
        return database
          .prepare(`SELECT ${selected(LEASE_COLUMNS)} FROM leases WHERE expires_at > ? ORDER BY spiffe_id, instance`)
          .all(read[1])
      default:
        return read satisfies never
    }
  }
}

/** Against what another process may write in between. */
function inOneMoment<T>(database: DatabaseSync, read: () => T): T {
  database.exec('BEGIN')
  try {
    return read()
  } finally {
    if (database.isTransaction) database.exec('COMMIT')
  }
}
