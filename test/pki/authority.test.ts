/** Authorities are made right, and taken up again only if their files belong together. */
import 'reflect-metadata'
import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { test } from 'node:test'
import { KeyUsageFlags } from '@peculiar/x509'
import { createAuthority, loadAuthority } from '#pki/authority'
import { issueSvid } from '#pki/issue'
import { privateKeyPem } from '#pki/keys'
import { createTestMesh, issueCertificate } from '../support/authority.ts'
import { openssl } from '../support/openssl.ts'

const DAY = 86_400_000

test('an authority taken up from its files signs as the one that was made', async () => {
  const { root, issuer } = await createTestMesh('example.org')
  const loaded = loadAuthority({ certificatePem: issuer.certificatePem, keyPem: issuer.keyPem, abovePem: root.certificatePem })
  const { privateKey: _, ...made } = issuer
  const { privateKey: __, ...again } = loaded
  assert.deepEqual(again, made)
  const svid = await issueSvid({ authority: loaded, id: 'spiffe://example.org/a', now: Date.now(), ttl: 1000 })
  assert.equal(svid.certificatePem.match(/BEGIN CERTIFICATE/g)?.length, 2)
})

test('a key written by OpenSSL in its older form is taken up too', async () => {
  const { root } = await createTestMesh('example.org')
  const sec1 = openssl(['ec'], root.keyPem)
  assert.match(sec1, /BEGIN EC PRIVATE KEY/)
  assert.equal(loadAuthority({ certificatePem: root.certificatePem, keyPem: sec1 }).trustDomain, 'example.org')
})

test('two intermediates in a row are in the chain, nearest first, and the earliest end holds', async () => {
  const now = Date.now()
  const common = { trustDomain: 'example.org', notBefore: now - 1000 }
  const root = await createAuthority({ ...common, kind: 'root', notAfter: now + 9 * DAY, pathLength: 2 })
  const upper = await createAuthority({ ...common, kind: 'intermediate', issuer: root, notAfter: now + 2 * DAY, pathLength: 1 })
  const lower = await createAuthority({ ...common, kind: 'intermediate', issuer: upper, notAfter: now + 5 * DAY })
  assert.deepEqual(lower.chain, [lower.certificate, upper.certificate])
  assert.equal(lower.root, root.certificate)
  assert.equal(lower.notAfter, upper.notAfter)
  const abovePem = upper.certificatePem + root.certificatePem
  assert.deepEqual(loadAuthority({ certificatePem: lower.certificatePem, keyPem: lower.keyPem, abovePem }).chain, lower.chain)
})

test('authorities of one trust domain have distinct names', async () => {
  const [a, b] = await Promise.all([createTestMesh('example.org'), createTestMesh('example.org')])
  const names = [a.root, a.issuer, b.root, b.issuer].map((authority) => authority.subject.toString('hex'))
  assert.equal(new Set(names).size, 4)
})

test('files that do not belong together are refused, and the message says why', async (t) => {
  const [mesh, other] = await Promise.all([createTestMesh('example.org'), createTestMesh('example.org')])
  const { root, issuer } = mesh
  const leaf = await mesh.issue('/a')
  const keyUsage = { usages: KeyUsageFlags.keyCertSign }
  const own = { authority: root, basicConstraints: { ca: true }, keyUsage, selfSigned: true, subject: [['CN', 'own']] } as const
  const nameless = await issueCertificate({ ...own, uris: [] })
  const withPath = await issueCertificate({ ...own, uris: ['spiffe://example.org/a'] })
  const twice = await issueCertificate({ ...own, uris: ['spiffe://example.org', 'spiffe://example.net'] })
  const cases = [
    ['another key', { certificatePem: root.certificatePem, keyPem: other.root.keyPem }, /key is not the one/],
    ['a leaf', { certificatePem: leaf.certificatePem, keyPem: leaf.keyPem, abovePem: root.certificatePem }, /not an authority/],
    [
      'another root',
      { certificatePem: issuer.certificatePem, keyPem: issuer.keyPem, abovePem: other.root.certificatePem },
      /not signed by/,
    ],
    ['an intermediate without its root', { certificatePem: issuer.certificatePem, keyPem: issuer.keyPem }, /not signed by/],
    ['no certificate', { certificatePem: root.keyPem, keyPem: root.keyPem }, /no certificate/],
    ['no SPIFFE ID', nameless, /exactly one SPIFFE ID/],
    ['an ID with a path', withPath, /exactly one SPIFFE ID/],
    ['two IDs', twice, /exactly one SPIFFE ID/],
  ] as const
  for (const [what, files, message] of cases) {
    await t.test(what, () => {
      assert.throws(() => loadAuthority(files), { code: 'ERR_AUTHORITY_UNUSABLE', message })
    })
  }
})

test('a key that cannot be read is named as such', async () => {
  const { root } = await createTestMesh('example.org')
  const encrypted = openssl(['pkcs8', '-topk8', '-passout', 'pass:secret'], root.keyPem)
  for (const keyPem of ['', 'no key', encrypted]) {
    assert.throws(() => loadAuthority({ certificatePem: root.certificatePem, keyPem }), { code: 'ERR_KEY_UNREADABLE' })
  }
})

test('names that are no trust domains are refused', async () => {
  for (const trustDomain of ['', 'Example.org', 'spiffe://example.org', 'example.org/', 'a b', 'ex%61mple', 'd'.repeat(256), '[::1]']) {
    await assert.rejects(createAuthority({ trustDomain, kind: 'root', notBefore: 0, notAfter: DAY }), {
      code: 'ERR_AUTHORITY_TRUST_DOMAIN',
    })
  }
})

test('an intermediate of another trust domain than its issuer is refused (X-7), and one without issuer is a mistake of the programmer', async () => {
  const { root: issuer } = await createTestMesh('example.org')
  const options = { trustDomain: 'other.org', kind: 'intermediate', notBefore: Date.now(), notAfter: Date.now() + DAY } as const
  await assert.rejects(createAuthority({ ...options, issuer }), { code: 'ERR_AUTHORITY_UNUSABLE' })
  await assert.rejects(createAuthority(options), TypeError)
})

test('an existing key can be brought', async () => {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-384' })
  const root = await createAuthority({ trustDomain: 'example.org', kind: 'root', notBefore: 0, notAfter: DAY, privateKey })
  assert.equal(root.keyPem, privateKeyPem(privateKey))
  assert.match(openssl(['x509', '-noout', '-text'], root.certificatePem), /ecdsa-with-SHA384/)
})
