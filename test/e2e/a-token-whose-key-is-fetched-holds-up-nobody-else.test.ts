/** Keys over the network: while they are slow, wrong or away, only who needs them waits or is refused; and all is well again without a restart. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type KeyEndpoint, openKeyEndpoint } from '../fakes/key-endpoint.ts'
import { startApp } from '../fakes/apps.ts'
import { startH2cApp } from '../fakes/h2c-app.ts'
import { ask, openSession } from '../support/http2-client.ts'
import { call, createMtlsAgent } from '../support/mtls-client.ts'
import { runSidecar } from '../support/sidecar.ts'
import { issuerKey, keySetText, signToken } from '../support/token-issuer.ts'

const key = issuerKey('ES256', 'one')
const POLICY = '- allow: { and: [{ http_path: /user }, { authenticated_user: true }] }\n- allow: { and: [http_path: /open] }\n'

function setup(endpoint: KeyEndpoint, app: number, inbound = '') {
  return {
    app,
    inbound,
    policy: POLICY,
    spec: `  tokens:\n    - { issuer: "${endpoint.origin}", audiences: [shop], kind: oidc, jwks: { refresh: 10s } }\n`,
  }
}

function bearer(endpoint: KeyEndpoint, signer = key, sub = 'ann'): string {
  return `Bearer ${signToken(signer, { iss: endpoint.origin, sub, aud: 'shop', exp: Math.floor(Date.now() / 1000) + 600 })}`
}

test('streams of one HTTP/2 connection go on while one waits for its key, and that one is then served', async () => {
  await using endpoint = await openKeyEndpoint(keySetText(key))
  const gate = Promise.withResolvers<void>()
  endpoint.gate = gate.promise
  await using app = await startH2cApp((stream, headers) => {
    let length = 0
    stream.on('data', (chunk: Buffer) => {
      length += chunk.length
    })
    stream.on('end', () => {
      stream.respond({ ':status': 200 })
      stream.end(`${String(headers['x-postern-token-principal'])} ${length}`)
    })
  })
  await using sidecar = await runSidecar(setup(endpoint, app.port, '      protocol: http2\n'))
  using session = openSession(sidecar.port, await sidecar.mesh.issue('/ns/shop/sa/cart'))
  const order: string[] = []
  const waiting = ['ann', 'bob'].map((sub) =>
    ask(session, { ':path': '/user', ':method': 'POST', authorization: bearer(endpoint, key, sub) }, Buffer.alloc(50_000)).then(
      (answer) => {
        order.push(sub)
        return answer
      },
    ),
  )
  for (let round = 0; round < 20; round++) {
    assert.equal((await ask(session, { ':path': '/open', ':method': 'POST' }, Buffer.alloc(20_000))).headers[':status'], 200)
  }
  assert.deepEqual(order, [])
  gate.resolve()
  const answers = await Promise.all(waiting)
  assert.deepEqual(
    answers.map(({ body }) => body),
    [`${endpoint.origin}|ann 50000`, `${endpoint.origin}|bob 50000`],
  )
  assert.equal(endpoint.asked.filter((path) => path === '/keys').length, 1)
})

test('a caller that leaves while its request waits leaves nothing behind, and the app never hears of it', async () => {
  await using endpoint = await openKeyEndpoint(keySetText(key))
  const gate = Promise.withResolvers<void>()
  endpoint.gate = gate.promise
  await using app = await startApp()
  await using sidecar = await runSidecar(setup(endpoint, app.port, '      protocol: both\n'))
  const svid = await sidecar.mesh.issue('/ns/shop/sa/cart')
  {
    using agent = createMtlsAgent(svid)
    const left = call(sidecar.port, agent, '/user', { headers: { authorization: bearer(endpoint) } })
    while (sidecar.sidecar.registry.describe(1)[0]?.exchange === undefined) await new Promise((resolve) => void setImmediate(resolve))
    agent.destroy()
    await assert.rejects(left)
  }
  const record = await sidecar.record((entry) => entry['path'] === '/user')
  assert.equal(record['reason'], 'ERR_DOWNSTREAM_ABORTED')
  gate.resolve()
  await new Promise<void>((resolve) => void sidecar.source.subscribe(() => resolve()))
  using agent = createMtlsAgent(svid)
  assert.equal((await call(sidecar.port, agent, '/open')).status, 200)
  assert.deepEqual(
    app.received.map(({ url }) => url),
    ['/open'],
  )
  assert.equal((await sidecar.records()).length, 2)
})

test('an endpoint that is away at start costs tokens alone, says why, and is used as soon as it is back', async () => {
  await using endpoint = await openKeyEndpoint(keySetText(key))
  endpoint.behaviour = 'html'
  await using app = await startApp()
  await using sidecar = await runSidecar(setup(endpoint, app.port))
  using agent = createMtlsAgent(await sidecar.mesh.issue('/ns/shop/sa/cart'))
  const ofUser = async () => (await call(sidecar.port, agent, '/user', { headers: { authorization: bearer(endpoint) } })).status
  assert.equal(await ofUser(), 401)
  assert.equal((await call(sidecar.port, agent, '/open')).status, 200)
  const record = await sidecar.record((entry) => entry['path'] === '/user')
  assert.equal(record['reason'], 'ERR_TOKEN_KEYS_UNAVAILABLE')
  const status = sidecar.source.status().find(({ kind }) => kind === 'keys')
  assert.match(status?.error ?? '', /ERR_JWKS_CONTENT, .*answers with a page/)
  assert.equal(sidecar.source.lastReload.successful, false)
  const back = new Promise<void>((resolve) => void sidecar.source.subscribe(() => resolve()))
  endpoint.behaviour = 'good'
  await back
  assert.equal(await ofUser(), 200)
  assert.equal(sidecar.source.status().find(({ kind }) => kind === 'keys')?.error, undefined)
  assert.equal(sidecar.source.lastReload.successful, true)
})

test('keys stay in force while their endpoint fails', async () => {
  await using endpoint = await openKeyEndpoint(keySetText(key))
  await using app = await startApp()
  await using sidecar = await runSidecar(setup(endpoint, app.port))
  using agent = createMtlsAgent(await sidecar.mesh.issue('/ns/shop/sa/cart'))
  const statusOf = async (authorization: string) => (await call(sidecar.port, agent, '/user', { headers: { authorization } })).status
  assert.equal(await statusOf(bearer(endpoint)), 200)
  for (const behaviour of ['error', 'redirect', 'html', 'huge', 'cut'] as const) {
    endpoint.behaviour = behaviour
    await sidecar.source.current.tokens?.reload()
    assert.notEqual(sidecar.source.status().find(({ kind }) => kind === 'keys')?.error, undefined, behaviour)
    assert.equal(await statusOf(bearer(endpoint)), 200, behaviour)
  }
  assert.ok(!endpoint.asked.includes('/elsewhere'), 'no redirect was followed')
})
