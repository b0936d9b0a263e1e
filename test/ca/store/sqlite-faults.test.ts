/** What can happen to a file: each fault has its code and its sentence, nothing is taken for recorded meanwhile, and what can mend itself does. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { chmodSync, closeSync, copyFileSync, mkdtempSync, openSync, renameSync, rmSync, statSync, writeFileSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { DatabaseSync } from 'node:sqlite'
import { test, type TestContext } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { PosternError } from '#base/errors'
import { openSqliteStore, type SqliteStore } from '#ca/store/sqlite-store'
import type { Store } from '#ca/store/store'
import { smallDisk } from '../../support/small-disk.ts'
import { authority, issuance, joinToken, NOW, revocation } from './records.ts'

function folderOf(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'postern-faults-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

async function refusedToOpen(file: string, options: { readonly create?: boolean } = {}): Promise<PosternError> {
  const error = await openSqliteStore({ file, ...options }).then(
    async (store) => {
      await store[Symbol.asyncDispose]()
      return undefined
    },
    (refused: unknown) => refused,
  )
  assert.ok(error instanceof PosternError, 'it was opened')
  assert.ok(error.message.includes(file), error.message)
  return error
}

async function well(store: Store): Promise<void> {
  while (store.fault !== undefined) await setTimeout(5)
}

/** Issues until it is refused. */
async function issueUntilRefused(store: SqliteStore): Promise<{ readonly answered: string[]; readonly error: PosternError }> {
  const answered: string[] = []
  for (let index = 0; ; index++) {
    const serial = `f${index}`
    try {
      await Promise.all([
        store.recordIssuance(issuance(serial, { evidence: 'x'.repeat(2000) })),
        store.recordIssuance(issuance(`${serial}b`)),
      ])
      answered.push(serial, `${serial}b`)
    } catch (error) {
      assert.ok(error instanceof PosternError)
      return { answered, error }
    }
  }
}

test('on a full disk nothing is recorded, what was answered is kept, and it goes on by itself when there is room', async (t) => {
  const disk = smallDisk(t, '1m')
  if (disk === undefined) return
  const file = join(disk, 'ca.db')
  writeFileSync(join(disk, 'ballast'), Buffer.alloc(400 * 1024))
  {
    await using store = await openSqliteStore({ file, probeInterval: 10 })
    const { answered, error } = await issueUntilRefused(store)
    assert.equal(error.code, 'ERR_CA_STORE_FULL')
    assert.match(error.message, /disk .* is full\. Free space/)
    assert.equal(store.fault?.reason, 'ERR_CA_STORE_FULL')
    assert.ok(answered.length > 10)
    // Reading needs no room.
    const kept = new Set((await store.issuances({ limit: 10_000 })).map(({ serial }) => serial))
    assert.deepEqual(
      answered.filter((serial) => !kept.has(serial)),
      [],
    )
    rmSync(join(disk, 'ballast'))
    await well(store)
    assert.equal(await store.recordIssuance(issuance('after')), undefined)
  }
  await using store = await openSqliteStore({ file })
  assert.equal((await store.issuances({ serial: 'after', limit: 1 })).length, 1)
})

test('a disk that is full at the start is said so', async (t) => {
  const disk = smallDisk(t, '64k')
  if (disk === undefined) return
  writeFileSync(join(disk, 'ballast'), Buffer.alloc(60 * 1024))
  assert.equal((await refusedToOpen(join(disk, 'ca.db'))).code, 'ERR_CA_STORE_FULL')
})

test('a store on a read-only file system is refused', async (t) => {
  const disk = smallDisk(t, '2m')
  if (disk === undefined) return
  const file = join(disk, 'ca.db')
  await (await openSqliteStore({ file }))[Symbol.asyncDispose]()
  execFileSync('mount', ['-o', 'remount,ro', disk])
  const error = await refusedToOpen(file)
  assert.equal(error.code, 'ERR_CA_STORE_READ_ONLY')
  assert.match(error.message, /mounted for writing/)
})

test('a store that this user may not write is refused', { skip: process.geteuid?.() === 0 && 'root may write everything' }, async (t) => {
  const file = join(folderOf(t), 'ca.db')
  await (await openSqliteStore({ file }))[Symbol.asyncDispose]()
  chmodSync(file, 0o400)
  assert.equal((await refusedToOpen(file)).code, 'ERR_CA_STORE_READ_ONLY')
})

/** Overwrites everything after the first page. */
function damage(file: string): void {
  const size = statSync(file).size
  const handle = openSync(file, 'r+')
  writeSync(handle, Buffer.alloc(size - 4096, 0xa5), 0, size - 4096, 4096)
  closeSync(handle)
}

async function fill(store: SqliteStore, count: number): Promise<void> {
  await Promise.all(Array.from({ length: count }, (_, index) => store.recordIssuance(issuance(`c${index}`, { evidence: 'e'.repeat(300) }))))
}

test('a damaged file is refused at the start', async (t) => {
  const file = join(folderOf(t), 'ca.db')
  {
    await using store = await openSqliteStore({ file })
    await fill(store, 200)
  }
  damage(file)
  const error = await refusedToOpen(file)
  assert.equal(error.code, 'ERR_CA_STORE_CORRUPT')
  assert.match(error.message, /restore the last backup/)
})

test('damage that is met later shuts the store until somebody mends it', async (t) => {
  const file = join(folderOf(t), 'ca.db')
  await using store = await openSqliteStore({ file, probeInterval: 5 })
  // More than the cache holds, and more than stays in the journal.
  await fill(store, 12_000)
  damage(file)
  await assert.rejects(store.issuances({ limit: 12_000, validAt: NOW }), { code: 'ERR_CA_STORE_CORRUPT' })
  assert.equal(store.fault?.reason, 'ERR_CA_STORE_CORRUPT')
  await assert.rejects(store.recordIssuance(issuance('later')), { code: 'ERR_CA_STORE_CORRUPT' })
  // Some looks later it is no other.
  await setTimeout(50)
  assert.equal(store.fault.reason, 'ERR_CA_STORE_CORRUPT')
})

test('a file that is no database, another program’s, or of a newer version is refused, and stays as it was', async (t) => {
  const folder = folderOf(t)
  const rows: readonly (readonly [name: string, make: (file: string) => void, code: string, sentence: RegExp])[] = [
    ['text', (file) => writeFileSync(file, 'no database at all\n'.repeat(1000)), 'ERR_CA_STORE_CORRUPT', /damaged/],
    [
      'other',
      (file) => {
        const other = new DatabaseSync(file)
        other.exec('CREATE TABLE theirs (a); INSERT INTO theirs VALUES (1)')
        other.close()
      },
      'ERR_CA_STORE_NEWER',
      /another program/,
    ],
    [
      'newer',
      (file) => {
        copyFileSync(join(folder, 'good'), file)
        const newer = new DatabaseSync(file)
        newer.exec('PRAGMA user_version = 99')
        newer.close()
      },
      'ERR_CA_STORE_NEWER',
      /version 99 of the tables, and this Postern knows 1/,
    ],
  ]
  await (await openSqliteStore({ file: join(folder, 'good') }))[Symbol.asyncDispose]()
  for (const [name, make, code, sentence] of rows) {
    const file = join(folder, name)
    make(file)
    const error = await refusedToOpen(file)
    assert.equal(error.code, code, name)
    assert.match(error.message, sentence)
  }
  const other = new DatabaseSync(join(folder, 'other'), { readOnly: true })
  assert.deepEqual(
    other
      .prepare('SELECT name FROM sqlite_schema')
      .all()
      .map(({ name }) => name),
    ['theirs'],
  )
  other.close()
})

test('an absent store is made only where that is wanted', async (t) => {
  const folder = folderOf(t)
  assert.equal((await refusedToOpen(join(folder, 'ca.db'), { create: false })).code, 'ERR_CA_STORE_MISSING')
  assert.equal((await refusedToOpen(join(folder, 'absent', 'ca.db'))).code, 'ERR_CA_STORE_MISSING')
  assert.equal((await refusedToOpen(folder)).code, 'ERR_CA_STORE')
})

test('its files are the owner’s alone, also those that were not', async (t) => {
  const file = join(folderOf(t), 'ca.db')
  const modes = (): string[] => ['', '-wal', '-shm', '-lock'].map((suffix) => (statSync(file + suffix).mode & 0o777).toString(8))
  {
    await using store = await openSqliteStore({ file })
    await store.recordIssuance(issuance('1'))
    assert.deepEqual(modes(), ['600', '600', '600', '600'])
  }
  chmodSync(file, 0o644)
  await using store = await openSqliteStore({ file })
  await store.recordIssuance(issuance('2'))
  assert.deepEqual(modes(), ['600', '600', '600', '600'])
})

test('a second server is refused; a tool works beside the first, and leads only without one', async (t) => {
  const file = join(folderOf(t), 'ca.db')
  await using tool = await openSqliteStore({ file, role: 'tool' })
  {
    await using server = await openSqliteStore({ file })
    const error = await refusedToOpen(file)
    assert.equal(error.code, 'ERR_CA_STORE_IN_USE')
    assert.match(error.message, /Another CA runs/)
    await tool.createJoinToken(joinToken('made by the tool'))
    assert.equal(await server.recordIssuance(issuance('1'), 'made by the tool'), undefined)
    assert.equal((await tool.joinToken('made by the tool'))?.usedAt, NOW)
    assert.equal(await tool.revoke(revocation('1')), 1)
    assert.equal(await server.changeAuthorities(0, [authority('a1')]), undefined)
    assert.equal(await tool.asLeader(async () => undefined), false)
    assert.equal(await server.asLeader(async () => undefined), true)
  }
  let led = false
  assert.equal(
    await tool.asLeader(async () => {
      led = true
      assert.equal((await refusedToOpen(file)).code, 'ERR_CA_STORE_IN_USE')
    }),
    true,
  )
  assert.ok(led)
  await using server = await openSqliteStore({ file })
  assert.equal(await server.countIssuances(), 1)
})

test('a file that is removed or replaced under a running CA is noticed before anything is answered', async (t) => {
  const folder = folderOf(t)
  for (const replaced of [false, true]) {
    const file = join(folder, `ca${String(replaced)}.db`)
    await using store = await openSqliteStore({ file })
    await store.recordIssuance(issuance('1'))
    renameSync(file, `${file}.away`)
    if (replaced) copyFileSync(`${file}.away`, file)
    await assert.rejects(store.recordIssuance(issuance('2')), { code: 'ERR_CA_STORE_MOVED' })
    assert.match(store.fault?.detail ?? '', replaced ? /replaced by another/ : /is gone/)
    // Put back it is the same file, but somebody has to look at it.
    renameSync(`${file}.away`, file)
    await assert.rejects(store.recordIssuance(issuance('3')), { code: 'ERR_CA_STORE_MOVED' })
  }
})

test('another process that keeps it locked is waited for, then named; it goes on by itself', async (t) => {
  const file = join(folderOf(t), 'ca.db')
  await using store = await openSqliteStore({ file, probeInterval: 10, patience: 50 })
  const other = new DatabaseSync(file)
  other.exec('BEGIN IMMEDIATE')
  await assert.rejects(store.recordIssuance(issuance('1')), { code: 'ERR_CA_STORE_IN_USE' })
  other.exec('COMMIT')
  other.close()
  await well(store)
  assert.equal(await store.recordIssuance(issuance('1')), undefined)
})

test('a thread that runs out of memory is started again, and what it was asked is an error', async (t) => {
  const file = join(folderOf(t), 'ca.db')
  await using store = await openSqliteStore({ file, probeInterval: 10, heapMb: 12 })
  for (let batch = 0; batch < 30; batch++) {
    const records = Array.from({ length: 50 }, (_, index) => issuance(`m${batch}-${index}`, { evidence: 'é…'.repeat(5000) }))
    await Promise.all(records.map((record) => store.recordIssuance(record)))
  }
  await assert.rejects(store.issuances({ limit: 1500 }), { code: 'ERR_CA_STORE' })
  assert.match(store.fault?.detail ?? '', /thread that keeps/)
  await well(store)
  assert.equal(await store.recordIssuance(issuance('after')), undefined)
  assert.equal(await store.countIssuances(), 1501)
})

test('closing waits for what is under way, and afterwards nothing is taken', async (t) => {
  const file = join(folderOf(t), 'ca.db')
  const store = await openSqliteStore({ file })
  const last = store.recordIssuance(issuance('last'))
  await store[Symbol.asyncDispose]()
  assert.equal(await last, undefined)
  await store[Symbol.asyncDispose]()
  await assert.rejects(store.recordIssuance(issuance('late')), { code: 'ERR_CA_STORE' })
  await assert.rejects(store.sequence(), { code: 'ERR_CA_STORE' })
})
