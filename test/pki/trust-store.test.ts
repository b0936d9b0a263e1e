import 'reflect-metadata'
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { KeyUsageFlags } from '@peculiar/x509'
import { PosternError } from '#base/errors'
import { createAuthority } from '#pki/authority'
import { type Bundle, readBundle } from '#pki/bundle'
import { createRevocations } from '#pki/revocations'
import { createTrustStore, isSameTrust, removedRoots } from '#pki/trust-store'
import { createTestMesh, issueCertificate } from '../support/authority.ts'

const HOUR = 3_600_000
const a = await createTestMesh('a.example')
const a2 = await createTestMesh('a.example')
const b = await createTestMesh('b.example')
const bundleA = readBundle(a.bundlePem, 'a.example', 'a.pem')
const bundleB = readBundle(b.bundlePem, 'b.example', 'b.pem')

function codeOf(make: () => unknown): string {
  try {
    make()
  } catch (error) {
    assert.ok(error instanceof PosternError)
    return error.code
  }
  return 'none'
}

async function bundleWith(trustDomain: string, ...pems: readonly string[]): Promise<Bundle> {
  return readBundle(pems.join(''), trustDomain, 'bundle.pem')
}

test('a store keeps each domain apart, and is federated from the second on', () => {
  const alone = createTrustStore('a.example', [bundleA])
  assert.ok(!alone.federated)
  const both = createTrustStore('a.example', [bundleA, bundleB])
  assert.ok(both.federated)
  assert.deepEqual([...both.bundles.keys()], ['a.example', 'b.example'])
  assert.equal(both.roots.get(bundleB.roots[0]!.fingerprint)?.trustDomain, 'b.example')
})

test('without a bundle for the own domain there is no store', () => {
  assert.equal(
    codeOf(() => createTrustStore('a.example', [])),
    'ERR_BUNDLE_EMPTY',
  )
  assert.equal(
    codeOf(() => createTrustStore('a.example', [bundleB])),
    'ERR_BUNDLE_EMPTY',
  )
})

test('two bundles for one domain are refused', () => {
  assert.equal(
    codeOf(() => createTrustStore('a.example', [bundleA, bundleA])),
    'ERR_BUNDLE_CONFLICT',
  )
})

test('two domains that share a root are refused, and so are two roots with one key', async () => {
  const plain = await issueCertificate({
    authority: a.root,
    selfSigned: true,
    uris: [],
    basicConstraints: { ca: true },
    keyUsage: { usages: KeyUsageFlags.keyCertSign },
  })
  const shared = [await bundleWith('a.example', plain.certificatePem), await bundleWith('b.example', plain.certificatePem)]
  assert.equal(
    codeOf(() => createTrustStore('a.example', shared)),
    'ERR_BUNDLE_CONFLICT',
  )
  const common = { kind: 'root' as const, notBefore: Date.now() - HOUR, notAfter: Date.now() + HOUR }
  const one = await createAuthority({ trustDomain: 'a.example', ...common })
  const two = await createAuthority({ trustDomain: 'b.example', ...common, privateKey: one.privateKey })
  const sameKey = [await bundleWith('a.example', one.certificatePem), await bundleWith('b.example', two.certificatePem)]
  assert.equal(
    codeOf(() => createTrustStore('a.example', sameKey)),
    'ERR_BUNDLE_CONFLICT',
  )
})

test('two domains whose roots share name and key identifier, though not the key, are refused', async () => {
  const make = async (trustDomain: string, subject: string, subjectKeyId: string | null): Promise<Bundle> => {
    const root = await issueCertificate({
      authority: a.root,
      selfSigned: true,
      subject: [['O', subject]],
      uris: [`spiffe://${trustDomain}`],
      basicConstraints: { ca: true },
      keyUsage: { usages: KeyUsageFlags.keyCertSign },
      subjectKeyId,
      authorityKeyId: null,
    })
    return bundleWith(trustDomain, root.certificatePem)
  }
  const conflict = async (nameB: string, keyIdA: string | null, keyIdB: string | null): Promise<string> => {
    const pair = [await make('a.example', 'Acme Root', keyIdA), await make('b.example', nameB, keyIdB)]
    return codeOf(() => createTrustStore('a.example', pair))
  }
  assert.equal(await conflict('Acme Root', 'aa', 'aa'), 'ERR_BUNDLE_CONFLICT')
  assert.equal(await conflict('ACME  root', 'aa', 'aa'), 'ERR_BUNDLE_CONFLICT')
  assert.equal(await conflict('Acme Root', null, null), 'ERR_BUNDLE_CONFLICT')
  assert.equal(await conflict('Acme Root', 'aa', 'bb'), 'none')
  assert.equal(await conflict('Other Root', 'aa', 'aa'), 'none')
})

test('the digest is of what decides trust, and of nothing else', async () => {
  const store = createTrustStore('a.example', [bundleA, bundleB])
  assert.ok(isSameTrust(store, createTrustStore('a.example', [bundleB, bundleA])))
  assert.ok(isSameTrust(store, createTrustStore('a.example', [{ ...bundleA, sequence: 7n, refreshHintSeconds: 9 }, bundleB])))
  const others = [
    createTrustStore('b.example', [bundleA, bundleB]),
    createTrustStore('a.example', [bundleA]),
    createTrustStore('a.example', [await bundleWith('a.example', a2.bundlePem), bundleB]),
    createTrustStore('a.example', [{ ...bundleA, jwtKeys: [{ kid: 'x' }] }, bundleB]),
    createTrustStore('a.example', [bundleA, bundleB], createRevocations([{ kind: 'id', id: 'spiffe://a.example/x' }])),
  ]
  for (const other of others) assert.ok(!isSameTrust(store, other))
  assert.equal(new Set(others.map(({ digest }) => digest)).size, others.length)
})

test('the order of roots, of JWT keys and of revocations does not change the digest', async () => {
  const ids = ['spiffe://a.example/x', 'spiffe://a.example/y'].map((id) => ({ kind: 'id' as const, id }))
  const one = createTrustStore('a.example', [await bundleWith('a.example', a.bundlePem, a2.bundlePem)], createRevocations(ids))
  const two = createTrustStore('a.example', [await bundleWith('a.example', a2.bundlePem, a.bundlePem)], createRevocations(ids.toReversed()))
  assert.ok(isSameTrust(one, two))
})

test('a root is removed when it is gone or has changed domain', async () => {
  const fingerprint = bundleA.roots[0]!.fingerprint
  const before = createTrustStore('a.example', [await bundleWith('a.example', a.bundlePem, a2.bundlePem), bundleB])
  const after = createTrustStore('a.example', [await bundleWith('a.example', a2.bundlePem), bundleB])
  assert.deepEqual([...removedRoots(before, after)], [fingerprint])
  assert.deepEqual([...removedRoots(after, before)], [])
  const plain = await issueCertificate({
    authority: a.root,
    selfSigned: true,
    uris: [],
    basicConstraints: { ca: true },
    keyUsage: { usages: KeyUsageFlags.keyCertSign },
  })
  const own = [await bundleWith('a.example', a.bundlePem), await bundleWith('b.example', plain.certificatePem)]
  const moved = [await bundleWith('a.example', a.bundlePem, plain.certificatePem), bundleB]
  const gone = removedRoots(createTrustStore('a.example', own), createTrustStore('a.example', moved))
  assert.deepEqual([...gone], [own[1]!.roots[0]!.fingerprint])
})
