import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  createServer,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  type ServerHttp2Stream,
  type ServerOptions,
} from 'node:http2'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { promisify } from 'node:util'
import { asCame, flushRelay, type RelayServerOptions, startRelay, type TestExchange } from '../../support/http2-relay.ts'

type OnStream = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void

async function startApp(onStream: OnStream, options: ServerOptions = {}): Promise<{ readonly port: number } & AsyncDisposable> {
  const server = createServer(options)
  const sessions = new Set<{ destroy: () => void }>()
  server.on('session', (session) => sessions.add(session.on('error', () => undefined)))
  server.on('stream', (stream, headers) => {
    stream.on('error', () => undefined)
    onStream(stream as ServerHttp2Stream, headers)
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      for (const session of sessions) session.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

function dial(port: number, settings = {}): ClientHttp2Session & Disposable {
  const session = connect(`http://127.0.0.1:${port}`, { settings })
  session.on('error', () => undefined)
  return Object.assign(session, { [Symbol.dispose]: () => session.destroy() })
}

interface Answer {
  readonly headers: Record<string, unknown>
  readonly trailers: Record<string, unknown>
  readonly body: Buffer
  readonly code: number
}

async function answerOf(stream: ClientHttp2Stream): Promise<Answer> {
  let headers = {}
  let trailers = {}
  const chunks: Buffer[] = []
  stream.on('response', (got) => (headers = got))
  stream.on('trailers', (got) => (trailers = got))
  stream.on('data', (chunk: Buffer) => chunks.push(chunk))
  stream.on('error', () => undefined)
  await once(stream, 'close')
  return { headers, trailers, body: Buffer.concat(chunks), code: stream.rstCode ?? 0 }
}

function ask(session: ClientHttp2Session, headers: OutgoingHttpHeaders, body?: Buffer): Promise<Answer> {
  const stream = session.request(headers, { endStream: body === undefined })
  if (body !== undefined) stream.end(body)
  return answerOf(stream)
}

const echo: OnStream = (stream, headers) => {
  stream.respond({ ':status': 200, 'x-path': headers[':path'] })
  stream.pipe(stream)
}

const digest = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')

test('bodies of every size come back as they were, many at once', async () => {
  await using app = await startApp(echo)
  const ended: TestExchange[] = []
  await using relay = await startRelay(app.port, { ended })
  using session = dial(relay.port)
  const sizes = [0, 1, 16_383, 16_384, 16_385, 65_535, 65_536, 200_000, 1_000_000, 3_000_000]
  await Promise.all(
    sizes.map(async (size) => {
      const body = randomBytes(size)
      const answer = await ask(session, { ':path': `/${size}`, ':method': 'POST' }, body)
      assert.equal(answer.headers[':status'], 200)
      assert.equal(answer.headers['x-path'], `/${size}`)
      assert.equal(answer.headers['x-request-id'], 'test-id')
      assert.equal(digest(answer.body), digest(body))
    }),
  )
  const bySize = ended.toSorted((a, b) => a.bytesIn - b.bytesIn)
  assert.deepEqual(
    bySize.map(({ bytesIn, bytesOut, reason }) => [bytesIn, bytesOut, reason]),
    sizes.map((size) => [size, size, undefined]),
  )
})

for (const [what, client, server] of [
  ['tiny windows at the caller', { initialWindowSize: 100 }, {}],
  ['tiny windows at the app', {}, { initialWindowSize: 100 }],
  ['tiny windows at both', { initialWindowSize: 10 }, { initialWindowSize: 10 }],
  [
    'large windows and frames at both',
    { initialWindowSize: 1_000_000, maxFrameSize: 1_000_000 },
    { initialWindowSize: 1_000_000, maxFrameSize: 1_000_000 },
  ],
  ['no header tables', { headerTableSize: 0 }, { headerTableSize: 0 }],
  ['large header tables', { headerTableSize: 65_536 }, { headerTableSize: 65_536 }],
] as const) {
  test(`bodies come back with ${what}`, async () => {
    await using app = await startApp(echo, { settings: server })
    await using relay = await startRelay(app.port)
    using session = dial(relay.port, client)
    for (let round = 0; round < 3; round++) {
      const bodies = [randomBytes(10), randomBytes(2000), randomBytes(20_000)]
      const answers = await Promise.all(
        bodies.map((body) => ask(session, { ':path': '/', ':method': 'POST', 'x-repeated': 'value' }, body)),
      )
      answers.forEach(({ body }, index) => assert.equal(digest(body), digest(bodies[index]!)))
    }
  })
}

test('settings that change while streams are open are followed', async () => {
  await using app = await startApp(echo)
  await using relay = await startRelay(app.port)
  using session = dial(relay.port)
  const body = randomBytes(500_000)
  const answers = Array.from({ length: 4 }, () => ask(session, { ':path': '/', ':method': 'POST' }, body))
  for (const initialWindowSize of [10, 200_000, 0, 65_535]) {
    await new Promise((resolve) => void session.settings({ initialWindowSize }, resolve))
  }
  for (const answer of await Promise.all(answers)) assert.equal(digest(answer.body), digest(body))
})

test('gRPC as it is spoken: trailers both ways, and trailers alone', async () => {
  await using app = await startApp((stream, headers) => {
    if (headers[':path'] === '/refuse') {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc', 'grpc-status': '5' }, { endStream: true })
      return
    }
    let got: Record<string, unknown> = {}
    stream.on('trailers', (trailers) => (got = trailers))
    stream.respond({ ':status': 200, 'content-type': 'application/grpc', 'x-te': headers['te'] }, { waitForTrailers: true })
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0', 'x-echo': JSON.stringify(got) }))
    stream.on('data', (chunk: Buffer) => stream.write(chunk))
    stream.on('end', () => stream.end())
  })
  const ended: TestExchange[] = []
  await using relay = await startRelay(app.port, { ended })
  using session = dial(relay.port)
  const head = { ':path': '/call', ':method': 'POST', 'content-type': 'application/grpc', te: 'trailers' }
  const stream = session.request(head, { waitForTrailers: true })
  stream.on('wantTrailers', () => stream.sendTrailers({ 'x-checksum': '1', 'x-postern-principal': 'forged' }))
  stream.end('message')
  const answer = await answerOf(stream)
  assert.deepEqual([answer.body.toString(), answer.headers['x-te'], answer.trailers['grpc-status']], ['message', 'trailers', '0'])
  assert.deepEqual(JSON.parse(String(answer.trailers['x-echo'])), { 'x-checksum': '1' })
  const refused = await ask(session, { ...head, ':path': '/refuse' }, Buffer.from('x'))
  assert.equal(refused.headers['grpc-status'], '5')
  assert.deepEqual(
    ended.map(({ grpcStatus }) => grpcStatus),
    [0, 5],
  )
})

test('an early answer ends the upload: the caller gets it whole', async () => {
  await using app = await startApp((stream) => {
    stream.respond({ ':status': 413 })
    stream.end('too large')
    stream.close(constants.NGHTTP2_NO_ERROR)
  })
  await using relay = await startRelay(app.port)
  using session = dial(relay.port)
  const stream = session.request({ ':path': '/', ':method': 'POST' })
  const answer = answerOf(stream)
  stream.write(randomBytes(1_000_000))
  const { headers, body } = await answer
  assert.deepEqual([headers[':status'], body.toString()], [413, 'too large'])
  assert.equal((await ask(session, { ':path': '/' })).headers[':status'], 413)
})

test('a caller that resets is heard by the app, and the connection lives on', async () => {
  let closed: Promise<unknown> | undefined
  const begun = Promise.withResolvers<void>()
  await using app = await startApp((stream, headers) => {
    if (headers[':path'] !== '/long') return echo(stream, headers)
    closed = once(stream, 'close')
    stream.respond({ ':status': 200 })
    stream.write('begun')
    begun.resolve()
  })
  await using relay = await startRelay(app.port)
  using session = dial(relay.port)
  const stream = session.request({ ':path': '/long' })
  stream.on('error', () => undefined)
  await begun.promise
  await once(stream, 'data')
  stream.close(constants.NGHTTP2_CANCEL)
  await closed
  assert.equal((await ask(session, { ':path': '/', ':method': 'POST' }, Buffer.from('x'))).body.toString(), 'x')
})

test('decisions that take time hold up nobody, and refuse with their body unread', async () => {
  await using app = await startApp(echo)
  const held: TestExchange[] = []
  await using relay = await startRelay(app.port, {
    handler: () => ({
      onRequest(exchange) {
        if (exchange.request!.path.startsWith('/held')) held.push(exchange)
        else exchange.forward(asCame(exchange.request!))
      },
    }),
  })
  using session = dial(relay.port)
  const slow = ask(session, { ':path': '/held/ok', ':method': 'POST' }, randomBytes(300_000))
  const refused = ask(session, { ':path': '/held/no', ':method': 'POST' }, randomBytes(300_000))
  const quick = randomBytes(300_000)
  assert.equal(digest((await ask(session, { ':path': '/quick', ':method': 'POST' }, quick)).body), digest(quick))
  held[1]!.refuse({ status: 403 }, 'ERR_POLICY_NO_ALLOW', '')
  held[0]!.forward(asCame(held[0]!.request!))
  flushRelay(relay.relays[0]!)
  assert.equal((await refused).headers[':status'], 403)
  assert.equal((await slow).body.length, 300_000)
  assert.equal((await ask(session, { ':path': '/', ':method': 'POST' }, quick)).body.length, 300_000)
})

test('refusals are understood by a client with any header table, before and between relayed answers', async () => {
  await using app = await startApp((stream) => {
    stream.respond({ ':status': 200, 'x-app': 'same value each time' })
    stream.end('ok')
  })
  const options: RelayServerOptions = {
    handler: () => ({
      onRequest: (exchange) =>
        exchange.request!.path === '/no'
          ? exchange.refuse({ status: 403 }, 'ERR_POLICY_NO_ALLOW', '')
          : exchange.forward(asCame(exchange.request!)),
    }),
  }
  await using relay = await startRelay(app.port, options)
  for (const headerTableSize of [0, 100, 4096, 65_536]) {
    using session = dial(relay.port, { headerTableSize })
    for (const path of ['/no', '/', '/no', '/', '/']) {
      const { headers } = await ask(session, { ':path': path })
      assert.deepEqual([headers[':status'], headers['x-app']], path === '/no' ? [403, undefined] : [200, 'same value each time'])
    }
    await new Promise((resolve) => void session.settings({ headerTableSize: 50 }, resolve))
    assert.equal((await ask(session, { ':path': '/' })).headers['x-app'], 'same value each time')
    assert.equal((await ask(session, { ':path': '/no' })).headers[':status'], 403)
  }
})

test('an app that is restarted sends its callers away, and what it served is whole', async () => {
  const app = await startApp((stream) => {
    stream.respond({ ':status': 200 })
    stream.end('ok')
  })
  await using relay = await startRelay(app.port)
  using session = dial(relay.port)
  assert.equal((await ask(session, { ':path': '/' })).body.toString(), 'ok')
  const goaway = once(session, 'goaway')
  await app[Symbol.asyncDispose]()
  await goaway
})

test('a drain lets streams end, and then the connection', async () => {
  const finish = Promise.withResolvers<void>()
  const begun = Promise.withResolvers<void>()
  await using app = await startApp((stream) => {
    stream.respond({ ':status': 200 })
    stream.write('first ')
    begun.resolve()
    void finish.promise.then(() => stream.end('last'))
  })
  await using relay = await startRelay(app.port)
  using session = dial(relay.port)
  const answer = ask(session, { ':path': '/' })
  await begun.promise
  const closed = once(session, 'close')
  relay.relays[0]!.drain()
  flushRelay(relay.relays[0]!)
  await once(session, 'goaway')
  finish.resolve()
  assert.equal((await answer).body.toString(), 'first last')
  await closed
})

test('a caller that reads nothing holds back the app, not the memory of the relay', async () => {
  let written = 0
  let blocked = Promise.withResolvers<void>()
  await using app = await startApp((stream) => {
    stream.respond({ ':status': 200 })
    const chunk = Buffer.alloc(16_384)
    const pump = (): void => {
      while (written < 50_000_000) {
        written += chunk.length
        if (stream.write(chunk)) continue
        blocked.resolve()
        stream.once('drain', pump)
        return
      }
      stream.end()
    }
    pump()
  })
  await using relay = await startRelay(app.port)
  using session = dial(relay.port)
  const stream = session.request({ ':path': '/' })
  await once(stream, 'response')
  await blocked.promise
  for (let turn = 0; turn < 50; turn++) await nextTurn()
  assert.ok(written < 2_000_000, `${written} bytes were taken from the app`)
  blocked = Promise.withResolvers()
  let read = 0
  stream.on('data', (chunk: Buffer) => (read += chunk.length))
  await once(stream, 'end')
  assert.ok(read >= 50_000_000)
})

const run = promisify(execFile)
const has = (file: string): false | string => (existsSync(file) ? false : `${file} is absent`)

test('curl speaks to it', { skip: has('/usr/bin/curl') }, async () => {
  await using app = await startApp(echo)
  await using relay = await startRelay(app.port)
  const { stdout } = await run('/usr/bin/curl', [
    '-s',
    '--http2-prior-knowledge',
    '-d',
    'body',
    '-w',
    ' %{http_version} %{http_code}',
    `http://127.0.0.1:${relay.port}/curl?a=b`,
  ])
  assert.equal(stdout, 'body 2 200')
})

test('nghttp speaks to it, with padding and priorities', { skip: has('/usr/bin/nghttp') }, async () => {
  await using app = await startApp(echo)
  await using relay = await startRelay(app.port)
  const { stdout } = await run('/usr/bin/nghttp', [
    '-nv',
    '--padding=200',
    '-H',
    ':method: POST',
    '-d',
    import.meta.filename,
    `http://127.0.0.1:${relay.port}/a`,
    `http://127.0.0.1:${relay.port}/b`,
  ])
  assert.equal(stdout.match(/:status: 200/g)?.length, 2, stdout)
  assert.doesNotMatch(stdout, /recv RST_STREAM/)
})

test('h2load speaks to it: every one of 5,000 requests succeeds', { skip: has('/usr/bin/h2load') }, async () => {
  const body = Buffer.alloc(1024, 0x61)
  await using app = await startApp((stream) => {
    stream.respond({ ':status': 200, 'content-length': 1024 })
    stream.end(body)
  })
  const ended: TestExchange[] = []
  await using relay = await startRelay(app.port, { ended })
  const { stdout } = await run('/usr/bin/h2load', ['-n', '5000', '-c', '4', '-m', '8', '-t', '1', `http://127.0.0.1:${relay.port}/`])
  assert.match(stdout, /5000 succeeded, 0 failed, 0 errored/)
  assert.equal(ended.filter(({ status, reason }) => status === 200 && reason === undefined).length, 5000)
})
