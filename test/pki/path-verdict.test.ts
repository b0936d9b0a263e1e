/** Verdicts on chains, each wrong one refused by its own reason code. */
import 'reflect-metadata'
import assert from 'node:assert/strict'
import { generateKeyPairSync, hash } from 'node:crypto'
import { test } from 'node:test'
import { ExtendedKeyUsage, Extension, KeyUsageFlags } from '@peculiar/x509'
import type { ReasonCode } from '#base/reasons'
import { type Authority, createAuthority, loadAuthority } from '#pki/authority'
import { issueSvid } from '#pki/issue'
import { type PeerVerdict, verifyChain } from '#pki/path-verdict'
import { createRevocations, type Revocation } from '#pki/revocations'
import type { PeerRole } from '#pki/svid-rules'
import type { TrustStore } from '#pki/trust-store'
import { type CertificateFlaws, createTestMesh, issueCertificate } from '../support/authority.ts'
import { sequence } from '../support/der-writer.ts'
import { issueSigner } from '../support/signers.ts'
import { trustIn } from '../support/trust.ts'

const HOUR = 3_600_000
const now = Date.now()
const a = await createTestMesh('a.example')
const b = await createTestMesh('b.example')
const alone = trustIn([a])
const federated = trustIn([a, b])

function fingerprint(certificate: Buffer): string {
  return hash('sha256', certificate, 'hex')
}

function verdictOn(
  chain: readonly Buffer[],
  { trust = alone, at = now, role = 'client' }: { trust?: TrustStore; at?: number; role?: PeerRole } = {},
): PeerVerdict {
  return verifyChain(chain, trust, at, role)
}

function assertRefused(verdict: PeerVerdict, reason: ReasonCode, detail?: RegExp): void {
  assert.ok(!verdict.ok, 'it was accepted')
  assert.equal(verdict.reason, reason, verdict.detail)
  if (detail !== undefined) assert.match(verdict.detail, detail)
}

test('X-18: a chain from a leaf over an intermediate to a root of its own domain makes a peer', async () => {
  const { chain, certificate } = await a.issue('/ns/shop/sa/cart')
  for (const trust of [alone, federated, trustIn([b, a])]) {
    const verdict = verdictOn(chain, { trust })
    assert.ok(verdict.ok, JSON.stringify(verdict))
    assert.equal(verdict.value.id.uri, 'spiffe://a.example/ns/shop/sa/cart')
    assert.equal(verdict.value.id.namespace, 'shop')
    assert.deepEqual(verdict.value.authorities, [fingerprint(a.issuer.certificate), fingerprint(a.root.certificate)])
    assert.equal(verdict.value.certificate.fingerprint, fingerprint(certificate))
    assert.equal(verdict.value.certificate.issuerKeyId, a.issuer.keyId)
    assert.equal(verdict.validUntil, verdict.value.certificate.notAfter)
  }
})

test('the peer is known no longer than anything on its path is valid', async () => {
  const brief = await issueSigner(a.root, { notAfter: now + 10 * 60_000 })
  const { certificate } = await issueCertificate({ authority: brief, notAfter: now + HOUR })
  const verdict = verdictOn([certificate, ...brief.chain])
  assert.ok(verdict.ok)
  assert.equal(verdict.validUntil, Math.floor((now + 10 * 60_000) / 1000) * 1000)
  assert.equal(verdict.value.certificate.notAfter, Math.floor((now + HOUR) / 1000) * 1000)
})

test('the root may be sent too, and intermediates in any order, more than once', async () => {
  const { chain } = await a.issue('/x')
  const [leaf, intermediate] = chain
  const root = a.root.certificate
  for (const trust of [alone, federated]) {
    for (const sent of [
      [leaf!, intermediate!, root],
      [leaf!, root, intermediate!],
      [leaf!, intermediate!, intermediate!],
    ]) {
      const verdict = verdictOn(sent, { trust })
      assert.ok(verdict.ok, JSON.stringify(verdict))
    }
  }
})

/** Reason code → titles → what is wrong with a leaf. */
const WRONG_LEAVES: readonly (readonly [string, ReasonCode, CertificateFlaws])[] = [
  ['X-2: a leaf with two SPIFFE IDs', 'ERR_SVID_SEVERAL_IDS', { uris: ['spiffe://a.example/x', 'spiffe://a.example/y'] }],
  ['X-2: a leaf with the same ID twice', 'ERR_SVID_SEVERAL_IDS', { uris: ['spiffe://a.example/x', 'spiffe://a.example/x'] }],
  ['X-2: a leaf with another URI beside its ID', 'ERR_SVID_SEVERAL_IDS', { uris: ['spiffe://a.example/x', 'https://a.example/'] }],
  ['X-1: a leaf without URI', 'ERR_SVID_NO_ID', { uris: [], dnsNames: ['a.example'] }],
  ['X-1: a leaf without SAN', 'ERR_SVID_NO_ID', { san: null }],
  ['X-3, X-22: a leaf whose ID has no path', 'ERR_SVID_LEAF_WITHOUT_PATH', { uris: ['spiffe://a.example'] }],
  ['X-4: a leaf with an empty subject and a SAN that is not critical', 'ERR_SVID_SAN_NOT_CRITICAL', { subject: [], sanCritical: false }],
  ['X-8, X-10, X-19: a leaf that is a CA', 'ERR_SVID_LEAF_IS_CA', { basicConstraints: { ca: true } }],
  ['X-11: a leaf without key usage', 'ERR_SVID_NO_KEY_USAGE', { keyUsage: null }],
  [
    'X-12: a leaf whose key usage is not critical',
    'ERR_SVID_KEY_USAGE_NOT_CRITICAL',
    { keyUsage: { usages: KeyUsageFlags.digitalSignature, critical: false } },
  ],
  ['X-14: a leaf without digitalSignature', 'ERR_SVID_LEAF_NO_DIGITAL_SIGNATURE', { keyUsage: { usages: KeyUsageFlags.keyAgreement } }],
  [
    'X-15, X-20: a leaf with keyCertSign',
    'ERR_SVID_LEAF_CERT_SIGN',
    { keyUsage: { usages: KeyUsageFlags.digitalSignature | KeyUsageFlags.keyCertSign } },
  ],
  [
    'X-15, X-20: a leaf with cRLSign',
    'ERR_SVID_LEAF_CRL_SIGN',
    { keyUsage: { usages: KeyUsageFlags.digitalSignature | KeyUsageFlags.cRLSign } },
  ],
  ['X-17: a leaf for servers alone', 'ERR_SVID_EXTENDED_KEY_USAGE', { extendedKeyUsage: [ExtendedKeyUsage.serverAuth] }],
  ['X-17: a leaf for clients alone', 'ERR_SVID_EXTENDED_KEY_USAGE', { extendedKeyUsage: [ExtendedKeyUsage.clientAuth] }],
  ['X-17: a leaf for any purpose, which is not both', 'ERR_SVID_EXTENDED_KEY_USAGE', { extendedKeyUsage: ['2.5.29.37.0'] }],
  ['X-21: a leaf with a URI of another scheme', 'ERR_SPIFFE_ID_MALFORMED', { uris: ['https://a.example/x'] }],
  ['a leaf with a malformed SPIFFE ID', 'ERR_SPIFFE_ID_MALFORMED', { uris: ['spiffe://a.example/x/../y'] }],
  ['a leaf of a trust domain without bundle', 'ERR_SVID_TRUST_DOMAIN_UNKNOWN', { uris: ['spiffe://unknown.example/x'] }],
  [
    'a leaf with a critical extension that nobody knows',
    'ERR_SVID_CRITICAL_EXTENSION',
    { extraExtensions: [new Extension('1.2.3.4', true, sequence())] },
  ],
  ['a leaf that has expired', 'ERR_SVID_EXPIRED', { notBefore: now - 2 * HOUR, notAfter: now - HOUR }],
  ['a leaf that is not valid yet', 'ERR_SVID_NOT_YET_VALID', { notBefore: now + HOUR, notAfter: now + 2 * HOUR }],
  [
    'a leaf signed with another key under the name of its issuer',
    'ERR_SVID_SIGNATURE',
    { signer: generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey },
  ],
  [
    'a leaf signed with a key of another kind under the name of its issuer',
    'ERR_SVID_SIGNATURE',
    { signer: generateKeyPairSync('ed25519').privateKey },
  ],
  [
    'a forged leaf that has expired too, where the forgery is what matters',
    'ERR_SVID_SIGNATURE',
    { signer: generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey, notBefore: now - 2 * HOUR, notAfter: now - HOUR },
  ],
  ['a leaf that signed itself', 'ERR_SVID_ISSUER_UNKNOWN', { selfSigned: true }],
  ['a leaf that names another issuer', 'ERR_SVID_ISSUER_UNKNOWN', { issuerName: [['O', 'nobody']] }],
  ['a leaf that names another key of its issuer', 'ERR_SVID_ISSUER_UNKNOWN', { authorityKeyId: 'abcdef' }],
]

for (const [title, reason, flaws] of WRONG_LEAVES) {
  test(`${title} is refused with ${reason}`, async () => {
    const { chain } = await a.issueFlawed(flaws)
    for (const trust of [alone, federated]) {
      const verdict = verdictOn(chain, { trust })
      assertRefused(verdict, reason)
      assert.ok(!verdict.ok && verdict.presented !== undefined)
      assert.equal(verdict.presented.id, flaws.san === null ? '' : ((flaws.uris ?? ['spiffe://a.example/ns/shop/sa/cart'])[0] ?? ''))
    }
  })
}

test('X-17: a leaf without extended key usage is accepted, since only what is present must have both', async () => {
  const { chain } = await a.issueFlawed({ extendedKeyUsage: null })
  assert.ok(verdictOn(chain).ok)
})

test('a leaf without basic constraints is not a CA, and accepted', async () => {
  const { chain } = await a.issueFlawed({ basicConstraints: null })
  assert.ok(verdictOn(chain).ok)
})

/** What is wrong with the certificate between leaf and root. */
const WRONG_SIGNERS: readonly (readonly [string, ReasonCode, CertificateFlaws])[] = [
  [
    'X-9: an intermediate that is not a CA',
    'ERR_SVID_SIGNER_NOT_CA',
    { basicConstraints: { ca: false }, keyUsage: { usages: KeyUsageFlags.digitalSignature } },
  ],
  ['X-9: an intermediate with keyCertSign that is not a CA', 'ERR_SVID_SIGNER_NOT_CA', { basicConstraints: { ca: false } }],
  ['X-9: an intermediate without basic constraints', 'ERR_SVID_SIGNER_NOT_CA', { basicConstraints: null }],
  ['X-11: an intermediate without key usage', 'ERR_SVID_NO_KEY_USAGE', { keyUsage: null }],
  [
    'X-12: an intermediate whose key usage is not critical',
    'ERR_SVID_KEY_USAGE_NOT_CRITICAL',
    { keyUsage: { usages: KeyUsageFlags.keyCertSign, critical: false } },
  ],
  ['X-6: an intermediate whose ID has a path', 'ERR_SVID_SIGNER_HAS_PATH', { uris: ['spiffe://a.example/ca'] }],
  ['X-7: an intermediate of another trust domain', 'ERR_SVID_SIGNER_TRUST_DOMAIN', { uris: ['spiffe://b.example'] }],
  ['X-2: an intermediate with two URIs', 'ERR_SVID_SEVERAL_IDS', { uris: ['spiffe://a.example', 'spiffe://b.example'] }],
  ['an intermediate with a malformed ID', 'ERR_SPIFFE_ID_MALFORMED', { uris: ['spiffe://a.example/'] }],
  ['an intermediate that has expired', 'ERR_SVID_ISSUER_EXPIRED', { notBefore: now - 2 * HOUR, notAfter: now - HOUR }],
  ['an intermediate that is not valid yet', 'ERR_SVID_ISSUER_EXPIRED', { notBefore: now + HOUR, notAfter: now + 2 * HOUR }],
  ['an intermediate for servers alone, under a client', 'ERR_SVID_EXTENDED_KEY_USAGE', { extendedKeyUsage: [ExtendedKeyUsage.serverAuth] }],
  [
    'an intermediate with name constraints',
    'ERR_SVID_CRITICAL_EXTENSION',
    { extraExtensions: [new Extension('2.5.29.30', true, sequence())] },
  ],
  [
    'an intermediate forged under the name of the root',
    'ERR_SVID_SIGNATURE',
    { signer: generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey },
  ],
]

for (const [title, reason, flaws] of WRONG_SIGNERS) {
  test(`${title} is refused with ${reason}`, async () => {
    const signer = await issueSigner(a.root, flaws)
    const { certificate } = await issueCertificate({ authority: signer })
    for (const trust of [alone, federated]) assertRefused(verdictOn([certificate, ...signer.chain], { trust }), reason)
  })
}

test('X-13: an intermediate without keyCertSign is refused with ERR_SVID_SIGNER_NO_CERT_SIGN', async () => {
  const signer = await issueSigner(a.root, { keyUsage: { usages: KeyUsageFlags.cRLSign } })
  const { certificate } = await issueCertificate({ authority: signer })
  assertRefused(verdictOn([certificate, ...signer.chain]), 'ERR_SVID_SIGNER_NO_CERT_SIGN')
})

test('an intermediate for servers alone is accepted above a server', async () => {
  const signer = await issueSigner(a.root, { extendedKeyUsage: [ExtendedKeyUsage.serverAuth] })
  const { certificate } = await issueCertificate({ authority: signer })
  assert.ok(verdictOn([certificate, ...signer.chain], { role: 'server' }).ok)
})

test('X-5: an intermediate that is no SVID itself is accepted, since that is only recommended', async () => {
  const signer = await issueSigner(a.root, { uris: [] })
  const { certificate } = await issueCertificate({ authority: signer })
  assert.ok(verdictOn([certificate, ...signer.chain]).ok)
})

test('more intermediates than a path length allows are refused, and those under their own name do not count', async () => {
  const times = { trustDomain: 'a.example', notBefore: now - HOUR, notAfter: now + HOUR }
  const one = await createAuthority({ ...times, kind: 'intermediate', issuer: a.root, pathLength: 0 })
  const two = await createAuthority({ ...times, kind: 'intermediate', issuer: one, pathLength: 0 })
  const svid = await issueSvid({ authority: two, id: 'spiffe://a.example/x', now, ttl: HOUR })
  assertRefused(verdictOn([svid.certificate, ...two.chain]), 'ERR_SVID_PATH_LENGTH')
  const sameName = await issueSigner(a.root, { basicConstraints: { ca: true, pathLength: 0 } })
  const below = await issueSigner(sameName)
  const { certificate } = await issueCertificate({ authority: below })
  assert.ok(verdictOn([certificate, ...below.chain]).ok)
})

test('no certificate, five certificates, and one that is too large are refused before anything is verified', async () => {
  const { chain } = await a.issue('/x')
  assertRefused(verdictOn([]), 'ERR_TLS_NO_CERTIFICATE')
  assertRefused(verdictOn([...chain, ...chain, ...chain]), 'ERR_SVID_TOO_LARGE')
  const large = await a.issueFlawed({ extraExtensions: [new Extension('1.2.3.4', false, Buffer.alloc(16_384))] })
  assertRefused(verdictOn(large.chain), 'ERR_SVID_TOO_LARGE')
})

test('a certificate that is no DER is refused, whichever of the chain it is', async () => {
  const { chain } = await a.issue('/x')
  assertRefused(verdictOn([Buffer.from('hello')]), 'ERR_SVID_MALFORMED')
  const verdict = verdictOn([chain[0]!, chain[1]!.subarray(1)])
  assertRefused(verdict, 'ERR_SVID_MALFORMED')
  assert.equal(!verdict.ok && verdict.presented?.id, 'spiffe://a.example/x')
})

test('an RSA key of 1,024 or 4,104 bits is refused before a signature is computed with it', async () => {
  for (const modulusLength of [1024, 4104]) {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength })
    const { chain } = await a.issueFlawed({ privateKey })
    assertRefused(verdictOn(chain), 'ERR_SVID_KEY')
  }
})

test('a leaf sent without its intermediate is refused, and the detail names the issuer to look for', async () => {
  const { certificate } = await a.issue('/x')
  assertRefused(verdictOn([certificate]), 'ERR_SVID_ISSUER_UNKNOWN', new RegExp(a.issuer.keyId))
})

test('certificates that sign each other in a circle are refused', async () => {
  const keys = [
    generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey,
    generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey,
  ]
  const base = {
    basicConstraints: { ca: true },
    keyUsage: { usages: KeyUsageFlags.keyCertSign },
    extendedKeyUsage: null,
    uris: ['spiffe://a.example'],
  }
  const one = await issueCertificate({
    authority: a.root,
    ...base,
    privateKey: keys[0]!,
    signer: keys[1]!,
    subject: [['O', 'one']],
    issuerName: [['O', 'two']],
    subjectKeyId: '01',
    authorityKeyId: '02',
  })
  const two = await issueCertificate({
    authority: a.root,
    ...base,
    privateKey: keys[1]!,
    signer: keys[0]!,
    subject: [['O', 'two']],
    issuerName: [['O', 'one']],
    subjectKeyId: '02',
    authorityKeyId: '01',
  })
  const leaf = await issueCertificate({ authority: a.root, signer: keys[0]!, issuerName: [['O', 'one']], authorityKeyId: '01' })
  for (const trust of [alone, federated])
    assertRefused(verdictOn([leaf.certificate, one.certificate, two.certificate], { trust }), 'ERR_SVID_ISSUER_UNKNOWN', /circle/)
})

test('the edges of validity are those of RFC 5280: both ends are included', async () => {
  const notBefore = Math.floor(now / 1000) * 1000
  const { chain } = await a.issueFlawed({ notBefore, notAfter: notBefore + 60_000 })
  assertRefused(verdictOn(chain, { at: notBefore - 1 }), 'ERR_SVID_NOT_YET_VALID')
  assert.ok(verdictOn(chain, { at: notBefore }).ok)
  assert.ok(verdictOn(chain, { at: notBefore + 60_000 }).ok)
  assertRefused(verdictOn(chain, { at: notBefore + 60_001 }), 'ERR_SVID_EXPIRED')
})

test('an expired root ends the trust in all below it', async () => {
  const { chain } = await a.issueFlawed({ notAfter: now + 30 * 24 * HOUR })
  assertRefused(verdictOn(chain, { at: now + 11 * 24 * HOUR }), 'ERR_SVID_ISSUER_EXPIRED')
})

test('what is revoked by ID, serial, intermediate or root is refused though its path is right', async () => {
  const svid = await a.issue('/x')
  const accepted = verdictOn(svid.chain)
  assert.ok(accepted.ok)
  const { certificate, authorities } = accepted.value
  const revocations: readonly Revocation[] = [
    { kind: 'id', id: svid.id },
    { kind: 'certificate', issuerKeyId: a.issuer.keyId, serial: certificate.serial },
    ...authorities.map((fingerprint) => ({ kind: 'authority' as const, fingerprint })),
  ]
  for (const entry of revocations)
    assertRefused(verdictOn(svid.chain, { trust: trustIn([a], createRevocations([entry])) }), 'ERR_SVID_REVOKED')
  assert.ok(verdictOn(svid.chain, { trust: trustIn([a], createRevocations([{ kind: 'id', id: 'spiffe://a.example/y' }])) }).ok)
})

test('a leaf that does not name the key of its issuer can be revoked by it all the same', async () => {
  const { chain } = await a.issueFlawed({ authorityKeyId: null, serial: '4711' })
  assert.ok(verdictOn(chain).ok)
  const revoked = trustIn([a], createRevocations([{ kind: 'certificate', issuerKeyId: a.issuer.keyId, serial: '4711' }]))
  assertRefused(verdictOn(chain, { trust: revoked }), 'ERR_SVID_REVOKED')
})

// Trust domains are never merged.

test('B-15: a leaf of one domain issued by the authority of another is refused, in either order of the bundles', async () => {
  const posing = await b.issueFlawed({ uris: ['spiffe://a.example/admin'] })
  const intermediateOfB = await issueSigner(b.root, { uris: [] })
  const posingBelow = await issueCertificate({ authority: intermediateOfB, uris: ['spiffe://a.example/admin'] })
  const direct = await issueCertificate({ authority: b.root, uris: ['spiffe://a.example/admin'] })
  for (const trust of [trustIn([a, b]), trustIn([b, a])]) {
    assertRefused(verdictOn(posing.chain, { trust }), 'ERR_SVID_AUTHORITY_OF_OTHER_DOMAIN')
    assertRefused(verdictOn([posingBelow.certificate, ...intermediateOfB.chain], { trust }), 'ERR_SVID_AUTHORITY_OF_OTHER_DOMAIN')
    assertRefused(verdictOn([direct.certificate], { trust }), 'ERR_SVID_AUTHORITY_OF_OTHER_DOMAIN')
    assertRefused(verdictOn([direct.certificate, b.root.certificate, a.root.certificate], { trust }), 'ERR_SVID_AUTHORITY_OF_OTHER_DOMAIN')
  }
  assertRefused(verdictOn(posing.chain), 'ERR_SVID_ISSUER_UNKNOWN')
})

test('an authority of another domain may not stand under a root of the own one either', async () => {
  // The root of A signs the key of the root of B: a cross certificate, by which members of B would lead to A.
  const cross = await issueCertificate({
    authority: a.root,
    privateKey: b.root.privateKey,
    subject: [['O', 'cross']],
    uris: ['spiffe://a.example'],
    basicConstraints: { ca: true },
    keyUsage: { usages: KeyUsageFlags.keyCertSign },
    extendedKeyUsage: null,
  })
  const leaf = await issueCertificate({ authority: b.root, uris: ['spiffe://a.example/admin'] })
  for (const trust of [trustIn([a, b]), trustIn([b, a])]) {
    assertRefused(verdictOn([leaf.certificate, cross.certificate], { trust }), 'ERR_SVID_AUTHORITY_OF_OTHER_DOMAIN')
  }
})

/** A root with a chosen name and key identifier: two domains that named their roots alike. */
async function namesake(trustDomain: string, subjectKeyId: string): Promise<Authority & { readonly bundlePem: string }> {
  const root = await issueCertificate({
    authority: a.root,
    selfSigned: true,
    subject: [['O', 'Root CA']],
    uris: [`spiffe://${trustDomain}`],
    basicConstraints: { ca: true },
    keyUsage: { usages: KeyUsageFlags.keyCertSign },
    extendedKeyUsage: null,
    subjectKeyId,
    authorityKeyId: subjectKeyId,
  })
  const authority = loadAuthority({ certificatePem: root.certificatePem, keyPem: root.keyPem })
  return { ...authority, bundlePem: root.certificatePem }
}

test('two domains with equally named roots: a leaf by B that claims A, with or without an issuer key, is never A', async () => {
  const rootA = await namesake('a.example', 'aaaa')
  const rootB = await namesake('b.example', 'bbbb')
  const unnamed = await issueCertificate({ authority: rootB, uris: ['spiffe://a.example/admin'], authorityKeyId: null })
  const named = await issueCertificate({ authority: rootB, uris: ['spiffe://a.example/admin'] })
  const lying = await issueCertificate({ authority: rootB, uris: ['spiffe://a.example/admin'], authorityKeyId: 'aaaa' })
  for (const trust of [trustIn([rootA, rootB]), trustIn([rootB, rootA])]) {
    for (const extra of [[], [rootA.certificate], [rootB.certificate], [rootA.certificate, rootB.certificate]]) {
      assertRefused(verdictOn([unnamed.certificate, ...extra], { trust }), 'ERR_SVID_NO_ISSUER_KEY_ID')
      assertRefused(verdictOn([named.certificate, ...extra], { trust }), 'ERR_SVID_AUTHORITY_OF_OTHER_DOMAIN')
      assertRefused(verdictOn([lying.certificate, ...extra], { trust }), 'ERR_SVID_SIGNATURE')
    }
  }
  for (const [root, domain] of [
    [rootA, 'a.example'],
    [rootB, 'b.example'],
  ] as const) {
    const honest = await issueCertificate({ authority: root, uris: [`spiffe://${domain}/x`] })
    const verdict = verdictOn([honest.certificate], { trust: trustIn([rootA, rootB]) })
    assert.ok(verdict.ok)
    assert.deepEqual(verdict.value.authorities, [fingerprint(root.certificate)])
  }
})

test('where trust is federated, two versions of an intermediate make the path ambiguous; alone, the path is still to one root', async () => {
  const one = await issueSigner(a.root)
  const again = await issueCertificate({
    authority: a.root,
    privateKey: one.privateKey,
    subject: [['O', 'intermediate']],
    uris: ['spiffe://a.example'],
    basicConstraints: { ca: true },
    keyUsage: { usages: KeyUsageFlags.keyCertSign },
    extendedKeyUsage: null,
  })
  const { certificate } = await issueCertificate({ authority: one })
  const sent = [certificate, one.certificate, again.certificate]
  assertRefused(verdictOn(sent, { trust: federated }), 'ERR_SVID_ISSUER_AMBIGUOUS')
  assert.ok(verdictOn(sent).ok)
})

test('where trust is federated, every certificate that was sent must name its issuer and have one, on the path or not', async () => {
  const { chain } = await a.issue('/x')
  const stranger = await createTestMesh('stranger.example')
  assertRefused(verdictOn([...chain, stranger.root.certificate], { trust: federated }), 'ERR_SVID_ISSUER_UNKNOWN')
  const silent = await issueSigner(a.root, { authorityKeyId: null })
  assertRefused(verdictOn([...chain, silent.certificate], { trust: federated }), 'ERR_SVID_NO_ISSUER_KEY_ID')
  assert.ok(verdictOn([...chain, stranger.root.certificate]).ok)
  assert.ok(verdictOn([...chain, b.root.certificate], { trust: federated }).ok)
})

test('a self-signed copy of the root by another key, sent along, does not help a forged leaf', async () => {
  const copy = await issueCertificate({
    authority: a.root,
    selfSigned: true,
    subject: [['O', 'Root CA']],
    uris: ['spiffe://a.example'],
    basicConstraints: { ca: true },
    keyUsage: { usages: KeyUsageFlags.keyCertSign },
    subjectKeyId: 'aaaa',
    authorityKeyId: 'aaaa',
    extendedKeyUsage: null,
  })
  const rootA = await namesake('a.example', 'aaaa')
  const forged = await issueCertificate({ authority: rootA, signer: copy.privateKey })
  for (const trust of [trustIn([rootA]), trustIn([rootA, b])]) {
    const verdict = verdictOn([forged.certificate, copy.certificate], { trust })
    assert.ok(!verdict.ok)
  }
})

test('the memory of signatures changes no verdict: a forged intermediate is refused after the right one was accepted', async () => {
  const trust: TrustStore = trustIn([a, b])
  const { chain } = await a.issue('/x')
  assert.ok(verdictOn(chain, { trust }).ok)
  assert.equal(trust.intermediates.size, 1)
  assert.equal(trust.signatures.size, 1)
  const forged = Buffer.from(chain[1]!)
  forged[forged.length - 1]! ^= 1
  const verdict = verdictOn([chain[0]!, forged], { trust })
  assertRefused(verdict, 'ERR_SVID_SIGNATURE')
  assert.equal(trust.intermediates.size, 1)
  assert.ok(verdictOn(chain, { trust }).ok)
})
