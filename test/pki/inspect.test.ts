/** What is said of certificates, requests and revocation lists, and that whatever is thrown at it, nothing but our own error comes back. */
import 'reflect-metadata'
import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { test } from 'node:test'
import * as x509 from '@peculiar/x509'
import { createCsr } from '#pki/csr'
import { describeCertificate, describeRequest, describeRevocationList } from '#pki/inspect'
import { parsePem } from '#pki/pem'
import { signingKeyOf } from '#pki/sign-certificate'
import { createTestMesh, issueCertificate } from '../support/authority.ts'

test('a leaf is described as Node’s own parser sees it', async () => {
  const svid = await (await createTestMesh('example.org')).issue('/ns/shop/sa/cart', { dnsNames: ['cart.shop'] })
  const node = new X509Certificate(svid.certificate)
  const described = describeCertificate(svid.certificate)
  assert.equal(described.spiffeId, svid.id)
  assert.equal(described.role, 'leaf')
  assert.equal(described.selfIssued, false)
  assert.equal(described.serial, node.serialNumber.toLowerCase())
  assert.equal(described.fingerprint, node.fingerprint256.replaceAll(':', '').toLowerCase())
  assert.deepEqual([described.notBefore, described.notAfter], [node.validFromDate.getTime(), node.validToDate.getTime()])
  assert.equal(described.key.kind, 'P-256')
  assert.deepEqual(described.names, [
    { type: 'uri', value: svid.id },
    { type: 'dns', value: 'cart.shop' },
  ])
})

test('extensions are named, in order, with what they say', async () => {
  const mesh = await createTestMesh('example.org')
  const { certificate } = await mesh.issue('/a')
  assert.deepEqual(
    describeCertificate(certificate).extensions.map(({ name, critical, text }) => [name, critical, text]),
    [
      ['Basic Constraints', true, 'cA false'],
      ['Key Usage', true, 'digitalSignature'],
      ['Extended Key Usage', false, 'serverAuth, clientAuth'],
      ['Subject Key Identifier', false, describeCertificate(certificate).key.sha256.slice(0, 40)],
      ['Authority Key Identifier', false, mesh.issuer.keyId],
      ['Subject Alternative Name', false, 'uri:spiffe://example.org/a'],
    ],
  )
  const authority = describeCertificate(mesh.issuer.certificate)
  assert.deepEqual(
    [authority.role, authority.extensions[0]?.text, authority.extensions[1]?.text],
    ['authority', 'cA true, path length 0', 'keyCertSign, cRLSign'],
  )
  assert.equal(describeCertificate(mesh.root.certificate).selfIssued, true)
})

test('two URIs are no SPIFFE ID, nor is one of another scheme, and both are shown', async () => {
  const { issuer: authority } = await createTestMesh('example.org')
  for (const uris of [['spiffe://example.org/a', 'spiffe://example.org/b'], ['https://example.org/']]) {
    const described = describeCertificate((await issueCertificate({ authority, uris })).certificate)
    assert.equal(described.spiffeId, undefined)
    assert.deepEqual(
      described.names.map((name) => name.value),
      uris,
    )
  }
})

test('an extension that is not known is shown by its number and in hex', async () => {
  const { issuer: authority } = await createTestMesh('example.org')
  const extraExtensions = [new x509.Extension('1.2.3.4.5', true, Buffer.from('0500', 'hex'))]
  const { extensions } = describeCertificate((await issueCertificate({ authority, extraExtensions })).certificate)
  assert.deepEqual(extensions.at(-1), { oid: '1.2.3.4.5', name: '1.2.3.4.5', critical: true, text: '0500' })
})

test('a request is described', async () => {
  const { issuer } = await createTestMesh('example.org')
  const der = parsePem(await createCsr({ privateKey: issuer.privateKey, id: 'spiffe://example.org/a' }))[0]!.der
  const { kind, names, key, subject } = describeRequest(der)
  assert.deepEqual(
    [kind, names, key.kind, subject],
    ['certificate request', [{ type: 'uri', value: 'spiffe://example.org/a' }], 'P-256', ''],
  )
})

test('a revocation list is described', async () => {
  const { issuer } = await createTestMesh('example.org')
  const list = await x509.X509CrlGenerator.create({
    issuer: 'CN=authority',
    thisUpdate: new Date(Date.UTC(2026, 0, 1)),
    nextUpdate: new Date(Date.UTC(2026, 0, 2)),
    entries: [{ serialNumber: '0abc', revocationDate: new Date(Date.UTC(2026, 0, 1)) }],
    signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
    signingKey: signingKeyOf(issuer.privateKey).key,
  })
  assert.deepEqual(describeRevocationList(Buffer.from(list.rawData)), {
    kind: 'revocation list',
    issuer: 'CN=authority',
    thisUpdate: Date.UTC(2026, 0, 1),
    nextUpdate: Date.UTC(2026, 0, 2),
    revoked: ['0abc'],
  })
})

test('a certificate with any one byte changed is described or refused with ERR_SVID_MALFORMED', async () => {
  const { certificate } = await (await createTestMesh('example.org')).issue('/a')
  let refused = 0
  for (let index = 0; index < certificate.length; index++) {
    const changed = Buffer.from(certificate)
    changed[index]! ^= 0xff
    try {
      describeCertificate(changed)
    } catch (error) {
      assert.equal((error as { code?: string }).code, 'ERR_SVID_MALFORMED', `byte ${index}`)
      refused++
    }
  }
  assert.ok(refused > 50, `only ${refused} refused`)
})
