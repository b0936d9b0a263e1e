/** `certs inspect`: says what any file is, leads with the identity, and never shows a private key. */
import 'reflect-metadata'
import assert from 'node:assert/strict'
import { createPrivateKey, generateKeyPairSync } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { X509CrlGenerator } from '@peculiar/x509'
import { bundleDocument } from '#pki/bundle-document'
import { createCsr } from '#pki/csr'
import { formatPem, parsePem } from '#pki/pem'
import { signingKeyOf } from '#pki/sign-certificate'
import { inspectCommand } from '../../certs-tooling/inspect.ts'
import { writePkcs12 } from '../../certs-tooling/pkcs12/write.ts'
import { createTestMesh, type TestMesh, type TestSvid, writeSvid } from '../support/authority.ts'
import { fixedClock } from '../support/fixed-clock.ts'
import { openssl, temporaryFolder } from '../support/openssl.ts'
import { type CommandRun, runInProcess, type RunOptions } from '../support/run-command.ts'

const NOW = Date.UTC(2026, 10, 24, 12)

interface Folder {
  readonly dir: string
  readonly mesh: TestMesh
  readonly svid: TestSvid
  readonly inspect: (args: readonly string[], options?: RunOptions) => Promise<CommandRun>
}

async function folder(t: TestContext): Promise<Folder> {
  const dir = temporaryFolder(t)
  const mesh = await createTestMesh('example.org', { now: NOW })
  const svid = await mesh.issue('/ns/shop/sa/cart', { now: NOW })
  writeSvid(dir, svid)
  return {
    dir,
    mesh,
    svid,
    inspect: async (args, options) => runInProcess(inspectCommand(fixedClock(NOW + 60_000)), args, { cwd: dir, ...options }),
  }
}

test('it leads with the identity, the time left and the chain, and says that nothing is verified', async (t) => {
  const { inspect, mesh } = await folder(t)
  const { status, stdout } = await inspect(['svid.pem'])
  assert.equal(status, 0)
  const lines = stdout.split('\n')
  const named = (authority: { keyId: string }, kind: string): string => `Postern ${kind} ${authority.keyId.slice(0, 16)}`
  assert.deepEqual(lines.slice(0, 5), [
    'svid.pem: PEM, 2 certificates',
    'Nothing here is verified: `postern certs verify svid.pem --bundle FILE` gives a verdict.',
    '',
    'spiffe://example.org/ns/shop/sa/cart  59m left',
    `  chain  leaf ← ${named(mesh.issuer, 'intermediate')} ← ${named(mesh.root, 'root')} (not in this file)`,
  ])
  assert.match(stdout, /^1 {2}certificate, leaf$[^]*^2 {2}certificate, intermediate authority$/m)
  assert.match(stdout, /^ {3}valid +2026-11-24T11:59:00Z to 2026-11-24T13:00:00Z, 59m left$/m)
  assert.match(stdout, /^ {3}Key Usage +digitalSignature {2}\(critical\)$/m)
})

test('with --bundle it says whether the chain would be accepted, and if not, why', async (t) => {
  const { inspect, dir } = await folder(t)
  const good = await inspect(['svid.pem', '--bundle', 'bundle.pem'])
  assert.match(good.stdout, /√ would be accepted, until 2026-11-24T13:00:00Z/)
  assert.doesNotMatch(good.stdout, /Nothing here is verified/)
  writeFileSync(join(dir, 'other.pem'), (await createTestMesh('example.org', { now: NOW })).bundlePem)
  const bad = await inspect(['svid.pem', '--bundle', 'other.pem'])
  assert.equal(bad.status, 0, 'to show is not to judge')
  assert.match(bad.stdout, /× would be refused: ERR_SVID_ISSUER_UNKNOWN\n/)
})

test('--short is one line for each thing', async (t) => {
  const { inspect, dir, svid } = await folder(t)
  writeFileSync(join(dir, 'all.pem'), svid.certificatePem + svid.keyPem)
  const { stdout } = await inspect(['all.pem', '--short'])
  const lines = stdout.trim().split('\n')
  assert.match(lines[0]!, /^spiffe:\/\/example\.org\/ns\/shop\/sa\/cart · leaf · 59m left · P-256 · serial [0-9a-f]{32}$/)
  assert.match(lines[1]!, /^spiffe:\/\/example\.org · authority · 4d 23h left · P-256 · serial/)
  assert.match(lines[2]!, /^private key, not encrypted · P-256 · sha256 [0-9a-f]{16}$/)
  assert.equal(lines.length, 3)
})

test('expired and future certificates are said to be', async (t) => {
  const { dir, svid } = await folder(t)
  const at = async (now: number): Promise<string> =>
    (await runInProcess(inspectCommand(fixedClock(now)), ['svid.pem', '--short'], { cwd: dir })).stdout
  assert.match(await at(NOW + 3 * 3_600_000), /leaf · ended 2h ago/)
  assert.match(await at(NOW - 60_000 - 5_000), /leaf · begins in 5s/)
  assert.ok(svid.certificatePem.length > 0)
})

test('every kind of file is named, and a key is paired with its certificate', async (t) => {
  const { inspect, dir, mesh, svid } = await folder(t)
  const key = createPrivateKey(svid.keyPem)
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const request = await createCsr({ privateKey: key, id: svid.id })
  const list = await X509CrlGenerator.create({
    issuer: 'CN=authority',
    thisUpdate: new Date(NOW),
    entries: [{ serialNumber: '0abc', revocationDate: new Date(NOW) }],
    signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
    signingKey: signingKeyOf(mesh.issuer.privateKey).key,
  })
  const jwk = { ...rsa.publicKey.export({ format: 'jwk' }), kid: 'one' }
  const files: Readonly<Record<string, readonly [string | Buffer, RegExp]>> = {
    'leaf.der': [svid.certificate, /^leaf\.der: DER, 1 certificate\n/],
    'key.der': [key.export({ type: 'pkcs8', format: 'der' }), /DER, 1 private key\n[^]*private key, not encrypted\n +key +P-256, sha256/],
    'sec1.der': [key.export({ type: 'sec1', format: 'der' }), /DER, 1 private key/],
    'pkcs1.der': [rsa.privateKey.export({ type: 'pkcs1', format: 'der' }), /DER, 1 private key[^]*RSA-2048/],
    'encrypted.pem': [
      openssl(['pkcs8', '-topk8', '-passout', 'pass:x'], svid.keyPem),
      /private key, encrypted\n +key +not looked at: give its password/,
    ],
    'encrypted.der': [
      parsePem(openssl(['pkcs8', '-topk8', '-passout', 'pass:x'], svid.keyPem))[0]!.der,
      /DER, 1 private key\n[^]*private key, encrypted\n/,
    ],
    'public.pem': [rsa.publicKey.export({ type: 'spki', format: 'pem' }), /PEM, 1 public key[^]*RSA-2048/],
    'public.der': [rsa.publicKey.export({ type: 'spki', format: 'der' }), /DER, 1 public key[^]*RSA-2048/],
    'request.pem': [request, /PEM, 1 certificate request[^]*asks for +uri:spiffe:\/\/example\.org\/ns\/shop\/sa\/cart/],
    'request.der': [parsePem(request)[0]!.der, /DER, 1 certificate request/],
    'list.pem': [
      formatPem('X509 CRL', Buffer.from(list.rawData)),
      /PEM, 1 revocation list[^]*issuer +CN=authority[^]*until +not said[^]*revoked +0abc/,
    ],
    'list.der': [Buffer.from(list.rawData), /DER, 1 revocation list/],
    'bundle.json': [
      bundleDocument({ authorities: [mesh.root.certificate], jwtKeys: [jwk], sequence: 2n ** 64n - 1n, refreshHint: 300 }),
      /SPIFFE bundle, 1 certificate, 1 JWT key, sequence 18446744073709551615, refresh hint 300s[^]*root authority[^]*JWT key one, RSA/,
    ],
    'both.pem': [
      svid.keyPem + svid.certificatePem,
      /1 private key, 2 certificates[^]*1 {2}private key, not encrypted\n +key .*\n +of +2 here/,
    ],
    'ec.pem': [`${openssl(['ecparam', '-name', 'prime256v1'])}${svid.keyPem}`, /PEM, 1 private key/],
    'other.pem': ['-----BEGIN DH PARAMETERS-----\nAAAA\n-----END DH PARAMETERS-----\n', /DH PARAMETERS, not known here/],
    'bom.pem': [`\uFEFF${svid.certificatePem}`, /PEM, 2 certificates/],
  }
  for (const [name, [content, expected]] of Object.entries(files)) {
    await t.test(name, async () => {
      writeFileSync(join(dir, name), content)
      const { status, stdout, stderr } = await inspect([name])
      assert.equal(status, 0, stderr)
      assert.match(stdout, expected)
      const short = await inspect([name, '--short'])
      assert.equal(short.status, 0)
      JSON.parse((await inspect([name, '--output', 'json'])).stdout)
    })
  }
})

test('PKCS#12 is opened with its password, and asked for it without', async (t) => {
  const { inspect, dir, svid } = await folder(t)
  writeFileSync(
    join(dir, 'cart.p12'),
    writePkcs12({ key: createPrivateKey(svid.keyPem), certificates: svid.chain, password: 'x', name: 'a' }),
  )
  const opened = await inspect(['cart.p12', '--password-env', 'P'], { env: { P: 'x' } })
  assert.match(opened.stdout, /^cart\.p12: PKCS#12, 1 private key, 2 certificates\n/)
  assert.match((await inspect(['cart.p12'])).stderr, /ERR_PASSWORD_MISSING/)
  assert.match((await inspect(['cart.p12', '--password-env', 'P'], { env: { P: 'y' } })).stderr, /ERR_PASSWORD_WRONG/)
})

test('standard input is read for -', async (t) => {
  const { inspect, svid } = await folder(t)
  for (const stdin of [svid.certificatePem, svid.certificate])
    assert.match((await inspect(['-', '--short'], { stdin })).stdout, /leaf · 59m left/)
})

test('no private key is ever shown, in whatever form it is asked for', async (t) => {
  const { inspect, dir, svid } = await folder(t)
  const { d = '' } = createPrivateKey(svid.keyPem).export({ format: 'jwk' })
  const secret = Buffer.from(d, 'base64url')
  writeFileSync(join(dir, 'all.pem'), svid.keyPem + svid.certificatePem)
  for (const options of [[], ['--short'], ['--output', 'json'], ['--bundle', 'bundle.pem']]) {
    const { stdout, stderr, status } = await inspect(['all.pem', ...options])
    assert.equal(status, 0)
    for (const form of ['hex', 'base64', 'base64url'] as const) {
      assert.ok(!(stdout + stderr).toLowerCase().includes(secret.subarray(0, 12).toString(form).toLowerCase().replace(/=+$/, '')), form)
    }
    assert.ok(!stdout.includes('PRIVATE KEY-----'))
  }
})

test('--output json has it all', async (t) => {
  const { inspect, svid, mesh } = await folder(t)
  const { stdout } = await inspect(['svid.pem', '--output', 'json', '--bundle', 'bundle.pem'])
  const said = JSON.parse(stdout) as {
    items: Record<string, unknown>[]
    verdict: Record<string, unknown>
    verified: boolean
    format: string
  }
  assert.deepEqual([said.format, said.verified, said.verdict['accepted'], said.verdict['id']], ['PEM', true, true, svid.id])
  const [leaf, intermediate] = said.items
  assert.deepEqual([leaf!['spiffeId'], leaf!['role'], leaf!['secondsLeft'], leaf!['issuedBy']], [svid.id, 'leaf', 59 * 60, 2])
  assert.deepEqual([leaf!['notBefore'], leaf!['notAfter']], ['2026-11-24T11:59:00Z', '2026-11-24T13:00:00Z'])
  assert.equal(intermediate!['spiffeId'], `spiffe://${mesh.trustDomain}`)
  const unverified = JSON.parse((await inspect(['svid.pem', '--output', 'json'])).stdout) as { verified: boolean; verdict?: unknown }
  assert.deepEqual([unverified.verified, unverified.verdict], [false, undefined])
})

test('text from certificates is made safe for a terminal', async (t) => {
  const { inspect, dir, mesh } = await folder(t)
  const evil = '\x1b[31m\u202Egnp.exe\r\n\0'
  const flawed = await mesh.issueFlawed({ uris: ['spiffe://example.org/a\x1b[2J'], subject: [['CN', evil]], dnsNames: ['a\x07b'] })
  writeFileSync(join(dir, 'evil.pem'), flawed.certificatePem)
  for (const options of [[], ['--short'], ['--output', 'json']]) {
    const { stdout } = await inspect(['evil.pem', ...options])
    assert.doesNotMatch(stdout.replaceAll('\n', ''), /[\x00-\x1f\x7f-\x9f\u202a-\u202e]/)
  }
})

test('what is no such file is refused with status 2 and said to be what it is', async (t) => {
  const { inspect, dir } = await folder(t)
  writeFileSync(join(dir, 'text'), 'hello')
  writeFileSync(join(dir, 'empty'), '')
  writeFileSync(join(dir, 'noise'), Buffer.from('30820100ffffffff', 'hex'))
  writeFileSync(join(dir, 'json'), '{"hello":1}')
  writeFileSync(join(dir, 'bad.pem'), '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n')
  const cases = [
    ['text', /holds none of PEM, DER, PKCS#12 or a JWK Set.*ERR_FILE_KIND/],
    ['empty', /it is empty.*ERR_FILE_KIND/],
    ['noise', /ERR_FILE_KIND/],
    ['json', /it is JSON, but no SPIFFE bundle.*ERR_FILE_KIND/],
    ['bad.pem', /ERR_SVID_MALFORMED/],
    ['none', /there is no such file.*ERR_FILE_UNREADABLE/],
    ['.', /it is a folder.*ERR_FILE_UNREADABLE/],
  ] as const
  for (const [name, message] of cases) {
    const { status, stderr, stdout } = await inspect([name])
    assert.deepEqual([status, stdout], [2, ''], name)
    assert.match(stderr, message)
  }
})

test('names that go round in a circle end', async (t) => {
  const { inspect, dir, mesh } = await folder(t)
  const authority = { basicConstraints: { ca: true }, authorityKeyId: null, subjectKeyId: null } as const
  const a = await mesh.issueFlawed({ ...authority, subject: [['CN', 'a']], issuerName: [['CN', 'b']] })
  const b = await mesh.issueFlawed({ ...authority, subject: [['CN', 'b']], issuerName: [['CN', 'a']] })
  const leaf = await mesh.issueFlawed({ issuerName: [['CN', 'a']] })
  writeFileSync(
    join(dir, 'circle.pem'),
    [leaf, a, b].map(({ certificatePem }) => certificatePem.slice(0, certificatePem.indexOf('-----END') + 26)).join(''),
  )
  assert.match((await inspect(['circle.pem'])).stdout, /chain {2}leaf ← a ← b/)
})
