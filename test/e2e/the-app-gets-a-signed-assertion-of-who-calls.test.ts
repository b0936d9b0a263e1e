import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { createLocalJWKSet, type JSONWebKeySet, jwtVerify } from 'jose'
import { startApp } from '../fakes/apps.ts'
import { startH2cApp } from '../fakes/h2c-app.ts'
import { ask as askHttp2, openSession } from '../support/http2-client.ts'
import { call, createMtlsAgent } from '../support/mtls-client.ts'
import { startSidecarProcess } from '../support/sidecar-process.ts'
import { runSidecar } from '../support/sidecar.ts'
import { ask } from '../support/small-client.ts'
import { issuerKey, keySetText, serviceAccountClaims, signToken } from '../support/token-issuer.ts'

const key = issuerKey('ES256', 'one')
const OWN = 'spiffe://example.org/ns/test/sa/service'
const TOKENS =
  '  tokens:\n    - { issuer: https://kubernetes.default.svc.cluster.local, audiences: [catalog], kind: serviceAccount, jwks: { file: jwks.json } }\n'
const prepare = (dir: string): void => writeFileSync(join(dir, 'jwks.json'), keySetText(key))

async function claimsOf(assertion: unknown, keys: string, audience = OWN) {
  const set = createLocalJWKSet(JSON.parse(keys) as JSONWebKeySet)
  return (await jwtVerify(String(assertion), set, { issuer: OWN, audience, algorithms: ['ES256'] })).payload
}

test('with the caller, its token and, where asked for, its request; over both HTTP versions; a forged one never arrives', async () => {
  await using app = await startApp()
  await using h2 = await startH2cApp((stream, headers) => {
    stream.respond({ ':status': 200 })
    stream.end(String(headers['x-postern-assertion']))
  })
  const inbound = '      assertion: { audience: catalog, bindRequest: true }\n'
  const headers = {
    authorization: `Bearer ${signToken(key, serviceAccountClaims(Date.now()))}`,
    'x-postern-assertion': 'forged',
    x_postern_assertion: 'forged',
    'x-request-id': 'r-1',
  }
  const bodies: unknown[] = []
  {
    await using sidecar = await runSidecar({ app: app.port, inbound, spec: TOKENS, prepare })
    using agent = createMtlsAgent(await sidecar.mesh.issue('/ns/shop/sa/cart'))
    await call(sidecar.port, agent, '/a%7Eb?secret=1', { headers })
    assert.ok(!app.received[0]!.rawHeaders.includes('forged'))
    const keys = sidecar.sidecar.assertions.keySet(Date.now())
    bodies.push(await claimsOf(app.received[0]!.headers['x-postern-assertion'], keys, 'catalog'))
  }
  {
    await using sidecar = await runSidecar({ app: h2.port, inbound: `      protocol: http2\n${inbound}`, spec: TOKENS, prepare })
    using session = openSession(sidecar.port, await sidecar.mesh.issue('/ns/shop/sa/cart'))
    const answer = await askHttp2(session, { ':path': '/a%7Eb?secret=1', ...headers })
    bodies.push(await claimsOf(answer.body, sidecar.sidecar.assertions.keySet(Date.now()), 'catalog'))
  }
  for (const body of bodies as Readonly<Record<string, Readonly<Record<string, unknown>>>>[]) {
    assert.equal(body['sub'], 'spiffe://example.org/ns/shop/sa/cart')
    assert.equal(body['peer']?.['id'], 'spiffe://example.org/ns/shop/sa/cart')
    assert.equal(body['token']?.['sub'], 'system:serviceaccount:shop:cart')
    assert.deepEqual(body['request'], { id: 'r-1', method: 'GET', host: '127.0.0.1', path: '/a~b' })
  }
})

test('requests of one caller share one, two callers never do', async () => {
  await using app = await startApp()
  await using sidecar = await runSidecar({ app: app.port, inbound: '      assertion: {}\n' })
  for (const account of ['cart', 'cart', 'web']) {
    using agent = createMtlsAgent(await sidecar.mesh.issue(`/ns/shop/sa/${account}`))
    await call(sidecar.port, agent, '/')
    await call(sidecar.port, agent, '/')
  }
  const assertions = app.received.map(({ headers }) => headers['x-postern-assertion'])
  assert.equal(assertions[0], assertions[1])
  assert.equal(new Set(assertions).size, 3)
})

test('a process serves the keys on loopback alone, under a loopback Host, and at its admin address', async () => {
  await using app = await startApp()
  const free = await startApp()
  const { port } = free
  await free[Symbol.asyncDispose]()
  await using sidecar = await startSidecarProcess({
    app: app.port,
    inbound: '      assertion: {}\n',
    admin: 'unix:admin.sock',
    spec: `  assertionKeys: 127.0.0.1:${port}\n`,
  })
  using agent = createMtlsAgent(await sidecar.mesh.issue('/ns/shop/sa/cart'))
  await call(sidecar.port, agent, '/')
  const keys = await ask(port, '/.well-known/jwks.json')
  assert.equal(keys.headers['content-type'], 'application/jwk-set+json')
  const { sub } = await claimsOf(app.received[0]!.headers['x-postern-assertion'], keys.text)
  assert.equal(sub, 'spiffe://example.org/ns/shop/sa/cart')
  assert.equal((await ask(join(sidecar.dir, 'admin.sock'), '/v1/assertion-keys')).text, keys.text)
  assert.equal((await ask(port, '/.well-known/jwks.json', { headers: { host: 'evil.example' } })).status, 403)
  assert.equal((await ask(port, '/v1/decisions')).status, 404)
})
