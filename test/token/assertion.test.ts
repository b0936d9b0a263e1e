import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createLocalJWKSet, decodeProtectedHeader, type JSONWebKeySet, jwtVerify } from 'jose'
import { type AssertedCaller, createAssertionSigner } from '#token/assertion'
import { peer, token } from '../support/policies.ts'

const NOW = Date.UTC(2026, 10, 24, 12)
const OWN = 'spiffe://example.org/ns/shop/sa/catalog'
const FINGERPRINT = '0f'.repeat(32)
const CART: AssertedCaller = {
  peer: peer('spiffe://example.org/ns/shop/sa/cart', { fingerprint: FINGERPRINT, notAfter: NOW + 3_600_000 }),
  token: undefined,
}
const USER = token({}, { issuer: 'https://login.example', subject: 'ann', expiresAt: NOW + 3_600_000 })

async function read(assertion: string, keys: string, audience = OWN, now = NOW) {
  const options = { issuer: OWN, audience, algorithms: ['ES256'], currentDate: new Date(now) }
  return (await jwtVerify(assertion, createLocalJWKSet(JSON.parse(keys) as JSONWebKeySet), options)).payload
}

test('an assertion says who calls, to whom, for at most a minute', async () => {
  const signer = createAssertionSigner()
  const assertion = signer.assert({ ...CART, token: USER }, OWN, OWN, NOW)
  assert.deepEqual(await read(assertion, signer.keySet(NOW)), {
    iss: OWN,
    aud: OWN,
    sub: 'spiffe://example.org/ns/shop/sa/cart',
    iat: NOW / 1000,
    exp: NOW / 1000 + 60,
    peer: { id: 'spiffe://example.org/ns/shop/sa/cart', 'x5t#S256': Buffer.from(FINGERPRINT, 'hex').toString('base64url') },
    token: { iss: 'https://login.example', sub: 'ann' },
  })
  await assert.rejects(read(assertion, signer.keySet(NOW), 'another'), { code: 'ERR_JWT_CLAIM_VALIDATION_FAILED' })
  await assert.rejects(read(assertion, createAssertionSigner().keySet(NOW)), { code: 'ERR_JWKS_NO_MATCHING_KEY' })
})

test('it is made once for half a minute, and never shared by callers that differ in anything', () => {
  const signer = createAssertionSigner()
  const first = signer.assert(CART, OWN, OWN, NOW)
  assert.equal(signer.assert(CART, OWN, OWN, NOW + 29_999), first)
  assert.notEqual(signer.assert(CART, OWN, OWN, NOW + 30_000), first)
  const other = (more: Partial<AssertedCaller>): AssertedCaller => ({ ...CART, ...more })
  const callers: readonly AssertedCaller[] = [
    CART,
    other({ peer: peer('spiffe://example.org/ns/shop/sa/cart', { fingerprint: 'aa'.repeat(32), notAfter: NOW + 3_600_000 }) }),
    other({ token: USER }),
    other({ token: { ...USER, subject: 'bob' } }),
    other({ token: { ...USER, issuer: 'https://other.example' } }),
    other({ token: { ...USER, issuer: 'https://login.example","ann', subject: '' } }),
    other({ token: { ...USER, namespace: 'shop', serviceAccount: 'cart' } }),
  ]
  const made = callers.flatMap((caller) => [signer.assert(caller, OWN, OWN, NOW), signer.assert(caller, OWN, 'catalog', NOW)])
  assert.equal(new Set(made).size, callers.length * 2)
})

test('it ends with the certificate and the token that it speaks of', async () => {
  const signer = createAssertionSigner()
  const ends = async (caller: AssertedCaller) => (await read(signer.assert(caller, OWN, OWN, NOW), signer.keySet(NOW))).exp
  assert.equal(await ends({ ...CART, token: { ...USER, expiresAt: NOW + 5_000 } }), NOW / 1000 + 5)
  const { peer: caller } = CART
  assert.ok(caller !== undefined)
  const dying = { ...caller, certificate: { ...caller.certificate, fingerprint: 'bb'.repeat(32), notAfter: NOW + 7_000 } }
  assert.equal(await ends({ peer: dying, token: undefined }), NOW / 1000 + 7)
})

test('bound to a request it names it, and is made for it alone', async () => {
  const signer = createAssertionSigner()
  const request = { id: 'r-1', method: 'GET', host: 'catalog', path: '/a' }
  const assertion = signer.assert(CART, OWN, OWN, NOW, request)
  assert.deepEqual((await read(assertion, signer.keySet(NOW)))['request'], request)
  assert.notEqual(signer.assert(CART, OWN, OWN, NOW, request), assertion)
})

test('keys change each day: the next is published before it signs, the last after', async () => {
  const signer = createAssertionSigner()
  const day = 86_400_000
  const before = signer.assert(CART, OWN, OWN, NOW)
  const published = signer.keySet(NOW)
  const after = signer.assert({ peer: undefined, token: undefined }, OWN, OWN, NOW + day)
  assert.notEqual(decodeProtectedHeader(after).kid, decodeProtectedHeader(before).kid)
  await read(after, published, OWN, NOW + day)
  await read(before, signer.keySet(NOW + day))
  assert.equal((JSON.parse(signer.keySet(NOW + day)) as JSONWebKeySet).keys.length, 3)
  await assert.rejects(read(before, signer.keySet(NOW + 2 * day)), { code: 'ERR_JWKS_NO_MATCHING_KEY' })
})

test('what is published holds no private member', () => {
  const { keys } = JSON.parse(createAssertionSigner().keySet(NOW)) as JSONWebKeySet
  for (const key of keys) assert.deepEqual(Object.keys(key).toSorted(), ['alg', 'crv', 'kid', 'kty', 'use', 'x', 'y'])
})
