/** Backups: made while the store goes on, and put back so that nothing from after them can be played again. */
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { test, type TestContext } from 'node:test'
import { restoreBackup } from '#ca/store/sqlite-backup'
import { openSqliteStore } from '#ca/store/sqlite-store'
import { authority, issuance, joinToken, NOW, revocation } from './records.ts'

function folderOf(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'postern-backup-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

test('a backup made in the middle of issuing holds what was answered before, as one sound file', async (t) => {
  const folder = folderOf(t)
  const copy = join(folder, 'backup.db')
  const answered: string[] = []
  let going = true
  {
    await using store = await openSqliteStore({ file: join(folder, 'ca.db') })
    await Promise.all(Array.from({ length: 3000 }, (_, index) => store.recordIssuance(issuance(`b${index}`))))
    const issuing = (async () => {
      for (let index = 0; going; index++) {
        await store.recordIssuance(issuance(`g${index}`))
        answered.push(`g${index}`)
      }
    })()
    const before = answered.length
    await store.backup(copy)
    going = false
    await issuing
    await assert.rejects(store.backup(copy), { code: 'ERR_CA_STORE_BACKUP', message: /is there already/ })
    await assert.rejects(store.backup(join(folder, 'absent', 'b.db')), { code: 'ERR_CA_STORE_BACKUP' })
    assert.ok(before <= answered.length)
    assert.equal(store.fault, undefined)
  }
  assert.equal(statSync(copy).mode & 0o777, 0o600)
  assert.deepEqual(
    readdirSync(folder).filter((name) => name.startsWith('backup')),
    ['backup.db'],
  )
  const database = new DatabaseSync(copy, { readOnly: true })
  assert.equal(database.prepare('PRAGMA integrity_check').get()?.['integrity_check'], 'ok')
  assert.ok(Number(database.prepare('SELECT count(*) AS n FROM issuances').get()?.['n']) >= 3000)
  database.close()
})

test('what is restored is checked, above every sequence ever published, and its unused tokens are void', async (t) => {
  const folder = folderOf(t)
  const file = join(folder, 'ca.db')
  const copy = join(folder, 'backup.db')
  {
    await using store = await openSqliteStore({ file })
    await store.recordIssuance(issuance('1'))
    for (const hash of ['used since', 'unused']) await store.createJoinToken(joinToken(hash))
    await store.changeAuthorities(0, [authority('a1')])
    await store.backup(copy)
    // What the backup does not know.
    await store.recordIssuance(issuance('2'), 'used since')
    await store.revoke(revocation('2'))
    assert.throws(() => restoreBackup({ backup: copy, file, now: NOW }), { code: 'ERR_CA_STORE_IN_USE' })
    assert.equal(await store.countIssuances(), 2)
  }
  const bytes = readFileSync(copy)
  const restored = restoreBackup({ backup: copy, file, now: NOW })
  assert.deepEqual(restored, { issuances: 1, sequence: NOW / 1000, voidedTokens: 2, kept: `${file}.replaced-${NOW}` })
  assert.ok(bytes.equals(readFileSync(copy)), 'the backup stays as it is')
  assert.equal(statSync(file).mode & 0o777, 0o600)
  {
    await using store = await openSqliteStore({ file, create: false })
    assert.equal(await store.sequence(), restored.sequence)
    assert.deepEqual(await store.authorities(), [authority('a1')])
    for (const hash of ['used since', 'unused']) {
      assert.equal((await store.recordIssuance(issuance(`again ${hash}`), hash))?.reason, 'ERR_JOIN_TOKEN_USED')
    }
    assert.equal(await store.revoke(revocation('9')), restored.sequence + 1)
  }
  await using kept = await openSqliteStore({ file: restored.kept ?? '' })
  assert.equal(await kept.countIssuances(), 2, 'what was replaced can still be read')
})

test('it is restored to where there is no store, and leaves no journal of another behind', async (t) => {
  const folder = folderOf(t)
  const copy = join(folder, 'backup.db')
  {
    await using store = await openSqliteStore({ file: join(folder, 'old.db') })
    await store.recordIssuance(issuance('1'))
    await store.backup(copy)
  }
  const file = join(folder, 'new.db')
  writeFileSync(`${file}-wal`, 'of another store')
  assert.equal(restoreBackup({ backup: copy, file, now: NOW }).kept, undefined)
  await using store = await openSqliteStore({ file, create: false })
  assert.equal(await store.countIssuances(), 1)
})

test('a backup that is damaged or absent is refused, and the store is as it was', async (t) => {
  const folder = folderOf(t)
  const file = join(folder, 'ca.db')
  {
    await using store = await openSqliteStore({ file })
    await store.recordIssuance(issuance('1'))
  }
  const before = readFileSync(file)
  const bad = join(folder, 'bad.db')
  writeFileSync(bad, 'not a database '.repeat(1000))
  assert.throws(() => restoreBackup({ backup: bad, file, now: NOW }), { code: 'ERR_CA_STORE_CORRUPT' })
  assert.throws(() => restoreBackup({ backup: join(folder, 'absent'), file, now: NOW }), { code: 'ERR_CA_STORE_BACKUP' })
  const cut = Buffer.from(before)
  cut.fill(0x5a, 8192)
  writeFileSync(bad, cut)
  assert.throws(() => restoreBackup({ backup: bad, file, now: NOW }), { code: 'ERR_CA_STORE_CORRUPT' })
  assert.ok(before.equals(readFileSync(file)))
  assert.deepEqual(
    readdirSync(folder).filter((name) => name.includes('restoring') || name.includes('replaced')),
    [],
  )
})

const NO_SHELL = spawnSync('sqlite3', ['--version']).status === 0 ? false : 'there is no sqlite3 here'

test('a copy made by `sqlite3 ca.db ".backup …"` beside a running CA can be restored', { skip: NO_SHELL }, async (t) => {
  const folder = folderOf(t)
  const file = join(folder, 'ca.db')
  const copy = join(folder, 'copy.db')
  {
    await using store = await openSqliteStore({ file })
    await Promise.all(Array.from({ length: 500 }, (_, index) => store.recordIssuance(issuance(`s${index}`))))
    execFileSync('sqlite3', [file, `.backup ${copy}`])
    assert.equal(await store.recordIssuance(issuance('after')), undefined)
  }
  assert.equal(restoreBackup({ backup: copy, file, now: NOW }).issuances, 500)
  assert.ok(existsSync(copy))
})
