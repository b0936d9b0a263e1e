/** The identity that is kept on disk: who can read it, what is passed over, and what a full disk does. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { chmodSync, chownSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import process from 'node:process'
import { test } from 'node:test'
import type { PosternError } from '#base/errors'
import { CACHE_FILE, keep, type KeptIdentity, loadKept } from '#svid-source/ca-cache'
import { temporaryFolder } from '../support/openssl.ts'

const KEPT: KeptIdentity = {
  certificatePem: 'c',
  keyPem: 'k',
  bundle: '{}',
  sequence: 7,
  revocations: [{ kind: 'id', id: 'spiffe://example.org/x' }],
  renewAt: 1,
  pollAfter: 5_000,
}

test('what was kept comes back, for its owner alone, and nothing else lies beside it', async (t) => {
  const folder = join(temporaryFolder(t), 'not', 'there', 'yet')
  await keep(folder, { ...KEPT, sequence: 1 })
  await keep(folder, KEPT)
  assert.deepEqual(await loadKept(folder), KEPT)
  assert.equal(statSync(join(folder, CACHE_FILE)).mode & 0o777, 0o600)
  assert.equal(statSync(folder).mode & 0o777, 0o700)
  assert.deepEqual(readdirSync(folder), [CACHE_FILE])
})

test('where nothing was kept there is nothing, and nothing wrong', async (t) => {
  assert.equal(await loadKept(temporaryFolder(t)), undefined)
  assert.equal(await loadKept(join(temporaryFolder(t), 'absent')), undefined)
})

const BAD: readonly (readonly [string, (path: string) => void, RegExp])[] = [
  ['that others can read', (path) => chmodSync(path, 0o644), /its mode is 0644, and others can get at the key/],
  ['that its group can read', (path) => chmodSync(path, 0o640), /its mode is 0640/],
  ['that is broken off', (path) => truncateSync(path, 20), /not what a sidecar of this version writes/],
  ['that is empty', (path) => truncateSync(path, 0), /not what a sidecar of this version writes/],
  [
    'of another version',
    (path) => writeFileSync(path, readFileSync(path, 'utf8').replace('"version":1', '"version":2')),
    /of this version/,
  ],
  [
    'with a field of another kind',
    (path) => writeFileSync(path, readFileSync(path, 'utf8').replace('"sequence":7', '"sequence":-1')),
    /of this version/,
  ],
]
for (const [what, spoil, sentence] of BAD) {
  test(`a kept identity ${what} is passed over with a sentence`, async (t) => {
    const folder = temporaryFolder(t)
    await keep(folder, KEPT)
    spoil(join(folder, CACHE_FILE))
    await assert.rejects(loadKept(folder), (error: PosternError) => error.code === 'ERR_IDENTITY_CACHE' && sentence.test(error.message))
  })
}

test('a link, a folder, or a file of another user in its place is passed over', async (t) => {
  const folder = temporaryFolder(t)
  await keep(folder, KEPT)
  const other = temporaryFolder(t)
  symlinkSync(join(folder, CACHE_FILE), join(other, CACHE_FILE))
  await assert.rejects(loadKept(other), { code: 'ERR_IDENTITY_CACHE' })
  const third = temporaryFolder(t)
  mkdirSync(join(third, CACHE_FILE))
  await assert.rejects(loadKept(third), { code: 'ERR_IDENTITY_CACHE' })
  if (process.getuid?.() !== 0) return t.diagnostic('only root can give a file away')
  chownSync(join(folder, CACHE_FILE), 65_534, 65_534)
  await assert.rejects(loadKept(folder), /it belongs to another user/)
})

test('a file that may not grow, as on a full disk, leaves what was kept, and says so', async (t) => {
  const folder = temporaryFolder(t)
  await keep(folder, KEPT)
  const script = `
    import { keep } from '#svid-source/ca-cache'
    await keep(${JSON.stringify(folder)}, { ...${JSON.stringify(KEPT)}, bundle: 'x'.repeat(100_000) })
      .then(() => console.log('kept'), (error) => console.log(error.code, error.message))`
  const file = join(import.meta.dirname, '..', '..', 'src')
  // Files of at most 4 blocks of 512 or 1,024 bytes: the write fails in the middle.
  const { stdout, stderr } = spawnSync('sh', ['-c', `ulimit -f 4; exec "${process.execPath}" --input-type=module -e "$SCRIPT"`], {
    cwd: file,
    env: { ...process.env, SCRIPT: script },
    encoding: 'utf8',
  })
  assert.match(stdout, /^ERR_IDENTITY_CACHE The identity cannot be kept in `.*`: files may not be as large as that/, stderr)
  assert.deepEqual(await loadKept(folder), KEPT)
  assert.deepEqual(readdirSync(folder), [CACHE_FILE])
})
