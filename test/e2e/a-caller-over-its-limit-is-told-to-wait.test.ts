import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { type Clock, systemClock } from '#base/clock'
import { startApp, startRawApp } from '../fakes/apps.ts'
import { startH2cApp } from '../fakes/h2c-app.ts'
import { ask, grpcHeaders, openSession } from '../support/http2-client.ts'
import { call, createMtlsAgent, dial, readToEnd, readUntil } from '../support/mtls-client.ts'
import { runSidecar } from '../support/sidecar.ts'

/** Monotonic time stands until it is moved: buckets fill when the test says so. */
function manualClock(): Clock & { pass(ms: number): void } {
  let at = 1000
  return {
    now: () => systemClock.now(),
    monotonic: () => at,
    pass(ms) {
      at += ms
    },
  }
}

const LIMITED = (limit: string, more = ''): string => `apiVersion: postern.dev/v1
kind: Policy
metadata: { name: limited, namespace: test }
spec:
  rules:
    - name: everyone
      allow: { and: [{ http_path: { starts_with: / } }, { http_path: { not: /free } }] }
      limit: ${limit}
    - { name: free, allow: { and: [http_path: /free] } }
${more}`

const H2 = '      protocol: http2\n'

const GRPC = grpcHeaders('/s/Call')

test('over HTTP/1.1 the answer is a 429 problem with retry-after, on a connection that goes on, and never reaches the app', async () => {
  const clock = manualClock()
  await using app = await startApp()
  await using sidecar = await runSidecar({ app: app.port, clock, policy: LIMITED('{ requests: 30/m, burst: 2 }') })
  const svid = await sidecar.mesh.issue('/ns/test/sa/caller')
  const socket = await dial(sidecar.port, svid)
  try {
    const ask1 = async (method: string, path: string, mark: string, body = ''): Promise<string> => {
      const length = body === '' ? '' : `content-length: ${body.length}\r\n`
      socket.write(`${method} ${path} HTTP/1.1\r\nhost: service\r\nx-request-id: id-1\r\n${length}\r\n${body}`)
      return readUntil(socket, mark)
    }
    for (let index = 0; index < 2; index++) assert.match(await ask1('GET', '/', 'ok'), /^HTTP\/1.1 200 /)
    assert.equal(
      await ask1('GET', '/', '}'),
      'HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/problem+json\r\ncontent-length: 62\r\nretry-after: 2\r\nx-request-id: id-1\r\n\r\n' +
        '{"title":"Too Many Requests","status":429,"request_id":"id-1"}',
    )
    assert.match(await ask1('POST', '/', '}', 'a body that is read and thrown away'), /^HTTP\/1.1 429 (?:(?!connection: close)[^])*\{.*\}$/)
    assert.match(await ask1('HEAD', '/', '\r\n\r\n'), /^HTTP\/1.1 429 (?:(?!connection: close)[^])*\r\n\r\n$/)
    assert.match(await ask1('GET', '/free', 'ok'), /^HTTP\/1.1 200 /, 'a rule without limit is not limited')
    clock.pass(1999)
    assert.match(await ask1('GET', '/', '}'), /^HTTP\/1.1 429 [^]*\r\nretry-after: 1\r\n/)
    clock.pass(1)
    assert.match(await ask1('GET', '/', 'ok'), /^HTTP\/1.1 200 /)
    assert.match(await ask1('GET', '/', '}'), /^HTTP\/1.1 429 /)
  } finally {
    socket.destroy()
  }
  assert.deepEqual(
    app.received.map(({ url }) => url),
    ['/', '/', '/free', '/'],
  )
})

test('over HTTP/2 the answer is a head with retry-after, of gRPC status 8, and the connection lives on', async () => {
  const clock = manualClock()
  let served = 0
  await using app = await startH2cApp((stream) => {
    served++
    stream.respond({ ':status': 200 })
    stream.end('ok')
  })
  await using sidecar = await runSidecar({ app: app.port, inbound: H2, clock, policy: LIMITED('{ requests: 1/m, burst: 3 }') })
  using session = openSession(sidecar.port, await sidecar.mesh.issue('/ns/test/sa/caller'))
  for (let index = 0; index < 3; index++) assert.equal((await ask(session, { ':path': '/' })).body, 'ok')
  const refused = await ask(session, { ':path': '/' })
  assert.deepEqual([refused.headers[':status'], refused.headers['retry-after'], refused.body], [429, '60', ''])
  const grpc = await ask(session, GRPC)
  assert.deepEqual([grpc.headers[':status'], grpc.headers['grpc-status']], [200, '8'])
  assert.equal((await ask(session, { ':path': '/free' })).body, 'ok')
  clock.pass(60_000)
  assert.equal((await ask(session, { ':path': '/' })).body, 'ok')
  assert.equal(served, 5)
  const record = await sidecar.record((entry) => entry['path'] === '/s/Call')
  assert.deepEqual([record['decision'], record['reason'], record['status'], record['grpc_status']], ['deny', 'ERR_RATE_LIMITED', 200, 8])
})

test('callers do not share a bucket, connections of one caller do', async () => {
  const clock = manualClock()
  await using app = await startApp()
  await using sidecar = await runSidecar({ app: app.port, clock, policy: LIMITED('{ requests: 1/h, burst: 2 }') })
  const [one, other] = await Promise.all([sidecar.mesh.issue('/ns/test/sa/one'), sidecar.mesh.issue('/ns/test/sa/other')])
  const statuses: number[] = []
  for (const svid of [one, one, one, other, other, one, other]) {
    using agent = createMtlsAgent(svid)
    statuses.push((await call(sidecar.port, agent, '/')).status)
  }
  assert.deepEqual(statuses, [200, 200, 429, 200, 200, 429, 429])
})

test('what was refused is recorded with rule, reason and limit, counted under its reason, and kept for explain', async () => {
  const clock = manualClock()
  await using app = await startApp()
  await using sidecar = await runSidecar({ app: app.port, clock, policy: LIMITED('{ requests: 1/h, per: namespace }') })
  using agent = createMtlsAgent(await sidecar.mesh.issue('/ns/test/sa/caller'))
  await call(sidecar.port, agent, '/')
  await call(sidecar.port, agent, '/', { headers: { 'x-request-id': 'limited-1' } })
  const record = await sidecar.record((entry) => entry['request_id'] === 'limited-1')
  assert.deepEqual(
    ['decision', 'policy', 'rule', 'reason', 'detail', 'status', 'level'].map((field) => record[field]),
    ['deny', 'test/limited', 'everyone', 'ERR_RATE_LIMITED', 'at most 1 request/h per namespace, burst 1', 429, 'warn'],
  )
  const { text } = await sidecar.metrics.render()
  assert.match(text, /^postern_requests_total\{[^}]*decision="deny",reason="ERR_RATE_LIMITED"[^}]*\} 1$/m)
  assert.deepEqual(
    sidecar.ring.find('limited-1').map(({ reason }) => reason),
    ['ERR_RATE_LIMITED'],
  )
})

test('a reload that leaves the limit as it is gives nobody a new burst, one that changes it does', async () => {
  const clock = manualClock()
  await using app = await startApp()
  const limit = '{ requests: 1/h, burst: 1 }'
  await using sidecar = await runSidecar({ app: app.port, clock, policy: LIMITED(limit) })
  using agent = createMtlsAgent(await sidecar.mesh.issue('/ns/test/sa/caller'))
  const status = async (): Promise<number> => (await call(sidecar.port, agent, '/')).status
  assert.deepEqual([await status(), await status()], [200, 429])
  await sidecar.setPolicy(LIMITED(limit, '    - { name: more, deny: { and: [http_path: /denied] } }\n'))
  assert.equal((await call(sidecar.port, agent, '/denied')).status, 403)
  assert.equal(await status(), 429)
  await sidecar.setPolicy(LIMITED('{ requests: 1/h, burst: 2 }'))
  assert.deepEqual([await status(), await status(), await status()], [200, 200, 429])
})

test('a stream that lives counts once, however often it is decided again', async () => {
  const clock = manualClock()
  await using app = await startH2cApp((stream, headers) => {
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true })
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }))
    stream.write('begun')
    if (headers[':path'] === '/s/Call') stream.end()
    else stream.on('data', () => {}).on('end', () => stream.end())
  })
  const limit = '{ requests: 1/h, burst: 3 }'
  await using sidecar = await runSidecar({ app: app.port, inbound: H2, clock, policy: LIMITED(limit) })
  using session = openSession(sidecar.port, await sidecar.mesh.issue('/ns/test/sa/caller'))
  const live = session.request({ ...GRPC, ':path': '/s/Live' }, { endStream: false })
  let trailers: Record<string, unknown> = {}
  live.on('trailers', (got) => {
    trailers = { ...got }
  })
  await once(live, 'data')
  for (const name of ['a', 'b', 'c', 'd']) {
    await sidecar.setPolicy(LIMITED(limit, `    - { name: ${name}, deny: { and: [http_path: /${name}] } }\n`))
    await sidecar.sidecar.registry.revalidate(sidecar.source.current, clock.now())
    await sidecar.sidecar.registry.tick(clock.now())
  }
  const statuses: unknown[] = []
  for (let index = 0; index < 3; index++) statuses.push((await ask(session, GRPC)).headers['grpc-status'])
  assert.deepEqual(statuses, [undefined, undefined, '8'], 'two of three were left')
  live.end()
  await once(live, 'close')
  assert.equal(trailers['grpc-status'], '0', 'being over the limit by now ends nothing that runs')
})

test('an opaque connection counts as one request: beyond the limit it is closed, and those that live go on', async () => {
  const clock = manualClock()
  await using app = await startRawApp(
    () => {},
    (socket) => {
      socket.write('hello')
      socket.on('data', () => socket.write('more'))
    },
  )
  await using sidecar = await runSidecar({
    app: app.port,
    inbound: '      protocol: tcp\n',
    clock,
    policy: '- { name: r, allow: { and: [accept: true] }, limit: { requests: 1/m, burst: 1 } }\n',
  })
  const svid = await sidecar.mesh.issue('/ns/test/sa/caller')
  const live = await dial(sidecar.port, svid)
  try {
    await readUntil(live, 'hello')
    assert.equal(await readToEnd(await dial(sidecar.port, svid)), '')
    const record = await sidecar.record((entry) => entry['decision'] === 'deny')
    assert.deepEqual(
      [record['protocol'], record['rule'], record['reason'], record['detail']],
      ['tcp', 'r', 'ERR_RATE_LIMITED', 'at most 1 request/m per peer, burst 1'],
    )
    live.write('?')
    await readUntil(live, 'more')
    clock.pass(60_000)
    const next = await dial(sidecar.port, svid)
    await readUntil(next, 'hello')
    next.destroy()
    assert.equal(app.connections.length, 2)
  } finally {
    live.destroy()
  }
})
