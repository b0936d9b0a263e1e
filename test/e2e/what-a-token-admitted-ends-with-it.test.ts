/** A long request lives no longer than its token, and no longer than the key that verified it. */
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { startApp } from '../fakes/apps.ts'
import { startH2cApp } from '../fakes/h2c-app.ts'
import { grpcHeaders, openSession } from '../support/http2-client.ts'
import { call, createMtlsAgent } from '../support/mtls-client.ts'
import { runSidecar } from '../support/sidecar.ts'
import { issuerKey, keySetText, serviceAccountClaims, signToken } from '../support/token-issuer.ts'

const [first, second] = [issuerKey('ES256', 'first'), issuerKey('ES256', 'second')]
const TOKENS = `  tokens:
    - { issuer: https://kubernetes.default.svc.cluster.local, audiences: [catalog], kind: serviceAccount, jwks: { file: jwks.json } }
`
const POLICY = '- allow: { and: [authenticated_user: true] }\n'

function setup(app: number, inbound = '') {
  const prepare = (dir: string): void => writeFileSync(join(dir, 'jwks.json'), keySetText(first, second))
  return { app, inbound, spec: TOKENS, policy: POLICY, prepare }
}

test('a download is cut when its token ends, one under a longer token goes on', async () => {
  await using app = await startApp((_request, response) => void response.write('begun'))
  await using sidecar = await runSidecar(setup(app.port))
  using agent = createMtlsAgent(await sidecar.mesh.issue('/ns/shop/sa/cart'))
  const seconds = Math.floor(Date.now() / 1000)
  const token = (life: number) => signToken(first, { ...serviceAccountClaims(Date.now()), nbf: seconds, exp: seconds + life })
  const short = call(sidecar.port, agent, '/short', { headers: { authorization: `Bearer ${token(3)}` } })
  let ended = false
  const long = call(sidecar.port, agent, '/long', { headers: { authorization: `Bearer ${token(600)}` } }).finally(() => {
    ended = true
  })
  long.catch(() => {})
  await assert.rejects(short)
  const record = await sidecar.record((entry) => entry['path'] === '/short')
  assert.equal(record['reason'], 'ERR_TOKEN_EXPIRED')
  const end = Date.parse(String(record['time'])) + Number(record['duration_us']) / 1000
  assert.ok(end >= (seconds + 3) * 1000, 'not before')
  assert.equal(ended, false)
})

test('when a key is withdrawn, the gRPC stream that it admitted is cut with UNAUTHENTICATED, one of another key goes on', async () => {
  await using app = await startH2cApp((stream) => {
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' })
    stream.write('begun')
  })
  await using sidecar = await runSidecar(setup(app.port, '      protocol: http2\n'))
  using session = openSession(sidecar.port, await sidecar.mesh.issue('/ns/shop/sa/cart'))
  const begin = async (key: typeof first, path: string) => {
    const authorization = `Bearer ${signToken(key, serviceAccountClaims(Date.now()))}`
    const stream = session.request({ ...grpcHeaders(path), authorization }, { endStream: false })
    let trailers: Readonly<Record<string, unknown>> = {}
    stream.on('error', () => {})
    stream.on('trailers', (found: Readonly<Record<string, unknown>>) => {
      trailers = found
    })
    stream.resume()
    await new Promise((resolve) => void stream.once('response', resolve))
    return {
      stream,
      ended: new Promise<Readonly<Record<string, unknown>>>((resolve) => void stream.once('close', () => resolve(trailers))),
    }
  }
  const gone = await begin(first, '/pkg.Service/Gone')
  const stays = await begin(second, '/pkg.Service/Stays')
  sidecar.write('jwks.json', keySetText(second))
  assert.equal((await gone.ended)['grpc-status'], '16')
  const record = await sidecar.record((entry) => entry['path'] === '/pkg.Service/Gone')
  assert.equal(record['reason'], 'ERR_TOKEN_KEY_WITHDRAWN')
  assert.equal(stays.stream.closed, false)
  stays.stream.close()
})

test('an issuer that is removed from the document takes its requests with it; one that is added changes nothing for the others', async () => {
  await using app = await startApp((_request, response) => void response.write('begun'))
  await using sidecar = await runSidecar(setup(app.port))
  using agent = createMtlsAgent(await sidecar.mesh.issue('/ns/shop/sa/cart'))
  const authorization = `Bearer ${signToken(first, serviceAccountClaims(Date.now()))}`
  const live = call(sidecar.port, agent, '/live', { headers: { authorization } })
  let ended = false
  live.catch(() => {
    ended = true
  })
  const document = (await import('node:fs')).readFileSync(join(sidecar.dir, 'sidecar.yaml'), 'utf8')
  const reload = async (text: string): Promise<void> => {
    sidecar.write('sidecar.yaml', text)
    const report = await sidecar.source.reload()
    assert.deepEqual(report.problems, [])
  }
  while (sidecar.sidecar.registry.describe(1)[0]?.exchange === undefined) await new Promise((resolve) => void setImmediate(resolve))
  await reload(`${document}    - { issuer: https://login.example, audiences: [a], kind: oidc, jwks: { file: jwks.json } }\n`)
  await new Promise((resolve) => void setImmediate(resolve))
  assert.equal(ended, false)
  await reload(document.replace(TOKENS, ''))
  await assert.rejects(live)
  const record = await sidecar.record((entry) => entry['path'] === '/live')
  assert.equal(record['reason'], 'ERR_TOKEN_KEY_WITHDRAWN')
})
