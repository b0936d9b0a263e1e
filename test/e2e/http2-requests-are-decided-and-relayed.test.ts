import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startH2cApp } from '../fakes/h2c-app.ts'
import { ask, openSession } from '../support/http2-client.ts'
import { runSidecar } from '../support/sidecar.ts'

const H2 = '      protocol: http2\n'

test('requests with and without bodies are relayed, many at once, and the app learns who called', async () => {
  await using app = await startH2cApp((stream, headers) => {
    let length = 0
    stream.on('data', (chunk: Buffer) => {
      length += chunk.length
    })
    stream.on('end', () => {
      stream.respond({ ':status': 200, 'x-principal': String(headers['x-postern-principal']), 'x-path': String(headers[':path']) })
      stream.end(`${headers[':method']} ${length}`)
    })
  })
  await using sidecar = await runSidecar({ app: app.port, inbound: H2 })
  using session = openSession(sidecar.port, await sidecar.mesh.issue('/ns/test/sa/caller'))
  const answers = await Promise.all(
    Array.from({ length: 40 }, (_, index) =>
      ask(
        session,
        { ':path': `/p/${index}?q=1`, ':method': index % 2 === 0 ? 'GET' : 'POST', 'x-postern-principal': 'forged' },
        index % 2 === 0 ? undefined : Buffer.alloc(index * 5000),
      ),
    ),
  )
  answers.forEach((answer, index) => {
    assert.equal(answer.headers[':status'], 200)
    assert.equal(answer.headers['x-principal'], 'spiffe://example.org/ns/test/sa/caller')
    assert.equal(answer.headers['x-path'], `/p/${index}?q=1`)
    assert.equal(answer.body, index % 2 === 0 ? 'GET 0' : `POST ${index * 5000}`)
    assert.match(String(answer.headers['x-request-id']), /^[0-9a-f-]{36}$/)
  })
  const records = await sidecar.records()
  assert.equal(records.length, 40)
  assert.deepEqual(new Set(records.map((record) => record['protocol'])), new Set(['http2']))
})

test('refusals are heads only, of gRPC trailers only, and the connection lives on', async () => {
  await using app = await startH2cApp((stream) => {
    stream.respond({ ':status': 200 })
    stream.end('ok')
  })
  await using sidecar = await runSidecar({ app: app.port, inbound: H2, policy: '- allow: { and: [http_path: /ok] }\n' })
  using session = openSession(sidecar.port, await sidecar.mesh.issue('/ns/test/sa/caller'))
  const refused = await ask(session, { ':path': '/no' })
  assert.deepEqual([refused.headers[':status'], refused.body], [403, ''])
  const grpc = await ask(
    session,
    { ':path': '/pkg.Service/Method', ':method': 'POST', 'content-type': 'application/grpc', te: 'trailers' },
    'x',
  )
  assert.deepEqual([grpc.headers[':status'], grpc.headers['grpc-status']], [200, '7'])
  const malformed = await ask(session, { ':path': '/a/../b' })
  assert.equal(malformed.headers[':status'], 400)
  assert.equal((await ask(session, { ':path': '/ok' })).body, 'ok')
  const record = await sidecar.record((entry) => entry['path'] === '/pkg.Service/Method')
  assert.deepEqual([record['reason'], record['grpc_status']], ['ERR_POLICY_NO_ALLOW', 7])
})

test('an app that is absent is 502 or UNAVAILABLE, then GOAWAY', async () => {
  await using sidecar = await runSidecar({ app: 1, inbound: H2 })
  using session = openSession(sidecar.port, await sidecar.mesh.issue('/ns/test/sa/caller'))
  const goaway = new Promise((resolve) => void session.once('goaway', resolve))
  const answer = await ask(session, { ':path': '/', ':method': 'POST', 'content-type': 'application/grpc', te: 'trailers' }, 'x')
  assert.equal(answer.headers['grpc-status'], '14')
  await goaway
})

test('a policy change cuts exactly the gRPC streams that it refuses, with grpc-status 7 in trailers', async () => {
  await using app = await startH2cApp((stream) => {
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true })
    stream.write('begun')
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }))
    stream.on('data', () => {})
    stream.on('end', () => stream.end())
  })
  await using sidecar = await runSidecar({ app: app.port, inbound: H2 })
  using session = openSession(sidecar.port, await sidecar.mesh.issue('/ns/test/sa/caller'))
  const begin = (path: string): { answered: Promise<void>; ended: Promise<Record<string, unknown>>; end(): void } => {
    const stream = session.request(
      { ':path': path, ':method': 'POST', 'content-type': 'application/grpc', te: 'trailers' },
      { endStream: false },
    )
    let trailers: Record<string, unknown> = {}
    stream.on('error', () => {})
    stream.on('trailers', (got) => {
      trailers = { ...got }
    })
    return {
      answered: new Promise((resolve) => void stream.once('data', () => resolve())),
      ended: new Promise((resolve) => void stream.once('close', () => resolve(trailers))),
      end: () => void stream.end(),
    }
  }
  const refused = begin('/s/Refused')
  const kept = begin('/s/Kept')
  await Promise.all([refused.answered, kept.answered])
  await sidecar.setPolicy('- allow: { and: [http_path: /s/Kept] }\n')
  assert.equal((await refused.ended)['grpc-status'], '7')
  kept.end()
  assert.equal((await kept.ended)['grpc-status'], '0')
})

test('ALPN decides on a listener for both, and is required where HTTP/2 alone is spoken', async () => {
  const { call, createMtlsAgent, dial } = await import('../support/mtls-client.ts')
  await using app = await startH2cApp((stream) => stream.respond({ ':status': 200 }, { endStream: true }))
  await using both = await runSidecar({ app: app.port, inbound: '      protocol: both\n' })
  using session = openSession(both.port, await both.mesh.issue('/ns/test/sa/caller'))
  assert.equal((await ask(session, { ':path': '/' })).headers[':status'], 200)
  using agent = createMtlsAgent(await both.mesh.issue('/ns/test/sa/caller'))
  assert.equal((await call(both.port, agent, '/')).status, 502, 'HTTP/1.1 is not translated: the h2c app does not speak it')
  await using only = await runSidecar({ app: app.port, inbound: H2 })
  const socket = await dial(only.port, await only.mesh.issue('/ns/test/sa/caller')).catch(() => undefined)
  socket?.resume()
  if (socket !== undefined) await new Promise((resolve) => void socket.once('end', resolve))
  assert.equal((await only.record((record) => record['msg'] === 'handshake'))['reason'], 'ERR_TLS_ALPN')
  socket?.destroy()
})
