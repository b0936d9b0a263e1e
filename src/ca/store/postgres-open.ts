/** What a PostgreSQL must be before anything is recorded in it: durable, and with this version's tables. */
import { PosternError } from '#base/errors'
import { LOCKS, POSTGRES_MIGRATIONS } from './postgres-migrations.ts'
import type { Connection, PostgresPool } from './postgres-pool.ts'

/** @throws PosternError ERR_CA_STORE_NOT_DURABLE */
export async function assertDurable(connection: Connection, server: string): Promise<void> {
  const rows = await connection.query(
    "SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'synchronous_commit') AND setting = 'off'",
  )
  if (rows.length === 0) return
  const off = rows.map(({ name }) => `\`${String(name)}\``).join(' and ')
  const message = `PostgreSQL at ${server} has ${off} off: after a power cut it may have forgotten what was issued. Turn it on, for this user at least (\`ALTER ROLE … SET synchronous_commit = on\`).`
  throw new PosternError('ERR_CA_STORE_NOT_DURABLE', message)
}

/** Forward, step by step, by one replica at a time. @throws PosternError ERR_CA_STORE_NEWER */
export async function migrate(pool: PostgresPool): Promise<void> {
  await pool.withConnection(async (connection) => {
    await connection.query('BEGIN')
    await connection.query('SELECT pg_advisory_xact_lock($1::bigint)', [LOCKS.migration])
    await connection.query('CREATE TABLE IF NOT EXISTS postern_ca_version (version integer NOT NULL)')
    const [row] = await connection.query('SELECT version FROM postern_ca_version')
    const version = Number(row?.['version'] ?? 0)
    if (version > POSTGRES_MIGRATIONS.length) {
      const message = `The tables at ${pool.server} have version ${version}, and this Postern knows ${POSTGRES_MIGRATIONS.length}. Run the version that wrote them, or restore a backup made before.`
      throw new PosternError('ERR_CA_STORE_NEWER', message)
    }
    for (const step of POSTGRES_MIGRATIONS.slice(version)) await connection.query(step)
    await connection.query(
      row === undefined ? 'INSERT INTO postern_ca_version VALUES ($1)' : 'UPDATE postern_ca_version SET version = $1',
      [POSTGRES_MIGRATIONS.length],
    )
    await connection.query('COMMIT')
  })
}
