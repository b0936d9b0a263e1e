/** The JWT profile of the Workload API, asked with @grpc/grpc-js (SPIFFE_Workload_API §6, JWT-SVID §2 to §6). */
import assert from 'node:assert/strict'
import { createHmac, generateKeyPairSync } from 'node:crypto'
import { test } from 'node:test'
import { status } from '@grpc/grpc-js'
import { decodeJwt, decodeProtectedHeader, SignJWT } from 'jose'
import type { IssueJwtSvid } from '#workload-api/source'
import { createTestMesh } from '../support/authority.ts'
import { type Message, workloadApiClient } from '../support/workload-api-client.ts'
import { startWorkloadApi } from '../support/workload-api-server.ts'
import { createJwtAuthority, createWorkloadSource, stateOf } from '../support/workload-source.ts'

const mesh = await createTestMesh()
const partner = await createTestMesh('partner.example')
const [cart, admin] = await Promise.all([mesh.issue('/ns/shop/sa/cart'), mesh.issue('/ns/shop/sa/admin')])
const authority = createJwtAuthority()
const ID = cart.id

test('W-21, W-22, W-23: a JWT-SVID of every identity, for the audiences asked for, with its hint', async () => {
  const state = stateOf(
    [
      { ...cart, hint: 'a' },
      { ...admin, hint: 'b' },
    ],
    [mesh],
  )
  await using served = await startWorkloadApi(createWorkloadSource(state, authority.issue))
  using client = workloadApiClient(served.socket)
  const { svids } = await client.call('FetchJWTSVID', { audience: ['catalog', 'orders'] })
  assert.deepEqual(
    svids.map(({ spiffe_id, hint }: { spiffe_id: string; hint: string }) => [spiffe_id, hint]),
    [
      [cart.id, 'a'],
      [admin.id, 'b'],
    ],
  )
  for (const { spiffe_id, svid } of svids) {
    const { sub, aud, exp } = decodeJwt(svid)
    assert.deepEqual([sub, aud], [spiffe_id, ['catalog', 'orders']])
    assert.ok(exp! * 1000 > Date.now())
    assert.deepEqual(Object.keys(decodeProtectedHeader(svid)).toSorted(), ['alg', 'kid', 'typ'])
  }
})

test('W-22: of one identity where one is named', async () => {
  await using served = await startWorkloadApi(createWorkloadSource(stateOf([cart, admin], [mesh]), authority.issue))
  using client = workloadApiClient(served.socket)
  const { svids } = await client.call('FetchJWTSVID', { audience: ['catalog'], spiffe_id: admin.id })
  assert.equal(svids.length, 1)
  assert.equal(svids[0].spiffe_id, admin.id)
})

test('W-24: an identity that the workload is not is PermissionDenied', async () => {
  await using served = await startWorkloadApi(createWorkloadSource(stateOf([cart], [mesh]), authority.issue))
  using client = workloadApiClient(served.socket)
  await assert.rejects(client.call('FetchJWTSVID', { audience: ['catalog'], spiffe_id: admin.id }), {
    code: status.PERMISSION_DENIED,
    details: /no identity issued/,
  })
})

const MALFORMED: readonly (readonly [string, string, object])[] = [
  ['W-9, W-21: no audience', 'FetchJWTSVID', {}],
  ['W-9: an empty audience among others', 'FetchJWTSVID', { audience: ['catalog', ''] }],
  ['33 audiences', 'FetchJWTSVID', { audience: Array.from({ length: 33 }, (_, index) => `a${index}`) }],
  ['an audience of 2,049 characters', 'FetchJWTSVID', { audience: ['x'.repeat(2049)] }],
  ['an ID that is none', 'FetchJWTSVID', { audience: ['catalog'], spiffe_id: 'https://example.org/cart' }],
  ['W-9: no audience to validate for', 'ValidateJWTSVID', { svid: 'x.y.z' }],
  ['W-9: no token to validate', 'ValidateJWTSVID', { audience: 'catalog' }],
]
for (const [what, method, message] of MALFORMED) {
  test(`${what} is InvalidArgument`, async () => {
    await using served = await startWorkloadApi(createWorkloadSource(stateOf([cart], [mesh]), authority.issue))
    using client = workloadApiClient(served.socket)
    await assert.rejects(client.call(method, message), { code: status.INVALID_ARGUMENT })
  })
}

test('W-17: a workload without identity gets no token, and validates none', async () => {
  await using served = await startWorkloadApi(createWorkloadSource(stateOf([], [mesh]), authority.issue))
  using client = workloadApiClient(served.socket)
  await assert.rejects(client.call('FetchJWTSVID', { audience: ['catalog'] }), { code: status.PERMISSION_DENIED })
  await assert.rejects(client.call('ValidateJWTSVID', { audience: 'catalog', svid: 'x.y.z' }), { code: status.PERMISSION_DENIED })
})

test('where nobody mints JWT-SVIDs they are Unavailable, and a sentence says why', async () => {
  await using served = await startWorkloadApi(createWorkloadSource(stateOf([cart], [mesh])))
  using client = workloadApiClient(served.socket)
  await assert.rejects(client.call('FetchJWTSVID', { audience: ['catalog'] }), { code: status.UNAVAILABLE, details: /comes from files/ })
})

test('a token is given out for half of its life, for the same audiences and under the same keys, before another is minted', async () => {
  let now = Date.now()
  let count = 0
  const issue: IssueJwtSvid = (_, audience) => Promise.resolve({ token: `${audience.join()}-${++count}`, expiresAt: now + 100_000 })
  const source = createWorkloadSource(stateOf([cart], [mesh]), issue)
  await using served = await startWorkloadApi(source, { clock: { now: () => now, monotonic: () => performance.now() } })
  using client = workloadApiClient(served.socket)
  const token = async (...audience: string[]): Promise<string> => (await client.call('FetchJWTSVID', { audience })).svids[0].svid
  assert.deepEqual([await token('a'), await token('a'), await token('b')], ['a-1', 'a-1', 'b-2'])
  now += 49_999
  assert.equal(await token('a'), 'a-1')
  now += 1
  assert.equal(await token('a'), 'a-3')
  source.set(stateOf([cart], [mesh], [authority.jwk]))
  assert.equal(await token('a'), 'a-4')
})

test('an authority that does not answer is Unavailable; why is in the log alone', async () => {
  const source = createWorkloadSource(stateOf([cart], [mesh]), () => Promise.reject(new Error('ca.internal refused')))
  await using served = await startWorkloadApi(source)
  using client = workloadApiClient(served.socket)
  await assert.rejects(
    client.call('FetchJWTSVID', { audience: ['catalog'] }),
    ({ code, details }) => code === status.UNAVAILABLE && !details.includes('ca.internal'),
  )
  assert.match(String(served.log.lines.find(({ level }) => level === 'warn')?.fields['err']), /ca\.internal refused/)
})

test('W-26, W-27: JWT bundles hold our own trust domain’s keys and the federated ones, of use jwt-svid alone, and follow changes', async () => {
  const source = createWorkloadSource(stateOf([cart], [mesh, partner]))
  await using served = await startWorkloadApi(source)
  using client = workloadApiClient(served.socket)
  await using stream = client.open('FetchJWTBundles')
  const first = (await stream.next()).bundles
  assert.deepEqual(Object.keys(first).toSorted(), ['spiffe://example.org', 'spiffe://partner.example'])
  assert.deepEqual(JSON.parse(first['spiffe://example.org']), { keys: [] })
  source.set(stateOf([cart], [mesh, partner], [authority.jwk]))
  const { keys }: Message = JSON.parse((await stream.next()).bundles['spiffe://example.org'])
  assert.equal(keys[0].use, 'jwt-svid')
  assert.ok(!('x5c' in keys[0]) && !('d' in keys[0]))
  assert.deepEqual(keys, [authority.jwk])
})

const now = (): number => Math.floor(Date.now() / 1000)
const good = (): Record<string, unknown> => ({ sub: ID, aud: ['catalog'], exp: now() + 60 })
const base64 = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
const stranger = createJwtAuthority('key-1')
const ofPartner = createJwtAuthority('partner-1')
const ed25519 = generateKeyPairSync('ed25519').privateKey

test('W-28, W-29: a good token is valid, and its claims are returned, those beyond the standard too', async () => {
  await using served = await startWorkloadApi(createWorkloadSource(stateOf([cart], [mesh], [authority.jwk])))
  using client = workloadApiClient(served.socket)
  const svid = await authority.sign({ ...good(), iss: 'https://ca.example.org', roles: ['a', { b: [1.5, null, true] }], huge: 1 })
  const { spiffe_id, claims } = await client.call('ValidateJWTSVID', { audience: 'catalog', svid })
  assert.equal(spiffe_id, ID)
  const { sub, aud, exp, iss, roles } = claims.fields
  assert.equal(sub.stringValue, ID)
  assert.equal(aud.listValue.values[0].stringValue, 'catalog')
  assert.equal(exp.numberValue, decodeJwt(svid).exp)
  assert.equal(iss.stringValue, 'https://ca.example.org')
  assert.equal(roles.listValue.values[1].structValue.fields.b.listValue.values[0].numberValue, 1.5)
})

test('W-30: a token of a federated trust domain is validated with that domain’s keys', async () => {
  const state = stateOf([cart], [mesh, partner], [authority.jwk])
  const bundle = { ...state.trust.bundles.get('partner.example')!, jwtKeys: [ofPartner.jwk] }
  const trust = { ...state.trust, bundles: new Map([...state.trust.bundles, ['partner.example', bundle]]) }
  await using served = await startWorkloadApi(createWorkloadSource({ ...state, trust }))
  using client = workloadApiClient(served.socket)
  const sub = 'spiffe://partner.example/ns/a/sa/b'
  const svid = await ofPartner.sign({ ...good(), sub })
  assert.equal((await client.call('ValidateJWTSVID', { audience: 'catalog', svid })).spiffe_id, sub)
  const forged = await ofPartner.sign(good())
  await assert.rejects(client.call('ValidateJWTSVID', { audience: 'catalog', svid: forged }), {
    code: status.INVALID_ARGUMENT,
    details: /ERR_TOKEN_KEY_UNKNOWN/,
  })
})

const BAD: readonly (readonly [string, RegExp, () => string | Promise<string>])[] = [
  ['J-3: unsigned', /ALGORITHM/, () => `${base64({ alg: 'none' })}.${base64(good())}.`],
  [
    'J-3: signed with a secret, the public key at that',
    /ALGORITHM/,
    () => {
      const signed = `${base64({ alg: 'HS256', kid: 'key-1' })}.${base64(good())}`
      return `${signed}.${createHmac('sha256', JSON.stringify(authority.jwk)).update(signed).digest('base64url')}`
    },
  ],
  [
    'J-3: EdDSA, which is not of the list',
    /ALGORITHM/,
    () => new SignJWT(good()).setProtectedHeader({ alg: 'EdDSA', kid: 'key-1' }).sign(ed25519),
  ],
  ['J-4: of type wit+jwt', /TYPE/, () => authority.sign(good(), { typ: 'wit+jwt' })],
  ['J-4: of type at+jwt', /TYPE/, () => authority.sign(good(), { typ: 'at+jwt' })],
  ['J-5: without subject', /SUBJECT/, () => authority.sign({ ...good(), sub: undefined })],
  ['J-5: about a user', /SUBJECT/, () => authority.sign({ ...good(), sub: 'alice' })],
  ['J-5: about a trust domain', /SUBJECT/, () => authority.sign({ ...good(), sub: 'spiffe://example.org' })],
  ['J-7: without audience', /AUDIENCE/, () => authority.sign({ ...good(), aud: undefined })],
  ['J-7: for another audience', /AUDIENCE/, () => authority.sign({ ...good(), aud: ['orders', 'catalog2'] })],
  ['J-10: without end', /NO_EXPIRY/, () => authority.sign({ ...good(), exp: undefined })],
  ['J-12: that has ended', /EXPIRED/, () => authority.sign({ ...good(), exp: now() - 1 })],
  ['J-12: that has not begun', /NOT_YET_VALID/, () => authority.sign({ ...good(), nbf: now() + 60 })],
  [
    'J-13: in JSON serialisation',
    /MALFORMED/,
    async () => {
      const [protectedHeader, payload, signature] = (await authority.sign(good())).split('.')
      return JSON.stringify({ payload, protected: protectedHeader, signature })
    },
  ],
  ['J-17: signed by a key that is not in the bundle', /KEY_UNKNOWN/, () => authority.sign(good(), { kid: 'other' })],
  ['signed by another key under the name of ours', /SIGNATURE/, () => stranger.sign(good())],
  [
    'W-30: of a trust domain without bundle',
    /KEY_UNKNOWN.*unknown\.example/,
    () => authority.sign({ ...good(), sub: 'spiffe://unknown.example/a' }),
  ],
  [
    'with another payload than was signed',
    /SIGNATURE/,
    async () => {
      const [header, , signature] = (await authority.sign(good())).split('.')
      return `${header}.${base64({ ...good(), sub: admin.id })}.${signature}`
    },
  ],
  ['that asks for an extension', /TYPE/, () => authority.sign(good(), { crit: ['b64'], b64: true })],
]
for (const [what, reason, make] of BAD) {
  test(`W-28: a token ${what} is invalid`, async () => {
    await using served = await startWorkloadApi(createWorkloadSource(stateOf([cart], [mesh], [authority.jwk])))
    using client = workloadApiClient(served.socket)
    await assert.rejects(client.call('ValidateJWTSVID', { audience: 'catalog', svid: await make() }), {
      code: status.INVALID_ARGUMENT,
      details: reason,
    })
  })
}

test('W-25: an X.509 authority’s key validates no token', async () => {
  await using served = await startWorkloadApi(createWorkloadSource(stateOf([cart], [mesh])))
  using client = workloadApiClient(served.socket)
  const svid = await new SignJWT(good()).setProtectedHeader({ alg: 'ES256', kid: mesh.root.keyId }).sign(mesh.root.privateKey)
  await assert.rejects(client.call('ValidateJWTSVID', { audience: 'catalog', svid }), {
    code: status.INVALID_ARGUMENT,
    details: /KEY_UNKNOWN/,
  })
})

test('a number that JSON cannot write again does not harm the answer', async () => {
  await using served = await startWorkloadApi(createWorkloadSource(stateOf([cart], [mesh], [authority.jwk])))
  using client = workloadApiClient(served.socket)
  const { createSign } = await import('node:crypto')
  const signed = `${base64({ alg: 'ES256', kid: 'key-1' })}.${Buffer.from(`{"sub":"${ID}","aud":"catalog","exp":${now() + 60},"x":1e999}`).toString('base64url')}`
  const signature = createSign('sha256').update(signed).sign({ key: authority.privateKey, dsaEncoding: 'ieee-p1363' })
  const { claims } = await client.call('ValidateJWTSVID', { audience: 'catalog', svid: `${signed}.${signature.toString('base64url')}` })
  assert.equal(claims.fields.x.nullValue, 0)
})
