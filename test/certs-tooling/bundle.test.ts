/** `certs bundle`: PEM and SPIFFE JWKS into each other, several roots of one trust domain together, and never two domains. */
import 'reflect-metadata'
import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { KeyUsageFlags } from '@peculiar/x509'
import { readBundle } from '#pki/bundle'
import { bundleDocument } from '#pki/bundle-document'
import { certificatesPem } from '#pki/pem'
import { bundleCommand } from '../../certs-tooling/bundle.ts'
import { createTestMesh, issueCertificate } from '../support/authority.ts'
import { fixedClock } from '../support/fixed-clock.ts'
import { temporaryFolder } from '../support/openssl.ts'
import { type CommandRun, runInProcess } from '../support/run-command.ts'

const jwtKey = (kid: string) => ({ ...generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ format: 'jwk' }), kid })

async function bundle(cwd: string, args: readonly string[], { now = Date.now(), stdin = '' } = {}): Promise<CommandRun> {
  return runInProcess(bundleCommand(fixedClock(now)), args, { cwd, stdin })
}

test('PEM becomes a SPIFFE bundle and comes back as the same PEM', async (t) => {
  const dir = temporaryFolder(t)
  const { bundlePem } = await createTestMesh('example.org')
  writeFileSync(join(dir, 'root.pem'), bundlePem)
  const jwks = await bundle(dir, ['root.pem', '--to', 'jwks'])
  assert.equal(jwks.status, 0, jwks.stderr)
  const read = readBundle(jwks.stdout, 'example.org', 'bundle.json')
  assert.deepEqual([read.sequence, read.refreshHintSeconds], [1n, 300])
  const pem = await bundle(dir, ['-', '--to', 'pem'], { stdin: jwks.stdout })
  assert.equal(pem.stdout, bundlePem)
})

test('roots of one trust domain come together, each once, in their order', async (t) => {
  const dir = temporaryFolder(t)
  const [old, next] = [(await createTestMesh('example.org')).root, (await createTestMesh('example.org')).root]
  writeFileSync(join(dir, 'old.pem'), old.certificatePem)
  writeFileSync(join(dir, 'both.pem'), next.certificatePem + old.certificatePem)
  const { status } = await bundle(dir, ['old.pem', 'both.pem', '--to', 'jwks', '--out', 'bundle.json'])
  assert.equal(status, 0)
  const { roots } = readBundle(readFileSync(join(dir, 'bundle.json'), 'utf8'), 'example.org', 'bundle.json')
  assert.deepEqual(
    roots.map((root) => root.der),
    [old.certificate, next.certificate],
  )
})

test('an update in place raises the sequence and keeps JWT keys and refresh hint; of two hints the shorter holds', async (t) => {
  const dir = temporaryFolder(t)
  const [old, next] = [(await createTestMesh('example.org')).root, (await createTestMesh('example.org')).root]
  const sequence = 2n ** 60n
  writeFileSync(
    join(dir, 'bundle.json'),
    bundleDocument({ authorities: [old.certificate], jwtKeys: [jwtKey('a')], sequence, refreshHint: 60 }),
  )
  writeFileSync(join(dir, 'other.json'), bundleDocument({ authorities: [next.certificate], sequence: 4n, refreshHint: 90 }))
  const { status, stderr } = await bundle(dir, ['bundle.json', 'other.json', '--to', 'jwks', '--out', 'bundle.json'])
  assert.equal(status, 0, stderr)
  const read = readBundle(readFileSync(join(dir, 'bundle.json'), 'utf8'), 'example.org', 'bundle.json')
  assert.deepEqual([read.roots.length, read.sequence, read.refreshHintSeconds], [2, sequence + 1n, 60])
  assert.deepEqual(
    read.jwtKeys.map((key) => key['kid']),
    ['a'],
  )
})

test('sequence and refresh hint can be said', async (t) => {
  const dir = temporaryFolder(t)
  writeFileSync(join(dir, 'root.pem'), (await createTestMesh('example.org')).bundlePem)
  const { stdout } = await bundle(dir, ['root.pem', '--to', 'jwks', '--sequence', '18446744073709551615', '--refresh-hint', '1h'])
  const read = readBundle(stdout, 'example.org', 'bundle.json')
  assert.deepEqual([read.sequence, read.refreshHintSeconds], [2n ** 64n - 1n, 3600])
})

test('F-5: bundles of different trust domains are never merged', async (t) => {
  const dir = temporaryFolder(t)
  const [a, b] = [await createTestMesh('example.org'), await createTestMesh('other.org')]
  writeFileSync(join(dir, 'a.pem'), a.bundlePem)
  writeFileSync(join(dir, 'b.pem'), b.bundlePem)
  writeFileSync(join(dir, 'ab.pem'), a.bundlePem + b.bundlePem)
  for (const args of [['a.pem', 'b.pem'], ['ab.pem'], ['a.pem', 'b.pem', '--trust-domain', 'example.org']]) {
    const { status, stderr, stdout } = await bundle(dir, [...args, '--to', 'jwks'])
    assert.deepEqual([status, stdout], [2, ''], args.join(' '))
    assert.match(stderr, /ERR_BUNDLE_AUTHORITY/)
  }
})

test('roots that name no trust domain need --trust-domain', async (t) => {
  const dir = temporaryFolder(t)
  const { root } = await createTestMesh('example.org')
  const nameless = await issueCertificate({
    authority: root,
    uris: [],
    subject: [['CN', 'nameless']],
    selfSigned: true,
    basicConstraints: { ca: true },
    keyUsage: { usages: KeyUsageFlags.keyCertSign },
    extendedKeyUsage: null,
  })
  writeFileSync(join(dir, 'root.pem'), nameless.certificatePem)
  const without = await bundle(dir, ['root.pem', '--to', 'jwks'])
  assert.equal(without.status, 2)
  assert.match(without.stderr, /name no trust domain: say whose they are with `--trust-domain`/)
  assert.equal((await bundle(dir, ['root.pem', '--to', 'jwks', '--trust-domain', 'example.org'])).status, 0)
})

test('PEM that leaves JWT keys out says so', async (t) => {
  const dir = temporaryFolder(t)
  const { root } = await createTestMesh('example.org')
  writeFileSync(
    join(dir, 'b.json'),
    bundleDocument({ authorities: [root.certificate], jwtKeys: [jwtKey('a')], sequence: 1n, refreshHint: 60 }),
  )
  const { stdout, stderr } = await bundle(dir, ['b.json', '--to', 'pem'])
  assert.equal(stdout, root.certificatePem)
  assert.match(stderr, /PEM holds no JWT keys: 1 of them is left out/)
})

test('two different JWT keys of one kid are refused, two alike are one', async (t) => {
  const dir = temporaryFolder(t)
  const { root } = await createTestMesh('example.org')
  const document = (key: object) =>
    bundleDocument({ authorities: [root.certificate], jwtKeys: [{ ...key }], sequence: 1n, refreshHint: 60 })
  const key = jwtKey('a')
  writeFileSync(join(dir, '1.json'), document(key))
  writeFileSync(join(dir, '2.json'), document(key))
  writeFileSync(join(dir, '3.json'), document(jwtKey('a')))
  const { stdout } = await bundle(dir, ['1.json', '2.json', '--to', 'jwks'])
  assert.equal(readBundle(stdout, 'example.org', 'b').jwtKeys.length, 1)
  assert.match((await bundle(dir, ['1.json', '3.json', '--to', 'jwks'])).stderr, /have the kid `a`.*ERR_BUNDLE_MALFORMED/)
})

test('an authority whose time is over is said', async (t) => {
  const dir = temporaryFolder(t)
  const { bundlePem, root } = await createTestMesh('example.org')
  writeFileSync(join(dir, 'root.pem'), bundlePem)
  const { status, stderr } = await bundle(dir, ['root.pem', '--to', 'jwks'], { now: root.notAfter })
  assert.equal(status, 0)
  assert.match(stderr, /‼ The authority [0-9a-f]{64} ended at/)
})

test('a file that was not read is not overwritten without --force', async (t) => {
  const dir = temporaryFolder(t)
  writeFileSync(join(dir, 'root.pem'), (await createTestMesh('example.org')).bundlePem)
  writeFileSync(join(dir, 'key.pem'), 'precious')
  const refused = await bundle(dir, ['root.pem', '--to', 'jwks', '--out', 'key.pem'])
  assert.deepEqual([refused.status, readFileSync(join(dir, 'key.pem'), 'utf8')], [2, 'precious'])
  assert.match(refused.stderr, /ERR_FILE_EXISTS/)
  assert.equal((await bundle(dir, ['root.pem', '--to', 'jwks', '--out', 'key.pem', '--force'])).status, 0)
})

test('what is no authority of the domain is refused, and nothing is written', async (t) => {
  const dir = temporaryFolder(t)
  const mesh = await createTestMesh('example.org')
  const svid = await mesh.issue('/a')
  const weak = await createTestMesh('example.org')
  writeFileSync(join(dir, 'leaf.pem'), certificatesPem([svid.certificate]))
  writeFileSync(join(dir, 'intermediate.pem'), mesh.issuer.certificatePem)
  writeFileSync(join(dir, 'with-key.pem'), mesh.root.certificatePem + mesh.root.keyPem)
  writeFileSync(join(dir, 'root.pem'), weak.bundlePem)
  writeFileSync(join(dir, 'empty.pem'), '')
  writeFileSync(join(dir, 'text.pem'), 'hello')
  const cases = [
    [['leaf.pem'], /ERR_BUNDLE_AUTHORITY/],
    [['intermediate.pem'], /not self-signed.*ERR_BUNDLE_AUTHORITY/],
    [['with-key.pem'], /private key, which must never be in a bundle.*ERR_BUNDLE_MALFORMED/],
    [['empty.pem'], /ERR_FILE_KIND/],
    [['text.pem'], /ERR_FILE_KIND/],
    [['none.pem'], /ERR_FILE_UNREADABLE/],
    [['root.pem', '--trust-domain', 'other.org'], /ERR_BUNDLE_AUTHORITY/],
    [['root.pem', '--trust-domain', 'Other.org'], /is not a trust domain.*ERR_USAGE/],
    [['root.pem', '--sequence', '-1'], /ERR_USAGE/],
    [['root.pem', '--sequence', '18446744073709551616'], /at most 64 bits.*ERR_USAGE/],
    [['root.pem', '--sequence', '0'], /has 0 already.*ERR_USAGE/],
    [['root.pem', '--refresh-hint', '1500ms'], /whole seconds.*ERR_USAGE/],
    [['root.pem', '--refresh-hint', 'often'], /ERR_USAGE/],
  ] as const
  for (const [args, message] of cases) {
    const { status, stderr } = await bundle(dir, [...args, '--to', 'jwks', '--out', 'out.json'])
    assert.equal(status, 2, args.join(' '))
    assert.match(stderr, message)
    assert.equal(existsSync(join(dir, 'out.json')), false)
  }
  for (const args of [['root.pem'], ['root.pem', '--to', 'der']])
    assert.match((await bundle(dir, args)).stderr, /choose jwks or pem.*ERR_USAGE/)
})
