/** The app speaks h2c to its own sidecar, which carries each request to a server that has proved who it is, over connections that come and go. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { answerWithLength, startH2cApp } from '../fakes/h2c-app.ts'
import { holdStreams } from '../fakes/held-streams.ts'
import { createTestMesh, type TestMesh } from '../support/authority.ts'
import { ask, grpcHeaders, openPlainSession } from '../support/http2-client.ts'
import { outboundTo } from '../support/outbound-entries.ts'
import { type RunningSidecar, runSidecar } from '../support/sidecar.ts'

const CART = '/ns/shop/sa/cart'
const CATALOG = '/ns/shop/sa/catalog'
const H2 = '      protocol: http2\n'

function serve(mesh: TestMesh, app: number, more = '', listen?: string): Promise<RunningSidecar> {
  return runSidecar({ mesh, app, path: CATALOG, inbound: H2 + more, ...(listen === undefined ? {} : { listen }) })
}

function call(mesh: TestMesh, ports: readonly number[], more = ''): Promise<RunningSidecar> {
  return runSidecar({ mesh, path: CART, outbound: outboundTo(ports, CATALOG, H2 + more) })
}

async function handshakesOf({ metrics }: RunningSidecar): Promise<number> {
  return Number(/postern_handshakes_total\{[^}]*accepted[^}]*\} (\d+)/.exec((await metrics.render()).text)?.[1] ?? 0)
}

const wholeAnswer = { status: 200, body: 'begun ended', grpcStatus: '0' }

async function held(session: ReturnType<typeof openPlainSession>): Promise<typeof wholeAnswer> {
  const { headers, body, trailers } = await ask(session, grpcHeaders('/held'))
  return { status: Number(headers[':status']), body, grpcStatus: String(trailers['grpc-status']) }
}

test('requests pass both sidecars, many at once, and both tell of the same call', async () => {
  const mesh = await createTestMesh()
  await using app = await startH2cApp((stream, headers) => {
    if (headers[':path'] !== '/who') return answerWithLength(stream, headers)
    stream.respond({ ':status': 200, 'x-principal': String(headers['x-postern-principal']), 'x-host': String(headers[':authority']) })
    stream.end('hello')
  })
  await using called = await serve(mesh, app.port)
  await using calling = await call(mesh, [called.port])
  using session = openPlainSession(calling.outboundPort)
  const who = await ask(session, { ':path': '/who', ':authority': 'catalog.shop' })
  assert.equal(who.headers[':status'], 200)
  assert.equal(who.headers['x-principal'], `spiffe://example.org${CART}`)
  assert.equal(who.headers['x-host'], 'catalog.shop')
  assert.equal(who.body, 'hello')
  const answers = await Promise.all(
    Array.from({ length: 100 }, (_, index) => ask(session, { ':path': `/${index}`, ':method': 'POST' }, Buffer.alloc(index * 1000))),
  )
  assert.deepEqual(
    answers.map(({ body }) => body),
    answers.map((_, index) => String(index * 1000)),
  )
  const record = await calling.record((entry) => entry['path'] === '/who')
  assert.equal((record['peer'] as { id: string }).id, `spiffe://example.org${CATALOG}`)
  assert.deepEqual([record['direction'], record['protocol'], record['status'], record['decision']], ['outbound', 'http2', 200, 'allow'])
  assert.equal(record['request_id'], who.headers['x-request-id'])
  const other = await called.record((entry) => entry['request_id'] === record['request_id'])
  assert.equal(other['trace_id'], record['trace_id'], 'one request id and one trace through both')
  assert.equal(await handshakesOf(called), 1, 'one connection served them all')
})

test('the app’s own connections, however many and short, share those to the server', async () => {
  const mesh = await createTestMesh()
  await using app = await startH2cApp(answerWithLength)
  await using called = await serve(mesh, app.port)
  await using calling = await call(mesh, [called.port])
  for (let index = 0; index < 10; index++) {
    using session = openPlainSession(calling.outboundPort)
    assert.equal((await ask(session, { ':path': '/' }, 'abc')).body, '3')
  }
  const sessions = Array.from({ length: 5 }, () => openPlainSession(calling.outboundPort))
  const answers = await Promise.all(
    sessions.flatMap((session) => [1, 2, 3].map((size) => ask(session, { ':path': '/' }, 'a'.repeat(size)))),
  )
  assert.deepEqual(
    answers.map(({ body }) => body),
    sessions.flatMap(() => ['1', '2', '3']),
  )
  for (const session of sessions) session.destroy()
  assert.equal(await handshakesOf(called), 1)
})

test('streams are spread over the addresses by what each has under way', async () => {
  const mesh = await createTestMesh()
  const streams = [holdStreams(), holdStreams()]
  await using one = await startH2cApp(streams[0]!.onStream)
  await using other = await startH2cApp(streams[1]!.onStream)
  await using first = await serve(mesh, one.port)
  await using second = await serve(mesh, other.port)
  await using calling = await call(mesh, [first.port, second.port])
  using session = openPlainSession(calling.outboundPort)
  const answers = Array.from({ length: 100 }, () => held(session))
  await Promise.all([streams[0]!.reached(30), streams[1]!.reached(30)])
  while (streams[0]!.begun + streams[1]!.begun < 100) await Promise.race(streams.map((held) => held.reached(held.begun + 1)))
  for (const held of streams) held.finish()
  assert.deepEqual(
    await Promise.all(answers),
    answers.map(() => wholeAnswer),
  )
  const [left, right] = streams.map(({ begun }) => begun)
  assert.ok(Math.abs(left! - right!) <= 30, `${left} and ${right}`)
  assert.equal(await handshakesOf(first), 1)
  assert.equal(await handshakesOf(second), 1)
})

test('where a server allows few streams, further connections are opened, and calls wait for room', async () => {
  const mesh = await createTestMesh()
  const streams = holdStreams()
  await using app = await startH2cApp(streams.onStream)
  await using called = await serve(mesh, app.port, '      limits: { streams: 4 }\n')
  await using calling = await call(mesh, [called.port])
  using session = openPlainSession(calling.outboundPort)
  // 16 connections of 4 streams each are all that are opened to one address.
  const answers = Array.from({ length: 70 }, () => held(session))
  await streams.reached(64)
  assert.equal(streams.open.size, 64)
  assert.equal(await handshakesOf(called), 16)
  streams.finish()
  await streams.reached(70)
  streams.finish()
  assert.deepEqual(
    await Promise.all(answers),
    answers.map(() => wholeAnswer),
  )
})

test('when a server drains, what runs there ends well, and what comes goes to the other', async () => {
  const mesh = await createTestMesh()
  const streams = [holdStreams(), holdStreams()]
  await using one = await startH2cApp(streams[0]!.onStream)
  await using other = await startH2cApp(streams[1]!.onStream)
  await using first = await serve(mesh, one.port)
  await using second = await serve(mesh, other.port)
  await using calling = await call(mesh, [first.port, second.port])
  using session = openPlainSession(calling.outboundPort)
  const running = Array.from({ length: 40 }, () => held(session))
  while (streams[0]!.begun + streams[1]!.begun < 40) await Promise.race(streams.map((held) => held.reached(held.begun + 1)))
  assert.ok(streams[0]!.open.size > 0)
  const before = streams[0]!.begun
  const drained = first.sidecar.drain()
  const more = Array.from({ length: 40 }, () => held(session))
  await streams[1]!.reached(80 - before)
  assert.equal(streams[0]!.begun, before, 'no more came to the one that drains')
  for (const held of streams) held.finish()
  assert.deepEqual(
    await Promise.all([...running, ...more]),
    [...running, ...more].map(() => wholeAnswer),
  )
  await drained
})

test('when one of two servers dies, its streams end, those of the other go on, and what comes goes there', async () => {
  const mesh = await createTestMesh()
  const streams = [holdStreams(), holdStreams()]
  await using one = await startH2cApp(streams[0]!.onStream)
  await using other = await startH2cApp(streams[1]!.onStream)
  const first = await serve(mesh, one.port)
  await using second = await serve(mesh, other.port)
  await using calling = await call(mesh, [first.port, second.port])
  using session = openPlainSession(calling.outboundPort)
  const running = Array.from({ length: 40 }, () => held(session))
  while (streams[0]!.begun + streams[1]!.begun < 40) await Promise.race(streams.map((held) => held.reached(held.begun + 1)))
  const lost = streams[0]!.begun
  await first[Symbol.asyncDispose]()
  const more = Array.from({ length: 40 }, () => held(session))
  await streams[1]!.reached(80 - lost)
  streams[1]!.finish()
  const answers = await Promise.all(running)
  const cut = answers.filter(({ body, grpcStatus }) => body !== 'begun ended' || grpcStatus !== '0')
  assert.equal(cut.length, lost)
  for (const { body, grpcStatus } of cut) {
    assert.match(body, /^(begun )?$/)
    assert.match(grpcStatus, /^(14|undefined)$/, 'it does not look complete')
  }
  assert.deepEqual(
    await Promise.all(more),
    more.map(() => wholeAnswer),
  )
})

test('a server that comes back is found again', async () => {
  const mesh = await createTestMesh()
  await using app = await startH2cApp(answerWithLength)
  const first = await serve(mesh, app.port)
  await using calling = await call(mesh, [first.port])
  using session = openPlainSession(calling.outboundPort)
  assert.equal((await ask(session, { ':path': '/' }, 'a')).body, '1')
  await first[Symbol.asyncDispose]()
  const away = await Promise.all([1, 2, 3].map(() => ask(session, { ':path': '/away' })))
  assert.deepEqual(
    away.map(({ headers }) => headers[':status']),
    [502, 502, 502],
  )
  const grpc = await ask(session, grpcHeaders('/away'))
  assert.deepEqual([grpc.headers[':status'], grpc.headers['grpc-status']], [200, '14'])
  const { reason } = (await calling.record((entry) => entry['path'] === '/away')) as { reason: string }
  assert.equal(reason, 'ERR_UPSTREAM_UNREACHABLE')
  await using again = await serve(mesh, app.port, '', `127.0.0.1:${first.port}`)
  assert.equal((await ask(session, { ':path': '/' }, 'ab')).body, '2')
  assert.equal(await handshakesOf(again), 1)
})

test('when our certificate is renewed, streams finish where they are, new ones go to a new connection, and none fails', async () => {
  const mesh = await createTestMesh()
  const streams = holdStreams()
  await using app = await startH2cApp((stream, headers) => {
    if (headers[':path'] === '/held') streams.onStream(stream, headers)
    else answerWithLength(stream, headers)
  })
  await using called = await serve(mesh, app.port)
  await using calling = await call(mesh, [called.port])
  using session = openPlainSession(calling.outboundPort)
  let stop = false
  const sizes: string[] = []
  const busy = [1, 2, 3, 4].map(async (size) => {
    while (!stop) sizes.push(`${size}:${(await ask(session, { ':path': '/' }, 'a'.repeat(size))).body}`)
  })
  const running: Promise<typeof wholeAnswer>[] = []
  for (let round = 1; round <= 3; round++) {
    running.push(held(session), held(session))
    await streams.reached(round * 2)
    const renewed = await mesh.issue(CART)
    const swapped = new Promise<void>((resolve) => {
      const unsubscribe = calling.source.subscribe(() => {
        unsubscribe()
        resolve()
      })
    })
    calling.write('key.pem', renewed.keyPem)
    calling.write('svid.pem', renewed.certificatePem)
    await swapped
    assert.equal((await ask(session, { ':path': `/renewed/${round}` }, 'a')).body, '1')
    const record = await called.record((entry) => entry['path'] === `/renewed/${round}`)
    assert.equal((record['peer'] as { serial: string }).serial, calling.source.current.identity.facts.serial)
  }
  stop = true
  await Promise.all(busy)
  streams.finish()
  assert.deepEqual(
    await Promise.all(running),
    running.map(() => wholeAnswer),
  )
  assert.ok(sizes.length > 12)
  assert.deepEqual(
    sizes.filter((size) => size.slice(0, 1) !== size.slice(2)),
    [],
  )
  assert.equal(await handshakesOf(called), 4)
})

test('a connection that is of age takes no more requests, serves what it has, and is replaced', async () => {
  const mesh = await createTestMesh()
  const streams = holdStreams()
  await using app = await startH2cApp((stream, headers) => {
    if (headers[':path'] === '/held') streams.onStream(stream, headers)
    else answerWithLength(stream, headers)
  })
  await using called = await serve(mesh, app.port)
  await using calling = await call(mesh, [called.port], '      connectionAge: 20ms\n')
  using session = openPlainSession(calling.outboundPort)
  const running = held(session)
  await streams.reached(1)
  while ((await handshakesOf(called)) < 3) assert.equal((await ask(session, { ':path': '/' }, 'a')).body, '1')
  streams.finish()
  assert.deepEqual(await running, wholeAnswer)
})
