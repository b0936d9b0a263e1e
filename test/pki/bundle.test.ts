import 'reflect-metadata'
import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { test } from 'node:test'
import { PosternError } from '#base/errors'
import { type Bundle, readBundle } from '#pki/bundle'
import { bundleDocument } from '#pki/bundle-document'
import { KeyUsageFlags } from '@peculiar/x509'
import { createTestMesh, issueCertificate } from '../support/authority.ts'

const mesh = await createTestMesh('example.org')
const other = await createTestMesh('partner.example')
const root = mesh.root.certificate
const x5c = root.toString('base64')
const X509_KEY = { kty: 'EC', use: 'x509-svid', crv: 'P-256', x: '', y: '', x5c: [x5c] }
const JWT_KEY = { kty: 'EC', use: 'jwt-svid', kid: 'one', crv: 'P-256', x: 'a', y: 'b' }

function read(document: unknown, trustDomain = 'example.org'): Bundle {
  return readBundle(typeof document === 'string' ? document : JSON.stringify(document), trustDomain, 'bundle.json')
}

function codeOf(document: unknown, trustDomain?: string): string {
  try {
    read(document, trustDomain)
  } catch (error) {
    assert.ok(error instanceof PosternError)
    assert.match(error.message, /bundle\.json/)
    return error.code
  }
  return 'none'
}

test('a PEM bundle is read in its order, each authority once, with what stands around the blocks passed over', async () => {
  const second = await createTestMesh('example.org')
  const bundle = read(`# our roots\n${mesh.bundlePem}\n${second.bundlePem}${mesh.bundlePem}`)
  assert.deepEqual(
    bundle.roots.map(({ der }) => der),
    [root, second.root.certificate],
  )
  assert.equal(bundle.trustDomain, 'example.org')
  assert.deepEqual([bundle.jwtKeys, bundle.sequence, bundle.refreshHintSeconds], [[], undefined, undefined])
})

test('a SPIFFE bundle that we write is read back whole, with a sequence beyond 2^53', () => {
  const { kid: _kid, use: _use, ...publicJwk } = JWT_KEY
  const sequence = 18_446_744_073_709_551_615n
  const text = bundleDocument({ authorities: [root], jwtKeys: [{ ...publicJwk, kid: 'one' }], sequence, refreshHint: 300 })
  const bundle = read(text)
  assert.deepEqual(
    bundle.roots.map(({ der }) => der),
    [root],
  )
  assert.equal(bundle.sequence, sequence)
  assert.equal(bundle.refreshHintSeconds, 300)
  assert.deepEqual(
    bundle.jwtKeys.map(({ kid, use }) => [kid, use]),
    [['one', 'jwt-svid']],
  )
})

test('B-1, B-10: parameters nobody knows are ignored, in the set and in its keys', () => {
  assert.equal(read({ keys: [{ ...X509_KEY, color: 'red', kid: 'x' }], more: { things: [1] } }).roots.length, 1)
})

test('B-3: a sequence is an integer of 64 bits, taken from its digits', () => {
  for (const [text, sequence] of [
    ['0', 0n],
    ['9007199254740993', 9_007_199_254_740_993n],
    ['18446744073709551615', 18_446_744_073_709_551_615n],
  ] as const) {
    assert.equal(read(`{"spiffe_sequence": ${text}, "keys": [${JSON.stringify(X509_KEY)}]}`).sequence, sequence)
  }
  for (const text of ['1.5', '1e3', '"1"', 'null', 'true', '[]']) {
    assert.equal(codeOf(`{"spiffe_sequence": ${text}, "keys": [${JSON.stringify(X509_KEY)}]}`), 'ERR_BUNDLE_MALFORMED', text)
  }
})

test('B-4: a refresh hint is a whole number of seconds', () => {
  assert.equal(read({ spiffe_refresh_hint: 60, keys: [X509_KEY] }).refreshHintSeconds, 60)
  for (const hint of ['60', 1.5, -1, null]) assert.equal(codeOf({ spiffe_refresh_hint: hint, keys: [X509_KEY] }), 'ERR_BUNDLE_MALFORMED')
})

test('B-5: a bundle without keys is refused', () => {
  for (const document of [{}, { keys: null }, { keys: {} }, { spiffe_sequence: 1 }]) assert.equal(codeOf(document), 'ERR_BUNDLE_MALFORMED')
})

test('B-11, B-13, B-14: a map of bundles is taken for none of them, whatever is in it, and refused by its name', () => {
  const one = { keys: [X509_KEY] }
  const twice = `{"trust_domains": {"example.org": ${JSON.stringify(one)}, "example.org": {"keys": []}}, "spiffe_refresh_hint": 1}`
  for (const document of [{ trust_domains: {} }, { trust_domains: { 'example.org': one } }, { trust_domains: one }, twice]) {
    const text = typeof document === 'string' ? document : JSON.stringify(document)
    assert.equal(codeOf(text), 'ERR_BUNDLE_MALFORMED')
    assert.throws(() => readBundle(text, 'example.org', 'map.json'), /is a map of bundles \(`trust_domains`\)/)
  }
})

test('B-6, B-8, B-9: a key of unknown or missing kind or use is ignored, and the rest is kept', () => {
  const ignored = [
    { ...X509_KEY, kty: 'XX', x5c: ['not read'] },
    { ...X509_KEY, kty: undefined, x5c: ['not read'] },
    { ...X509_KEY, use: 'tls', x5c: ['not read'] },
    { ...X509_KEY, use: 'X509-SVID', x5c: ['not read'] },
    { ...X509_KEY, use: undefined, x5c: ['not read'] },
    { ...JWT_KEY, use: 'wit-svid', kid: undefined },
    { ...JWT_KEY, use: 'JWT-SVID', kid: undefined },
  ]
  const bundle = read({ keys: [...ignored, X509_KEY, JWT_KEY] })
  assert.equal(bundle.roots.length, 1)
  assert.equal(bundle.jwtKeys.length, 1)
})

test('B-7: a bundle with no X.509 authority is an error, since all of its trust domain would be invalid', () => {
  for (const document of ['', ' \n', { keys: [] }, { keys: [JWT_KEY] }, { keys: [{ ...X509_KEY, use: 'other' }] }]) {
    assert.equal(codeOf(document), 'ERR_BUNDLE_EMPTY', JSON.stringify(document))
  }
})

test('X-27: an entry whose x5c is missing or empty is ignored', () => {
  assert.equal(read({ keys: [{ ...X509_KEY, x5c: [] }, { ...X509_KEY, x5c: undefined }, X509_KEY] }).roots.length, 1)
})

test('X-28: of several certificates in an x5c the first is taken', () => {
  const bundle = read({ keys: [{ ...X509_KEY, x5c: [x5c, other.root.certificate.toString('base64')] }] })
  assert.deepEqual(
    bundle.roots.map(({ der }) => der),
    [root],
  )
})

test('J-16, J-17: the JWT keys are kept apart from the authorities, and each must have a kid', () => {
  assert.deepEqual(read({ keys: [JWT_KEY, X509_KEY] }).jwtKeys, [JWT_KEY])
  for (const kid of [undefined, '', 7]) assert.equal(codeOf({ keys: [X509_KEY, { ...JWT_KEY, kid }] }), 'ERR_BUNDLE_MALFORMED')
})

/** What is wrong → the document. */
const MALFORMED: Readonly<Record<string, unknown>> = {
  'neither PEM nor JSON': 'hello',
  'a block that is broken off': mesh.bundlePem.slice(0, -10),
  'two blocks of which one is broken off': `${mesh.bundlePem}${mesh.bundlePem.slice(0, 200)}`,
  'broken JSON': '{"keys": [',
  'a JSON list': '[{"keys": []}]',
  'a private key beside its roots': `${mesh.bundlePem}${mesh.root.keyPem}`,
  'a block of another kind': mesh.bundlePem.replaceAll('CERTIFICATE', 'PKCS7'),
  'a key that is no object': { keys: ['x'] },
  'a private JWK': { keys: [X509_KEY, { ...JWT_KEY, d: 'secret' }] },
  'a secret JWK': { keys: [X509_KEY, { kty: 'oct', use: 'jwt-svid', kid: 'x', k: 'secret' }] },
  'an x5c that is no list': { keys: [{ ...X509_KEY, x5c }] },
  'an x5c of no base64': { keys: [{ ...X509_KEY, x5c: ['***'] }] },
  'an x5c of numbers': { keys: [{ ...X509_KEY, x5c: [1] }] },
  'more than a mebibyte': `${mesh.bundlePem}${' '.repeat(1024 * 1024)}`,
}

for (const [what, document] of Object.entries(MALFORMED)) {
  test(`a bundle with ${what} is refused`, () => assert.equal(codeOf(document), 'ERR_BUNDLE_MALFORMED'))
}

test('a bundle for something that is no trust domain is refused', () =>
  assert.equal(codeOf(mesh.bundlePem, 'Example.org'), 'ERR_BUNDLE_MALFORMED'))

const CA = { basicConstraints: { ca: true }, keyUsage: { usages: KeyUsageFlags.keyCertSign } }
const ROOT = { ...CA, selfSigned: true, uris: ['spiffe://example.org'] }

/** What is wrong → a certificate that may not be an authority. */
const UNFIT: Readonly<Record<string, () => Promise<string>>> = {
  'a leaf': async () => (await mesh.issue('/x')).certificatePem,
  'an intermediate, which is not self-signed': async () => mesh.issuer.certificatePem,
  'an authority of another trust domain': async () => other.bundlePem,
  'an authority whose ID has a path': async () =>
    (await issueCertificate({ authority: mesh.root, ...ROOT, uris: ['spiffe://example.org/x'] })).certificatePem,
  'an authority with two IDs': async () =>
    (await issueCertificate({ authority: mesh.root, ...ROOT, uris: ['spiffe://example.org', 'spiffe://other'] })).certificatePem,
  'an authority with a malformed ID': async () =>
    (await issueCertificate({ authority: mesh.root, ...ROOT, uris: ['SPIFFE://example.org'] })).certificatePem,
  'one without keyCertSign': async () =>
    (await issueCertificate({ authority: mesh.root, ...ROOT, keyUsage: { usages: KeyUsageFlags.cRLSign } })).certificatePem,
  'one that is not CA': async () =>
    (await issueCertificate({ authority: mesh.root, ...ROOT, basicConstraints: { ca: false } })).certificatePem,
  'one whose own signature is forged': async () =>
    (await issueCertificate({ authority: mesh.root, ...ROOT, signer: generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey }))
      .certificatePem,
  'something that is no certificate': async () => '-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n',
}

for (const [what, make] of Object.entries(UNFIT)) {
  test(`a bundle with ${what} is refused`, async () => assert.equal(codeOf(await make()), 'ERR_BUNDLE_AUTHORITY'))
}

test('a root that is no SVID, as of a company, is taken: it needs no ID and no key usage', async () => {
  const plain = await issueCertificate({
    authority: mesh.root,
    selfSigned: true,
    basicConstraints: { ca: true },
    keyUsage: null,
    uris: [],
    extendedKeyUsage: null,
  })
  assert.equal(read(plain.certificatePem).roots.length, 1)
})
