/** `postern ca backup` and `ca restore`, from the document to the store and back. */
import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { openSqliteStore } from '#ca/store/sqlite-store'
import { caCommand } from '#cli/ca'
import { issuance, joinToken, revocation } from '../ca/store/records.ts'
import { runInProcess } from '../support/run-command.ts'

test('a store is copied beside its running authority, and put back once that is stopped', async (t) => {
  const cwd = mkdtempSync(join(tmpdir(), 'postern-ca-backup-'))
  t.after(() => rmSync(cwd, { recursive: true, force: true }))
  const document = (store: string): string => `apiVersion: postern.dev/v1
kind: CertificateAuthority
spec: { trustDomain: example.org, store: ${store}, keys: 'file:keys', attest: { joinToken: {} } }
`
  writeFileSync(join(cwd, 'ca.yaml'), document('{ sqlite: ca.db }'))
  writeFileSync(join(cwd, 'pg.yaml'), document('{ postgres: { url: postgres://db/ca, tls: off } }'))
  const ca = (...args: readonly string[]): ReturnType<typeof runInProcess> => runInProcess(caCommand, args, { cwd })
  {
    await using running = await openSqliteStore({ file: join(cwd, 'ca.db') })
    await running.recordIssuance(issuance('1'))
    await running.createJoinToken(joinToken('t'))
    const made = await ca('backup', '--config', 'ca.yaml', '--out', 'copy.db')
    assert.equal(made.status, 0, made.stderr)
    assert.match(made.stderr, /copy\.db is a copy of .*ca\.db, and sound/)
    await running.revoke(revocation('1'))
    const early = await ca('restore', '--config', 'ca.yaml', '--from', 'copy.db')
    assert.equal(early.status, 2)
    assert.match(early.stderr, /A CA runs on .*Stop it first.*|ERR_CA_STORE_IN_USE/s)
  }
  assert.match((await ca('backup', '--config', 'ca.yaml', '--out', 'copy.db')).stderr, /is there already/)
  const restored = await ca('restore', '--config', 'ca.yaml', '--from', 'copy.db')
  assert.equal(restored.status, 0, restored.stderr)
  assert.match(restored.stderr, /holds 1 issuances; .*1 join tokens are void.*is kept as .*must be revoked again/s)
  const again = await ca('restore', '--config', 'ca.yaml', '--from', 'copy.db', '--output', 'json')
  const { issuances, voided_tokens: voided, kept } = JSON.parse(again.stdout) as Record<string, unknown>
  assert.deepEqual([issuances, voided], [1, 1])
  assert.ok(existsSync(String(kept)))
  for (const wrong of [
    ['backup', '--config', 'ca.yaml'],
    ['backup', '--config', 'pg.yaml', '--out', 'x.db'],
    ['restore', '--config', 'pg.yaml', '--from', 'copy.db'],
    ['restore', '--config', 'ca.yaml', '--from', 'absent.db'],
  ]) {
    assert.equal((await ca(...wrong)).status, 2, wrong.join(' '))
  }
})
