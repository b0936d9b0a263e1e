import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ReasonCode } from '#base/reasons'
import { type KeySet, readKeySet } from '#token/key-set'
import { type TokenRules, verifyToken } from '#token/verify'
import {
  type Claims,
  encode,
  issuerKey,
  type IssuerKey,
  keySetText,
  serviceAccountClaims,
  signToken,
  signWithSecret,
} from '../support/token-issuer.ts'

const NOW = Date.UTC(2026, 10, 24, 12)
const SECONDS = NOW / 1000
const es = issuerKey('ES256', 'es')
const other = issuerKey('ES256', 'other')
const rs = issuerKey('RS256', 'rs')
const stranger = issuerKey('ES256', 'es')

const KUBERNETES: TokenRules = {
  issuer: 'https://kubernetes.default.svc.cluster.local',
  audiences: ['catalog'],
  kind: 'serviceAccount',
  trustDomain: 'example.org',
}
const OIDC: TokenRules = { issuer: 'https://login.example', audiences: ['catalog', 'shop'], kind: 'oidc', trustDomain: undefined }
const SPIRE: TokenRules = { issuer: 'spiffe://example.org', audiences: ['catalog'], kind: 'jwtSvid', trustDomain: 'example.org' }

async function keysOf(...keys: readonly IssuerKey[]): Promise<KeySet> {
  const set = await readKeySet(keySetText(...keys))
  assert.ok(set.ok, JSON.stringify(set))
  return set.value
}

const keys = await keysOf(es, other, rs)

function user(more: Claims = {}): Claims {
  return { iss: OIDC.issuer, sub: 'ann', aud: 'shop', exp: SECONDS + 60, ...more }
}

function without(claims: Claims, name: string): Claims {
  return Object.fromEntries(Object.entries(claims).filter(([key]) => key !== name))
}

test('a projected service-account token names namespace, account, pod and node', async () => {
  const verdict = await verifyToken(signToken(es, serviceAccountClaims(NOW)), KUBERNETES, keys, NOW)
  assert.ok(verdict.ok)
  const { claims, ...rest } = verdict.value
  assert.deepEqual(rest, {
    issuer: KUBERNETES.issuer,
    subject: 'system:serviceaccount:shop:cart',
    audiences: ['catalog'],
    namespace: 'shop',
    serviceAccount: 'cart',
    trustDomain: 'example.org',
    pod: { name: 'cart-0', uid: 'pod-uid' },
    node: { name: 'node-1', uid: 'node-uid' },
    expiresAt: NOW + 3_600_000,
    boundTo: undefined,
  })
  assert.equal(claims['jti'], 'a2f4')
})

test('a JWT-SVID is told by the trust domain of its subject, with or without an issuer', async () => {
  for (const more of [{}, { iss: 'spiffe://example.org' }]) {
    const claims = { sub: 'spiffe://example.org/ns/shop/sa/cart', aud: ['catalog'], exp: SECONDS + 60, ...more }
    const verdict = await verifyToken(signToken(es, claims, { typ: 'JOSE' }), SPIRE, keys, NOW)
    assert.ok(verdict.ok, JSON.stringify(verdict))
    assert.deepEqual([verdict.value.namespace, verdict.value.serviceAccount, verdict.value.trustDomain], ['shop', 'cart', 'example.org'])
  }
})

test('the subject of an OpenID Connect issuer is never a service account', async () => {
  const verdict = await verifyToken(signToken(es, user({ sub: 'system:serviceaccount:shop:cart' })), OIDC, keys, NOW)
  assert.ok(verdict.ok)
  assert.deepEqual([verdict.value.namespace, verdict.value.serviceAccount], [undefined, undefined])
})

test('every algorithm of RFC 7518 with a public key is verified, and a token without kid where one key alone is for it', async () => {
  for (const alg of ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512']) {
    const key = issuerKey(alg)
    const set = await keysOf(key, issuerKey(alg === 'ES256' ? 'ES384' : 'ES256', 'another'))
    assert.ok((await verifyToken(signToken(key, user()), OIDC, set, NOW)).ok, alg)
    assert.ok((await verifyToken(signToken(key, user(), { kid: undefined }), OIDC, set, NOW)).ok, `${alg} without kid`)
  }
})

const K8S = serviceAccountClaims(NOW)
const spiffe = (sub: string, more: Claims = {}): Claims => ({ sub, aud: ['catalog'], exp: SECONDS + 60, ...more })
const [head = '', body = '', mac = ''] = signToken(es, user()).split('.')

const REFUSED: readonly (readonly [title: string, token: string, rules: TokenRules, reason: ReasonCode])[] = [
  ['alg none', `${encode('{"alg":"none"}')}.${body}.`, OIDC, 'ERR_TOKEN_ALGORITHM'],
  ['alg none with a signature', `${encode('{"alg":"none"}')}.${body}.${mac}`, OIDC, 'ERR_TOKEN_ALGORITHM'],
  ['alg None', `${encode('{"alg":"None"}')}.${body}.${mac}`, OIDC, 'ERR_TOKEN_ALGORITHM'],
  ['no alg', `${encode('{}')}.${body}.${mac}`, OIDC, 'ERR_TOKEN_ALGORITHM'],
  ['alg a list', `${encode('{"alg":["ES256"]}')}.${body}.${mac}`, OIDC, 'ERR_TOKEN_ALGORITHM'],
  ['EdDSA', `${encode('{"alg":"EdDSA","kid":"es"}')}.${body}.${mac}`, OIDC, 'ERR_TOKEN_ALGORITHM'],
  ['HMAC with the public key as secret', signWithSecret(JSON.stringify(es.jwk), user(), { kid: 'es' }), OIDC, 'ERR_TOKEN_ALGORITHM'],
  ['HMAC with an empty secret', signWithSecret('', user(), { kid: 'rs' }), OIDC, 'ERR_TOKEN_ALGORITHM'],
  ['RS256 with a key for ES256', signToken(rs, user(), { kid: 'es' }), OIDC, 'ERR_TOKEN_ALGORITHM'],
  ['PS256 with a key for RS256', signToken({ ...rs, alg: 'PS256' }, user()), OIDC, 'ERR_TOKEN_ALGORITHM'],
  ['another key under the same kid', signToken(stranger, user()), OIDC, 'ERR_TOKEN_SIGNATURE'],
  ['the kid of another key', signToken(es, user(), { kid: 'other' }), OIDC, 'ERR_TOKEN_SIGNATURE'],
  ['an unknown kid', signToken(es, user(), { kid: 'unknown' }), OIDC, 'ERR_TOKEN_KEY_UNKNOWN'],
  ['no kid and two keys', signToken(es, user(), { kid: undefined }), OIDC, 'ERR_TOKEN_KEY_UNKNOWN'],
  ['a key in its own header', signToken(stranger, user(), { kid: undefined, jwk: stranger.jwk }), OIDC, 'ERR_TOKEN_KEY_UNKNOWN'],
  ['a null signature (CVE-2022-21449)', `${head}.${body}.${Buffer.alloc(64).toString('base64url')}`, OIDC, 'ERR_TOKEN_SIGNATURE'],
  ['no signature', `${head}.${body}.`, OIDC, 'ERR_TOKEN_MALFORMED'],
  ['two parts', `${head}.${body}`, OIDC, 'ERR_TOKEN_MALFORMED'],
  ['four parts', `${head}.${body}.${mac}.`, OIDC, 'ERR_TOKEN_MALFORMED'],
  ['dots alone', '.'.repeat(8000), OIDC, 'ERR_TOKEN_MALFORMED'],
  ['padding', `${head}.${body}.${mac}=`, OIDC, 'ERR_TOKEN_MALFORMED'],
  ['a line end', `${head}.${body}.${mac}\n`, OIDC, 'ERR_TOKEN_MALFORMED'],
  ['base64 instead of base64url', `${head}.${body}.+/${mac.slice(2)}`, OIDC, 'ERR_TOKEN_MALFORMED'],
  ['JSON form', JSON.stringify({ payload: body, protected: head, signature: mac }), OIDC, 'ERR_TOKEN_MALFORMED'],
  ['a payload that is no JSON', signToken(es, 'foo'), OIDC, 'ERR_TOKEN_MALFORMED'],
  ['a payload that is a list', signToken(es, '[]'), OIDC, 'ERR_TOKEN_MALFORMED'],
  ['a kid that is a number', signToken(es, user(), { kid: 1 }), OIDC, 'ERR_TOKEN_MALFORMED'],
  ['more than 8 KiB', signToken(es, user({ more: 'x'.repeat(8192) })), OIDC, 'ERR_TOKEN_TOO_LARGE'],
  ['deep nesting', signToken(es, `{"a":${'['.repeat(2000)}${']'.repeat(2000)}}`), OIDC, 'ERR_TOKEN_TOO_LARGE'],
  ['nesting hidden behind a quote', signToken(es, `{"a\\"[":${'['.repeat(20)}${']'.repeat(20)}}`), OIDC, 'ERR_TOKEN_TOO_LARGE'],
  ['crit', signToken(es, user(), { crit: ['exp'] }), OIDC, 'ERR_TOKEN_TYPE'],
  ['b64 (RFC 7797)', signToken(es, user(), { b64: false }), OIDC, 'ERR_TOKEN_TYPE'],
  ['a logout token', signToken(es, user(), { typ: 'logout+jwt' }), OIDC, 'ERR_TOKEN_TYPE'],
  ['a JWT-SVID of type at+jwt (J-4)', signToken(es, spiffe('spiffe://example.org/a'), { typ: 'at+jwt' }), SPIRE, 'ERR_TOKEN_TYPE'],
  ['another issuer', signToken(es, user({ iss: 'https://login.example/' })), OIDC, 'ERR_TOKEN_ISSUER_UNKNOWN'],
  ['no issuer', signToken(es, without(user(), 'iss')), OIDC, 'ERR_TOKEN_ISSUER_UNKNOWN'],
  ['an issuer that is a list', signToken(es, user({ iss: [OIDC.issuer] })), OIDC, 'ERR_TOKEN_ISSUER_UNKNOWN'],
  ['another audience', signToken(es, user({ aud: ['shop2', 'Shop'] })), OIDC, 'ERR_TOKEN_AUDIENCE'],
  ['no audience', signToken(es, without(user(), 'aud')), OIDC, 'ERR_TOKEN_AUDIENCE'],
  ['an empty audience', signToken(es, user({ aud: [] })), OIDC, 'ERR_TOKEN_AUDIENCE'],
  ['an audience that is a map', signToken(es, user({ aud: { shop: true } })), OIDC, 'ERR_TOKEN_AUDIENCE'],
  ['no end', signToken(es, without(user(), 'exp')), OIDC, 'ERR_TOKEN_NO_EXPIRY'],
  ['an end that is text', signToken(es, user({ exp: `${SECONDS + 60}` })), OIDC, 'ERR_TOKEN_NO_EXPIRY'],
  [
    'an end that never comes',
    signToken(es, JSON.stringify(user({ exp: 0 })).replace('"exp":0', '"exp":1e999')),
    OIDC,
    'ERR_TOKEN_NO_EXPIRY',
  ],
  ['an end that is now', signToken(es, user({ exp: SECONDS })), OIDC, 'ERR_TOKEN_EXPIRED'],
  ['a beginning to come', signToken(es, user({ nbf: SECONDS + 11 })), OIDC, 'ERR_TOKEN_NOT_YET_VALID'],
  ['a beginning that is text', signToken(es, user({ nbf: '0' })), OIDC, 'ERR_TOKEN_NOT_YET_VALID'],
  ['a subject that is a number', signToken(es, user({ sub: 7 })), OIDC, 'ERR_TOKEN_SUBJECT'],
  ['a user as service account', signToken(es, { ...K8S, sub: 'ann' }), KUBERNETES, 'ERR_TOKEN_SUBJECT'],
  ['five parts of a subject', signToken(es, { ...K8S, sub: 'system:serviceaccount:shop:cart:x' }), KUBERNETES, 'ERR_TOKEN_SUBJECT'],
  [
    'another account than its details say',
    signToken(es, { ...K8S, sub: 'system:serviceaccount:shop:admin' }),
    KUBERNETES,
    'ERR_TOKEN_SUBJECT',
  ],
  ['a token of a Secret', signToken(es, without(without(K8S, 'kubernetes.io'), 'exp')), KUBERNETES, 'ERR_TOKEN_NO_EXPIRY'],
  ['no details of Kubernetes', signToken(es, without(K8S, 'kubernetes.io')), KUBERNETES, 'ERR_TOKEN_SUBJECT'],
  ['a JWT-SVID of another trust domain', signToken(es, spiffe('spiffe://partner.example/a')), SPIRE, 'ERR_TOKEN_ISSUER_UNKNOWN'],
  ['a JWT-SVID of a longer trust domain', signToken(es, spiffe('spiffe://example.org.evil/a')), SPIRE, 'ERR_TOKEN_ISSUER_UNKNOWN'],
  ['a JWT-SVID with a dot segment', signToken(es, spiffe('spiffe://example.org/../a')), SPIRE, 'ERR_TOKEN_SUBJECT'],
  ['a JWT-SVID without exp (J-10)', signToken(es, without(spiffe('spiffe://example.org/a'), 'exp')), SPIRE, 'ERR_TOKEN_NO_EXPIRY'],
  ['a JWT-SVID without aud (J-7)', signToken(es, without(spiffe('spiffe://example.org/a'), 'aud')), SPIRE, 'ERR_TOKEN_AUDIENCE'],
]

for (const [title, token, rules, reason] of REFUSED) {
  test(`refused: ${title}`, async () => {
    const verdict = await verifyToken(token, rules, keys, NOW)
    assert.equal(verdict.ok ? 'accepted' : verdict.reason, reason)
  })
}

test('the clock of the issuer may be 10 s ahead', async () => {
  assert.ok((await verifyToken(signToken(es, user({ nbf: SECONDS + 10 })), OIDC, keys, NOW)).ok)
})

test('claims named like members of every object are claims and nothing else', async () => {
  const token = signToken(es, JSON.stringify(user()).replace('{', '{"__proto__":{"admin":true},"constructor":"x","ok":false,'))
  const verdict = await verifyToken(token, OIDC, keys, NOW)
  assert.ok(verdict.ok)
  const { claims } = verdict.value
  assert.equal(Object.getPrototypeOf(claims), null)
  assert.equal(claims['admin'], undefined)
  assert.deepEqual(claims['__proto__'], { admin: true })
  assert.equal(claims['ok'], false)
})
