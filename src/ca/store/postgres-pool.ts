/** Connections to PostgreSQL: verified, few, made again when they are lost. No statement has a name, so PgBouncer may be in between. */
import { readFile } from 'node:fs/promises'
import { isIP } from 'node:net'
import { Pool, type PoolClient, type PoolConfig, TypeOverrides } from 'pg'
import type { PostgresStoreConfig } from '#config/ca-config'

/** One for groups, one for the leader, the rest for reads. */
const CONNECTIONS = 6
const CONNECT_TIMEOUT = 5000
const QUERY_TIMEOUT = 15_000
const BIGINT_OID = 20

export type Row = Readonly<Record<string, unknown>>
export type Value = string | number | null | readonly (string | number | null)[]

export interface Connection {
  readonly query: (statement: string, values?: readonly Value[]) => Promise<readonly Row[]>
}

export interface PostgresPool extends Connection {
  /** Its address and database, for sentences. */
  readonly server: string
  /** One connection for several statements; it is dropped if `work` fails. */
  readonly withConnection: <T>(work: (connection: Connection) => Promise<T>) => Promise<T>
  readonly close: () => Promise<void>
}

/** @param queryTimeout ms that a statement may take; 15 s unless said */
export async function createPostgresPool(config: PostgresStoreConfig, queryTimeout = QUERY_TIMEOUT): Promise<PostgresPool> {
  const { host, port, user, database } = partsOf(config.url)
  const where = host.startsWith('/') ? host : `${isIP(host) === 6 ? `[${host}]` : host}:${port}`
  const { passwordFile, ca } = config
  const types = new TypeOverrides()
  // Times in ms and sequences: far below what a double holds exactly.
  types.setTypeParser(BIGINT_OID, Number)
  const settings: PoolConfig = {
    host,
    port,
    ...(user !== '' && { user }),
    ...(database !== '' && { database }),
    // Read anew for each connection: a password may be changed while we run.
    ...(passwordFile !== undefined && { password: async () => (await readFile(passwordFile, 'utf8')).replace(/\r?\n$/, '') }),
    // The name is verified against `host` in any case, an IP address too.
    ssl: config.tls === 'verify' ? { rejectUnauthorized: true, host, ...(ca !== undefined && { ca: await readFile(ca, 'utf8') }) } : false,
    application_name: 'postern-ca',
    max: CONNECTIONS,
    connectionTimeoutMillis: CONNECT_TIMEOUT,
    query_timeout: queryTimeout,
    idleTimeoutMillis: 60_000,
    keepAlive: true,
    types,
  }
  const pool = new Pool(settings)
  // Of an idle connection: the pool drops it, and the next query says whether a new one can be had.
  pool.on('error', () => undefined)

  async function withConnection<T>(work: (connection: Connection) => Promise<T>): Promise<T> {
    const client = await pool.connect()
    // Between statements the server may end the connection; the next statement then says so.
    const ignore = (): void => undefined
    client.on('error', ignore)
    let broken = true
    try {
      const result = await work({ query: (statement, values = []) => rowsOf(client, statement, values) })
      broken = false
      return result
    } finally {
      client.removeListener('error', ignore)
      client.release(broken)
    }
  }

  return {
    server: `${where}${database === '' ? '' : `/${database}`}`,
    query: (statement, values = []) => withConnection((connection) => connection.query(statement, values)),
    withConnection,
    close: () => pool.end(),
  }
}

async function rowsOf(client: PoolClient, statement: string, values: readonly Value[]): Promise<readonly Row[]> {
  const { rows } = await client.query<Record<string, unknown>>(statement, [...values])
  return rows
}

function partsOf(text: string): { readonly host: string; readonly port: number; readonly user: string; readonly database: string } {
  const url = new URL(text)
  const host = url.searchParams.get('host') ?? decodeURIComponent(url.hostname).replace(/^\[|\]$/g, '')
  return {
    host: host === '' ? 'localhost' : host,
    port: url.port === '' ? 5432 : Number(url.port),
    user: decodeURIComponent(url.username),
    database: decodeURIComponent(url.pathname.slice(1)),
  }
}
