import assert from 'node:assert/strict'
import { connect as connectHttp2 } from 'node:http2'
import { connect, type Socket } from 'node:net'
import { test } from 'node:test'
import { startApp } from '../fakes/apps.ts'
import { answerWithLength, startH2cApp } from '../fakes/h2c-app.ts'
import { ask } from '../support/http2-client.ts'
import { sendRaw } from '../support/mtls-client.ts'
import { runSidecar } from '../support/sidecar.ts'

const get = (path: string, ...fields: readonly string[]): string =>
  `GET ${path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n${fields.map((field) => `${field}\r\n`).join('')}\r\n`

/** Without TLS: sends `pieces` one after the other, and reads to the end. */
async function sendPlain(port: number, ...pieces: readonly (string | Buffer)[]): Promise<string> {
  const socket: Socket = connect({ host: '127.0.0.1', port, noDelay: true })
  const { promise, resolve } = Promise.withResolvers<string>()
  let text = ''
  socket.on('data', (chunk) => (text += chunk.toString('latin1')))
  socket.on('error', () => {})
  socket.on('close', () => resolve(text))
  await new Promise<void>((done) => void socket.once('connect', done))
  for (const piece of pieces) {
    await new Promise<void>((done) => void socket.write(piece, () => done()))
    await new Promise<void>((done) => void setImmediate(done))
  }
  return promise
}

const POLICY = `
- name: health
  allow: { and: [{ http_path: /health }] }
- name: known
  allow: { and: [{ service_account: caller }] }
- name: certified
  allow: { and: [{ client_certificate: {} }, { http_path: /certified }] }
- name: open
  allow: { and: [{ http_path: { starts_with: /open/ } }] }
- deny: { and: [{ http_path: /open/deny }, { service_account: caller }] }
`

test('callers without TLS are nobody to policy, are told apart from those with, and are reported', async () => {
  await using app = await startApp((request, response) => response.end(JSON.stringify(request.headers)))
  await using sidecar = await runSidecar({ app: app.port, policy: POLICY, inbound: '      plaintext: { allow: true, report: true }\n' })
  const svid = await sidecar.mesh.issue('/ns/test/sa/caller')

  const open = await sendPlain(
    sidecar.port,
    get('/health', 'x-forwarded-client-cert: URI=spiffe://example.org/ns/test/sa/caller', 'x-postern-principal: me'),
  )
  assert.match(open, /^HTTP\/1\.1 200 /)
  assert.match(open, /"x-forwarded-proto":"http"/)
  assert.doesNotMatch(open, /client-cert|postern-principal/, 'nobody is vouched for')
  for (const path of ['/', '/certified', '/open']) assert.match(await sendPlain(sidecar.port, get(path)), /^HTTP\/1\.1 403 /, path)
  assert.match(await sendPlain(sidecar.port, get('/open/deny')), /^HTTP\/1\.1 200 /, 'a deny rule about a peer is about no one here')
  assert.match(await sendPlain(sidecar.port, 'G', 'E', get('/health').slice(2)), /^HTTP\/1\.1 200 /)
  assert.match(await sendRaw(sidecar.port, svid, get('/')), /^HTTP\/1\.1 200 /)
  assert.match(await sendRaw(sidecar.port, svid, get('/open/deny')), /^HTTP\/1\.1 403 /)
  assert.match(await sendPlain(sidecar.port, 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), /^HTTP\/1\.1 (?:400|501|505) /)
  assert.equal(await sendPlain(sidecar.port, Buffer.from([0x16, 3, 1, 0, 5, 1, 2, 3, 4, 5])).then((text) => /HTTP/.test(text)), false)

  const [caller, more] = sidecar.sidecar.plaintext.list(10)
  assert.deepEqual([caller?.sourceIp, caller?.connections, more], ['127.0.0.1', 7, undefined])
  const { text } = await sidecar.metrics.render()
  assert.match(text, /postern_plaintext_connections_total\{listener="127\.0\.0\.1:0",source_ip="127\.0\.0\.1"\} 7/)
  const records = (await sidecar.records()).filter((record) => record['peer'] === undefined && record['path'] === '/health')
  assert.deepEqual(
    records.map((record) => [record['rule'], record['tls']]),
    [
      ['health', undefined],
      ['health', undefined],
    ],
  )
})

test('off, as it is unless said, a caller without TLS gets nothing', async () => {
  await using app = await startApp()
  await using sidecar = await runSidecar({ app: app.port })
  assert.doesNotMatch(await sendPlain(sidecar.port, get('/')), /HTTP/)
  const record = await sidecar.record((entry) => entry['msg'] === 'handshake')
  assert.equal(record['reason'], 'ERR_TLS_HANDSHAKE')
})

test('HTTP/2 without TLS, and a connection that never begins', async () => {
  await using app = await startH2cApp(answerWithLength)
  await using sidecar = await runSidecar({
    app: app.port,
    policy: POLICY,
    inbound: '      protocol: http2\n      plaintext: { allow: true }\n      timeouts: { handshake: 50ms }\n',
  })
  const session = connectHttp2(`http://127.0.0.1:${sidecar.port}`)
  const allowed = await ask(session, { ':path': '/health' })
  assert.equal(allowed.headers[':status'], 200)
  const refused = await ask(session, { ':path': '/' })
  assert.equal(refused.headers[':status'], 403)
  session.destroy()
  assert.equal(await sendPlain(sidecar.port), '')
  assert.match(JSON.stringify(await sidecar.record((entry) => entry['msg'] === 'handshake')), /nothing came/)
})
