/** `certs issue`: the files it writes, whole or not at all, and what it refuses to sign. */
import assert from 'node:assert/strict'
import { createPrivateKey, createPublicKey, generateKeyPairSync, X509Certificate } from 'node:crypto'
import { readdirSync, readFileSync, rmSync, statSync, watch, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { createCsr } from '#pki/csr'
import { certificatesOfPem } from '#pki/pem'
import { initCommand } from '../../certs-tooling/init.ts'
import { issueCommand } from '../../certs-tooling/issue.ts'
import { fixedClock } from '../support/fixed-clock.ts'
import { openssl, temporaryFolder } from '../support/openssl.ts'
import { type CommandRun, runInProcess } from '../support/run-command.ts'

const NOW = Date.UTC(2026, 10, 24, 12)
const HOUR = 3_600_000
const ID = 'spiffe://example.org/ns/shop/sa/cart'

async function withAuthority(t: TestContext, ...options: string[]): Promise<string> {
  const dir = temporaryFolder(t)
  await runInProcess(initCommand(fixedClock(NOW)), ['ca', '--trust-domain', 'example.org', ...options], { cwd: dir })
  return dir
}

async function issue(cwd: string, args: readonly string[], now = NOW): Promise<CommandRun> {
  return runInProcess(issueCommand(fixedClock(now)), ['ca', ...args], { cwd })
}

test('svid.pem, key.pem and bundle.pem are written, and OpenSSL takes them', async (t) => {
  const dir = await withAuthority(t)
  const { status, stdout, stderr } = await issue(dir, ['--id', ID, '--out', 'cart'])
  assert.equal(status, 0, stderr)
  assert.match(stdout, /^√ cart\/key\.pem\n√ cart\/bundle\.pem\n√ cart\/svid\.pem\n/)
  assert.match(stdout, /until +2026-11-24T20:00:00Z \(8h left\)/)
  const path = (name: string): string => join(dir, 'cart', name)
  const modes = readdirSync(join(dir, 'cart'))
    .sort()
    .map((name) => `${name} ${(statSync(path(name)).mode & 0o777).toString(8)}`)
  assert.deepEqual(modes, ['bundle.pem 644', 'key.pem 600', 'svid.pem 644'])
  const at = ['-attime', String(NOW / 1000)]
  const files = ['-CAfile', path('bundle.pem'), '-untrusted', path('svid.pem'), path('svid.pem')]
  assert.match(openssl(['verify', ...at, '-x509_strict', ...files]), /: OK/)
  const leaf = new X509Certificate(readFileSync(path('svid.pem')))
  assert.ok(leaf.checkPrivateKey(createPrivateKey(readFileSync(path('key.pem')))))
  assert.match(readFileSync(path('key.pem'), 'utf8'), /^-----BEGIN PRIVATE KEY-----/)
  assert.equal(leaf.subjectAltName, `URI:${ID}`)
})

test('a life of 8 hours is said to be one in the middle of a second too', async (t) => {
  const dir = await withAuthority(t)
  assert.match((await issue(dir, ['--id', ID, '--out', 'cart'], NOW + 987)).stdout, /\(8h left\)/)
})

test('the root’s key is not needed to sign', async (t) => {
  const dir = await withAuthority(t)
  rmSync(join(dir, 'ca', 'root-key.pem'))
  assert.equal((await issue(dir, ['--id', ID, '--out', 'cart'])).status, 0)
})

test('a life beyond the authority’s is cut, and that is said', async (t) => {
  const dir = await withAuthority(t, '--intermediate-ttl', '2h')
  const { status, stderr } = await issue(dir, ['--id', ID, '--out', 'cart', '--ttl', '1d'])
  assert.equal(status, 0)
  assert.match(stderr, /ends with its authority, in 2h, not after the 1d asked for/)
  assert.equal(new X509Certificate(readFileSync(join(dir, 'cart', 'svid.pem'))).validToDate.getTime(), NOW + 2 * HOUR)
})

test('an authority whose time is over signs nothing', async (t) => {
  const dir = await withAuthority(t, '--intermediate-ttl', '2h')
  const { status, stderr } = await issue(dir, ['--id', ID, '--out', 'cart'], NOW + 2 * HOUR)
  assert.equal(status, 2)
  assert.match(stderr, /its own time has ended.*ERR_AUTHORITY_UNUSABLE/)
  assert.deepEqual(readdirSync(dir), ['ca'])
})

test('a renewal replaces all three files with new ones', async (t) => {
  const dir = await withAuthority(t)
  await issue(dir, ['--id', ID, '--out', 'cart'])
  const read = (): string[] => ['svid.pem', 'key.pem'].map((name) => readFileSync(join(dir, 'cart', name), 'utf8'))
  const before = read()
  await issue(dir, ['--id', ID, '--out', 'cart'], NOW + HOUR)
  for (const [index, content] of read().entries()) assert.notEqual(content, before[index])
  assert.equal(readdirSync(join(dir, 'cart')).length, 3)
})

test('whoever watches the folder never reads half a file, and finds the key before the certificate', async (t) => {
  const dir = await withAuthority(t)
  await issue(dir, ['--id', ID, '--out', 'cart'])
  const seen: string[] = []
  const broken: string[] = []
  const watcher = watch(join(dir, 'cart'), (_event, name) => {
    if (name === null || !name.endsWith('.pem')) return
    seen.push(name)
    const content = readFileSync(join(dir, 'cart', name), 'utf8')
    if (!/^-----BEGIN [^]*-----END [A-Z ]+-----\n$/.test(content)) broken.push(name)
  })
  t.after(() => watcher.close())
  for (let round = 0; round < 20; round++) await issue(dir, ['--id', ID, '--out', 'cart'])
  while (seen.lastIndexOf('svid.pem') !== seen.length - 1 || seen.length < 3) await new Promise((resolve) => setImmediate(resolve))
  assert.deepEqual(broken, [])
  assert.ok(seen.indexOf('key.pem') < seen.indexOf('svid.pem'))
})

test('--csr signs the key of the request and writes no private key', async (t) => {
  const dir = await withAuthority(t)
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  for (const id of [undefined, ID]) {
    writeFileSync(join(dir, 'cart.csr'), await createCsr({ privateKey, ...(id !== undefined && { id }) }))
    assert.equal((await issue(dir, ['--id', ID, '--out', 'cart', '--csr', 'cart.csr'])).status, 0)
    assert.deepEqual(readdirSync(join(dir, 'cart')).sort(), ['bundle.pem', 'svid.pem'])
    const leaf = new X509Certificate(readFileSync(join(dir, 'cart', 'svid.pem')))
    assert.ok(leaf.publicKey.equals(createPublicKey(privateKey)))
  }
})

test('a request that asks for another identity than --id is refused', async (t) => {
  const dir = await withAuthority(t)
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  writeFileSync(join(dir, 'cart.csr'), await createCsr({ privateKey, id: 'spiffe://example.org/admin' }))
  const { status, stderr } = await issue(dir, ['--id', ID, '--out', 'cart', '--csr', 'cart.csr'])
  assert.equal(status, 2)
  assert.match(stderr, /asks for `spiffe:\/\/example\.org\/admin`.*ERR_ISSUE_ID/)
})

test('a request can come by standard input', async (t) => {
  const dir = await withAuthority(t)
  const stdin = await createCsr({ privateKey: generateKeyPairSync('ed25519').privateKey })
  const run = await runInProcess(issueCommand(fixedClock(NOW)), ['ca', '--id', ID, '--out', 'cart', '--csr', '-'], { cwd: dir, stdin })
  assert.equal(run.status, 0, run.stderr)
})

test('kinds of keys and DNS names can be chosen', async (t) => {
  const dir = await withAuthority(t)
  await issue(dir, ['--id', ID, '--out', 'cart', '--key-algorithm', 'rsa-2048', '--dns', 'cart.shop', '--dns', '*.cart.shop'])
  const leaf = new X509Certificate(readFileSync(join(dir, 'cart', 'svid.pem')))
  assert.equal(leaf.publicKey.asymmetricKeyType, 'rsa')
  assert.equal(leaf.subjectAltName, `URI:${ID}, DNS:cart.shop, DNS:*.cart.shop`)
})

test('--output json says what was written', async (t) => {
  const dir = await withAuthority(t)
  const { stdout } = await issue(dir, ['--id', ID, '--out', 'cart', '--output', 'json', '--ttl', '90s'])
  const said = JSON.parse(stdout) as Record<string, unknown>
  const [leaf] = certificatesOfPem(readFileSync(join(dir, 'cart', 'svid.pem'), 'utf8'))
  assert.equal(String(said['serial']).toUpperCase(), new X509Certificate(leaf!).serialNumber)
  assert.deepEqual([said['id'], said['notAfter'], said['clamped']], [ID, '2026-11-24T12:01:30Z', false])
  assert.deepEqual(
    said['files'],
    ['key.pem', 'bundle.pem', 'svid.pem'].map((name) => join(dir, 'cart', name)),
  )
})

const REFUSED: readonly (readonly [string, readonly string[], RegExp])[] = [
  ['no id', ['--out', 'cart'], /--id` is missing/],
  ['no place to write to', ['--id', ID], /--out` is missing/],
  ['another trust domain', ['--id', 'spiffe://other.org/a', '--out', 'cart'], /belongs to another trust domain.*ERR_ISSUE_ID/],
  ['the trust domain itself', ['--id', 'spiffe://example.org', '--out', 'cart'], /names the trust domain itself.*ERR_ISSUE_ID/],
  ['what is no SPIFFE ID', ['--id', 'cart', '--out', 'cart'], /is not a SPIFFE ID.*ERR_ISSUE_ID/],
  ['no span of time', ['--id', ID, '--out', 'cart', '--ttl', 'soon'], /--ttl soon/],
  ['no DNS name', ['--id', ID, '--out', 'cart', '--dns', 'a b'], /--dns a b` is not a DNS name/],
  [
    'a request that is not there',
    ['--id', ID, '--out', 'cart', '--csr', 'none.csr'],
    /none\.csr cannot be read: there is no such file.*ERR_FILE_UNREADABLE/,
  ],
  ['a request that is none', ['--id', ID, '--out', 'cart', '--csr', 'ca/root.pem'], /no CERTIFICATE REQUEST block.*ERR_CSR_UNREADABLE/],
  ['a folder below a file', ['--id', ID, '--out', 'ca/root.pem/cart'], /not a folder.*ERR_FILE_UNWRITABLE/],
  ['a file as folder', ['--id', ID, '--out', 'ca/root.pem'], /not a folder.*ERR_FILE_UNWRITABLE/],
]

for (const [what, args, message] of REFUSED) {
  test(`${what} is refused with status 2, and nothing is written`, async (t) => {
    const dir = await withAuthority(t)
    const { status, stderr } = await issue(dir, args)
    assert.equal(status, 2, stderr)
    assert.match(stderr, message)
    assert.deepEqual(readdirSync(dir), ['ca'])
  })
}

test('a folder without authority, and one whose files do not belong together, are refused', async (t) => {
  const dir = await withAuthority(t)
  const other = await withAuthority(t)
  writeFileSync(join(dir, 'ca', 'intermediate-key.pem'), readFileSync(join(other, 'ca', 'intermediate-key.pem')))
  const mixed = await issue(dir, ['--id', ID, '--out', 'cart'])
  assert.match(mixed.stderr, /its key is not the one in its certificate.*ERR_AUTHORITY_UNUSABLE/)
  rmSync(join(dir, 'ca'), { recursive: true })
  const none = await issue(dir, ['--id', ID, '--out', 'cart'])
  assert.match(none.stderr, /ca holds no authority: .*certs init ca/)
  assert.deepEqual([mixed.status, none.status], [2, 2])
})
