/** What is issued, judged by OpenSSL, by @peculiar/x509 and by our own verifier: the issuer's rows of the SPIFFE checklist. */
import 'reflect-metadata'
import assert from 'node:assert/strict'
import { generateKeyPairSync, X509Certificate as NodeCertificate } from 'node:crypto'
import { join } from 'node:path'
import { writeFileSync } from 'node:fs'
import { test } from 'node:test'
import * as x509 from '@peculiar/x509'
import { createAuthority } from '#pki/authority'
import { issueSvid } from '#pki/issue'
import { KEY_ALGORITHMS } from '#pki/keys'
import { BACKDATE_MS } from '#pki/svid-profile'
import { readBundle } from '#pki/bundle'
import { verifyChain } from '#pki/path-verdict'
import { createTrustStore } from '#pki/trust-store'
import { createTestMesh, type TestMesh, writeSvid } from '../support/authority.ts'
import { openssl, temporaryFolder } from '../support/openssl.ts'

const HOUR = 3_600_000
const ID = 'spiffe://example.org/ns/shop/sa/cart'

function parsed(der: Buffer): x509.X509Certificate {
  return new x509.X509Certificate(der)
}

function uriNames(certificate: x509.X509Certificate): string[] {
  const names = certificate.getExtension(x509.SubjectAlternativeNameExtension)?.names.items ?? []
  return names.filter((name) => name.type === 'url').map((name) => name.value)
}

for (const keyAlgorithm of KEY_ALGORITHMS.filter((algorithm) => algorithm !== 'RSA-4096')) {
  test(`OpenSSL verifies a chain of ${keyAlgorithm} keys in strict mode, as a client and as a server`, async (t) => {
    const dir = temporaryFolder(t)
    const mesh = await createTestMesh('example.org', { keyAlgorithm })
    for (const emptySubject of [false, true]) {
      const files = writeSvid(dir, await mesh.issue('/ns/shop/sa/cart', { emptySubject, keyAlgorithm }))
      for (const purpose of ['sslclient', 'sslserver']) {
        const args = ['verify', '-x509_strict', '-purpose', purpose, '-CAfile', files.bundle, '-untrusted', files.certificate]
        assert.match(openssl([...args, files.certificate]), /: OK/)
      }
    }
  })
}

test('OpenSSL refuses the same chain when the intermediate is left out, so that the test above can fail', async (t) => {
  const dir = temporaryFolder(t)
  const files = writeSvid(dir, await (await createTestMesh()).issue('/a'))
  assert.throws(() => openssl(['verify', '-x509_strict', '-CAfile', files.bundle, files.certificate]), /unable to get local issuer/)
})

test('OpenSSL reads every extension as X509-SVID wants it', async (t) => {
  const dir = temporaryFolder(t)
  const mesh = await createTestMesh('example.org')
  const { certificate } = writeSvid(dir, await mesh.issue('/ns/shop/sa/cart', { emptySubject: true }))
  const leaf = openssl(['x509', '-in', certificate, '-noout', '-text']).replace(/\s+/g, ' ')
  assert.match(leaf, /Version: 3 /)
  assert.match(leaf, /Subject: Subject Public/)
  assert.match(leaf, /Basic Constraints: critical CA:FALSE X509v3/)
  assert.match(leaf, /Key Usage: critical Digital Signature X509v3/)
  assert.match(leaf, /Extended Key Usage: TLS Web Server Authentication, TLS Web Client Authentication X509v3/)
  assert.match(leaf, /Subject Alternative Name: critical URI:spiffe:\/\/example\.org\/ns\/shop\/sa\/cart Signature/)
  const path = join(dir, 'intermediate.pem')
  writeFileSync(path, mesh.issuer.certificatePem)
  const authority = openssl(['x509', '-in', path, '-noout', '-text']).replace(/\s+/g, ' ')
  assert.match(authority, /Basic Constraints: critical CA:TRUE, pathlen:0 X509v3/)
  assert.match(authority, /Key Usage: critical Certificate Sign, CRL Sign X509v3/)
  assert.match(authority, /Subject Alternative Name: URI:spiffe:\/\/example\.org Signature/)
})

/** Row of facts/spiffe-checklist → what must be true of what a mesh issues. */
const LEAF_ROWS: Readonly<Record<string, (leaf: x509.X509Certificate) => void>> = {
  'ID-1, ID-2, ID-20, X-1: exactly one URI, the SPIFFE ID, in the signed part': (leaf) => assert.deepEqual(uriNames(leaf), [ID]),
  'X-3: the ID has a path': (leaf) => assert.match(uriNames(leaf)[0]!, /^spiffe:\/\/[^/]+\/./),
  'X-10: cA is false, and the extension critical': (leaf) => {
    const basic = leaf.getExtension(x509.BasicConstraintsExtension)!
    assert.deepEqual([basic.ca, basic.critical, basic.pathLength], [false, true, undefined])
  },
  'X-11, X-12, X-14, X-15: key usage is present, critical, and digitalSignature alone': (leaf) => {
    const usage = leaf.getExtension(x509.KeyUsagesExtension)!
    assert.deepEqual([usage.usages, usage.critical], [x509.KeyUsageFlags.digitalSignature, true])
  },
  'X-16, X-17: extended key usage has both serverAuth and clientAuth': (leaf) => {
    const usages = leaf.getExtension(x509.ExtendedKeyUsageExtension)!.usages
    assert.deepEqual(new Set(usages), new Set([x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth]))
  },
}

for (const [row, check] of Object.entries(LEAF_ROWS)) {
  test(`a leaf obeys ${row}`, async () => {
    check(parsed((await (await createTestMesh('example.org')).issue('/ns/shop/sa/cart')).certificate))
  })
}

test('X-4: the SAN is critical exactly where the subject is empty', async () => {
  const mesh = await createTestMesh('example.org')
  for (const emptySubject of [true, false]) {
    const leaf = parsed((await mesh.issue('/ns/shop/sa/cart', { emptySubject })).certificate)
    assert.equal(leaf.subject === '', emptySubject)
    assert.equal(leaf.getExtension(x509.SubjectAlternativeNameExtension)!.critical, emptySubject)
  }
})

test('ID-18, ID-19, X-5, X-6, X-7, X-9, X-11, X-12, X-13: authorities are SVIDs of the trust domain without a path, and may sign', async () => {
  const mesh = await createTestMesh('example.org')
  for (const authority of [mesh.root, mesh.issuer]) {
    const certificate = parsed(authority.certificate)
    assert.deepEqual(uriNames(certificate), ['spiffe://example.org'])
    const basic = certificate.getExtension(x509.BasicConstraintsExtension)!
    assert.deepEqual([basic.ca, basic.critical], [true, true])
    const usage = certificate.getExtension(x509.KeyUsagesExtension)!
    assert.deepEqual([usage.usages, usage.critical], [x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true])
    assert.equal(certificate.getExtension(x509.ExtendedKeyUsageExtension), null)
  }
})

test('key identifiers link every certificate to its issuer', async () => {
  const mesh = await createTestMesh('example.org')
  const path = [(await mesh.issue('/a')).certificate, mesh.issuer.certificate, mesh.root.certificate].map(parsed)
  for (const [index, certificate] of path.entries()) {
    const issuer = path[index + 1] ?? certificate
    assert.equal(
      certificate.getExtension(x509.AuthorityKeyIdentifierExtension)!.keyId,
      issuer.getExtension(x509.SubjectKeyIdentifierExtension)!.keyId,
    )
    assert.ok(Buffer.from(certificate.issuerName.toArrayBuffer()).equals(Buffer.from(issuer.subjectName.toArrayBuffer())))
  }
})

test('our own verifier accepts what is issued, as client and as server', async () => {
  const mesh = await createTestMesh('example.org')
  const svid = await mesh.issue('/ns/shop/sa/cart')
  const trust = createTrustStore('example.org', [readBundle(mesh.bundlePem, 'example.org', 'bundle.pem')])
  for (const role of ['client', 'server'] as const) {
    const verdict = verifyChain(svid.chain, trust, Date.now(), role)
    assert.ok(verdict.ok, JSON.stringify(verdict))
    assert.equal(verdict.value.id.uri, svid.id)
  }
})

test('serials are positive, of 16 octets, and never the same', async () => {
  const mesh = await createTestMesh('example.org')
  const leaves = await Promise.all(Array.from({ length: 200 }, () => mesh.issue('/a')))
  const serials = leaves.map((svid) => new NodeCertificate(svid.certificate).serialNumber)
  assert.equal(new Set(serials).size, serials.length)
  for (const serial of serials) assert.match(serial, /^[4-7][0-9A-F]{31}$/)
})

test('a leaf begins a minute back, in whole seconds', async () => {
  const now = Date.UTC(2026, 10, 24, 12, 0, 0, 987)
  const mesh = await createTestMesh('example.org', { now })
  const svid = await issueSvid({ authority: mesh.issuer, id: ID, now, ttl: HOUR })
  const leaf = parsed(svid.certificate)
  assert.equal(leaf.notBefore.getTime(), Math.floor((now - BACKDATE_MS) / 1000) * 1000)
  assert.deepEqual([leaf.notBefore.getTime(), leaf.notAfter.getTime()], [svid.notBefore, svid.notAfter])
  assert.equal(svid.clamped, false)
})

test('no certificate outlives its issuer, nor begins before it', async () => {
  const now = Date.UTC(2026, 10, 24)
  const root = await createAuthority({ trustDomain: 'example.org', kind: 'root', notBefore: now, notAfter: now + 5 * HOUR })
  const intermediate = await createAuthority({
    trustDomain: 'example.org',
    kind: 'intermediate',
    issuer: root,
    notBefore: now - HOUR,
    notAfter: now + 100 * HOUR,
  })
  assert.deepEqual([intermediate.notBefore, intermediate.notAfter], [now, now + 5 * HOUR])
  const svid = await issueSvid({ authority: intermediate, id: ID, now: now + 1000, ttl: 8 * HOUR })
  assert.deepEqual([svid.notBefore, svid.notAfter, svid.clamped], [now, now + 5 * HOUR, true])
})

test('an authority signs nothing before its time or after it', async () => {
  const now = Date.now()
  const authority = await createAuthority({ trustDomain: 'example.org', kind: 'root', notBefore: now - HOUR, notAfter: now + HOUR })
  for (const when of [now - 2 * HOUR, now + HOUR, now + 2 * HOUR]) {
    await assert.rejects(issueSvid({ authority, id: ID, now: when, ttl: HOUR }), { code: 'ERR_AUTHORITY_UNUSABLE' })
  }
})

test('times from 2050 on are written as RFC 5280 wants them, and read back the same', async (t) => {
  const dir = temporaryFolder(t)
  const notAfter = Date.UTC(2076, 0, 2, 3, 4, 5)
  const root = await createAuthority({ trustDomain: 'example.org', kind: 'root', notBefore: Date.UTC(2049, 11, 31, 23, 59, 59), notAfter })
  const path = join(dir, 'root.pem')
  writeFileSync(path, root.certificatePem)
  const said = openssl(['asn1parse', '-in', path])
  assert.match(said, /UTCTIME\s+:491231235959Z/)
  assert.match(said, /GENERALIZEDTIME\s+:20760102030405Z/)
  assert.equal(root.notAfter, notAfter)
})

const REFUSED_IDS: readonly (readonly [string, string])[] = [
  ['ID-1 another scheme', 'https://example.org/a'],
  ['ID-2 no trust domain', 'spiffe:///a'],
  ['ID-3 a query', 'spiffe://example.org/a?b'],
  ['ID-4 a fragment', 'spiffe://example.org/a#b'],
  ['ID-5 user information', 'spiffe://me@example.org/a'],
  ['ID-6 a port', 'spiffe://example.org:80/a'],
  ['ID-7 upper case', 'spiffe://Example.org/a'],
  ['ID-8 another character in the trust domain', 'spiffe://exämple.org/a'],
  ['ID-9 an escape in the trust domain', 'spiffe://ex%61mple.org/a'],
  ['ID-11 an escape in the path', 'spiffe://example.org/%61'],
  ['ID-12 an empty segment', 'spiffe://example.org/a//b'],
  ['ID-12 a dot segment', 'spiffe://example.org/a/./b'],
  ['ID-12 two dots', 'spiffe://example.org/a/../b'],
  ['ID-13 a trailing slash', 'spiffe://example.org/a/'],
  ['ID-14 another character in the path', 'spiffe://example.org/a*'],
  ['ID-14 a NUL', 'spiffe://example.org/a\0b'],
  ['ID-16 more than 2,048 bytes', `spiffe://example.org/${'a'.repeat(2028)}`],
  ['X-3 no path', 'spiffe://example.org'],
  ['X-7 another trust domain', 'spiffe://other.org/a'],
  ['X-7 a trust domain that ours is a part of', 'spiffe://example.org.evil.org/a'],
]

test('IDs that the standard forbids, or that are not the authority’s to give, are refused before anything is signed', async (t) => {
  const { issuer } = await createTestMesh('example.org')
  for (const [what, id] of REFUSED_IDS) {
    await t.test(what, async () => {
      await assert.rejects(issueSvid({ authority: issuer, id, now: Date.now(), ttl: HOUR }), { code: 'ERR_ISSUE_ID' })
    })
  }
})

test('ID-10, ID-12, ID-15: trust domains like addresses, dots that are no dot segments, and IDs of 2,048 bytes are issued', async () => {
  for (const [trustDomain, path] of [
    ['10.0.0.1', '/a'],
    ['my_domain-1', '/...'],
    ['example.org', `/${'a'.repeat(2048 - 'spiffe://example.org/'.length)}`],
    ['d'.repeat(255), '/ns/shop/sa/cart'],
  ] as const) {
    const mesh = await createTestMesh(trustDomain)
    assert.deepEqual(uriNames(parsed((await mesh.issue(path)).certificate)), [`spiffe://${trustDomain}${path}`])
  }
})

test('a trust domain longer than a name may be shortens the name, not the identity', async (t) => {
  const dir = temporaryFolder(t)
  const mesh = await createTestMesh('d'.repeat(255))
  const files = writeSvid(dir, await mesh.issue('/a'))
  assert.match(openssl(['verify', '-x509_strict', '-CAfile', files.bundle, '-untrusted', files.certificate, files.certificate]), /: OK/)
  assert.ok(parsed(mesh.root.certificate).subject.includes(`${'d'.repeat(61)}...`))
})

test('a public key that is brought is certified, and no private key is made', async () => {
  const { issuer } = await createTestMesh('example.org')
  for (const { publicKey } of [generateKeyPairSync('ed25519'), generateKeyPairSync('ec', { namedCurve: 'P-521' })]) {
    const svid = await issueSvid({ authority: issuer, id: ID, now: Date.now(), ttl: HOUR, publicKey })
    assert.equal(svid.keyPem, undefined)
    assert.ok(new NodeCertificate(svid.certificate).publicKey.equals(publicKey))
  }
})

test('weak and foreign keys are refused', async () => {
  const { issuer } = await createTestMesh('example.org')
  const weak = [
    generateKeyPairSync('rsa', { modulusLength: 1024 }),
    generateKeyPairSync('rsa', { modulusLength: 4098 }),
    generateKeyPairSync('ec', { namedCurve: 'secp256k1' }),
    generateKeyPairSync('x25519'),
    generateKeyPairSync('ed448'),
  ]
  for (const { publicKey } of weak) {
    await assert.rejects(issueSvid({ authority: issuer, id: ID, now: Date.now(), ttl: HOUR, publicKey }), { code: 'ERR_KEY_WEAK' })
  }
})

test('a life that is no span of time is refused', async () => {
  const { issuer } = await createTestMesh('example.org')
  for (const ttl of [0, -1, NaN]) {
    await assert.rejects(issueSvid({ authority: issuer, id: ID, now: Date.now(), ttl }), { code: 'ERR_ISSUE_TTL' })
  }
})

test('DNS names stand beside the one URI', async () => {
  const svid = await (await createTestMesh('example.org')).issue('/a', { dnsNames: ['cart.shop.svc', '*.example.org'] })
  const names = parsed(svid.certificate).getExtension(x509.SubjectAlternativeNameExtension)!.names.items
  assert.deepEqual(
    names.map(({ type, value }) => `${type}:${value}`),
    ['url:spiffe://example.org/a', 'dns:cart.shop.svc', 'dns:*.example.org'],
  )
})

test('the chain is leaf and intermediates, and never the root', async () => {
  const mesh: TestMesh = await createTestMesh('example.org')
  const svid = await mesh.issue('/a')
  assert.equal(svid.certificatePem.match(/BEGIN CERTIFICATE/g)?.length, 2)
  assert.ok(!svid.certificatePem.includes(mesh.bundlePem.trim()))
  const direct = await (await createTestMesh('example.org', { intermediate: false })).issue('/a')
  assert.equal(direct.certificatePem.match(/BEGIN CERTIFICATE/g)?.length, 1)
})
