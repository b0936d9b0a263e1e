/** Verdicts on the peers of real handshakes. */
import 'reflect-metadata'
import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { test } from 'node:test'
import type * as tls from 'node:tls'
import { KeyUsageFlags } from '@peculiar/x509'
import type { ReasonCode } from '#base/reasons'
import { certificatesPem } from '#pki/pem'
import type { PeerVerdict } from '#pki/path-verdict'
import { type SocketVerdictOptions, verifyPeerSocket } from '#pki/peer-from-socket'
import { createRevocations } from '#pki/revocations'
import { clientTlsOptions, reloadServerContext, serverTlsOptions } from '#pki/tls-options'
import type { TrustStore } from '#pki/trust-store'
import { type CertificateFlaws, createTestMesh, issueCertificate, type TestMesh, type TestSvid } from '../support/authority.ts'
import { listenTls, type TlsPair } from '../support/tls-pair.ts'
import { identityOf, trustIn } from '../support/trust.ts'

const HOUR = 3_600_000
const a = await createTestMesh('a.example')
const b = await createTestMesh('b.example')
const own = await a.issue('/server')
const identity = identityOf(own)

/** What any client may do that holds this chain and key, right or wrong. */
function clientOf(svid: Pick<TestSvid, 'certificatePem' | 'keyPem'>): tls.ConnectionOptions {
  return { key: svid.keyPem, cert: svid.certificatePem, rejectUnauthorized: false }
}

const BOTH_WAYS: readonly SocketVerdictOptions[] = [{}, { contextIsCurrent: true }]

/** One handshake of a client with a server that trusts `trust`, judged with and without what OpenSSL verified being taken over. */
async function verdictsOn(client: tls.ConnectionOptions, trust: TrustStore = trustIn([a])): Promise<PeerVerdict[]> {
  await using listener = await listenTls(serverTlsOptions(identity, trust))
  const pair = await listener.connect(client)
  return BOTH_WAYS.map((options) => verifyPeerSocket(serverEnd(pair), trust, Date.now(), options))
}

function serverEnd(pair: TlsPair): tls.TLSSocket {
  assert.ok(pair.server !== undefined, String(pair.error))
  return pair.server
}

async function assertRefused(client: tls.ConnectionOptions, reason: ReasonCode, trust?: TrustStore): Promise<PeerVerdict> {
  const verdicts = await verdictsOn(client, trust)
  for (const verdict of verdicts) assert.equal(verdict.ok ? 'accepted' : verdict.reason, reason)
  return verdicts[0]!
}

test('a client with an SVID of our domain is known, alone and federated, and so is the server to it', async () => {
  const svid = await a.issue('/ns/shop/sa/cart')
  for (const trust of [trustIn([a]), trustIn([a, b]), trustIn([b, a])]) {
    await using listener = await listenTls(serverTlsOptions(identity, trust))
    const pair = await listener.connect(clientTlsOptions(identityOf(svid), trust))
    for (const options of BOTH_WAYS) {
      const caller = verifyPeerSocket(serverEnd(pair), trust, Date.now(), options)
      assert.ok(caller.ok, JSON.stringify(caller))
      assert.equal(caller.value.id.uri, 'spiffe://a.example/ns/shop/sa/cart')
      assert.equal(caller.value.authorities.length, 2)
      const callee = verifyPeerSocket(pair.client, trust, Date.now(), { ...options, role: 'server' })
      assert.ok(callee.ok, JSON.stringify(callee))
      assert.equal(callee.value.id.uri, 'spiffe://a.example/server')
    }
  }
})

test('a client of a federated domain is known as a member of that domain', async () => {
  const svid = await b.issue('/x')
  for (const verdict of await verdictsOn(clientOf(svid), trustIn([a, b]))) {
    assert.ok(verdict.ok, JSON.stringify(verdict))
    assert.equal(verdict.value.id.trustDomain, 'b.example')
  }
  await assertRefused(clientOf(svid), 'ERR_SVID_TRUST_DOMAIN_UNKNOWN')
})

test('a client without certificate is refused, and nothing is said to have been presented', async () => {
  const verdict = await assertRefused({ rejectUnauthorized: false }, 'ERR_TLS_NO_CERTIFICATE')
  assert.ok(!verdict.ok && verdict.presented === undefined)
})

test('an expired client is refused as expired, with what it presented', async () => {
  const svid = await a.issueFlawed({ notBefore: Date.now() - 2 * HOUR, notAfter: Date.now() - HOUR, serial: '4711' })
  const verdict = await assertRefused(clientOf(svid), 'ERR_SVID_EXPIRED')
  assert.ok(!verdict.ok)
  assert.equal(verdict.presented?.id, 'spiffe://a.example/ns/shop/sa/cart')
  assert.equal(verdict.presented.serial, '4711')
  assert.ok(verdict.presented.notAfter < Date.now())
})

const { privateKey: strangersKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })

/** What is wrong with a client → its reason code. */
const WRONG: readonly (readonly [string, ReasonCode, CertificateFlaws])[] = [
  ['a forged one', 'ERR_SVID_SIGNATURE', { signer: strangersKey }],
  [
    'a forged and expired one, which OpenSSL calls expired',
    'ERR_SVID_SIGNATURE',
    { signer: strangersKey, notAfter: Date.now() - HOUR, notBefore: Date.now() - 2 * HOUR },
  ],
  ['a self-signed one', 'ERR_SVID_ISSUER_UNKNOWN', { selfSigned: true }],
  ['a CA', 'ERR_SVID_LEAF_IS_CA', { basicConstraints: { ca: true } }],
  ['one with two IDs', 'ERR_SVID_SEVERAL_IDS', { uris: ['spiffe://a.example/x', 'spiffe://a.example/y'] }],
  ['one without ID', 'ERR_SVID_NO_ID', { uris: [], dnsNames: ['cart.shop'] }],
  ['one for servers alone', 'ERR_SVID_EXTENDED_KEY_USAGE', { extendedKeyUsage: ['1.3.6.1.5.5.7.3.1'] }],
  ['one that is not valid yet', 'ERR_SVID_NOT_YET_VALID', { notBefore: Date.now() + HOUR, notAfter: Date.now() + 2 * HOUR }],
]

for (const [what, reason, flaws] of WRONG) {
  test(`a client with ${what} is refused with ${reason}`, async () => {
    await assertRefused(clientOf(await a.issueFlawed(flaws)), reason)
    await assertRefused(clientOf(await a.issueFlawed(flaws)), reason, trustIn([a, b]))
  })
}

test('a client that sends more than four certificates is refused', async () => {
  const svid = await a.issue('/x')
  const certificatePem = certificatesPem([...svid.chain, b.root.certificate, b.issuer.certificate, a.root.certificate])
  await assertRefused(clientOf({ ...svid, certificatePem }), 'ERR_SVID_TOO_LARGE')
})

test('a client whose intermediates come in any order, and with the root, is known', async () => {
  const svid = await a.issue('/x')
  const [leaf, intermediate] = svid.chain
  for (const chain of [
    [leaf!, a.root.certificate, intermediate!],
    [leaf!, intermediate!, a.root.certificate],
  ]) {
    for (const trust of [trustIn([a]), trustIn([a, b])]) {
      for (const verdict of await verdictsOn(clientOf({ ...svid, certificatePem: certificatesPem(chain) }), trust))
        assert.ok(verdict.ok, JSON.stringify(verdict))
    }
  }
})

test('an older TLS version than required is refused even where the context let it through', async () => {
  const trust = trustIn([a])
  await using listener = await listenTls(serverTlsOptions(identity, trust, { minVersion: 'TLSv1.2' }))
  const svid = await a.issue('/x')
  const pair = await listener.connect({ ...clientOf(svid), maxVersion: 'TLSv1.2' })
  const verdict = verifyPeerSocket(serverEnd(pair), trust, Date.now())
  assert.ok(!verdict.ok)
  assert.equal(verdict.reason, 'ERR_TLS_VERSION')
  assert.equal(verdict.presented?.id, svid.id)
  assert.ok(verifyPeerSocket(serverEnd(pair), trust, Date.now(), { minVersion: 'TLSv1.2' }).ok)
})

test('a resumed session is refused, should a server ever have given out a ticket', async () => {
  const trust = trustIn([a])
  const { secureOptions: _noTickets, ...careless } = serverTlsOptions(identity, trust)
  await using listener = await listenTls(careless)
  const client = clientOf(await a.issue('/x'))
  const first = await listener.connect(client)
  assert.ok(verifyPeerSocket(serverEnd(first), trust, Date.now()).ok)
  serverEnd(first).write('x')
  const session = await new Promise<Buffer>((resolve) => first.client.once('session', resolve))
  const second = await listener.connect({ ...client, session })
  assert.ok(serverEnd(second).isSessionReused())
  for (const options of BOTH_WAYS) {
    const verdict = verifyPeerSocket(serverEnd(second), trust, Date.now(), options)
    assert.equal(!verdict.ok && verdict.reason, 'ERR_TLS_SESSION_REUSED')
  }
})

test('what OpenSSL does not vouch for is refused, whatever we think of it', async () => {
  // A handshake under a context that knows another root: to our own eyes the chain is right.
  const trust = trustIn([a])
  await using listener = await listenTls(serverTlsOptions(identity, trustIn([b])))
  const pair = await listener.connect(clientOf(await a.issue('/x')))
  assert.ok(!serverEnd(pair).authorized)
  for (const options of BOTH_WAYS) {
    const verdict = verifyPeerSocket(serverEnd(pair), trust, Date.now(), options)
    assert.equal(!verdict.ok && verdict.reason, 'ERR_TLS_UNVERIFIED')
  }
})

/** A domain whose root has a common name, and signs leaves directly. */
async function namesake(trustDomain: string): Promise<TestMesh> {
  const mesh = await createTestMesh(trustDomain, { intermediate: false })
  const root = await issueCertificate({
    authority: mesh.root,
    selfSigned: true,
    subject: [['CN', 'Root CA']],
    uris: [`spiffe://${trustDomain}`],
    basicConstraints: { ca: true },
    keyUsage: { usages: KeyUsageFlags.keyCertSign },
    extendedKeyUsage: null,
    privateKey: mesh.root.privateKey,
  })
  return { ...mesh, bundlePem: root.certificatePem, root: { ...mesh.root, certificate: root.certificate } }
}

test('attacks 47–52: two domains with equally named roots, a leaf without issuer key signed by B that claims A: refused in either order', async () => {
  const one = await namesake('a.example')
  const two = await namesake('b.example')
  const leaf = await issueCertificate({
    authority: two.root,
    issuerName: [['CN', 'Root CA']],
    authorityKeyId: null,
    uris: ['spiffe://a.example/admin'],
  })
  for (const trust of [trustIn([one, two]), trustIn([two, one])]) {
    for (const extra of [[], [one.root.certificate], [two.root.certificate]]) {
      const client = clientOf({ keyPem: leaf.keyPem, certificatePem: certificatesPem([leaf.certificate, ...extra]) })
      await using listener = await listenTls(serverTlsOptions(identity, trust))
      const pair = await listener.connect(client)
      for (const options of BOTH_WAYS) {
        const verdict = verifyPeerSocket(serverEnd(pair), trust, Date.now(), options)
        assert.equal(verdict.ok ? 'accepted' : verdict.reason, 'ERR_SVID_NO_ISSUER_KEY_ID')
      }
    }
  }
})

test('a leaf by B that claims A and names the key of B is refused as of another domain, though OpenSSL calls it authorized', async () => {
  const leaf = await b.issueFlawed({ uris: ['spiffe://a.example/admin'] })
  for (const trust of [trustIn([a, b]), trustIn([b, a])]) {
    await using listener = await listenTls(serverTlsOptions(identity, trust))
    const pair = await listener.connect(clientOf(leaf))
    assert.ok(serverEnd(pair).authorized)
    const verdict = verifyPeerSocket(serverEnd(pair), trust, Date.now(), { contextIsCurrent: true })
    assert.equal(verdict.ok ? 'accepted' : verdict.reason, 'ERR_SVID_AUTHORITY_OF_OTHER_DOMAIN')
  }
})

test('a handshake begun before a root was replaced is not let in by the new one, though name and key identifier are the same', async () => {
  // The old root has no key identifier, and the new one's is claimed by the leaf: to OpenSSL under the old context that is a fit.
  const make = async (
    subjectKeyId: string | null,
  ): Promise<{ readonly mesh: Pick<TestMesh, 'trustDomain' | 'bundlePem'>; readonly key: TestMesh['root'] }> => {
    const root = await issueCertificate({
      authority: a.root,
      selfSigned: true,
      subject: [['CN', 'Root CA']],
      uris: [],
      basicConstraints: { ca: true },
      keyUsage: { usages: KeyUsageFlags.keyCertSign },
      extendedKeyUsage: null,
      subjectKeyId,
      authorityKeyId: null,
    })
    return { mesh: { trustDomain: 'a.example', bundlePem: root.certificatePem }, key: { ...a.root, privateKey: root.privateKey } }
  }
  const old = await make(null)
  const fresh = await make('aaaa')
  const leaf = await issueCertificate({ authority: old.key, issuerName: [['CN', 'Root CA']], authorityKeyId: 'aaaa' })
  await using listener = await listenTls(serverTlsOptions(identity, trustIn([old.mesh])))
  const pair = await listener.connect(clientOf(leaf))
  assert.ok(serverEnd(pair).authorized)
  const verdict = verifyPeerSocket(serverEnd(pair), trustIn([fresh.mesh]), Date.now())
  assert.equal(verdict.ok ? 'accepted' : verdict.reason, 'ERR_SVID_SIGNATURE')
})

test('after a reload with another root, who chains to the old one is refused and who chains to the new one is known', async () => {
  const renewed = await createTestMesh('a.example')
  const before = trustIn([a])
  const after = trustIn([renewed])
  await using listener = await listenTls(serverTlsOptions(identity, before))
  const old = clientOf(await a.issue('/x'))
  const young = clientOf(await renewed.issue('/x'))
  assert.ok(verifyPeerSocket(serverEnd(await listener.connect(old)), before, Date.now()).ok)
  reloadServerContext(listener.server, serverTlsOptions(identity, after))
  const refused = verifyPeerSocket(serverEnd(await listener.connect(old)), after, Date.now(), { contextIsCurrent: true })
  assert.equal(!refused.ok && refused.reason, 'ERR_SVID_ISSUER_UNKNOWN')
  assert.ok(verifyPeerSocket(serverEnd(await listener.connect(young)), after, Date.now(), { contextIsCurrent: true }).ok)
})

test('a peer that comes back is known by all that it sent, as long as that is valid and no longer', async () => {
  const trust = trustIn([a])
  await using listener = await listenTls(serverTlsOptions(identity, trust))
  const svid = await a.issue('/x')
  const first = verifyPeerSocket(serverEnd(await listener.connect(clientOf(svid))), trust, Date.now())
  const pair = await listener.connect(clientOf(svid))
  const second = verifyPeerSocket(serverEnd(pair), trust, Date.now())
  assert.ok(first.ok && second.ok)
  assert.equal(second.value, first.value)
  assert.deepEqual([second.validFrom, second.validUntil], [first.validFrom, first.validUntil])
  assert.equal(trust.peers.size, 1)
  const at = (now: number): string => {
    const verdict = verifyPeerSocket(serverEnd(pair), trust, now)
    return verdict.ok ? 'accepted' : verdict.reason
  }
  assert.equal(at(first.validUntil), 'accepted')
  assert.equal(at(first.validUntil + 1), 'ERR_SVID_EXPIRED')
  assert.equal(at(first.validFrom - 1), 'ERR_SVID_NOT_YET_VALID')
  assert.equal(at(Date.now()), 'accepted')
  const revoked = trustIn([a], createRevocations([{ kind: 'id', id: first.value.id.uri }]))
  const refused = verifyPeerSocket(serverEnd(pair), revoked, Date.now())
  assert.equal(!refused.ok && refused.reason, 'ERR_SVID_REVOKED')
  // The same leaf with other certificates beside it is judged anew.
  const other = await listener.connect(clientOf({ ...svid, certificatePem: svid.certificatePem + a.root.certificatePem }))
  assert.ok(verifyPeerSocket(serverEnd(other), trust, Date.now()).ok)
  assert.equal(trust.peers.size, 2)
  await listener
    .connect(clientOf(await a.issueFlawed({ signer: strangersKey })))
    .then((forged) => verifyPeerSocket(serverEnd(forged), trust, Date.now()))
  assert.equal(trust.peers.size, 2)
})

test('who is known is still refused over an old version, or a context that did not verify it', async () => {
  const trust = trustIn([a])
  const svid = await a.issue('/x')
  await using strict = await listenTls(serverTlsOptions(identity, trust))
  assert.ok(verifyPeerSocket(serverEnd(await strict.connect(clientOf(svid))), trust, Date.now()).ok)
  await using old = await listenTls(serverTlsOptions(identity, trust, { minVersion: 'TLSv1.2' }))
  const verdicts = [verifyPeerSocket(serverEnd(await old.connect({ ...clientOf(svid), maxVersion: 'TLSv1.2' })), trust, Date.now())]
  await using strange = await listenTls(serverTlsOptions(identity, trustIn([b])))
  verdicts.push(verifyPeerSocket(serverEnd(await strange.connect(clientOf(svid))), trust, Date.now()))
  assert.deepEqual(
    verdicts.map((verdict) => (verdict.ok ? 'accepted' : verdict.reason)),
    ['ERR_TLS_VERSION', 'ERR_TLS_UNVERIFIED'],
  )
})

test('intermediates of accepted peers are remembered, and no others', async () => {
  const trust = trustIn([a])
  await using listener = await listenTls(serverTlsOptions(identity, trust))
  const refused = await listener.connect(clientOf(await a.issueFlawed({ signer: strangersKey })))
  verifyPeerSocket(serverEnd(refused), trust, Date.now())
  assert.equal(trust.intermediates.size, 0)
  for (const path of ['/x', '/y']) {
    const pair = await listener.connect(clientOf(await a.issue(path)))
    const verdict = verifyPeerSocket(serverEnd(pair), trust, Date.now(), { contextIsCurrent: true })
    assert.ok(verdict.ok)
    assert.equal(verdict.value.id.path, path)
    assert.equal(trust.intermediates.size, 1)
  }
})
