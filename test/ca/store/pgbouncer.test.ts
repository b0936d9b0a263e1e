/** The store on PostgreSQL behind PgBouncer, which lends a connection for a transaction: the whole contract, and what pooling can spoil. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type { PosternError } from '#base/errors'
import { openPostgresStore, type PostgresStore, type PostgresStoreOptions } from '#ca/store/postgres-store'
import type { PostgresStoreConfig } from '#config/ca-config'
import { NO_PGBOUNCER, type PgBouncer, startPgBouncer } from '../../support/pgbouncer.ts'
import { NO_POSTGRES, type PostgresCluster, startPostgres } from '../../support/postgres-cluster.ts'
import { testStore } from './contract.ts'
import { issuance } from './records.ts'

const DATABASE = 'pooled'
/** Of PostgreSQL, for all clients of PgBouncer together: fewer than one store opens. */
const CONNECTIONS = 3

const skip = NO_POSTGRES === false ? NO_PGBOUNCER : NO_POSTGRES
let cluster: PostgresCluster | undefined
let bouncer: PgBouncer | undefined
before(async () => {
  if (skip !== false) return
  cluster = await startPostgres()
  cluster.createDatabase(DATABASE)
  bouncer = await startPgBouncer(cluster.host, { pool_mode: 'transaction', default_pool_size: String(CONNECTIONS) })
})
after(async () => {
  await bouncer?.[Symbol.asyncDispose]()
  await cluster?.close()
})

function openThrough(through: PgBouncer, options: PostgresStoreOptions = {}): Promise<PostgresStore> {
  const config: PostgresStoreConfig = {
    kind: 'postgres',
    url: through.url(DATABASE),
    passwordFile: undefined,
    tls: 'off',
    ca: undefined,
    keep: 0,
  }
  return openPostgresStore(config, options)
}

testStore('PostgreSQL behind PgBouncer that pools by transaction', {
  replicas: true,
  skip,
  async fresh() {
    cluster!.emptyDatabase(DATABASE)
    return { open: () => openThrough(bouncer!), dispose: async () => undefined }
  },
})

test('four replicas share three connections: each issues, and one at a time leads', { skip }, async (t) => {
  cluster!.emptyDatabase(DATABASE)
  await using stack = new AsyncDisposableStack()
  const stores = await Promise.all(Array.from({ length: 4 }, async () => stack.use(await openThrough(bouncer!))))
  let leaders = 0
  let turns = 0
  const work = stores.map(async (store, replica) => {
    for (let index = 0; index < 50; index++) {
      await Promise.all([
        store.recordIssuance(issuance(`b${replica}-${index}`)),
        store.asLeader(async () => {
          leaders++
          turns++
          assert.equal(leaders, 1)
          await store.purge(0)
          leaders--
        }),
      ])
    }
  })
  await Promise.all(work)
  assert.equal(await stores[0]!.countIssuances(), 200)
  const backends = Number(cluster!.run(DATABASE, `SELECT count(*) FROM pg_stat_activity WHERE application_name = 'postern-ca'`))
  assert.ok(backends <= CONNECTIONS, `${backends} connections of PostgreSQL`)
  assert.equal(cluster!.run(DATABASE, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"), '0', 'no lock is left with anybody')
  t.diagnostic(`200 issuances by 4 replicas over ${backends} connections of PostgreSQL; ${turns} turns of leading`)
})

test('a PgBouncer that pools by statement is refused at the start, with what to set', { skip }, async () => {
  await using pooled = await startPgBouncer(cluster!.host, { pool_mode: 'statement' })
  await assert.rejects(openThrough(pooled), (error: PosternError) => {
    assert.equal(error.code, 'ERR_CA_STORE')
    assert.match(error.message, /pools by statement.* Set `pool_mode = transaction`/)
    return true
  })
})

test('a PgBouncer that lends one connection alone: issuing works, and what leads says what it wants', { skip }, async () => {
  cluster!.emptyDatabase(DATABASE)
  await using pooled = await startPgBouncer(cluster!.host, { pool_mode: 'transaction', default_pool_size: '1' })
  await using store = await openThrough(pooled, { queryTimeout: 500, probeInterval: 10 })
  assert.equal(await store.recordIssuance(issuance('1')), undefined)
  await assert.rejects(
    store.asLeader(async () => void (await store.purge(0))),
    (error: PosternError) =>
      error.code === 'ERR_CA_STORE_UNREACHABLE' && /lend at least two connections: `default_pool_size`/.test(error.message),
  )
  // What waited for the one connection is done with; it goes on by itself.
  while (store.fault !== undefined) await new Promise((resolve) => setTimeout(resolve, 10))
  assert.equal(await store.recordIssuance(issuance('2')), undefined)
})
