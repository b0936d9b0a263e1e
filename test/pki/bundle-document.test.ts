/** The SPIFFE bundle that is published: the issuer's rows of X509-SVID §6.1 and Trust Domain and Bundle §4. */
import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { test } from 'node:test'
import { readBundle } from '#pki/bundle'
import { bundleDocument } from '#pki/bundle-document'
import { createTestMesh } from '../support/authority.ts'

interface Document {
  readonly keys: readonly Readonly<Record<string, unknown>>[]
  readonly spiffe_sequence: number
  readonly spiffe_refresh_hint: number
}

function parsed(text: string): Document {
  return JSON.parse(text) as Document
}

const jwtKey = { ...generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ format: 'jwk' }), kid: 'one' }

test('X-23, X-24, X-25, X-26: an authority is a key of use x509-svid, without kid, with exactly its own certificate', async () => {
  for (const keyAlgorithm of ['P-256', 'P-384', 'RSA-2048'] as const) {
    const { root } = await createTestMesh('example.org', { keyAlgorithm, intermediate: false })
    const [key] = parsed(bundleDocument({ authorities: [root.certificate], sequence: 1n, refreshHint: 300 })).keys
    const { x5c, use, kty, kid } = key!
    assert.deepEqual([x5c, use, kid], [[root.certificate.toString('base64')], 'x509-svid', undefined])
    assert.equal(kty, keyAlgorithm.startsWith('RSA') ? 'RSA' : 'EC')
  }
})

test('B-2, B-3, B-4, B-5, B-8, B-9: sequence and refresh hint are integers, keys is there even if empty', () => {
  assert.equal(
    bundleDocument({ authorities: [], sequence: 7n, refreshHint: 60 }),
    '{\n  "spiffe_sequence": 7,\n  "spiffe_refresh_hint": 60,\n  "keys": []\n}\n',
  )
})

test('B-3: a sequence of 64 bits is written in full and read back', async () => {
  const { root } = await createTestMesh('example.org')
  const sequence = 2n ** 64n - 1n
  const text = bundleDocument({ authorities: [root.certificate], sequence, refreshHint: 300 })
  assert.ok(text.includes('18446744073709551615'))
  assert.equal(readBundle(text, 'example.org', 'bundle.json').sequence, sequence)
})

test('J-15, J-16: JWT keys keep their kid and get their use', () => {
  const [key] = parsed(bundleDocument({ authorities: [], jwtKeys: [{ ...jwtKey, use: 'sig' }], sequence: 1n, refreshHint: 300 })).keys
  assert.deepEqual([key!['kid'], key!['use']], ['one', 'jwt-svid'])
})

test('what is written, our own reader reads as the same bundle, and B-10: with no parameter beyond the specifications', async () => {
  const { root } = await createTestMesh('example.org')
  const text = bundleDocument({ authorities: [root.certificate], jwtKeys: [jwtKey], sequence: 3n, refreshHint: 300 })
  const bundle = readBundle(text, 'example.org', 'bundle.json')
  assert.deepEqual(
    bundle.roots.map((each) => each.der),
    [root.certificate],
  )
  assert.deepEqual([bundle.sequence, bundle.refreshHintSeconds, bundle.jwtKeys.length], [3n, 300, 1])
  const names = parsed(text).keys.map((key) => Object.keys(key).sort().join(' '))
  assert.deepEqual(names, ['crv kty use x x5c y', 'crv kid kty use x y'])
})

test('B-11, B-12, B-14: a document is the bundle of one trust domain, never a map of several', async () => {
  const { root } = await createTestMesh()
  const written = bundleDocument({ authorities: [root.certificate, root.certificate], sequence: 1n, refreshHint: 60 })
  assert.deepEqual(Object.keys(JSON.parse(written) as object), ['spiffe_sequence', 'spiffe_refresh_hint', 'keys'])
})

test('equal content gives equal bytes', async () => {
  const { root } = await createTestMesh('example.org')
  const content = { authorities: [root.certificate], sequence: 3n, refreshHint: 300 }
  assert.equal(bundleDocument(content), bundleDocument(content))
})
