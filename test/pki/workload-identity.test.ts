import 'reflect-metadata'
import assert from 'node:assert/strict'
import { createPrivateKey } from 'node:crypto'
import { test } from 'node:test'
import { KeyUsageFlags } from '@peculiar/x509'
import { PosternError } from '#base/errors'
import type { ReasonCode } from '#base/reasons'
import { certificatesPem } from '#pki/pem'
import { verifyChain } from '#pki/path-verdict'
import { readWorkloadIdentity } from '#pki/workload-identity'
import { type CertificateFlaws, createTestMesh } from '../support/authority.ts'
import { trustIn } from '../support/trust.ts'

const mesh = await createTestMesh()
const svid = await mesh.issue('/ns/shop/sa/cart')
const other = await mesh.issue('/ns/shop/sa/other')

function assertRefused(certificatePem: string, keyPem: string, code: ReasonCode, message: RegExp): void {
  assert.throws(
    () => readWorkloadIdentity({ certificatePem, keyPem }),
    (error) => {
      assert.ok(error instanceof PosternError, String(error))
      assert.equal(error.code, code, error.message)
      assert.match(error.message, message)
      assert.doesNotMatch(error.message, /PRIVATE KEY-----/)
      return true
    },
  )
}

test('an identity is its ID, its chain and its key, and leads to the bundle', () => {
  const identity = readWorkloadIdentity(svid)
  assert.equal(identity.id.uri, 'spiffe://example.org/ns/shop/sa/cart')
  assert.deepEqual(identity.chain, svid.chain)
  assert.equal(identity.certificatePem, certificatesPem(svid.chain))
  assert.equal(identity.facts.issuerKeyId, mesh.issuer.keyId)
  assert.ok(verifyChain(identity.chain, trustIn([mesh]), Date.now(), 'server').ok)
})

test('keys of every usual form are taken, and kept as PKCS#8', () => {
  const key = createPrivateKey(svid.keyPem)
  const forms = [svid.keyPem, key.export({ type: 'sec1', format: 'pem' }), `# key\n${svid.keyPem}`]
  for (const keyPem of forms) assert.equal(readWorkloadIdentity({ ...svid, keyPem }).keyPem, svid.keyPem)
})

test('certificate and key may stand in one file', () => {
  for (const both of [svid.certificatePem + svid.keyPem, svid.keyPem + svid.certificatePem]) {
    assert.deepEqual(readWorkloadIdentity({ certificatePem: both, keyPem: both }).chain, svid.chain)
  }
})

test('a key that is not that of the certificate is refused, with what to do about it', () => {
  assertRefused(svid.certificatePem, other.keyPem, 'ERR_IDENTITY_KEY', /not the one of the certificate.*write the key first/)
})

test('a key that is encrypted, or none, is refused', () => {
  const encrypted = createPrivateKey(svid.keyPem).export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'x' })
  assertRefused(svid.certificatePem, encrypted, 'ERR_IDENTITY_KEY', /encrypted/)
  assertRefused(svid.certificatePem, 'hello', 'ERR_IDENTITY_KEY', /PKCS#8/)
  assertRefused(svid.certificatePem, '', 'ERR_IDENTITY_KEY', /PKCS#8/)
})

test('a file without certificates, or with a broken one, is refused', () => {
  assertRefused('', svid.keyPem, 'ERR_IDENTITY_CERTIFICATE', /no CERTIFICATE/)
  assertRefused(svid.keyPem, svid.keyPem, 'ERR_IDENTITY_CERTIFICATE', /no CERTIFICATE/)
  assertRefused(svid.certificatePem.slice(0, -5), svid.keyPem, 'ERR_IDENTITY_CERTIFICATE', /broken off/)
  const garbled = '-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n'
  assertRefused(garbled, svid.keyPem, 'ERR_IDENTITY_CERTIFICATE', /certificate 1 in it cannot be read/)
  assertRefused(svid.certificatePem + garbled, svid.keyPem, 'ERR_IDENTITY_CERTIFICATE', /certificate 3 in it cannot be read/)
})

test('a chain in the wrong order, with a stranger in it, or too long is refused', () => {
  const [leaf, intermediate] = svid.chain
  const root = mesh.root.certificate
  assertRefused(certificatesPem([leaf!, root, intermediate!]), svid.keyPem, 'ERR_IDENTITY_CERTIFICATE', /certificate 2 in it did not issue/)
  assertRefused(certificatesPem([leaf!, other.certificate]), svid.keyPem, 'ERR_IDENTITY_CERTIFICATE', /did not issue/)
  assertRefused(certificatesPem([leaf!, intermediate!, root, root, root]), svid.keyPem, 'ERR_IDENTITY_CERTIFICATE', /at most 4/)
  assert.equal(readWorkloadIdentity({ ...svid, certificatePem: certificatesPem([leaf!, intermediate!, root]) }).chain.length, 3)
})

test('our own leaf is held to the rules that peers are held to', async () => {
  const wrong: readonly (readonly [CertificateFlaws, RegExp])[] = [
    [{ uris: ['spiffe://example.org'] }, /ERR_SVID_LEAF_WITHOUT_PATH/],
    [{ uris: ['spiffe://example.org/x', 'spiffe://example.org/y'] }, /ERR_SVID_SEVERAL_IDS/],
    [{ uris: ['spiffe://example.org/x/'] }, /ERR_SPIFFE_ID_MALFORMED: the path ends with a slash/],
    [{ basicConstraints: { ca: true } }, /ERR_SVID_LEAF_IS_CA/],
    [{ keyUsage: { usages: KeyUsageFlags.keyAgreement } }, /ERR_SVID_LEAF_NO_DIGITAL_SIGNATURE/],
    [{ extendedKeyUsage: ['1.3.6.1.5.5.7.3.2'] }, /ERR_SVID_EXTENDED_KEY_USAGE/],
  ]
  for (const [flaws, message] of wrong) {
    const flawed = await mesh.issueFlawed(flaws)
    assertRefused(flawed.certificatePem, flawed.keyPem, 'ERR_IDENTITY_CERTIFICATE', message)
  }
})
