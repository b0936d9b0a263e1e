/** Bearer tokens on both HTTP versions: who is let in by them, what the app sees, and what those get that cannot be verified. */
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { scopeOf } from '#config/scope'
import { explain } from '#policy/explain'
import { startApp } from '../fakes/apps.ts'
import { startH2cApp } from '../fakes/h2c-app.ts'
import { ask, grpcHeaders, openSession } from '../support/http2-client.ts'
import { call, createMtlsAgent } from '../support/mtls-client.ts'
import { runSidecar, type RunningSidecar } from '../support/sidecar.ts'
import { type Claims, encode, issuerKey, keySetText, serviceAccountClaims, signToken } from '../support/token-issuer.ts'

const key = issuerKey('ES256', 'one')
const TOKENS = `  tokens:
    - issuer: https://kubernetes.default.svc.cluster.local
      audiences: [catalog]
      kind: serviceAccount
      jwks: { file: jwks.json }
`
const POLICY = `
- name: by-token
  allow: { and: [{ http_path: { starts_with: /token/ } }, { token/service_account: cart }, { claim/kubernetes.io/pod/name: cart-0 }] }
- name: own-token
  allow: { and: [{ http_path: /own }, token_is_peer: true] }
- name: open
  allow: { and: [http_path: /open] }
`

function prepare(dir: string): void {
  writeFileSync(join(dir, 'jwks.json'), keySetText(key))
}

function bearer(claims: Claims = serviceAccountClaims(Date.now())): string {
  return `Bearer ${signToken(key, claims)}`
}

async function run(app: number, inbound = '', spec = TOKENS): Promise<RunningSidecar> {
  return runSidecar({ app, inbound, spec, policy: POLICY, prepare })
}

const none = `${encode('{"alg":"none"}')}.${bearer().split('.')[1]}.`

/** What comes as Authorization, and what is answered and recorded. */
const CASES: readonly (readonly [
  title: string,
  path: string,
  authorization: string | undefined,
  status: number,
  reason: string | undefined,
])[] = [
  ['a good token', '/token/a', bearer(), 200, undefined],
  ['a scheme in other letters', '/token/a', bearer().replace('Bearer', 'bEARER'), 200, undefined],
  ['no token where policy needs one', '/token/a', undefined, 403, 'ERR_POLICY_NO_ALLOW'],
  ['no token where policy needs none', '/open', undefined, 200, undefined],
  ['a token of another service account', '/token/a', bearer(serviceAccountClaims(Date.now(), 'shop', 'other')), 403, 'ERR_POLICY_NO_ALLOW'],
  [
    'a token that ended, where policy needs none',
    '/open',
    bearer({ ...serviceAccountClaims(Date.now()), exp: 1 }),
    401,
    'ERR_TOKEN_EXPIRED',
  ],
  ['alg none', '/open', `Bearer ${none}`, 401, 'ERR_TOKEN_ALGORITHM'],
  ['another audience', '/open', bearer({ ...serviceAccountClaims(Date.now()), aud: ['x'] }), 401, 'ERR_TOKEN_AUDIENCE'],
  [
    'an unknown issuer',
    '/open',
    bearer({ ...serviceAccountClaims(Date.now()), iss: 'https://x.example' }),
    401,
    'ERR_TOKEN_ISSUER_UNKNOWN',
  ],
  ['an opaque token', '/open', 'Bearer abc', 401, 'ERR_TOKEN_MALFORMED'],
  ['another scheme', '/open', 'Basic YTpi', 401, 'ERR_TOKEN_SCHEME'],
  ['two spaces', '/open', bearer().replace(' ', '  '), 401, 'ERR_TOKEN_MALFORMED'],
  ['a tab', '/open', bearer().replace(' ', '\t'), 401, 'ERR_TOKEN_SCHEME'],
  ['a scheme alone', '/open', 'Bearer', 401, 'ERR_TOKEN_SCHEME'],
  ['two tokens in one', '/open', `${bearer()}, ${bearer()}`, 401, 'ERR_TOKEN_MALFORMED'],
]

test('over HTTP/1.1 each token is answered as it deserves, and the record says why', async (t) => {
  await using app = await startApp()
  await using sidecar = await run(app.port)
  using agent = createMtlsAgent(await sidecar.mesh.issue('/ns/shop/sa/cart'))
  for (const [index, [title, path, authorization, status, reason]] of CASES.entries()) {
    await t.test(title, async () => {
      const id = `case-${index}`
      const headers = { 'x-request-id': id, ...(authorization === undefined ? {} : { authorization }) }
      const answer = await call(sidecar.port, agent, path, { headers })
      assert.equal(answer.status, status)
      const challenge = answer.headers['www-authenticate']
      assert.equal(challenge, status === 401 ? 'Bearer error="invalid_token"' : undefined)
      const record = await sidecar.record((entry) => entry['request_id'] === id)
      assert.equal(record['reason'] ?? undefined, reason)
      assert.ok(!JSON.stringify(record).includes('eyJ'), 'no token in a record')
    })
  }
})

test('over HTTP/2 the same, and a gRPC caller is told UNAUTHENTICATED', async (t) => {
  await using app = await startH2cApp((stream) => {
    stream.respond({ ':status': 200 })
    stream.end('ok')
  })
  await using sidecar = await run(app.port, '      protocol: http2\n')
  using session = openSession(sidecar.port, await sidecar.mesh.issue('/ns/shop/sa/cart'))
  for (const [title, path, authorization, status] of CASES) {
    await t.test(title, async () => {
      const answer = await ask(session, { ':path': path, ...(authorization === undefined ? {} : { authorization }) })
      assert.equal(answer.headers[':status'], status)
      assert.equal(answer.headers['www-authenticate'], status === 401 ? 'Bearer error="invalid_token"' : undefined)
    })
  }
  const grpc = await ask(session, { ...grpcHeaders('/pkg.Service/Method'), authorization: `Bearer ${none}` }, 'x')
  assert.deepEqual([grpc.headers[':status'], grpc.headers['grpc-status']], [200, '16'])
})

test('the app is told whose token came and does not get it, unless its issuer says so; nobody can forge that', async () => {
  await using app = await startApp()
  for (const forward of [false, true]) {
    await using sidecar = await run(app.port, '', `${TOKENS}      forwardToken: ${forward}\n`)
    using agent = createMtlsAgent(await sidecar.mesh.issue('/ns/shop/sa/cart'))
    const authorization = bearer()
    const forged = { 'x-postern-token-principal': 'forged', x_postern_token_principal: 'forged', 'X-Postern-Token.Principal': 'forged' }
    assert.equal((await call(sidecar.port, agent, '/token/a', { headers: { authorization, ...forged } })).status, 200)
    const { headers, rawHeaders } = app.received.at(-1)!
    const principal = 'https://kubernetes.default.svc.cluster.local|system:serviceaccount:shop:cart'
    assert.equal(headers['x-postern-token-principal'], principal)
    assert.equal(headers.authorization, forward ? authorization : undefined)
    assert.ok(!rawHeaders.includes('forged'))
    const record = await sidecar.record((entry) => entry['path'] === '/token/a')
    assert.deepEqual(record['token'], {
      issuer: 'https://kubernetes.default.svc.cluster.local',
      subject: 'system:serviceaccount:shop:cart',
    })
    await call(sidecar.port, agent, '/open', { headers: forged })
    assert.equal(app.received.at(-1)!.headers['x-postern-token-principal'], undefined)
  }
})

test('without issuers, Authorization is the business of the app', async () => {
  await using app = await startApp()
  await using sidecar = await run(app.port, '', '')
  using agent = createMtlsAgent(await sidecar.mesh.issue('/ns/shop/sa/cart'))
  const headers = { authorization: 'Basic YTpi' }
  assert.equal((await call(sidecar.port, agent, '/open', { headers })).status, 200)
  assert.equal(app.received.at(-1)!.headers.authorization, 'Basic YTpi')
})

test('a listener that passes unknown tokens lets the app see them, and refuses what claims to be of a configured issuer', async () => {
  await using app = await startApp()
  await using sidecar = await run(app.port, '      unknownTokens: pass\n')
  using agent = createMtlsAgent(await sidecar.mesh.issue('/ns/shop/sa/cart'))
  const unknown = bearer({ ...serviceAccountClaims(Date.now()), iss: 'https://x.example' })
  for (const authorization of ['Basic YTpi', 'Bearer abc', unknown]) {
    assert.equal((await call(sidecar.port, agent, '/open', { headers: { authorization } })).status, 200, authorization)
    assert.equal(app.received.at(-1)!.headers.authorization, authorization)
    // It yields no facts.
    assert.equal((await call(sidecar.port, agent, '/token/a', { headers: { authorization } })).status, 403)
  }
  const before = app.received.length
  for (const authorization of [
    `Bearer ${none}`,
    `${bearer()}x`,
    bearer().replace(' ', '  '),
    bearer().replace(' ', '\t'),
    `${bearer()}, x`,
  ]) {
    assert.equal((await call(sidecar.port, agent, '/open', { headers: { authorization } })).status, 401, authorization)
  }
  assert.equal(app.received.length, before)
})

test('a stolen token is refused where policy says token_is_peer, and `explain` names the criterion', async () => {
  await using app = await startApp()
  await using sidecar = await run(app.port)
  const headers = { authorization: bearer() }
  using owner = createMtlsAgent(await sidecar.mesh.issue('/ns/shop/sa/cart'))
  using thief = createMtlsAgent(await sidecar.mesh.issue('/ns/shop/sa/reviews'))
  assert.equal((await call(sidecar.port, owner, '/own', { headers })).status, 200)
  assert.equal((await call(sidecar.port, thief, '/own', { headers })).status, 403)
  const record = await sidecar.record((entry) => entry['path'] === '/own' && entry['decision'] === 'deny')
  assert.equal(record['reason'], 'ERR_POLICY_NO_ALLOW')
  const [event] = sidecar.ring.find(String(record['request_id']))
  const { config, documents } = sidecar.source.current
  const { considered } = explain(documents, scopeOf(config, config.inbound[0]!), event!.facts!, event!.time)
  const nearest = considered.find(({ rule }) => rule === 'own-token')?.failing
  assert.deepEqual([nearest?.name, nearest?.actual], ['token_is_peer', 'token of shop/cart in example.org'])
})

test('a token that is bound to a certificate is good for its holder alone (RFC 8705)', async () => {
  await using app = await startApp()
  await using sidecar = await run(app.port)
  const svid = await sidecar.mesh.issue('/ns/shop/sa/cart')
  using holder = createMtlsAgent(svid)
  using other = createMtlsAgent(await sidecar.mesh.issue('/ns/shop/sa/cart'))
  await call(sidecar.port, holder, '/open')
  const fingerprint = sidecar.ring.recent(1)[0]?.origin.peer?.certificate.fingerprint ?? ''
  const thumbprint = Buffer.from(fingerprint, 'hex').toString('base64url')
  const bound = (cnf: unknown) => ({ headers: { authorization: bearer({ ...serviceAccountClaims(Date.now()), cnf }) } })
  assert.equal((await call(sidecar.port, holder, '/own', bound({ 'x5t#S256': thumbprint }))).status, 200)
  assert.equal((await call(sidecar.port, other, '/own', bound({ 'x5t#S256': thumbprint }))).status, 401)
  for (const cnf of [{ jkt: 'x' }, { 'x5t#S256': thumbprint, jkt: 'x' }, {}, null, 'x', { 'x5t#S256': '' }]) {
    assert.equal((await call(sidecar.port, holder, '/own', bound(cnf))).status, 401, JSON.stringify(cnf))
  }
  const record = await sidecar.record((entry) => entry['status'] === 401)
  assert.equal(record['reason'], 'ERR_TOKEN_CONFIRMATION')
})

test('a request with a body waits for the verification of its token and loses no byte', async () => {
  await using app = await startApp()
  await using sidecar = await run(app.port)
  using agent = createMtlsAgent(await sidecar.mesh.issue('/ns/shop/sa/cart'))
  const body = 'x'.repeat(300_000)
  await Promise.all(
    Array.from({ length: 10 }, async (_, index) => {
      const headers = { authorization: bearer({ ...serviceAccountClaims(Date.now()), jti: `${index}` }) }
      const answer = await call(sidecar.port, agent, '/token/upload', { method: 'POST', body, headers })
      assert.equal(answer.status, 200)
    }),
  )
  assert.deepEqual(new Set(app.received.map((received) => received.body.length)), new Set([300_000]))
})
