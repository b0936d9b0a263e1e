/** app → sidecar → sidecar → app over HTTP/2, each sidecar a process of its own: its drain, its memory, and what is stuck. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import type { ClientHttp2Session, ClientHttp2Stream } from 'node:http2'
import { test } from 'node:test'
import { answerWithLength, startH2cApp } from '../fakes/h2c-app.ts'
import { holdStreams } from '../fakes/held-streams.ts'
import { createTestMesh } from '../support/authority.ts'
import { ask, grpcHeaders, openPlainSession } from '../support/http2-client.ts'
import { outboundTo } from '../support/outbound-entries.ts'
import { type SidecarProcess, startSidecarProcess } from '../support/sidecar-process.ts'

const CART = '/ns/shop/sa/cart'
const CATALOG = '/ns/shop/sa/catalog'
const H2 = '      protocol: http2\n'

interface Chain extends AsyncDisposable {
  readonly calling: SidecarProcess
  readonly called: SidecarProcess
  /** Where the app calls. */
  readonly port: number
}

async function startChain(app: number, drain = ''): Promise<Chain> {
  const mesh = await createTestMesh()
  const probe = createServer()
  await once(probe.listen(0, '127.0.0.1'), 'listening')
  const { port } = probe.address() as AddressInfo
  await new Promise((resolve) => void probe.close(resolve))
  const called = await startSidecarProcess({ mesh, app, path: CATALOG, inbound: H2, spec: drain })
  const outbound = outboundTo([called.port], CATALOG, H2).replace('127.0.0.1:0', `127.0.0.1:${port}`)
  const calling = await startSidecarProcess({ mesh, path: CART, outbound, spec: drain })
  return {
    calling,
    called,
    port,
    async [Symbol.asyncDispose]() {
      await calling[Symbol.asyncDispose]()
      await called[Symbol.asyncDispose]()
    },
  }
}

const STREAMS = 200

/** 200 live streams from two connections of the app. */
function openHeld(sessions: readonly ClientHttp2Session[]): Promise<readonly (readonly [unknown, string, unknown])[]> {
  return Promise.all(
    Array.from({ length: STREAMS }, async (_, index) => {
      const { headers, body, trailers } = await ask(sessions[index % 2]!, grpcHeaders('/held'))
      return [headers[':status'], body, trailers['grpc-status']] as const
    }),
  )
}

for (const who of ['calling', 'called'] as const) {
  test(`on SIGTERM to the ${who} sidecar, 200 live streams end well, and then it ends`, async () => {
    const streams = holdStreams()
    await using app = await startH2cApp(streams.onStream)
    await using chain = await startChain(app.port)
    using one = openPlainSession(chain.port)
    using other = openPlainSession(chain.port)
    const answers = openHeld([one, other])
    await streams.reached(STREAMS)
    const { child, exited, logged } = chain[who]
    child.kill('SIGTERM')
    await logged((line) => line['msg'] === 'draining')
    if (who === 'calling') await Promise.all([one, other].filter((session) => !session.closed).map((session) => once(session, 'goaway')))
    assert.equal(streams.open.size, STREAMS, 'none was cut')
    streams.finish()
    assert.deepEqual(
      await answers,
      Array.from({ length: STREAMS }, () => [200, 'begun ended', '0']),
    )
    assert.equal(await exited, 0)
  })
}

test('what does not end by the end of the drain is cut, and does not look complete', async () => {
  const streams = holdStreams()
  await using app = await startH2cApp(streams.onStream)
  await using chain = await startChain(app.port, '  drain: 200ms\n')
  using one = openPlainSession(chain.port)
  using other = openPlainSession(chain.port)
  const answers = openHeld([one, other])
  await streams.reached(STREAMS)
  chain.calling.child.kill('SIGTERM')
  for (const [status, body, grpcStatus] of await answers) {
    assert.equal(status, 200)
    assert.match(body, /^(begun )?$/)
    assert.notEqual(grpcStatus, '0')
  }
  assert.equal(await chain.calling.exited, 0)
})

const MEGABYTE = 1_048_576
const SIZE = 100 * MEGABYTE

/** Sends and counts, and looks at the memory of both sidecars on the way. */
async function sendLarge(session: ClientHttp2Session, look: () => void): Promise<number> {
  const stream = session.request({ ':path': '/large', ':method': 'POST', 'x-bytes': String(SIZE) }, { endStream: false })
  let received = 0
  stream.on('data', (chunk: Buffer) => {
    if (Math.floor((received + chunk.length) / (5 * MEGABYTE)) > Math.floor(received / (5 * MEGABYTE))) look()
    received += chunk.length
  })
  const piece = Buffer.alloc(MEGABYTE, 'x')
  for (let sent = 0; sent < SIZE; sent += piece.length) {
    if (sent % (5 * MEGABYTE) === 0) look()
    if (!stream.write(piece)) await once(stream, 'drain')
  }
  stream.end()
  await once(stream, 'close')
  return received
}

test('100 MB each way pass both sidecars, and neither grows by it', async () => {
  let uploaded = 0
  await using app = await startH2cApp((stream, headers) => {
    if (headers[':path'] !== '/large') return answerWithLength(stream, headers)
    stream.on('data', (chunk: Buffer) => {
      uploaded += chunk.length
    })
    stream.on('end', () => {
      stream.respond({ ':status': 200 })
      stream.end(Buffer.alloc(SIZE, 'y'))
    })
  })
  await using chain = await startChain(app.port)
  using session = openPlainSession(chain.port)
  // What the first requests and the first large buffers take is no growth.
  for (let index = 0; index < 10; index++)
    await ask(session, { ':path': '/', ':method': 'POST', 'x-bytes': '1000000' }, Buffer.alloc(MEGABYTE))
  const sidecars = [chain.calling, chain.called]
  const before = sidecars.map((sidecar) => sidecar.residentBytes())
  const most = [...before]
  const look = (): void => {
    for (const [index, sidecar] of sidecars.entries()) most[index] = Math.max(most[index]!, sidecar.residentBytes())
  }
  assert.equal(await sendLarge(session, look), SIZE)
  assert.equal(uploaded, SIZE)
  for (const [index, bytes] of most.entries()) {
    assert.ok(bytes - before[index]! < 40 * MEGABYTE, `${Math.round((bytes - before[index]!) / MEGABYTE)} MB more than before`)
  }
})

test('an upload that the server’s app does not read, and a download that the app does not, hold up nobody', async () => {
  const unread: ClientHttp2Stream[] = []
  await using app = await startH2cApp((stream, headers) => {
    if (headers[':path'] === '/unread') {
      stream.pause()
      stream.respond({ ':status': 200 })
      // Node's own sessions hold no more than some 10 MB.
      stream.write(Buffer.alloc(400_000))
    } else answerWithLength(stream, headers)
  })
  await using chain = await startChain(app.port)
  using stuck = openPlainSession(chain.port)
  using session = openPlainSession(chain.port)
  for (let index = 0; index < 20; index++) {
    const stream = stuck.request({ ':path': '/unread', ':method': 'POST' }, { endStream: false })
    stream.on('error', () => {})
    stream.write(Buffer.alloc(400_000))
    unread.push(stream)
  }
  await Promise.all(unread.map((stream) => once(stream, 'response')))
  const before = chain.calling.residentBytes()
  const answers = await Promise.all(
    Array.from({ length: 20 }, (_, index) =>
      ask(session, { ':path': '/', ':method': 'POST', 'x-bytes': '300000' }, Buffer.alloc(index * 50_000)),
    ),
  )
  assert.deepEqual(
    answers.map(({ body }) => body.length),
    answers.map(() => 300_000),
  )
  assert.ok(chain.calling.residentBytes() - before < 40 * MEGABYTE)
  for (const stream of unread) stream.close(8)
  assert.equal((await ask(stuck, { ':path': '/' }, 'abc')).body, '3', 'and the connection itself is whole')
})
