import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ReasonCode } from '#base/reasons'
import { LONGEST_DOCUMENT, readKeySet } from '#token/key-set'
import { issuerKey, keySetText } from '../support/token-issuer.ts'

const es = issuerKey('ES256', 'es')
const rs = issuerKey('RS256', 'rs')
const secret = { kty: 'oct', k: Buffer.alloc(32, 7).toString('base64url'), kid: 'secret', alg: 'HS256', use: 'sig' }

const LEFT_OUT: readonly (readonly [title: string, jwk: Readonly<Record<string, unknown>>])[] = [
  ['symmetric', secret],
  ['symmetric, said to be elliptic', { ...es.jwk, k: secret.k }],
  ['private', { ...es.privateKey.export({ format: 'jwk' }), kid: 'private' }],
  ['for encryption', { ...rs.jwk, use: 'enc', alg: 'RSA-OAEP' }],
  ['of an unknown use', { ...rs.jwk, use: 'x509-svid' }],
  ['whose operations do not include verifying', { ...es.jwk, key_ops: ['sign'] }],
  ['of an unknown type', { kty: 'AKP', alg: 'ML-DSA-44', pub: 'AA', kid: 'pq' }],
  ['on Ed25519', { kty: 'OKP', crv: 'Ed25519', x: 'AA', kid: 'ed' }],
  ['on a curve for Bitcoin', { ...es.jwk, crv: 'secp256k1', alg: undefined }],
  ['on a curve named like a member of every object', { ...es.jwk, crv: 'constructor', alg: undefined }],
  ['on P-256 for ES384', { ...es.jwk, alg: 'ES384' }],
  ['RSA for ES256', { ...rs.jwk, alg: 'ES256' }],
  ['RSA for HS256', { ...rs.jwk, alg: 'HS256' }],
  ['RSA of 1024 bits', issuerKey('RS256', 'short', 1024).jwk],
  ['RSA with exponent 1', { ...rs.jwk, e: 'AQ' }],
  ['RSA with an even exponent', { ...rs.jwk, e: 'AQAA' }],
]

for (const [title, jwk] of LEFT_OUT) {
  test(`left out: a key ${title}`, async () => {
    const set = await readKeySet(keySetText(jwk, { ...es.jwk, kid: 'good' }))
    assert.ok(set.ok, JSON.stringify(set))
    assert.deepEqual(
      set.value.keys.map(({ kid }) => kid),
      ['good'],
    )
    assert.equal(set.value.ignored.length, 1)
    const alone = await readKeySet(keySetText(jwk))
    assert.equal(alone.ok ? 'accepted' : alone.reason, 'ERR_JWKS_NO_KEY')
  })
}

const REFUSED: readonly (readonly [title: string, text: string, reason: ReasonCode])[] = [
  ['HTML', '<!doctype html><title>Sign in</title>', 'ERR_JWKS_MALFORMED'],
  ['nothing', '', 'ERR_JWKS_MALFORMED'],
  ['a list', '[]', 'ERR_JWKS_MALFORMED'],
  ['no keys', '{}', 'ERR_JWKS_MALFORMED'],
  ['keys that are a map', '{"keys":{}}', 'ERR_JWKS_MALFORMED'],
  ['a key that is text', '{"keys":["x"]}', 'ERR_JWKS_MALFORMED'],
  ['a point that is not on its curve', keySetText({ ...es.jwk, y: es.jwk['x'] }), 'ERR_JWKS_MALFORMED'],
  ['a coordinate that is absent', keySetText({ ...es.jwk, y: undefined }), 'ERR_JWKS_MALFORMED'],
  ['a kid that is a number', keySetText({ ...es.jwk, kid: 1 }), 'ERR_JWKS_MALFORMED'],
  ['two keys of one kid', keySetText(es, issuerKey('ES256', 'es')), 'ERR_JWKS_AMBIGUOUS'],
  ['two keys without kid', keySetText({ ...es.jwk, kid: undefined }, { ...issuerKey().jwk, kid: undefined }), 'ERR_JWKS_AMBIGUOUS'],
  ['more than 100 keys', keySetText(...Array.from({ length: 101 }, (_, index) => ({ ...es.jwk, kid: `${index}` }))), 'ERR_JWKS_TOO_LARGE'],
  ['a document too long', `{"keys":[]}${' '.repeat(LONGEST_DOCUMENT)}`, 'ERR_JWKS_TOO_LARGE'],
  ['a document too deep', `{"keys":${'['.repeat(1e5)}${']'.repeat(1e5)}}`, 'ERR_JWKS_TOO_LARGE'],
]

for (const [title, text, reason] of REFUSED) {
  test(`refused: ${title}`, async () => {
    const set = await readKeySet(text)
    assert.equal(set.ok ? 'accepted' : set.reason, reason)
  })
}

test('an issuer may withdraw all its keys', async () => {
  assert.deepEqual(await readKeySet('{"keys":[]}'), { ok: true, value: { keys: [], ignored: [] } })
})

test('of a SPIFFE bundle only keys of use jwt-svid are taken, and they need a kid (J-15 to J-17)', async () => {
  const svid = { ...es.jwk, use: 'jwt-svid', kid: 'svid' }
  const set = await readKeySet(keySetText(es, { ...es.jwk, use: 'x509-svid' }, svid), { jwtSvid: true })
  assert.ok(set.ok)
  assert.deepEqual(
    set.value.keys.map(({ kid }) => kid),
    ['svid'],
  )
  const nameless = await readKeySet(keySetText({ ...svid, kid: undefined }), { jwtSvid: true })
  assert.equal(nameless.ok ? 'accepted' : nameless.reason, 'ERR_JWKS_MALFORMED')
})

test('keys that say no algorithm are for the one of their curve, RSA keys for RS256', async () => {
  const bare = (key: Readonly<Record<string, unknown>>) => ({ ...key, alg: undefined })
  const set = await readKeySet(keySetText(bare(rs.jwk), bare(issuerKey('ES384', 'p384').jwk), bare(issuerKey('ES512', 'p521').jwk)))
  assert.ok(set.ok)
  assert.deepEqual(
    set.value.keys.map(({ algorithm }) => algorithm),
    ['RS256', 'ES384', 'ES512'],
  )
})

test('equal keys have equal thumbprints, whatever else is said of them', async () => {
  const one = await readKeySet(keySetText(es))
  const two = await readKeySet(keySetText({ ...es.jwk, kid: 'renamed', x5t: 'AA' }))
  assert.ok(one.ok && two.ok)
  assert.equal(one.value.keys[0]?.thumbprint, two.value.keys[0]?.thumbprint)
})
