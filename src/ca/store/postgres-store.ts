/** The store of several replicas: PostgreSQL. What must not be done twice is decided by its rows and locks, never by this process. */
import type { PostgresStoreConfig } from '#config/ca-config'
import { PosternError } from '#base/errors'
import {
  AUTHORITY_COLUMNS,
  ISSUANCE_COLUMNS,
  JOIN_TOKEN_COLUMNS,
  LEASE_COLUMNS,
  names,
  REVOCATION_COLUMNS,
  selected,
  valuesOf,
} from './columns.ts'
import { createGroupCommit } from './group-commit.ts'
import { codeOf, conflict, faultOf, isConnectionLoss, isContention, isItemsOwnFault } from './postgres-faults.ts'
import { type Issue, issueGroup } from './postgres-issue.ts'
import { LOCKS } from './postgres-migrations.ts'
import { assertDurable, migrate } from './postgres-open.ts'
import { type Connection, createPostgresPool, type Row, type Value } from './postgres-pool.ts'
import {
  type AuthorityRecord,
  type Issuance,
  type IssuanceQuery,
  type JoinToken,
  type Lease,
  PURGE_BATCH,
  type RevocationRecord,
  type Store,
  type StoreFault,
} from './store.ts'

export interface PostgresStore extends Store {
  /** Groups so far, for tests and benches. */
  readonly commits: number
}

export interface PostgresStoreOptions {
  /** Ms between looks at a database that has a fault; a second unless said. */
  readonly probeInterval?: number
  /** Ms that a statement may take; 15 s unless said. */
  readonly queryTimeout?: number
}

const PROBE_INTERVAL = 1000

/**
 * Connects, and brings the tables to this version, whoever of several replicas comes first.
 * @throws PosternError ERR_CA_STORE… with what to do
 */
export async function openPostgresStore(config: PostgresStoreConfig, options: PostgresStoreOptions = {}): Promise<PostgresStore> {
  const { probeInterval = PROBE_INTERVAL } = options
  const pool = await createPostgresPool(config, options.queryTimeout).catch((error: unknown) => {
    throw new PosternError('ERR_CA_STORE', `The certificate in \`spec.store.postgres.ca\` cannot be read: ${String(error)}.`, {
      cause: error,
    })
  })
  let fault: StoreFault | undefined
  let probing: NodeJS.Timeout | undefined
  let leading = false
  let closed = false

  function failed(error: unknown): PosternError {
    if (isItemsOwnFault(error)) return conflict(error)
    fault = faultOf(error, pool.server)
    probeSoon()
    return new PosternError(fault.reason, fault.detail, { cause: error })
  }

  function probeSoon(): void {
    if (closed || probing !== undefined) return
    probing = setTimeout(() => {
      probing = undefined
      // What it finds is in `fault`. It writes: a standby answers reads.
      run((connection) => connection.query('UPDATE postern_ca_bundle SET sequence = sequence')).catch(() => undefined)
    }, probeInterval)
    probing.unref()
  }

  /** Nothing that may be done twice: contention is tried again, and a lost connection once, as the pool may have held a dead one. */
  async function run<T>(work: (connection: Connection) => Promise<T>): Promise<T> {
    for (let round = 1; ; round++) {
      try {
        const result = await work(pool)
        fault = undefined
        return result
      } catch (error) {
        const again = (isContention(error) && round < 5) || (isConnectionLoss(error) && round === 1 && !closed)
        if (!again) throw failed(error)
      }
    }
  }

  const query = (statement: string, values?: readonly Value[]): Promise<readonly Row[]> =>
    run((connection) => connection.query(statement, values))

  /** What would answer otherwise the second time, or sees to lost connections itself. */
  async function once<T>(work: (connection: Connection) => Promise<T>): Promise<T> {
    try {
      const result = await work(pool)
      fault = undefined
      return result
    } catch (error) {
      throw failed(error)
    }
  }

  const change = (statement: string, values: readonly Value[]): Promise<readonly Row[]> =>
    once((connection) => connection.query(statement, values))

  const issues = createGroupCommit<Issue>({
    commit: (group) => once((connection) => issueGroup(connection, group)),
  })

  try {
    await migrate(pool)
    await assertDurable(pool, pool.server)
  } catch (error) {
    const refused = failed(error)
    closed = true
    clearTimeout(probing)
    await pool.close()
    throw refused
  }

  const sequenceOf = ([row]: readonly Row[]): number | undefined => (row === undefined ? undefined : Number(row['sequence']))
  const must = (sequence: number | undefined): number => sequence ?? 0

  return {
    recordIssuance: (issuance, joinToken = '') => issues.add({ issuance, joinToken }),
    async issuances(search) {
      const { where, values } = conditionsOf(search)
      const rows = await query(`SELECT ${selected(ISSUANCE_COLUMNS)} FROM postern_ca_issuances ${where}`, values)
      return rows as readonly (Row & Issuance)[]
    },
    async countIssuances() {
      const [row] = await query('SELECT count(*) AS n FROM postern_ca_issuances')
      return Number(row?.['n'])
    },
    async purge(endedBefore) {
      for (const what of ['join_tokens WHERE expires_at', 'leases WHERE expires_at', 'revocations WHERE ends_at']) {
        await query(`DELETE FROM postern_ca_${what} < $1`, [endedBefore])
      }
      const batch = `SELECT id FROM postern_ca_issuances WHERE not_after < $1 ORDER BY not_after LIMIT ${PURGE_BATCH} FOR UPDATE SKIP LOCKED`
      const rows = await query(
        `WITH gone AS (DELETE FROM postern_ca_issuances WHERE id IN (${batch}) RETURNING 1) SELECT count(*) AS n FROM gone`,
        [endedBefore],
      )
      return Number(rows[0]?.['n'])
    },
    async createJoinToken(token) {
      await change(insert('join_tokens', JOIN_TOKEN_COLUMNS), valuesOf(JOIN_TOKEN_COLUMNS, token))
    },
    async joinToken(hash) {
      const [row] = await query(`SELECT ${selected(JOIN_TOKEN_COLUMNS)} FROM postern_ca_join_tokens WHERE hash = $1`, [hash])
      return row as (Row & JoinToken) | undefined
    },
    async joinTokens(limit) {
      const rows = await query(`SELECT ${selected(JOIN_TOKEN_COLUMNS)} FROM postern_ca_join_tokens ORDER BY id DESC LIMIT $1`, [limit])
      return rows as readonly (Row & JoinToken)[]
    },
    async revoke(revocation) {
      const put = `${insert('revocations', REVOCATION_COLUMNS)} ON CONFLICT (kind, value, authority) DO UPDATE SET reason = excluded.reason, ends_at = excluded.ends_at`
      return must(sequenceOf(await query(`WITH put AS (${put}) ${RAISE}`, valuesOf(REVOCATION_COLUMNS, revocation))))
    },
    async withdraw({ kind, value, authority }) {
      const drop = 'DELETE FROM postern_ca_revocations WHERE kind = $1 AND value = $2 AND authority = $3 RETURNING 1'
      return sequenceOf(
        await change(`WITH dropped AS (${drop}) ${RAISE_IF} EXISTS (SELECT 1 FROM dropped) RETURNING sequence`, [kind, value, authority]),
      )
    },
    revocations: () => run(readRevocations),
    authorities: () => run(readAuthorities),
    async changeAuthorities(expected, changes) {
      const columns = Object.keys(AUTHORITY_COLUMNS) as (keyof AuthorityRecord)[]
      const arrays = columns.map((column) => changes.map((authority) => authority[column]))
      const kinds = columns.map((column) => (column === 'notAfter' || column === 'changedAt' ? 'bigint' : 'text'))
      const rows = `unnest(${kinds.map((kind, index) => `$${index + 2}::${kind}[]`).join(', ')}) AS rows (${names(AUTHORITY_COLUMNS)})`
      const replaced = Object.values(AUTHORITY_COLUMNS)
        .filter((column) => column !== 'id')
        .map((column) => `${column} = excluded.${column}`)
      const statement = `
        WITH raised AS (UPDATE postern_ca_bundle SET sequence = sequence + 1 WHERE sequence = $1 RETURNING sequence),
        put AS (
          INSERT INTO postern_ca_authorities (${names(AUTHORITY_COLUMNS)}) SELECT rows.* FROM ${rows}, raised
          ON CONFLICT (id) DO UPDATE SET ${replaced.join(', ')}
        )
        SELECT sequence FROM raised`
      return sequenceOf(await change(statement, [expected, ...arrays]))
    },
    sequence: async () => must(sequenceOf(await query('SELECT sequence FROM postern_ca_bundle'))),
    trust: () =>
      run(() =>
        pool.withConnection(async (connection) => {
          await connection.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY')
          const sequence = must(sequenceOf(await connection.query('SELECT sequence FROM postern_ca_bundle')))
          const trust = { sequence, authorities: await readAuthorities(connection), revocations: await readRevocations(connection) }
          await connection.query('COMMIT')
          return trust
        }),
      ),
    async renewLease(lease) {
      const put = `${insert('leases', LEASE_COLUMNS)} ON CONFLICT (spiffe_id, instance)`
      await query(`${put} DO UPDATE SET sequence = excluded.sequence, expires_at = excluded.expires_at`, valuesOf(LEASE_COLUMNS, lease))
    },
    async leases(validAt) {
      const statement = `SELECT ${selected(LEASE_COLUMNS)} FROM postern_ca_leases WHERE expires_at > $1 ORDER BY spiffe_id COLLATE "C", instance COLLATE "C"`
      return (await query(statement, [validAt])) as readonly (Row & Lease)[]
    },
    async asLeader(work) {
      if (leading) return false
      leading = true
      let mine = false
      let done = false
      try {
        // For the length of a transaction, not of a session: with PgBouncer in between a session is nobody's.
        await pool.withConnection(async (connection) => {
          await connection.query('BEGIN')
          const [row] = await connection.query('SELECT pg_try_advisory_xact_lock($1::bigint) AS mine', [LOCKS.leadership])
          mine = row?.['mine'] === true
          if (mine) {
            await work().catch(async (error: unknown) => {
              // The lock is free by the time the error is told, not some time after the connection went.
              await connection.query('ROLLBACK').catch(() => undefined)
              throw error
            })
          }
          done = true
          await connection.query('COMMIT')
        })
        return mine
      } catch (error) {
        // The work is done; that the lock's transaction was ended before changes nothing.
        if (done) return mine
        throw mine && codeOf(error) === '' ? error : failed(error)
      } finally {
        leading = false
      }
    },
    get commits() {
      return issues.groups
    },
    get fault() {
      return fault
    },
    async [Symbol.asyncDispose]() {
      if (closed) return
      await issues.settled()
      closed = true
      clearTimeout(probing)
      await pool.close()
    },
  }
}

const RAISE = 'UPDATE postern_ca_bundle SET sequence = sequence + 1 RETURNING sequence'
const RAISE_IF = 'UPDATE postern_ca_bundle SET sequence = sequence + 1 WHERE'

function insert(table: string, columns: Readonly<Record<string, string>>): string {
  const places = Object.keys(columns).map((_, index) => `$${index + 1}`)
  return `INSERT INTO postern_ca_${table} (${names(columns)}) VALUES (${places.join(', ')})`
}

function conditionsOf({ spiffeId, serial, validAt, before, limit }: IssuanceQuery): { readonly where: string; readonly values: Value[] } {
  const conditions: string[] = []
  const values: Value[] = []
  const add = (condition: (place: string) => string, value: Value | undefined): void => {
    if (value !== undefined) conditions.push(condition(`$${values.push(value)}`))
  }
  add((place) => `spiffe_id = ${place}`, spiffeId)
  add((place) => `serial = ${place}`, serial)
  add((place) => `not_after > ${place}`, validAt)
  add((place) => `id < (SELECT id FROM postern_ca_issuances WHERE serial = ${place})`, before)
  const where = conditions.length === 0 ? '' : `WHERE ${conditions.join(' AND ')} `
  return { where: `${where}ORDER BY id DESC LIMIT $${values.push(limit)}`, values }
}

async function readAuthorities(connection: Connection): Promise<readonly AuthorityRecord[]> {
  const rows = await connection.query(
    `SELECT ${selected(AUTHORITY_COLUMNS)} FROM postern_ca_authorities ORDER BY changed_at, id COLLATE "C"`,
  )
  return rows as readonly (Row & AuthorityRecord)[]
}

async function readRevocations(connection: Connection): Promise<readonly RevocationRecord[]> {
  const order = 'ORDER BY revoked_at, kind COLLATE "C", value COLLATE "C", authority COLLATE "C"'
  const rows = await connection.query(`SELECT ${selected(REVOCATION_COLUMNS)} FROM postern_ca_revocations ${order}`)
  return rows.map((row) => ({ ...row, until: row['until'] ?? Infinity }) as Row & RevocationRecord)
}
