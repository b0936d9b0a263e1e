import assert from 'node:assert/strict'
import { once } from 'node:events'
import { request as httpRequest } from 'node:http'
import { connect, createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { startApp } from '../fakes/apps.ts'
import { answerWithLength, startH2cApp } from '../fakes/h2c-app.ts'
import { holdStreams } from '../fakes/held-streams.ts'
import { createTestMesh } from '../support/authority.ts'
import { startBareTlsServer } from '../support/bare-tls-server.ts'
import { createFrameCutter } from '../support/frame-cutter.ts'
import { ACK, frame, goaway, PREFACE, settings } from '../support/http2-frames.ts'
import { movableClock } from '../support/fixed-clock.ts'
import { ask, grpcHeaders, openPlainSession } from '../support/http2-client.ts'
import { outboundTo } from '../support/outbound-entries.ts'
import { type RunningSidecar, runSidecar } from '../support/sidecar.ts'

const CART = '/ns/shop/sa/cart'
const CATALOG = '/ns/shop/sa/catalog'
const H2 = '      protocol: http2\n'

async function outboundRecord(sidecar: RunningSidecar): Promise<Record<string, unknown>> {
  return sidecar.record((entry) => entry['direction'] === 'outbound')
}

test('a server that is somebody else gets not one byte, and the caller 502 or UNAVAILABLE', async () => {
  const mesh = await createTestMesh()
  await using impostor = await startBareTlsServer(await mesh.issue('/ns/shop/sa/mallory'), ['h2'])
  await using calling = await runSidecar({ mesh, path: CART, outbound: outboundTo([impostor.port], CATALOG, H2) })
  using session = openPlainSession(calling.outboundPort)
  const answer = await ask(session, { ':path': '/secret', authorization: 'Bearer x' }, 'body')
  assert.equal(answer.headers[':status'], 502)
  const grpc = await ask(session, grpcHeaders('/a/b'), 'message')
  assert.deepEqual([grpc.headers[':status'], grpc.headers['grpc-status']], [200, '14'])
  const record = await outboundRecord(calling)
  assert.equal(record['reason'], 'ERR_UPSTREAM_IDENTITY')
  assert.match(String(record['detail']), /mallory/)
  assert.equal(impostor.received().length, 0)
})

for (const [what, alpn] of [
  ['agrees to HTTP/1.1 only', ['http/1.1']],
  ['knows no ALPN', undefined],
] as const) {
  test(`a server that ${what} is refused, with the reason, before a byte is sent`, async () => {
    const mesh = await createTestMesh()
    await using old = await startBareTlsServer(await mesh.issue(CATALOG), alpn === undefined ? undefined : [...alpn])
    await using calling = await runSidecar({ mesh, path: CART, outbound: outboundTo([old.port], CATALOG, H2) })
    using session = openPlainSession(calling.outboundPort)
    assert.equal((await ask(session, { ':path': '/' })).headers[':status'], 502)
    const record = await outboundRecord(calling)
    assert.equal(record['reason'], 'ERR_UPSTREAM_TLS')
    assert.match(String(record['detail']), /h2|ALPN|NO_APPLICATION_PROTOCOL/i)
    assert.equal(old.received().length, 0)
  })
}

test('a server that never says its settings is given up after the time to connect', async () => {
  const mesh = await createTestMesh()
  await using mute = await startBareTlsServer(await mesh.issue(CATALOG), ['h2'])
  await using calling = await runSidecar({
    mesh,
    path: CART,
    outbound: outboundTo([mute.port], CATALOG, `${H2}      timeouts: { connect: 100ms }\n`),
  })
  using session = openPlainSession(calling.outboundPort)
  assert.equal((await ask(session, { ':path': '/' })).headers[':status'], 504)
  assert.equal((await outboundRecord(calling))['reason'], 'ERR_UPSTREAM_CONNECT_TIMEOUT')
})

test('calls that fail together cost one handshake, and those that follow soon wait for the next', async () => {
  const mesh = await createTestMesh()
  let dialled = 0
  const server = createServer((socket) => {
    dialled++
    socket.destroy()
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as AddressInfo
  await using calling = await runSidecar({ mesh, path: CART, outbound: outboundTo([port], CATALOG, H2) })
  using session = openPlainSession(calling.outboundPort)
  for (let round = 1; round <= 3; round++) {
    const answers = await Promise.all(Array.from({ length: 50 }, () => ask(session, { ':path': '/' })))
    assert.deepEqual(
      answers.map(({ headers }) => headers[':status']),
      answers.map(() => 502),
    )
  }
  assert.ok(dialled <= 6, `${dialled} connections for 150 calls`)
  await new Promise((resolve) => void server.close(resolve))
})

test('a server that has vanished is noticed while calls wait for it; one that is only slow is not taken for it', async () => {
  const mesh = await createTestMesh()
  for (const answers of [true, false]) {
    const pinged = Promise.withResolvers<void>()
    const requested = Promise.withResolvers<void>()
    await using server = await startBareTlsServer(await mesh.issue(CATALOG), ['h2'], (socket) => {
      socket.write(settings())
      let skipped = 0
      let ponged = false
      const cut = createFrameCutter(({ type, flags, payload }) => {
        if (type === 'HEADERS') requested.resolve()
        if (type === 'SETTINGS' && flags === ACK && ponged) pinged.resolve()
        if (type !== 'PING' || flags !== 0) return
        if (!answers) return pinged.resolve()
        // What is acknowledged was read, and the answer before it.
        ponged = true
        socket.write(Buffer.concat([frame('PING', ACK, 0, payload), settings()]))
      })
      socket.on('data', (chunk: Buffer) => {
        const start = Math.min(PREFACE.length - skipped, chunk.length)
        skipped += start
        cut(chunk.subarray(start))
      })
    })
    const clock = movableClock()
    await using calling = await runSidecar({ mesh, clock, path: CART, outbound: outboundTo([server.port], CATALOG, H2) })
    using session = openPlainSession(calling.outboundPort)
    const waiting = ask(session, grpcHeaders('/a/b'))
    await requested.promise
    clock.forward(15_000)
    await pinged.promise
    clock.forward(15_000)
    if (answers) {
      // A second call in the time that would have ended a silent server.
      const other = ask(session, { ...grpcHeaders('/c/d'), 'grpc-timeout': '1m' })
      assert.equal((await other).headers['grpc-status'], '4')
      assert.equal(session.destroyed, false)
      assert.equal(server.sockets[0]!.destroyed, false)
      session.destroy()
    } else assert.equal((await waiting).headers['grpc-status'], '14')
  }
})

test('a server that breaks the protocol or goes away at once is a bad gateway, and is not called without end', async () => {
  const mesh = await createTestMesh()
  for (const [bytes, reason] of [
    [Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n'), 'ERR_HTTP2_UPSTREAM_PROTOCOL'],
    [Buffer.concat([settings(), goaway(0)]), 'ERR_HTTP2_UPSTREAM_GOAWAY'],
  ] as const) {
    await using odd = await startBareTlsServer(await mesh.issue(CATALOG), ['h2'], (socket) => void socket.write(bytes))
    await using calling = await runSidecar({ mesh, path: CART, outbound: outboundTo([odd.port], CATALOG, H2) })
    using session = openPlainSession(calling.outboundPort)
    const { headers, code } = await ask(session, { ':path': '/' })
    const record = await outboundRecord(calling)
    assert.ok(headers[':status'] === 502 || code === 7, `${String(headers[':status'])} ${code}`)
    assert.match(String(record['reason']), new RegExp(`^(${reason}|ERR_UPSTREAM_CLOSED)$`))
    assert.ok(odd.sockets.length <= 5, `${odd.sockets.length} connections`)
  }
})

test('when trust in the server is withdrawn, its streams are cut with the reason', async () => {
  const mesh = await createTestMesh()
  const streams = holdStreams()
  await using app = await startH2cApp(streams.onStream)
  await using called = await runSidecar({ mesh, app: app.port, path: CATALOG, inbound: H2 })
  await using calling = await runSidecar({ mesh, path: CART, outbound: outboundTo([called.port], CATALOG, H2) })
  using session = openPlainSession(calling.outboundPort)
  const running = ask(session, grpcHeaders('/held'))
  await streams.reached(1)
  const other = await createTestMesh()
  const renewed = await other.issue(CART)
  calling.write('bundle.pem', renewed.bundlePem)
  calling.write('key.pem', renewed.keyPem)
  calling.write('svid.pem', renewed.certificatePem)
  const { headers, trailers } = await running
  assert.equal(trailers['grpc-status'] ?? headers['grpc-status'], '7')
  const record = await outboundRecord(calling)
  assert.equal(record['reason'], 'ERR_TRUST_WITHDRAWN')
  assert.equal((record['peer'] as { id: string }).id, `spiffe://example.org${CATALOG}`)
})

test('a gRPC call that has run out of its time is answered with DEADLINE_EXCEEDED, by whichever side finds out', async () => {
  const mesh = await createTestMesh()
  await using silent = await startBareTlsServer(await mesh.issue(CATALOG), ['h2'], (socket) => void socket.write(settings()))
  await using app = await startH2cApp((stream) => void stream.resume())
  await using called = await runSidecar({ mesh, app: app.port, path: CATALOG, inbound: H2 })
  for (const to of [silent.port, called.port]) {
    await using calling = await runSidecar({ mesh, path: CART, outbound: outboundTo([to], CATALOG, H2) })
    using session = openPlainSession(calling.outboundPort)
    const { headers } = await ask(session, { ...grpcHeaders('/a/b'), 'grpc-timeout': '50m' })
    assert.deepEqual([headers[':status'], headers['grpc-status']], [200, '4'])
    const record = await outboundRecord(calling)
    assert.equal(record['grpc_status'], 4)
    if (to === silent.port) assert.equal(record['reason'], 'ERR_GRPC_DEADLINE')
  }
})

async function freePort(): Promise<number> {
  const probe = createServer()
  await once(probe.listen(0, '127.0.0.1'), 'listening')
  const { port } = probe.address() as AddressInfo
  await new Promise((resolve) => void probe.close(resolve))
  return port
}

test('entries that share an address are told apart by authority, each with its own servers', async () => {
  const mesh = await createTestMesh()
  await using cartApp = await startH2cApp((stream) => {
    stream.respond({ ':status': 200 })
    stream.end('cart')
  })
  await using catalogApp = await startH2cApp((stream) => {
    stream.respond({ ':status': 200 })
    stream.end('catalog')
  })
  await using cart = await runSidecar({ mesh, app: cartApp.port, path: CART, inbound: H2 })
  await using catalog = await runSidecar({ mesh, app: catalogApp.port, path: CATALOG, inbound: H2 })
  const port = await freePort()
  const entry = (host: string, to: number, path: string): string =>
    `    - listen: 127.0.0.1:${port}\n      hosts: [${host}]\n      to: 127.0.0.1:${to}\n      peer: spiffe://example.org${path}\n${H2}`
  await using calling = await runSidecar({
    mesh,
    outbound: entry('cart.shop', cart.port, CART) + entry('catalog.shop', catalog.port, CATALOG),
  })
  using session = openPlainSession(port)
  const [one, other, third] = await Promise.all(
    ['cart.shop', 'Catalog.Shop:8080', 'other.shop'].map((authority) => ask(session, { ':path': '/', ':authority': authority })),
  )
  assert.equal(one!.body, 'cart')
  assert.equal(other!.body, 'catalog')
  assert.equal(third!.headers[':status'], 404)
  assert.equal((await calling.record((record) => record['host'] === 'other.shop'))['reason'], 'ERR_OUTBOUND_NO_ROUTE')
})

test('an entry for both tells HTTP/2 from HTTP/1.1 by the first bytes, and keeps to what the app speaks', async () => {
  const mesh = await createTestMesh()
  await using app1 = await startApp((_request, response) => void response.end('HTTP/1.1'))
  await using app2 = await startH2cApp(answerWithLength)
  await using one = await runSidecar({ mesh, app: app1.port, path: CATALOG })
  await using two = await runSidecar({ mesh, app: app2.port, path: CATALOG, inbound: H2 })
  for (const [to, speaks] of [
    [one.port, 'http1'],
    [two.port, 'http2'],
  ] as const) {
    await using calling = await runSidecar({ mesh, path: CART, outbound: outboundTo([to], CATALOG, '      protocol: both\n') })
    const port = calling.outboundPort
    using session = openPlainSession(port)
    const overHttp2 = await ask(session, { ':path': '/' }, 'abc')
    assert.equal(overHttp2.headers[':status'], speaks === 'http2' ? 200 : 502)
    const [overHttp1] = (await once(httpRequest({ port, host: '127.0.0.1' }).end(), 'response')) as [{ statusCode: number; resume(): void }]
    overHttp1.resume()
    assert.equal(overHttp1.statusCode, speaks === 'http1' ? 200 : 502)
    // The preface in pieces, and what only begins like one.
    const slow = connect(port, '127.0.0.1')
    await once(slow, 'connect')
    slow.write('PRI * HT')
    await new Promise((resolve) => void setImmediate(resolve))
    slow.write('TP/2.0\r\n\r\nSM\r\n\r\n')
    const [first] = (await once(slow, 'data')) as [Buffer]
    assert.equal(first[3], 4, 'SETTINGS')
    slow.destroy()
    const odd = connect(port, '127.0.0.1')
    odd.write('PRI * HTTP/1.1\r\nhost: h\r\n\r\n')
    const [line] = (await once(odd, 'data')) as [Buffer]
    assert.match(line.toString(), /^HTTP\/1\.1 [45]/)
    odd.destroy()
  }
})

test('the app may call over a Unix socket', async () => {
  const mesh = await createTestMesh()
  await using app = await startH2cApp(answerWithLength)
  await using called = await runSidecar({ mesh, app: app.port, path: CATALOG, inbound: H2 })
  const entry = outboundTo([called.port], CATALOG, H2).replace('127.0.0.1:0', 'unix:out.sock')
  await using calling = await runSidecar({ mesh, path: CART, outbound: entry })
  const socket = connect(join(calling.dir, 'out.sock'))
  using session = openPlainSession(0, () => socket)
  assert.equal((await ask(session, { ':path': '/', ':authority': 'catalog' }, 'abcd')).body, '4')
})
