/** `certs verify`: one verdict a file, with its reason code, and a status that scripts can rely on. */
import 'reflect-metadata'
import assert from 'node:assert/strict'
import { createPrivateKey } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { KeyUsageFlags } from '@peculiar/x509'
import { REASONS } from '#base/reasons'
import { writePkcs12 } from '../../certs-tooling/pkcs12/write.ts'
import { verifyCommand } from '../../certs-tooling/verify.ts'
import { type CertificateFlaws, createTestMesh, writeSvid } from '../support/authority.ts'
import { fixedClock } from '../support/fixed-clock.ts'
import { temporaryFolder } from '../support/openssl.ts'
import { type CommandRun, runInProcess } from '../support/run-command.ts'

async function verify(cwd: string, args: readonly string[], options: { stdin?: Buffer; now?: number } = {}): Promise<CommandRun> {
  return runInProcess(verifyCommand(fixedClock(options.now ?? Date.now())), args, { cwd, ...options })
}

test('a good chain is accepted, whatever form it and the bundle have', async (t) => {
  const dir = temporaryFolder(t)
  const mesh = await createTestMesh('example.org', { intermediate: false })
  const svid = await mesh.issue('/ns/shop/sa/cart')
  writeSvid(dir, svid)
  writeFileSync(join(dir, 'svid.der'), svid.certificate)
  writeFileSync(
    join(dir, 'svid.p12'),
    writePkcs12({ key: createPrivateKey(svid.keyPem), certificates: svid.chain, password: 'x', name: 'a' }),
  )
  writeFileSync(join(dir, 'password'), 'x\n')
  const files = ['svid.pem', 'svid.der', 'svid.p12']
  const { status, stdout, stderr } = await verify(dir, [...files, '--bundle', 'bundle.pem', '--password-file', 'password'])
  assert.equal(status, 0, stderr)
  for (const file of files)
    assert.match(
      stdout,
      new RegExp(`^√ ${file}  spiffe://example\\.org/ns/shop/sa/cart  accepted in example\\.org, for 59m 5\\ds more$`, 'm'),
    )
  const piped = await verify(dir, ['-', '--bundle', 'bundle.pem'], { stdin: Buffer.from(svid.certificatePem) })
  assert.equal(piped.status, 0)
})

const FLAWS: readonly (readonly [string, CertificateFlaws, keyof typeof REASONS])[] = [
  ['an expired certificate', { notAfter: Date.now() - 60_000, notBefore: Date.now() - 120_000 }, 'ERR_SVID_EXPIRED'],
  ['a certificate of tomorrow', { notBefore: Date.now() + 86_400_000, notAfter: Date.now() + 2 * 86_400_000 }, 'ERR_SVID_NOT_YET_VALID'],
  ['two URIs', { uris: ['spiffe://example.org/a', 'spiffe://example.org/b'] }, 'ERR_SVID_SEVERAL_IDS'],
  ['no URI', { uris: [], dnsNames: ['a.example.org'] }, 'ERR_SVID_NO_ID'],
  [
    'an authority’s certificate',
    { basicConstraints: { ca: true }, keyUsage: { usages: KeyUsageFlags.digitalSignature | KeyUsageFlags.keyCertSign } },
    'ERR_SVID_LEAF_IS_CA',
  ],
  ['no key usage', { keyUsage: null }, 'ERR_SVID_NO_KEY_USAGE'],
  ['one purpose only', { extendedKeyUsage: ['1.3.6.1.5.5.7.3.2'] }, 'ERR_SVID_EXTENDED_KEY_USAGE'],
  ['another trust domain', { uris: ['spiffe://other.org/a'] }, 'ERR_SVID_TRUST_DOMAIN_UNKNOWN'],
]

for (const [what, flaws, reason] of FLAWS) {
  test(`${what} is refused with ${reason} and status 1`, async (t) => {
    const dir = temporaryFolder(t)
    writeSvid(dir, await (await createTestMesh('example.org')).issueFlawed(flaws))
    const { status, stdout } = await verify(dir, ['svid.pem', '--bundle', 'bundle.pem'])
    assert.equal(status, 1)
    assert.match(stdout, new RegExp(`^× svid\\.pem .* refused: ${reason}$`, 'm'))
    assert.ok(stdout.includes(REASONS[reason].what) && stdout.includes(REASONS[reason].remedy))
  })
}

test('one refused among several gives status 1, one unreadable status 2, and the others are judged all the same', async (t) => {
  const dir = temporaryFolder(t)
  const mesh = await createTestMesh('example.org')
  writeSvid(dir, await mesh.issue('/a'))
  writeFileSync(join(dir, 'other.pem'), (await (await createTestMesh('example.org')).issue('/b')).certificatePem)
  const refused = await verify(dir, ['svid.pem', 'other.pem', '--bundle', 'bundle.pem'])
  assert.equal(refused.status, 1)
  assert.match(refused.stdout, /^√ svid\.pem[^]*^× other\.pem .*ERR_SVID_ISSUER_UNKNOWN$/m)
  const unreadable = await verify(dir, ['none.pem', 'key.pem', 'svid.pem', '--bundle', 'bundle.pem'])
  assert.equal(unreadable.status, 2)
  assert.match(unreadable.stdout, /^√ svid\.pem/)
  assert.match(unreadable.stderr, /none\.pem: .*ERR_FILE_UNREADABLE[^]*key\.pem: it holds no certificate, but: private key.*ERR_FILE_KIND/)
})

test('--at judges as of another time', async (t) => {
  const dir = temporaryFolder(t)
  const now = Date.UTC(2026, 10, 24, 12)
  writeSvid(dir, await (await createTestMesh('example.org', { now })).issue('/a', { now }))
  const at = async (time: string): Promise<CommandRun> => verify(dir, ['svid.pem', '--bundle', 'bundle.pem', '--at', time])
  assert.equal((await at('2026-11-24T12:30:00Z')).status, 0)
  assert.equal((await at('2026-11-24T14:30:00+02:00')).status, 0)
  assert.match((await at('2026-11-24T14:30:00Z')).stdout, /ERR_SVID_EXPIRED/)
  for (const time of ['tomorrow', '2026-11-24', '2026-13-01T00:00:00Z', '1700000000'])
    assert.match((await at(time)).stderr, /write a time as in.*ERR_USAGE/)
})

test('--output json says the same', async (t) => {
  const dir = temporaryFolder(t)
  const mesh = await createTestMesh('example.org')
  writeSvid(dir, await mesh.issue('/a'))
  writeFileSync(join(dir, 'bad.pem'), (await mesh.issueFlawed({ keyUsage: null })).certificatePem)
  const { status, stdout } = await verify(dir, ['svid.pem', 'bad.pem', '--bundle', 'bundle.pem', '--output', 'json'])
  assert.equal(status, 1)
  const { verdicts } = JSON.parse(stdout) as { verdicts: Record<string, unknown>[] }
  assert.deepEqual(
    verdicts.map(({ file, accepted, id, reason }) => [file, accepted, id, reason]),
    [
      ['svid.pem', true, 'spiffe://example.org/a', undefined],
      ['bad.pem', false, 'spiffe://example.org/ns/shop/sa/cart', 'ERR_SVID_NO_KEY_USAGE'],
    ],
  )
  assert.equal(verdicts[1]!['remedy'], REASONS.ERR_SVID_NO_KEY_USAGE.remedy)
})

test('text from a certificate cannot move the cursor of whoever reads the verdict', async (t) => {
  const dir = temporaryFolder(t)
  const mesh = await createTestMesh('example.org')
  writeSvid(dir, await mesh.issueFlawed({ uris: ['spiffe://example.org/a\x1b[2J\r√ all is well'] }))
  const { stdout } = await verify(dir, ['svid.pem', '--bundle', 'bundle.pem'])
  assert.doesNotMatch(stdout.replaceAll('\n', ''), /[\x00-\x1f\x7f]/)
})

test('a bundle that cannot be used is named, with status 2', async (t) => {
  const dir = temporaryFolder(t)
  const mesh = await createTestMesh('example.org')
  const { certificatePem } = await mesh.issue('/a')
  writeSvid(dir, await mesh.issue('/a'))
  writeFileSync(join(dir, 'two.pem'), mesh.bundlePem + (await createTestMesh('other.org')).bundlePem)
  writeFileSync(join(dir, 'leaf.pem'), certificatePem)
  const cases = [
    [[], /--bundle` is missing.*ERR_USAGE/],
    [['--bundle', 'none.pem'], /ERR_FILE_UNREADABLE/],
    [['--bundle', 'key.pem'], /key\.pem is no bundle: there is no certificate in it.*ERR_FILE_KIND/],
    [['--bundle', 'two.pem'], /several trust domains \(example\.org, other\.org\).*ERR_BUNDLE_AUTHORITY/],
    [['--bundle', 'leaf.pem'], /ERR_BUNDLE_AUTHORITY/],
    [['--bundle', 'bundle.pem', '--trust-domain', 'spiffe://example.org'], /is not a trust domain.*ERR_USAGE/],
  ] as const
  for (const [args, message] of cases) {
    const { status, stderr, stdout } = await verify(dir, ['svid.pem', ...args])
    assert.deepEqual([status, stdout], [2, ''], args.join(' '))
    assert.match(stderr, message)
  }
})
