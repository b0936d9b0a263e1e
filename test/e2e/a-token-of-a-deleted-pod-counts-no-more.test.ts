/** TokenReview: what was signed long ago is asked about again and again, for requests and for what lives. */
import assert from 'node:assert/strict'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { startApp } from '../fakes/apps.ts'
import { type KubeApiFake, startKubeApi } from '../fakes/kube-api.ts'
import { call, createMtlsAgent } from '../support/mtls-client.ts'
import { runSidecar } from '../support/sidecar.ts'
import { issuerKey, keySetText, serviceAccountClaims, signToken } from '../support/token-issuer.ts'

const key = issuerKey()

/** The API server knows the tokens of these pods; `silent`: it answers 500 instead. */
function reviewing(api: KubeApiFake, pods: Set<string>, state: { silent: boolean; asked: number }): void {
  api.intercept = (request: IncomingMessage, response: ServerResponse, body: string) => {
    if (request.method !== 'POST' || request.url !== '/apis/authentication.k8s.io/v1/tokenreviews') return false
    state.asked++
    const { spec } = JSON.parse(body) as { spec: { token: string; audiences: string[] } }
    const claims = JSON.parse(Buffer.from(spec.token.split('.')[1] ?? '', 'base64url').toString()) as {
      sub: string
      'kubernetes.io': { pod: { name: string } }
    }
    const isGood = pods.has(claims['kubernetes.io'].pod.name)
    const good = { authenticated: true, audiences: spec.audiences, user: { username: claims.sub } }
    response.writeHead(state.silent ? 500 : 201, { 'content-type': 'application/json' })
    response.end(JSON.stringify({ status: isGood ? good : { error: 'service account token has been invalidated' } }))
    return true
  }
}

function setup(app: number, api: KubeApiFake, times = 'refresh: 1s, keep: 2s') {
  return {
    app,
    policy: '- allow: { and: [authenticated_user: true] }\n',
    spec: `  tokens:
    - issuer: https://kubernetes.default.svc.cluster.local
      audiences: [catalog]
      kind: serviceAccount
      jwks: { file: jwks.json }
      review: { server: "${api.access.server}", token: reviewer.token, ca: ca.pem, ${times} }
`,
    prepare(dir: string) {
      writeFileSync(join(dir, 'jwks.json'), keySetText(key))
      writeFileSync(join(dir, 'reviewer.token'), 'reviewer')
      writeFileSync(join(dir, 'ca.pem'), '')
    },
  }
}

const bearer = (name: string) => ({ authorization: `Bearer ${signToken(key, serviceAccountClaims(Date.now(), 'shop', name))}` })

test('once its pod is gone, a token is refused though its signature holds, and what lives under it is cut; others go on', async () => {
  await using app = await startApp((request, response) => void (request.url === '/live' ? response.write('begun') : response.end('ok')))
  await using api = await startKubeApi()
  const [pods, state] = [new Set(['cart-0', 'web-0']), { silent: false, asked: 0 }]
  reviewing(api, pods, state)
  await using sidecar = await runSidecar(setup(app.port, api))
  using agent = createMtlsAgent(await sidecar.mesh.issue('/ns/shop/sa/cart'))
  const [cart, web] = [bearer('cart'), bearer('web')]
  assert.equal((await call(sidecar.port, agent, '/', { headers: cart })).status, 200)
  assert.equal((await call(sidecar.port, agent, '/', { headers: cart })).status, 200)
  assert.equal(state.asked, 1, 'the answer is kept')
  const live = call(sidecar.port, agent, '/live', { headers: cart })
  let ended = false
  const other = call(sidecar.port, agent, '/live', { headers: web }).finally(() => {
    ended = true
  })
  other.catch(() => {})

  pods.delete('cart-0')
  await assert.rejects(live)
  const cut = await sidecar.record(({ path, reason }) => path === '/live' && reason !== undefined)
  assert.equal(cut['reason'], 'ERR_TOKEN_REVIEW')
  assert.equal((await call(sidecar.port, agent, '/', { headers: cart })).status, 401)
  const refused = await sidecar.record(({ status }) => status === 401)
  assert.deepEqual([refused['reason'], refused['detail']], ['ERR_TOKEN_REVIEW', 'service account token has been invalidated'])
  assert.equal((await call(sidecar.port, agent, '/', { headers: web })).status, 200)
  assert.equal(ended, false)
})

test('while the API server fails, tokens that it knew count for a short time, others get 503, and all is well once it answers', async () => {
  await using app = await startApp((_request, response) => response.end('ok'))
  await using api = await startKubeApi()
  const state = { silent: false, asked: 0 }
  reviewing(api, new Set(['cart-0', 'web-0']), state)
  await using sidecar = await runSidecar(setup(app.port, api, 'refresh: 1s, keep: 1h'))
  using agent = createMtlsAgent(await sidecar.mesh.issue('/ns/shop/sa/cart'))
  const [cart, web] = [bearer('cart'), bearer('web')]
  assert.equal((await call(sidecar.port, agent, '/', { headers: cart })).status, 200)
  state.silent = true
  assert.equal((await call(sidecar.port, agent, '/', { headers: web })).status, 503)
  const record = await sidecar.record(({ status }) => status === 503)
  assert.equal(record['reason'], 'ERR_TOKEN_REVIEW_UNAVAILABLE')
  assert.match(String(record['detail']), /^ERR_KUBE_RESPONSE: POST \S+tokenreviews: 500/)
  const asked = state.asked
  while (state.asked === asked) assert.equal((await call(sidecar.port, agent, '/', { headers: cart })).status, 200)
  assert.equal((await call(sidecar.port, agent, '/', { headers: cart })).status, 200)
  state.silent = false
  let status = 503
  while (status === 503) ({ status } = await call(sidecar.port, agent, '/', { headers: web }))
  assert.equal(status, 200)
})
