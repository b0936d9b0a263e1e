/** The calls of the authority's API over real TLS, as docs/ca-api.md has them. */
import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { test } from 'node:test'
import { createLocalJWKSet, jwtVerify } from 'jose'
import { readBundle } from '#pki/bundle'
import { generatePrivateKey, privateKeyPem } from '#pki/keys'
import { verifyChain } from '#pki/path-verdict'
import { certificatesOfPem } from '#pki/pem'
import { requestSvid } from '#pki/request-svid'
import { createTrustStore } from '#pki/trust-store'
import { readWorkloadIdentity } from '#pki/workload-identity'
import { CA_DEFAULTS } from '#config/ca-config'
import { createTestMesh } from '../support/authority.ts'
import { heldOf, startTestCa, type TestCa, TRUST_DOMAIN } from '../support/ca.ts'

const CART = '/ns/shop/sa/cart'
const HOUR = 3_600_000
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/

async function renewal(ca: TestCa, as: Parameters<TestCa['post']>[2] & object, more: object = {}) {
  return ca.post('/v1/x509-svid', { csr: requestSvid(await generatePrivateKey()), ...more }, as)
}

test('a join token buys one certificate of its own ID, that verifies against the bundle it comes with', async (t) => {
  const ca = await startTestCa(t)
  const held = await ca.obtain(CART)
  const { answer } = held
  const identity = readWorkloadIdentity(held)
  assert.equal(identity.id.uri, `spiffe://${TRUST_DOMAIN}${CART}`)
  assert.match(answer['expires_at'], TIME)
  assert.match(answer['renew_at'], TIME)
  assert.equal(Date.parse(answer['expires_at']), identity.facts.notAfter)
  const now = Date.now()
  assert.ok(Math.abs(Date.parse(answer['renew_at']) - now - CA_DEFAULTS.svid.x509 / 2) < 5000)
  const bundle = readBundle(JSON.stringify(answer['bundle']), TRUST_DOMAIN, 'answer')
  const verdict = verifyChain(certificatesOfPem(held.certificatePem), createTrustStore(TRUST_DOMAIN, [bundle]), now, 'client')
  assert.ok(verdict.ok, JSON.stringify(verdict))
  assert.equal(answer['svid'].length, 2, 'leaf and intermediate, never the root')
  assert.ok(identity.facts.notBefore <= now - 59_000, 'it begins a minute back')
})

test('a holder renews with its certificate alone: the same ID, a new key, a record of what was renewed', async (t) => {
  const ca = await startTestCa(t)
  const held = await ca.obtain(CART)
  const answer = await renewal(ca, { as: held })
  assert.equal(answer.status, 200, answer.text)
  const [latest] = await ca.store.issuances({ limit: 1 })
  const serial = readWorkloadIdentity(held).facts.serial
  assert.equal(latest?.attestedBy, 'svid')
  assert.equal(latest?.evidence, `certificate ${serial}`)
  assert.equal(latest?.spiffeId, `spiffe://${TRUST_DOMAIN}${CART}`)
  assert.notEqual(
    new X509Certificate(answer.body['svid'][0]).publicKey.export({ format: 'jwk' })['x'],
    new X509Certificate(held.certificatePem).publicKey.export({ format: 'jwk' })['x'],
  )
})

test('every issuance is in the store and in the records, with who vouched and never the token', async (t) => {
  const ca = await startTestCa(t)
  const token = await ca.token(CART)
  const key = await generatePrivateKey()
  const answer = await ca.post(
    '/v1/x509-svid',
    { attestation: { type: 'join_token', token }, csr: requestSvid(key) },
    { headers: { 'x-request-id': 'my-request-1' } },
  )
  assert.equal(answer.headers['x-request-id'], 'my-request-1')
  const [issuance] = await ca.store.issuances({ limit: 10 })
  const facts = readWorkloadIdentity(heldOf(answer, privateKeyPem(key))).facts
  assert.equal(issuance?.serial, facts.serial)
  assert.equal(issuance?.keyHash, Buffer.from(facts.spkiHash, 'base64').toString('hex'))
  assert.equal(issuance?.notAfter, facts.notAfter)
  const line = ca.records.lines.find(({ message }) => message === 'issued')
  assert.equal(line?.fields['request_id'], 'my-request-1')
  assert.equal(line?.fields['serial'], facts.serial)
  assert.equal(line?.fields['source_ip'], '127.0.0.1')
  const secret = token.split('.').at(-1) ?? ''
  assert.equal(JSON.stringify([ca.records.lines, ca.log.lines, issuance]).includes(secret), false)
})

test('a caller may ask for another life, up to the longest, and none outlives the authority', async (t) => {
  const ca = await startTestCa(t, { intermediateTtl: 30 * HOUR, config: { svid: { x509: HOUR, jwt: 60_000, max: 48 * HOUR } } })
  const held = await ca.obtain(CART)
  for (const [ttl, hours] of [
    [600, 1 / 6],
    [7200, 2],
    [40 * 3600, 30],
    [1000 * 3600, 30],
  ] as const) {
    const answer = await renewal(ca, { as: held }, { ttl })
    assert.ok(Math.abs(Date.parse(answer.body['expires_at']) - Date.now() - hours * HOUR) < 10_000, `${ttl}: ${answer.text}`)
  }
  const clamped = ca.records.lines.filter(({ fields }) => fields['clamped'] === true)
  assert.equal(clamped.length, 2)
})

test('a JWT-SVID verifies against the jwt-svid keys of the bundle, and says no more than it must', async (t) => {
  const ca = await startTestCa(t)
  const held = await ca.obtain(CART)
  const answer = await ca.post('/v1/jwt-svid', { audience: ['spiffe://example.org/ns/shop/sa/catalog', 'b'] }, { as: held })
  assert.equal(answer.status, 200, answer.text)
  const { body: bundle } = await ca.get('/v1/bundle')
  const keys = bundle['keys'].filter(({ use }: { use: string }) => use === 'jwt-svid')
  const { payload, protectedHeader } = await jwtVerify(
    answer.body['token'],
    createLocalJWKSet({ keys: keys.map((key: object) => ({ ...key, use: 'sig' })) }),
    { audience: 'b' },
  )
  assert.deepEqual(Object.keys(payload).toSorted(), ['aud', 'exp', 'iat', 'jti', 'sub'])
  assert.equal(payload.sub, `spiffe://${TRUST_DOMAIN}${CART}`)
  assert.deepEqual(payload.aud, ['spiffe://example.org/ns/shop/sa/catalog', 'b'])
  assert.deepEqual(protectedHeader, { alg: 'ES256', kid: keys[0].kid, typ: 'JWT' })
  assert.equal((payload.exp ?? 0) * 1000, Date.parse(answer.body['expires_at']))
  assert.ok((payload.exp ?? 0) - (payload.iat ?? 0) <= CA_DEFAULTS.svid.jwt / 1000)
  const [issuance] = await ca.store.issuances({ limit: 1 })
  assert.equal(issuance?.kind, 'jwt')
  assert.equal(issuance?.serial, payload.jti)
})

test('J-8: a token is for the audience that was asked for, and for no other', async (t) => {
  const ca = await startTestCa(t)
  const held = await ca.obtain(CART)
  const { body } = await ca.post('/v1/jwt-svid', { audience: ['spiffe://example.org/ns/shop/sa/catalog'] }, { as: held })
  const { aud } = JSON.parse(Buffer.from(body['token'].split('.')[1], 'base64url').toString()) as { aud: unknown }
  assert.deepEqual([aud].flat(), ['spiffe://example.org/ns/shop/sa/catalog'])
  for (const audience of [[], undefined]) assert.equal((await ca.post('/v1/jwt-svid', { audience }, { as: held })).status, 400)
})

test('the bundle is for anyone: a SPIFFE JWK Set with sequence and hint, known again by its tag', async (t) => {
  const ca = await startTestCa(t)
  const first = await ca.get('/v1/bundle')
  assert.equal(first.status, 200)
  assert.equal(first.headers['content-type'], 'application/json')
  const bundle = readBundle(first.text, TRUST_DOMAIN, 'bundle')
  assert.equal(bundle.roots.length, 1)
  assert.equal(bundle.jwtKeys.length, 1)
  assert.equal(bundle.sequence, 1n)
  assert.equal(bundle.refreshHintSeconds, 1)
  const etag = String(first.headers['etag'])
  for (const known of [etag, `W/${etag}`, `"x", ${etag}`, '*']) {
    const again = await ca.get('/v1/bundle', { 'if-none-match': known })
    assert.equal(again.status, 304, known)
    assert.equal(again.text, '')
    assert.equal(again.headers['etag'], etag)
  }
  assert.equal((await ca.get('/v1/bundle', { 'if-none-match': '"other"' })).status, 200)
})

test('a poll of trust is a lease and an acknowledgement, and tells the whole state', async (t) => {
  const ca = await startTestCa(t)
  const held = await ca.obtain(CART)
  const answer = await ca.post('/v1/trust', { sequence: 1, instance: 'cart-1' }, { as: held })
  assert.equal(answer.status, 200, answer.text)
  assert.equal(answer.body['sequence'], 1)
  assert.equal(answer.body['bundle']['spiffe_sequence'], 1)
  assert.deepEqual(answer.body['revocations'], [])
  assert.equal(answer.body['poll_after'], 5)
  assert.equal(answer.body['renew_now'], false)
  const [lease] = await ca.store.leases(Date.now())
  assert.deepEqual([lease?.spiffeId, lease?.instance, lease?.sequence], [`spiffe://${TRUST_DOMAIN}${CART}`, 'cart-1', 1])
  assert.ok(Math.abs((lease?.expiresAt ?? 0) - Date.now() - 15_000) < 5000)
  // What it cannot have is not taken for an acknowledgement.
  await ca.post('/v1/trust', { sequence: 99, instance: 'cart-1' }, { as: held })
  assert.equal((await ca.store.leases(Date.now()))[0]?.sequence, 0)
})

test('a revoked certificate, and a revoked identity, are nobody from the next request on, on live connections too', async (t) => {
  const ca = await startTestCa(t)
  const [cart, other] = [await ca.obtain(CART), await ca.obtain('/ns/shop/sa/other')]
  const { serial, issuerKeyId = '' } = readWorkloadIdentity(cart).facts
  const poll = { sequence: 1, instance: 'x' }
  assert.equal((await ca.post('/v1/trust', poll, { as: cart })).status, 200)
  await ca.store.revoke({
    kind: 'serial',
    value: serial,
    authority: issuerKeyId,
    reason: '',
    revokedAt: Date.now(),
    until: Date.now() + HOUR,
  })
  await ca.store.revoke({
    kind: 'id',
    value: `spiffe://${TRUST_DOMAIN}/ns/shop/sa/other`,
    authority: '',
    reason: '',
    revokedAt: Date.now(),
    until: Infinity,
  })
  await ca.ca.refresh()
  for (const held of [cart, other]) {
    const answer = await ca.post('/v1/trust', poll, { as: held })
    assert.equal(answer.status, 401)
    assert.equal(answer.body['code'], 'ERR_CA_CLIENT_CERTIFICATE')
    assert.match(answer.body['detail'], /ERR_SVID_REVOKED/)
  }
  const third = await ca.obtain('/ns/shop/sa/third')
  const { revocations } = (await ca.post('/v1/trust', { sequence: 3, instance: 'x' }, { as: third })).body
  assert.equal(revocations.length, 2)
  assert.deepEqual(revocations.find(({ kind }: { kind: string }) => kind === 'serial').authority, issuerKeyId)
  assert.equal(revocations.find(({ kind }: { kind: string }) => kind === 'id').until, null)
})

test('an identity that is revoked is given no certificate, even to whoever has a token for it', async (t) => {
  const ca = await startTestCa(t)
  await ca.store.revoke({
    kind: 'id',
    value: `spiffe://${TRUST_DOMAIN}${CART}`,
    authority: '',
    reason: '',
    revokedAt: Date.now(),
    until: Infinity,
  })
  await ca.ca.refresh()
  const attestation = { type: 'join_token', token: await ca.token(CART) }
  const answer = await ca.post('/v1/x509-svid', { attestation, csr: requestSvid(await generatePrivateKey()) })
  assert.equal(answer.status, 403)
  assert.equal(answer.body['code'], 'ERR_SVID_REVOKED')
  assert.equal(await ca.store.countIssuances(), 0)
})

test('who shows no certificate, one of another authority, or one that is over gets nothing, with why', async (t) => {
  let offset = 0
  const clock = { now: () => Date.now() + offset, monotonic: () => performance.now() }
  const ca = await startTestCa(t, { clock })
  const stranger = await (await createTestMesh(TRUST_DOMAIN)).issue(CART)
  const held = await ca.obtain(CART)
  for (const [path, body] of [
    ['/v1/x509-svid', { csr: requestSvid(await generatePrivateKey()) }],
    ['/v1/jwt-svid', { audience: ['a'] }],
    ['/v1/trust', { sequence: 1, instance: 'x' }],
  ] as const) {
    const none = await ca.post(path, body)
    assert.deepEqual([none.status, none.body['code']], [401, 'ERR_CA_NO_CERTIFICATE'])
    const strange = await ca.post(path, body, { as: stranger })
    assert.deepEqual([strange.status, strange.body['code']], [401, 'ERR_CA_CLIENT_CERTIFICATE'])
  }
  offset = 9 * HOUR
  const over = await renewal(ca, { as: held })
  assert.equal(over.status, 401)
  assert.match(over.body['detail'], /ERR_SVID_EXPIRED.*by the clock of the authority it is \d{4}-/)
  offset = -2 * HOUR
  const early = await renewal(ca, { as: held })
  assert.match(early.body['detail'], /ERR_SVID_(?:NOT_YET_VALID|ISSUER_EXPIRED).*by the clock of the authority it is \d{4}-/)
})

test('a caller whose clock is far off is told both times instead of being given what it could not use', async (t) => {
  const ca = await startTestCa(t)
  const held = await ca.obtain(CART)
  const ask = async (offset: number) => renewal(ca, { as: held, headers: { date: new Date(Date.now() + offset).toUTCString() } })
  for (const offset of [0, -50_000, 50_000, 2 * HOUR]) assert.equal((await ask(offset)).status, 200, String(offset))
  for (const offset of [-120_000, -48 * HOUR, 5 * HOUR]) {
    const answer = await ask(offset)
    assert.deepEqual([answer.status, answer.body['code']], [409, 'ERR_CA_CLOCK_SKEW'])
    assert.match(answer.body['detail'], /by the clock of the caller it is \d{4}-.*, by that of the authority \d{4}-.* s (?:behind|ahead)/)
  }
})

const MALFORMED: readonly (readonly [what: string, path: string, body: unknown])[] = [
  ['no JSON', '/v1/x509-svid', '{'],
  ['no object', '/v1/x509-svid', '[]'],
  ['octets that are no UTF-8', '/v1/x509-svid', Buffer.from([0x7b, 0xff, 0x7d]).toString('latin1')],
  ['100,000 levels of it', '/v1/x509-svid', '['.repeat(60_000)],
  ['no request', '/v1/x509-svid', {}],
  ['a request that is no text', '/v1/x509-svid', { csr: 1 }],
  ['an attestation that is no object', '/v1/x509-svid', { csr: 'x', attestation: 'token' }],
  ['an attestation of no known type', '/v1/x509-svid', { csr: 'x', attestation: { type: 'password', token: 'x' } }],
  ['a token that is no text', '/v1/x509-svid', { csr: 'x', attestation: { type: 'join_token', token: {} } }],
  ['a token without end', '/v1/x509-svid', { csr: 'x', attestation: { type: 'join_token', token: 'x'.repeat(20_000) } }],
  ['a life that is no number', '/v1/x509-svid', { csr: 'x', ttl: '8h' }],
  ['a life of nothing', '/v1/x509-svid', { csr: 'x', ttl: 0 }],
]

test('a body that is not what its call takes is refused with 400 and what is wrong', async (t) => {
  const ca = await startTestCa(t)
  for (const [what, path, body] of MALFORMED) {
    const answer = await ca.post(path, body)
    assert.deepEqual([answer.status, answer.body['code']], [400, 'ERR_CA_REQUEST'], what)
    assert.equal(answer.headers['content-type'], 'application/problem+json')
    assert.equal(answer.body['request_id'], answer.headers['x-request-id'])
  }
  const held = await ca.obtain(CART)
  for (const body of [{}, { audience: 'a' }, { audience: [] }, { audience: [''] }, { audience: [1] }, { audience: Array(17).fill('a') }]) {
    assert.equal((await ca.post('/v1/jwt-svid', body, { as: held })).body['code'], 'ERR_CA_REQUEST')
  }
  for (const body of [
    { sequence: -1, instance: 'x' },
    { sequence: 1.5, instance: 'x' },
    { sequence: 1 },
    { sequence: 1, instance: 'a b' },
    { sequence: 1, instance: 'x'.repeat(129) },
  ]) {
    assert.equal((await ca.post('/v1/trust', body, { as: held })).body['code'], 'ERR_CA_REQUEST')
  }
})

test('other paths and other methods are refused, with what is allowed', async (t) => {
  const ca = await startTestCa(t)
  assert.equal((await ca.get('/')).status, 404)
  assert.equal((await ca.get('/v1/constructor')).status, 404)
  const wrong = await ca.get('/v1/x509-svid')
  assert.deepEqual([wrong.status, wrong.headers['allow']], [405, 'POST'])
  assert.equal((await ca.post('/v1/bundle', {})).status, 405)
})

test('a body over 64 KiB is refused before it is read', async (t) => {
  const ca = await startTestCa(t)
  const answer = await ca.post('/v1/x509-svid', 'x'.repeat(65 * 1024))
  assert.deepEqual([answer.status, answer.body['code']], [413, 'ERR_CA_REQUEST'])
})

test('one caller gets no more than its share, and is told when to come back; others are served', async (t) => {
  const ca = await startTestCa(t, { config: { limits: { issuancesPerMinute: 6, burst: 3, inFlight: 256, connections: 100 } } })
  const held = await ca.obtain(CART)
  const statuses = []
  for (let count = 0; count < 4; count++) statuses.push(await renewal(ca, { as: held }))
  assert.deepEqual(
    statuses.map(({ status }) => status),
    [200, 200, 429, 429],
  )
  assert.equal(statuses[3]?.body['code'], 'ERR_CA_CALLER_LIMIT')
  const wait = Number(statuses[3]?.headers['retry-after'])
  assert.ok(wait >= 1 && wait <= 10, String(wait))
  assert.ok(await ca.obtain('/ns/shop/sa/other'))
})

test('with more in work than may be, callers are turned away to times that are spread out', async (t) => {
  const ca = await startTestCa(t, { config: { limits: { issuancesPerMinute: 60, burst: 30, inFlight: 1, connections: 1000 } } })
  const held = await ca.obtain(CART)
  const poll = { sequence: 1, instance: 'x' }
  const answers = await Promise.all(Array.from({ length: 24 }, async () => ca.post('/v1/trust', poll, { as: held })))
  const refused = answers.filter(({ status }) => status === 503)
  assert.ok(answers.some(({ status }) => status === 200))
  for (const { body, headers } of refused) {
    assert.equal(body['code'], 'ERR_CA_OVERLOADED')
    assert.ok(Number(headers['retry-after']) >= 1)
  }
})

test('while the store cannot be written nothing is handed out, and it says so', async (t) => {
  const ca = await startTestCa(t)
  const held = await ca.obtain(CART)
  await ca.store[Symbol.asyncDispose]()
  const answer = await renewal(ca, { as: held })
  assert.equal(answer.status, 503)
  assert.match(answer.body['code'], /^ERR_CA_STORE/)
  assert.ok(Number(answer.headers['retry-after']) >= 1)
  assert.equal(answer.body['svid'], undefined)
})

test('what was issued outlives the process, and used tokens stay used', async (t) => {
  const ca = await startTestCa(t)
  const token = await ca.token(CART)
  const body = async () => ({ attestation: { type: 'join_token', token }, csr: requestSvid(await generatePrivateKey()) })
  const key = await generatePrivateKey()
  const first = await ca.post('/v1/x509-svid', { ...(await body()), csr: requestSvid(key) })
  await ca.restart()
  assert.equal((await ca.post('/v1/x509-svid', await body())).body['code'], 'ERR_JOIN_TOKEN_USED')
  assert.equal(await ca.store.countIssuances(), 1)
  assert.equal((await renewal(ca, { as: heldOf(first, privateKeyPem(key)) })).status, 200)
})

test('metrics count issuances and refusals by reason', async (t) => {
  const ca = await startTestCa(t)
  await ca.obtain(CART)
  await ca.post('/v1/trust', {})
  const { text } = await ca.metrics.render()
  assert.match(text, /postern_ca_issuances_total\{kind="x509",attested_by="joinToken"\} 1/)
  assert.match(text, /postern_ca_refusals_total\{route="\/v1\/trust",reason="ERR_CA_NO_CERTIFICATE"\} 1/)
  assert.match(text, /postern_ca_bundle_sequence 1/)
  assert.match(text, /postern_ca_store_up 1/)
  assert.match(text, /postern_certificate_expiry_timestamp_seconds\{certificate="own"\} \d+/)
  assert.match(text, /postern_ca_seconds_until_first_identity_expires 8\d{4}/)
})
