/** Servers of the mesh that have the right certificate and mean harm (docs/security-tests.md): each harms only the calls that are made to it. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { request } from 'node:http'
import { connect } from 'node:net'
import { test } from 'node:test'
import type { TLSSocket } from 'node:tls'
import { answerWithLength, startH2cApp } from '../fakes/h2c-app.ts'
import { startApp } from '../fakes/apps.ts'
import { createTestMesh } from '../support/authority.ts'
import { type BareTlsServer, startBareTlsServer } from '../support/bare-tls-server.ts'
import { createFrameCutter } from '../support/frame-cutter.ts'
import { ask, openPlainSession } from '../support/http2-client.ts'
import { data, frame, goaway, headers, literals, ping, PREFACE, reset, settings, uint32, windowUpdate } from '../support/http2-frames.ts'
import { runSidecar } from '../support/sidecar.ts'

const CART = '/ns/shop/sa/cart'
const GOOD = '/ns/shop/sa/good'
const BAD = '/ns/shop/sa/bad'
const MIB = 1024 * 1024

/** Two entries of one address, told apart by authority. */
function outboundTo(good: number, bad: number, protocol: string): string {
  const entry = (host: string, port: number, path: string): string =>
    `    - listen: unix:out.sock\n      hosts: [${host}]\n      to: 127.0.0.1:${port}\n      peer: spiffe://example.org${path}\n      protocol: ${protocol}\n`
  return entry('good', good, GOOD) + entry('bad', bad, BAD)
}

interface Reply {
  /** 0 where the connection broke. */
  readonly status: number
  readonly body: string
}

/** Of the app, over its sidecar's socket. @param most bytes of the body, after which it leaves */
function callOut(socketPath: string, host: string, most = Infinity): Promise<Reply> {
  return new Promise((resolve) => {
    let status = 0
    let body = ''
    // Resolves with the end of the response, if there is one.
    const outgoing = request({ socketPath, path: '/', headers: { host } }, (response) => {
      status = response.statusCode ?? 0
      response.setEncoding('latin1')
      response.on('data', (chunk: string) => {
        body += chunk
        if (body.length > most) outgoing.destroy()
      })
      response.on('error', () => {})
      response.on('close', () => resolve({ status: response.complete ? status : 0, body }))
    })
    outgoing.on('error', () => {})
    outgoing.on('close', () => {
      if (status === 0) resolve({ status, body })
    })
    outgoing.end()
  })
}

/** What it does to each connection and request. */
interface Attack1 {
  readonly what: string
  readonly onConnect?: (socket: TLSSocket) => void
  readonly onRequest: (socket: TLSSocket) => void
  /** What the call to it may come to. */
  readonly expected: readonly number[]
}

const OK = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'
const POISON = 'HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison'
const endless = (socket: TLSSocket, head: string, piece: Buffer): void => {
  socket.write(head)
  const write = (): void => {
    while (!socket.destroyed) if (!socket.write(piece)) return void socket.once('drain', write)
  }
  write()
}

const ATTACKS_1: readonly Attack1[] = [
  {
    what: 'talks first',
    onConnect: (socket) => void socket.write(POISON),
    onRequest: (socket) => void socket.write(OK),
    expected: [200, 502],
  },
  { what: 'answers twice', onRequest: (socket) => void socket.write(OK + POISON), expected: [200] },
  {
    what: 'talks between requests',
    onRequest: (socket) => {
      socket.write(OK)
      setImmediate(() => socket.write(POISON))
    },
    expected: [200],
  },
  { what: 'resets', onRequest: (socket) => void socket.destroy(), expected: [502] },
  { what: 'ends in the middle', onRequest: (socket) => void socket.end(OK.slice(0, -1)), expected: [0] },
  { what: 'is no HTTP', onRequest: (socket) => void socket.write('hello\r\n\r\n'), expected: [502] },
  {
    what: 'has a head without end',
    onRequest: (socket) => void endless(socket, 'HTTP/1.1 200 OK\r\n', Buffer.from(`a: ${'b'.repeat(1000)}\r\n`)),
    expected: [502],
  },
  {
    what: 'sends 1xx without end',
    onRequest: (socket) => void endless(socket, '', Buffer.from('HTTP/1.1 103 Early Hints\r\n\r\n'.repeat(100))),
    expected: [0, 502],
  },
  {
    what: 'has a body without end',
    onRequest: (socket) => void endless(socket, 'HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n', Buffer.alloc(65_536)),
    expected: [0, 200],
  },
]

test('29 · servers of the mesh that attack over HTTP/1.1: what they send reaches their own calls alone', async () => {
  for (const { what, onConnect, onRequest, expected } of ATTACKS_1) {
    const mesh = await createTestMesh()
    await using app = await startApp((_request, response) => void response.end('good'))
    await using good = await runSidecar({ mesh, app: app.port, path: GOOD })
    await using bad: BareTlsServer = await startBareTlsServer(await mesh.issue(BAD), undefined, (socket) => {
      onConnect?.(socket)
      socket.on('data', (chunk: Buffer) => {
        if (chunk.includes('\r\n\r\n')) onRequest(socket)
      })
    })
    await using calling = await runSidecar({ mesh, path: CART, outbound: outboundTo(good.port, bad.port, 'http1') })
    const out = `${calling.dir}/out.sock`
    for (let round = 0; round < 3; round++) {
      const [attacked, ...others] = await Promise.all([callOut(out, 'bad', MIB), ...[1, 2, 3].map(() => callOut(out, 'good'))])
      assert.ok(expected.includes(attacked.status), `${what}: ${attacked.status}`)
      // What comes while the next call to that server is on its way cannot be told from its answer; what comes with an answer can.
      if (what === 'answers twice') assert.equal(attacked.body, 'ok', 'an answer that nobody asked for is nobody’s')
      for (const other of others) assert.deepEqual(other, { status: 200, body: 'good' }, what)
    }
    assert.deepEqual(await callOut(out, 'good'), { status: 200, body: 'good' }, `${what}: and afterwards`)
    assert.ok(bad.sockets.length <= 8, `${what}: ${bad.sockets.length} connections`)
  }
})

const status = (value: string): Buffer => literals([[':status', value]])
const flood = (one: Buffer): Buffer => Buffer.concat(Array.from({ length: 5000 }, () => one))

/** At each request; and what the call may come to: a status, or the code of a reset. */
const ATTACKS_2: readonly (readonly [string, (stream: number) => Buffer, readonly (number | string)[]])[] = [
  ['answers twice', (stream) => Buffer.concat([headers(stream, status('204')), headers(stream, status('204'))]), [204]],
  ['resets', (stream) => reset(stream, 2), [502, 'reset 2']],
  ['resets what nobody opened', () => flood(reset(101, 8)), [502]],
  ['refuses every stream', (stream) => reset(stream, 7), ['reset 7', 502, 503]],
  ['goes away', () => goaway(0), ['reset 7', 502, 503]],
  ['goes away without end', (stream) => flood(goaway(stream)), [502]],
  ['PING without end', () => flood(ping()), [502]],
  ['SETTINGS without end', () => flood(settings([4, 65_535])), [502]],
  ['SETTINGS that allow nothing', (stream) => Buffer.concat([settings([3, 0], [4, 0]), headers(stream, status('204'))]), [204]],
  ['1xx without end', (stream) => flood(headers(stream, status('103'), false)), [502, 'reset 2']],
  [
    'CONTINUATION without end',
    (stream) => Buffer.concat([frame('HEADERS', 0, stream, status('200')), flood(frame('CONTINUATION', 0, stream))]),
    [502],
  ],
  ['a frame larger than allowed', (stream) => frame('DATA', 0, stream, Buffer.alloc(16_385)), [502]],
  ['a body before its head', (stream) => data(stream, 1), [502, 'reset 1', 'reset 2']],
  ['a push', (stream) => frame('PUSH_PROMISE', 4, stream, Buffer.concat([uint32(2), status('200')])), [502]],
  ['a window beyond 2^31 - 1', () => windowUpdate(0, 0x7fff_ffff), [502]],
  ['HPACK that is broken', (stream) => headers(stream, Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff, 0xff])), [502]],
  [
    'a body beyond every window',
    (stream) => Buffer.concat([headers(stream, status('200'), false), flood(data(stream, 16_384)).subarray(0, 20 * MIB)]),
    [200],
  ],
  ['empty DATA without end', (stream) => Buffer.concat([headers(stream, status('200'), false), flood(data(stream, 0))]), [200]],
  ['not HTTP/2', () => Buffer.from('HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n'), [502]],
]

test('29 · servers of the mesh that attack over HTTP/2: streams of the same app to others go on', async () => {
  const mesh = await createTestMesh()
  await using app = await startH2cApp(answerWithLength)
  await using good = await runSidecar({ mesh, app: app.port, path: GOOD, inbound: '      protocol: http2\n' })
  const svid = await mesh.issue(BAD)
  for (const [what, bytes, expected] of ATTACKS_2) {
    await using bad = await startBareTlsServer(svid, ['h2'], (socket) => {
      socket.write(settings())
      let preface = PREFACE.length
      const cut = createFrameCutter(({ type, stream }) => {
        if (type === 'HEADERS') socket.write(bytes(stream))
      })
      socket.on('data', (chunk: Buffer) => {
        const skipped = Math.min(preface, chunk.length)
        preface -= skipped
        cut(chunk.subarray(skipped))
      })
    })
    await using calling = await runSidecar({ mesh, path: CART, outbound: outboundTo(good.port, bad.port, 'http2') })
    using session = openPlainSession(0, () => connect(`${calling.dir}/out.sock`))
    // Begun before, and ended after.
    const long = session.request({ ':path': '/', ':authority': 'good', ':method': 'POST' })
    const [attacked, ...others] = await Promise.all([
      ask(session, { ':path': '/', ':authority': 'bad' }),
      ...[1, 2, 3].map((length) => ask(session, { ':path': '/', ':authority': 'good', ':method': 'POST' }, 'x'.repeat(length))),
    ])
    const got = attacked.headers[':status'] ?? `reset ${attacked.code}`
    assert.ok((expected as readonly unknown[]).includes(got), `${what}: ${String(got)}`)
    if (got === 200) assert.notEqual(attacked.code, 0, `${what}: it does not look complete`)
    assert.deepEqual(
      others.map(({ body }) => body),
      ['1', '2', '3'],
      what,
    )
    const answered = once(long, 'response')
    long.end('more')
    assert.equal(((await answered) as [Record<string, unknown>])[0][':status'], 200, `${what}: a stream that was under way`)
    long.resume()
    assert.equal((await ask(session, { ':path': '/', ':authority': 'good' })).headers[':status'], 200, `${what}: and afterwards`)
    assert.ok(bad.sockets.length <= 5, `${what}: ${bad.sockets.length} connections`)
  }
})
