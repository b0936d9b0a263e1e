/** The store on PostgreSQL: the contract, and what only a database server can do to it. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { chownSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { PosternError } from '#base/errors'
import { openPostgresStore } from '#ca/store/postgres-store'
import type { PostgresStoreConfig } from '#config/ca-config'
import { NO_POSTGRES, type PostgresCluster, postgresUser, startPostgres } from '../../support/postgres-cluster.ts'
import { testStore } from './contract.ts'
import { authority, issuance, joinToken } from './records.ts'

let cluster: PostgresCluster
let url: string
before(async () => {
  if (NO_POSTGRES !== false) return
  cluster = await startPostgres()
  url = cluster.createDatabase('contract')
})
after(() => cluster?.close())

function configOf(url: string, more: Partial<PostgresStoreConfig> = {}): PostgresStoreConfig {
  return { kind: 'postgres', url, passwordFile: undefined, tls: 'off', ca: undefined, keep: 0, ...more }
}

async function refusedToOpen(config: PostgresStoreConfig): Promise<PosternError> {
  const error = await openPostgresStore(config).then(
    async (store) => {
      await store[Symbol.asyncDispose]()
      return undefined
    },
    (refused: unknown) => refused,
  )
  assert.ok(error instanceof PosternError, 'it was opened')
  return error
}

testStore('PostgreSQL', {
  replicas: true,
  skip: NO_POSTGRES,
  async fresh() {
    cluster.emptyDatabase('contract')
    const config = configOf(url)
    return { open: () => openPostgresStore(config), dispose: async () => undefined }
  },
})

const skip = NO_POSTGRES

test(
  'what was answered is there after the server crashed; the store connects again by itself, and says meanwhile what is wrong',
  { skip },
  async () => {
    cluster.emptyDatabase('contract')
    await using store = await openPostgresStore(configOf(url), { probeInterval: 10 })
    const answered: string[] = []
    const errors: unknown[] = []
    let going = true
    const enough = Promise.withResolvers<void>()
    const issuing = Promise.all(
      Array.from({ length: 8 }, async (_, side) => {
        for (let index = 0; going; index++) {
          const serial = `k${side}-${index}`
          try {
            await store.recordIssuance(issuance(serial))
            answered.push(serial)
            if (answered.length === 200) enough.resolve()
          } catch (error) {
            errors.push(error)
            await setTimeout(2)
          }
        }
      }),
    )
    await enough.promise
    await cluster.crash()
    while (store.fault === undefined) await setTimeout(2)
    assert.equal(store.fault.reason, 'ERR_CA_STORE_UNREACHABLE')
    assert.match(store.fault.detail, /does not answer: .*connects again by itself/)
    going = false
    await issuing
    await cluster.start()
    while (store.fault !== undefined) await setTimeout(2)
    const others = errors.filter((error) => !(error instanceof PosternError && error.code === 'ERR_CA_STORE_UNREACHABLE'))
    assert.deepEqual(others.map(String), [])
    const found = new Set((await store.issuances({ limit: 100_000 })).map(({ serial }) => serial))
    assert.deepEqual(
      answered.filter((serial) => !found.has(serial)),
      [],
    )
  },
)

test('a server that was restarted between two calls is not noticed by the caller', { skip }, async () => {
  cluster.emptyDatabase('contract')
  await using store = await openPostgresStore(configOf(url))
  await store.createJoinToken(joinToken('t'))
  await Promise.all([store.sequence(), store.countIssuances(), store.authorities()])
  await cluster.stop()
  await cluster.start()
  assert.equal(await store.recordIssuance(issuance('1'), 't'), undefined)
  assert.equal(await store.sequence(), 0)
  assert.equal(store.fault, undefined)
})

test('several replicas that start on an empty database make its tables once', { skip }, async () => {
  cluster.emptyDatabase('contract')
  const stores = await Promise.all([1, 2, 3, 4].map(() => openPostgresStore(configOf(url))))
  assert.equal(await stores[0]?.changeAuthorities(0, [authority('a1')]), 1)
  assert.equal(await stores[3]?.sequence(), 1)
  await Promise.all(stores.map((store) => store[Symbol.asyncDispose]()))
  assert.equal(cluster.run('contract', 'SELECT count(*) FROM postern_ca_version'), '1')
})

test('tables of a newer version are refused', { skip }, async () => {
  cluster.emptyDatabase('contract')
  await (await openPostgresStore(configOf(url)))[Symbol.asyncDispose]()
  cluster.run('contract', 'UPDATE postern_ca_version SET version = 99')
  const error = await refusedToOpen(configOf(url))
  assert.equal(error.code, 'ERR_CA_STORE_NEWER')
  assert.match(error.message, /version 99, and this Postern knows 1/)
})

test(
  'a server that answers before it is durable, takes no writes, or has no such database is refused with a sentence',
  { skip },
  async () => {
    cluster.emptyDatabase('contract')
    const rows: readonly (readonly [setting: string, code: string, sentence: RegExp])[] = [
      ['synchronous_commit = off', 'ERR_CA_STORE_NOT_DURABLE', /`synchronous_commit` off/],
      ['default_transaction_read_only = on', 'ERR_CA_STORE_READ_ONLY', /takes no writes/],
    ]
    for (const [setting, code, sentence] of rows) {
      cluster.run('postgres', `ALTER DATABASE contract SET ${setting}`)
      const error = await refusedToOpen(configOf(url))
      cluster.run('postgres', `ALTER DATABASE contract RESET ${setting.split(' ')[0]}`)
      assert.equal(error.code, code, error.message)
      assert.match(error.message, sentence)
    }
    const absent = await refusedToOpen(configOf(url.replace('/contract', '/absent')))
    assert.equal(absent.code, 'ERR_CA_STORE_UNREACHABLE')
    assert.match(absent.message, /no such database; create it/)
  },
)

test('the leader’s lock is of a transaction, not of a session, as PgBouncer needs it', { skip }, async () => {
  cluster.emptyDatabase('contract')
  await using store = await openPostgresStore(configOf(url))
  await store.createJoinToken(joinToken('t'))
  await store.recordIssuance(issuance('1'), 't')
  const sessions = "FROM pg_locks WHERE locktype = 'advisory'"
  await store.asLeader(async () => {
    assert.equal(cluster.run('contract', `SELECT count(*) ${sessions}`), '1')
    await store.changeAuthorities(0, [authority('a1')])
  })
  assert.equal(cluster.run('contract', `SELECT count(*) ${sessions}`), '0', 'the lock ends with its transaction, the connections stay')
  const failing = store.asLeader(async () => {
    throw new Error('of the work')
  })
  await assert.rejects(failing, /of the work/)
  assert.equal(cluster.run('contract', `SELECT count(*) ${sessions}`), '0', 'and before an error of the work is told')
  assert.notEqual(cluster.run('contract', "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'postern-ca'"), '0')
})

test('a server elsewhere must prove its name, and the password is read from its file', { skip }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'postern-pg-tls-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const path = (name: string): string => join(folder, name)
  for (const name of ['server', 'other']) {
    const subject = ['-subj', `/CN=${name}`, '-addext', 'subjectAltName=IP:127.0.0.1', '-days', '2', '-nodes']
    execFileSync(
      'openssl',
      [
        'req',
        '-x509',
        '-newkey',
        'ec',
        '-pkeyopt',
        'ec_paramgen_curve:P-256',
        '-keyout',
        path(`${name}.key`),
        '-out',
        path(`${name}.pem`),
        ...subject,
      ],
      { stdio: 'pipe' },
    )
  }
  writeFileSync(path('hba.conf'), 'local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n')
  writeFileSync(path('password'), 'right horse\n')
  writeFileSync(path('wrong'), 'wrong horse\n')
  const user = postgresUser()
  for (const name of ['', 'server.key', 'server.pem', 'hba.conf']) if (user !== undefined) chownSync(path(name), user.uid, user.gid)
  const port = await freePort()
  const tls = await startPostgres({
    port: String(port),
    listen_addresses: '127.0.0.1',
    ssl: 'on',
    ssl_cert_file: path('server.pem'),
    ssl_key_file: path('server.key'),
    hba_file: path('hba.conf'),
  })
  t.after(() => tls.close())
  tls.run('postgres', "ALTER USER postern PASSWORD 'right horse'")
  const config = (host: string, ca: string, password: string): PostgresStoreConfig =>
    configOf(`postgres://postern@${host}:${port}/postgres`, { tls: 'verify', ca: path(ca), passwordFile: path(password) })
  {
    await using store = await openPostgresStore(config('127.0.0.1', 'server.pem', 'password'))
    assert.equal(await store.recordIssuance(issuance('1')), undefined)
  }
  const rows: readonly (readonly [config: PostgresStoreConfig, sentence: RegExp])[] = [
    [config('127.0.0.1', 'other.pem', 'password'), /self-signed certificate/],
    [config('localhost', 'server.pem', 'password'), /does not match certificate's altnames/],
    [config('127.0.0.1', 'server.pem', 'wrong'), /turned the CA away; check user and password/],
    [config('127.0.0.1', 'server.pem', 'absent'), /no such file/],
    [{ ...config('127.0.0.1', 'server.pem', 'password'), tls: 'off' }, /turned the CA away.*no pg_hba\.conf entry/],
  ]
  for (const [wrong, sentence] of rows) {
    const error = await refusedToOpen(wrong)
    assert.match(error.message, sentence)
    assert.ok(!error.message.includes('horse'))
  }
})

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  return typeof address === 'object' && address !== null ? address.port : 0
}
