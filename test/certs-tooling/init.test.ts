/** `certs init`: what it writes, what it says, and that it never overwrites what it was not told to. */
import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { loadAuthority } from '#pki/authority'
import { readBundle } from '#pki/bundle'
import { initCommand } from '../../certs-tooling/init.ts'
import { fixedClock } from '../support/fixed-clock.ts'
import { openssl, temporaryFolder } from '../support/openssl.ts'
import { type CommandRun, runInProcess } from '../support/run-command.ts'

const NOW = Date.UTC(2026, 10, 24, 12)
const DAY = 86_400_000
const FILES = ['bundle.json', 'bundle.pem', 'intermediate-key.pem', 'intermediate.pem', 'root-key.pem', 'root.pem']

async function init(cwd: string, ...args: string[]): Promise<CommandRun> {
  return runInProcess(initCommand(fixedClock(NOW)), args, { cwd })
}

function text(...path: string[]): string {
  return readFileSync(join(...path), 'utf8')
}

test('an authority is made: two certificates, their keys for the owner alone, and the bundle in both forms', async (t) => {
  const dir = temporaryFolder(t)
  const { status, stderr } = await init(dir, 'ca', '--trust-domain', 'example.org')
  assert.equal(status, 0, stderr)
  const folder = join(dir, 'ca')
  assert.deepEqual(readdirSync(folder).sort(), FILES)
  const modes = FILES.map((file) => (statSync(join(folder, file)).mode & 0o777).toString(8))
  assert.deepEqual(modes, ['644', '644', '600', '644', '600', '644'])
  assert.equal((statSync(folder).mode & 0o777).toString(8), '700')
  const signer = loadAuthority({
    certificatePem: text(folder, 'intermediate.pem'),
    keyPem: text(folder, 'intermediate-key.pem'),
    abovePem: text(folder, 'root.pem'),
  })
  assert.deepEqual([signer.trustDomain, signer.notBefore, signer.notAfter], ['example.org', NOW - 60_000, NOW + 365 * DAY])
  const root = loadAuthority({ certificatePem: text(folder, 'root.pem'), keyPem: text(folder, 'root-key.pem') })
  assert.equal(root.notAfter, NOW + 3650 * DAY)
  for (const file of ['bundle.pem', 'bundle.json']) {
    const bundle = readBundle(text(folder, file), 'example.org', file)
    assert.deepEqual(
      bundle.roots.map((each) => each.der),
      [root.certificate],
    )
  }
  const at = ['-attime', String(NOW / 1000)]
  assert.match(openssl(['verify', ...at, '-x509_strict', '-CAfile', join(folder, 'bundle.pem'), join(folder, 'intermediate.pem')]), /: OK/)
})

test('every file is ticked, the fingerprint of the root is said, and the next commands', async (t) => {
  const dir = temporaryFolder(t)
  const { stdout, stderr } = await init(dir, 'ca', '--trust-domain', 'example.org')
  for (const file of FILES) assert.match(stdout, new RegExp(`^√ ca/${file.replace('.', '\\.')} `, 'm'))
  const fingerprint = new X509Certificate(text(dir, 'ca', 'root.pem')).fingerprint256.replaceAll(':', '').toLowerCase()
  assert.ok(stdout.includes(fingerprint))
  assert.match(stderr, /postern certs issue ca --id spiffe:\/\/example\.org\/ns\/shop\/sa\/cart --out cart/)
  assert.doesNotMatch(stdout, /\x1b/)
})

test('run again, it says so and changes nothing', async (t) => {
  const dir = temporaryFolder(t)
  await init(dir, 'ca', '--trust-domain', 'example.org')
  const before = FILES.map((file) => text(dir, 'ca', file))
  const { status, stdout } = await init(dir, 'ca', '--trust-domain', 'example.org')
  assert.equal(status, 0)
  assert.match(stdout, /already holds the authority of example\.org; nothing was changed/)
  assert.deepEqual(
    FILES.map((file) => text(dir, 'ca', file)),
    before,
  )
})

test('a root key that was taken offline is not missed', async (t) => {
  const dir = temporaryFolder(t)
  await init(dir, 'ca', '--trust-domain', 'example.org')
  rmSync(join(dir, 'ca', 'root-key.pem'))
  assert.equal((await init(dir, 'ca', '--trust-domain', 'example.org')).status, 0)
})

test('another trust domain, or parts of an authority, are not overwritten without --force', async (t) => {
  const dir = temporaryFolder(t)
  await init(dir, 'ca', '--trust-domain', 'example.org')
  const before = FILES.map((file) => text(dir, 'ca', file))
  const other = await init(dir, 'ca', '--trust-domain', 'other.org')
  assert.equal(other.status, 2)
  assert.match(other.stderr, /another trust domain, `example\.org`.*--force.*ERR_AUTHORITY_EXISTS/s)
  assert.deepEqual(
    FILES.map((file) => text(dir, 'ca', file)),
    before,
  )

  const forced = await init(dir, 'ca', '--trust-domain', 'other.org', '--force')
  assert.equal(forced.status, 0)
  assert.equal(readBundle(text(dir, 'ca', 'bundle.pem'), 'other.org', 'bundle.pem').roots.length, 1)

  rmSync(join(dir, 'ca', 'bundle.pem'))
  const parts = await init(dir, 'ca', '--trust-domain', 'other.org')
  assert.equal(parts.status, 2)
  assert.match(parts.stderr, /parts of an authority .*no bundle\.pem/)
})

test('an intermediate never outlives its root', async (t) => {
  const dir = temporaryFolder(t)
  await init(dir, 'ca', '--trust-domain', 'example.org', '--root-ttl', '10d', '--intermediate-ttl', '30d')
  assert.equal(new X509Certificate(text(dir, 'ca', 'intermediate.pem')).validToDate.getTime(), NOW + 10 * DAY)
})

test('--dry-run names the files and writes none', async (t) => {
  const dir = temporaryFolder(t)
  const { status, stderr } = await init(dir, 'ca', '--trust-domain', 'example.org', '--dry-run')
  assert.equal(status, 0)
  for (const file of FILES) assert.ok(stderr.includes(join(dir, 'ca', file)))
  assert.deepEqual(readdirSync(dir), [])
})

test('--output json is JSON alone on standard output', async (t) => {
  const dir = temporaryFolder(t)
  const { stdout, stderr } = await init(dir, 'ca', '--trust-domain', 'example.org', '--output', 'json')
  const said = JSON.parse(stdout) as Record<string, unknown> & { files: { path: string }[] }
  assert.deepEqual([said['created'], said['trustDomain'], said['rootNotAfter']], [true, 'example.org', '2036-11-21T12:00:00Z'])
  assert.equal(said.files.length, 6)
  assert.equal(stderr, '')
})

test('a folder that is there keeps its mode and its other files', async (t) => {
  const dir = temporaryFolder(t)
  mkdirSync(join(dir, 'ca'), { mode: 0o755 })
  writeFileSync(join(dir, 'ca', 'notes'), 'mine')
  assert.equal((await init(dir, 'ca', '--trust-domain', 'example.org')).status, 0)
  assert.equal((statSync(join(dir, 'ca')).mode & 0o777).toString(8), '755')
  assert.equal(text(dir, 'ca', 'notes'), 'mine')
})

const REFUSED: readonly (readonly [string, readonly string[], RegExp])[] = [
  ['no folder', ['--trust-domain', 'example.org'], /DIR is missing.*ERR_USAGE/],
  ['no trust domain', ['ca'], /--trust-domain` is missing.*ERR_USAGE/],
  ['a name that is no trust domain', ['ca', '--trust-domain', 'Example.org'], /ERR_AUTHORITY_TRUST_DOMAIN/],
  ['a life that is no span', ['ca', '--trust-domain', 'example.org', '--root-ttl', '10 years'], /--root-ttl 10 years`: write a span/],
  ['a life of nothing', ['ca', '--trust-domain', 'example.org', '--intermediate-ttl', '0s'], /--intermediate-ttl 0s/],
  ['a kind of key that is not made', ['ca', '--trust-domain', 'example.org', '--key-algorithm', 'dsa'], /choose P-256/],
  ['an unknown output', ['ca', '--trust-domain', 'example.org', '--output', 'yaml'], /choose text or json/],
  ['an option with a slip of the pen', ['ca', '--trust-domian', 'example.org'], /Did you mean `--trust-domain`/],
  ['a file where the folder should be', ['file/ca', '--trust-domain', 'example.org'], /cannot be written: .*ERR_FILE_UNWRITABLE/],
]

for (const [what, args, message] of REFUSED) {
  test(`${what} is refused with status 2, and nothing is written`, async (t) => {
    const dir = temporaryFolder(t)
    writeFileSync(join(dir, 'file'), '')
    const { status, stderr } = await init(dir, ...args)
    assert.equal(status, 2)
    assert.match(stderr, message)
    assert.deepEqual(readdirSync(dir), ['file'])
  })
}
