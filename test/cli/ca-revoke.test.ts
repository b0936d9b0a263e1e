/** `postern ca revoke`: an identity that is revoked, and given back. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { openSqliteStore } from '#ca/store/sqlite-store'
import { caCommand } from '#cli/ca'
import { issuance } from '../ca/store/records.ts'
import { runInProcess } from '../support/run-command.ts'

test('an identity is revoked until --undo, which says so where it was not; a certificate stays revoked', async (t) => {
  const cwd = mkdtempSync(join(tmpdir(), 'postern-ca-revoke-'))
  t.after(() => rmSync(cwd, { recursive: true, force: true }))
  writeFileSync(
    join(cwd, 'ca.yaml'),
    `apiVersion: postern.dev/v1
kind: CertificateAuthority
spec: { trustDomain: example.org, store: { sqlite: ca.db }, keys: 'file:keys', attest: { joinToken: {} } }
`,
  )
  await using store = await openSqliteStore({ file: join(cwd, 'ca.db') })
  const before = await store.sequence()
  const revoke = (...args: readonly string[]) => runInProcess(caCommand, ['revoke', '--config', 'ca.yaml', ...args], { cwd })
  const id = 'spiffe://example.org/ns/shop/sa/cart'
  const never = await revoke('--id', id, '--undo')
  assert.equal(never.status, 1)
  assert.match(never.stderr, /was not revoked/)
  assert.equal((await revoke('--id', id, '--reason', 'lost')).status, 0)
  assert.deepEqual(
    (await store.revocations()).map(({ kind, value, reason }) => [kind, value, reason]),
    [['id', id, 'lost']],
  )
  const undone = await revoke('--id', id, '--undo')
  assert.equal(undone.status, 0, undone.stderr)
  assert.match(undone.stderr, /may be given certificates again/)
  assert.deepEqual(await store.revocations(), [])
  assert.equal(await store.sequence(), before + 2, 'each reaches the sidecars with a bundle of its own')

  const issued = issuance('ab')
  await store.recordIssuance(issued)
  const refused = await revoke('--serial', issued.serial, '--undo')
  assert.equal(refused.status, 2)
  assert.match(refused.stderr, /`--undo` is for identities/)
})
