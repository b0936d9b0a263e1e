/** Certificates from prepared DER against those of a library: byte for byte the same but for what must differ. */
import 'reflect-metadata'
import assert from 'node:assert/strict'
import { generateKeyPairSync, X509Certificate } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import * as x509 from '@peculiar/x509'
import { type Authority, createAuthority } from '#pki/authority'
import { parseSpiffeId, type SpiffeId } from '#identity/spiffe-id'
import { readBundle } from '#pki/bundle'
import { issueSvid } from '#pki/issue'
import { KEY_ALGORITHMS, generatePrivateKey, publicKeyOf, spkiOf } from '#pki/keys'
import { readLeafFacts } from '#pki/leaf-facts'
import { verifyChain } from '#pki/path-verdict'
import { certificatesPem } from '#pki/pem'
import { loadSigningAuthority, type SigningAuthority } from '#pki/signing-authority'
import { createSvidTemplate } from '#pki/svid-template'
import { createTrustStore } from '#pki/trust-store'
import { createTestMesh } from '../support/authority.ts'
import { hasProgram, openssl, temporaryFolder } from '../support/openssl.ts'

const HOUR = 3_600_000

function idOf(text: string): SpiffeId {
  const id = parseSpiffeId(text)
  assert.ok(id.ok)
  return id.value
}

function signingOf(authority: Authority): SigningAuthority {
  const chain = authority.chain.length === 0 ? [authority.root] : [...authority.chain, authority.root]
  return loadSigningAuthority({ certificatesPem: certificatesPem(chain), trustDomain: authority.trustDomain, keyPem: authority.keyPem })
}

for (const authorityKey of KEY_ALGORITHMS) {
  test(`a leaf of an authority with a ${authorityKey} key is what the library would have made`, async () => {
    const now = Date.UTC(2026, 5, 1, 12, 0, 0, 789)
    const mesh = await createTestMesh('example.org', { now, keyAlgorithm: authorityKey === 'RSA-4096' ? 'RSA-2048' : authorityKey })
    const key = await generatePrivateKey('P-256')
    const id = idOf('spiffe://example.org/ns/shop/sa/cart')
    const theirs = await issueSvid({ authority: mesh.issuer, id: id.uri, now, ttl: HOUR, publicKey: publicKeyOf(key) })
    const ours = createSvidTemplate(signingOf(mesh.issuer)).sign({ id, spki: spkiOf(key), now, ttl: HOUR })
    assert.equal(ours.notBefore, theirs.notBefore)
    assert.equal(ours.notAfter, theirs.notAfter)
    const [one, other] = [new x509.X509Certificate(ours.certificate), new x509.X509Certificate(theirs.certificate)]
    assert.deepEqual(
      one.extensions.map((each) => Buffer.from(each.rawData).toString('hex')),
      other.extensions.map((each) => Buffer.from(each.rawData).toString('hex')),
    )
    assert.equal(Buffer.from(one.issuerName.toArrayBuffer()).toString('hex'), Buffer.from(other.issuerName.toArrayBuffer()).toString('hex'))
    assert.equal(
      Buffer.from(one.subjectName.toArrayBuffer()).toString('hex'),
      Buffer.from(other.subjectName.toArrayBuffer()).toString('hex'),
    )
    assert.deepEqual(one.signatureAlgorithm, other.signatureAlgorithm)
    // Whatever stands between serial and signature, in the same octets.
    const body = (der: Buffer, serial: string): string => {
      const hex = der.toString('hex')
      const from = hex.indexOf(serial) + serial.length
      return hex.slice(from, hex.indexOf(Buffer.from(id.uri).toString('hex')) + 2 * id.uri.length)
    }
    assert.equal(body(ours.certificate, ours.serial), body(theirs.certificate, theirs.serial))
    const verdict = verifyChain(
      [ours.certificate, ...mesh.issuer.chain],
      createTrustStore('example.org', [readBundle(mesh.bundlePem, 'example.org', 'test')]),
      now,
      'client',
    )
    assert.ok(verdict.ok, JSON.stringify(verdict))
  })
}

test('keys of workloads of every accepted kind are certified as they came', async () => {
  const mesh = await createTestMesh()
  const template = createSvidTemplate(signingOf(mesh.issuer))
  const keys = [
    generateKeyPairSync('ec', { namedCurve: 'P-384' }).publicKey,
    generateKeyPairSync('ec', { namedCurve: 'P-521' }).publicKey,
    generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey,
    generateKeyPairSync('ed25519').publicKey,
  ]
  for (const key of keys) {
    const { certificate } = template.sign({ id: idOf('spiffe://example.org/w'), spki: spkiOf(key), now: Date.now(), ttl: HOUR })
    assert.ok(new X509Certificate(certificate).publicKey.equals(key))
  }
})

test('times beyond 2049 are written as GeneralizedTime', async () => {
  const authority = await createAuthority({ trustDomain: 'example.org', kind: 'root', notBefore: Date.UTC(2049), notAfter: Date.UTC(2060) })
  const template = createSvidTemplate(signingOf(authority))
  const spki = spkiOf(await generatePrivateKey())
  for (const now of [Date.UTC(2049, 11, 31, 23, 30), Date.UTC(2055, 1, 28)]) {
    const { certificate, notAfter, notBefore } = template.sign({ id: idOf('spiffe://example.org/w'), spki, now, ttl: HOUR })
    const facts = readLeafFacts(certificate)
    assert.ok(facts.ok)
    assert.equal(facts.value.certificate.notAfter, notAfter)
    assert.equal(facts.value.certificate.notBefore, notBefore)
    assert.equal(new x509.X509Certificate(certificate).notAfter.getTime(), notAfter)
  }
})

test('each leaf has its own times, whatever the one before it had', async () => {
  const now = Date.UTC(2026, 5, 1, 12)
  const mesh = await createTestMesh('example.org', { now })
  const template = createSvidTemplate(signingOf(mesh.issuer))
  const spki = spkiOf(await generatePrivateKey('P-256'))
  const id = idOf('spiffe://example.org/ns/shop/sa/cart')
  const asked = [
    [now, HOUR],
    [now, HOUR],
    [now + 1000, HOUR],
    [now + 1000, 2 * HOUR],
    [now, HOUR],
  ] as const
  for (const [at, ttl] of asked) {
    const { certificate, notBefore, notAfter } = template.sign({ id, spki, now: at, ttl })
    const { validFromDate, validToDate } = new X509Certificate(certificate)
    assert.deepEqual([validFromDate.getTime(), validToDate.getTime()], [notBefore, notAfter])
    assert.equal(notAfter, at + ttl)
  }
})

test('no leaf begins before or ends after its authority', async () => {
  const now = Date.now()
  const authority = await createAuthority({ trustDomain: 'example.org', kind: 'root', notBefore: now - 10_000, notAfter: now + 60_000 })
  const leaf = createSvidTemplate(signingOf(authority)).sign({
    id: idOf('spiffe://example.org/w'),
    spki: spkiOf(await generatePrivateKey()),
    now,
    ttl: HOUR,
  })
  assert.equal(leaf.clamped, true)
  assert.equal(leaf.notAfter, Math.floor((now + 60_000) / 1000) * 1000)
  assert.equal(leaf.notBefore, Math.floor((now - 10_000) / 1000) * 1000)
})

test('serials are positive, of 16 octets, and never twice the same', async () => {
  const { issuer } = await createTestMesh()
  const template = createSvidTemplate(signingOf(issuer))
  const spki = spkiOf(await generatePrivateKey())
  const serials = new Set(
    Array.from({ length: 500 }, () => template.sign({ id: idOf('spiffe://example.org/w'), spki, now: Date.now(), ttl: HOUR }).serial),
  )
  assert.equal(serials.size, 500)
  for (const serial of serials) assert.match(serial, /^[4-7][0-9a-f]{31}$/)
})

test('openssl verifies the chain with -x509_strict', { skip: !hasProgram('openssl', 'version') }, async (t) => {
  const dir = temporaryFolder(t)
  const mesh = await createTestMesh()
  const { certificate } = createSvidTemplate(signingOf(mesh.issuer)).sign({
    id: idOf(`spiffe://example.org/${'a'.repeat(1900)}`),
    spki: spkiOf(await generatePrivateKey()),
    now: Date.now(),
    ttl: HOUR,
  })
  const [leaf, root, chain] = [join(dir, 'leaf.pem'), join(dir, 'root.pem'), join(dir, 'chain.pem')]
  writeFileSync(leaf, certificatesPem([certificate]))
  writeFileSync(chain, certificatesPem(mesh.issuer.chain))
  writeFileSync(root, mesh.bundlePem)
  for (const purpose of ['sslclient', 'sslserver']) {
    assert.match(openssl(['verify', '-x509_strict', '-purpose', purpose, '-CAfile', root, '-untrusted', chain, leaf]), /OK/)
  }
})

test('DNS names stand beside the ID, in the octets that the library writes', async () => {
  const now = Date.UTC(2026, 5, 1)
  const mesh = await createTestMesh('example.org', { now })
  const key = await generatePrivateKey('P-256')
  const id = idOf('spiffe://example.org/ns/postern-system/sa/postern-controller')
  const dnsNames = ['postern-controller.postern-system.svc', 'webhook.example.org']
  const theirs = await issueSvid({ authority: mesh.issuer, id: id.uri, now, ttl: HOUR, publicKey: publicKeyOf(key), dnsNames })
  const ours = createSvidTemplate(signingOf(mesh.issuer)).sign({ id, spki: spkiOf(key), now, ttl: HOUR, dnsNames })
  const extensions = (der: Buffer): string[] =>
    new x509.X509Certificate(der).extensions.map(({ rawData }) => Buffer.from(rawData).toString('hex'))
  assert.deepEqual(extensions(ours.certificate), extensions(theirs.certificate))
  const leaf = new X509Certificate(ours.certificate)
  assert.equal(leaf.subjectAltName, `URI:${id.uri}, DNS:${dnsNames.join(', DNS:')}`)
})
