import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { test } from 'node:test'
import { startApp } from '../fakes/apps.ts'
import { answerWithLength, startH2cApp } from '../fakes/h2c-app.ts'
import { ask, grpcHeaders, openRawHttp2, openSession } from '../support/http2-client.ts'
import { ping } from '../support/http2-frames.ts'
import { call, createMtlsAgent, dial, readToEnd, readUntil, sendRaw } from '../support/mtls-client.ts'
import { get } from '../support/probe.ts'
import type { TestSvid } from '../support/authority.ts'
import { runSidecar, type RunningSidecar } from '../support/sidecar.ts'

async function counted({ metrics }: RunningSidecar, name: string, reason: string): Promise<number> {
  const { text } = await metrics.render()
  const sample = text.split('\n').find((line) => line.startsWith(`${name}{`) && line.includes(`reason="${reason}"`))
  return Number(sample?.split(' ').at(-1) ?? 0)
}

test('an identity has no more connections than it may, in whatever protocol; others are served, and what ends makes room', async () => {
  await using app = await startApp()
  await using sidecar = await runSidecar({ app: app.port, inbound: '      limits: { connectionsPerPeer: 3 }\n' })
  const [greedy, other] = await Promise.all([sidecar.mesh.issue('/ns/test/sa/greedy'), sidecar.mesh.issue('/ns/test/sa/other')])
  const held = await Promise.all([1, 2, 3].map(() => dial(sidecar.port, greedy)))
  for (const socket of held) {
    socket.write('GET / HTTP/1.1\r\nhost: h\r\n\r\n')
    await readUntil(socket, 'ok')
  }
  assert.equal(await sendRaw(sidecar.port, greedy, get('/')), '', 'closed before a request is read')
  const record = await sidecar.record(({ reason }) => reason === 'ERR_LIMIT_PEER_CONNECTIONS')
  assert.equal(record['msg'], 'handshake')
  assert.equal((record['peer'] as { id: string }).id, 'spiffe://example.org/ns/test/sa/greedy')
  assert.equal(await counted(sidecar, 'postern_handshakes_total', 'ERR_LIMIT_PEER_CONNECTIONS'), 1)
  assert.match(await sendRaw(sidecar.port, other, get('/')), /^HTTP\/1\.1 200 /)

  const before = sidecar.sidecar.registry.size
  held[0]!.destroy()
  while (sidecar.sidecar.registry.size >= before) await new Promise((resolve) => void setImmediate(resolve))
  assert.match(await sendRaw(sidecar.port, greedy, get('/')), /^HTTP\/1\.1 200 /)
  for (const socket of held) socket.destroy()
})

test('an identity has no more HTTP/2 requests under way than it may, on all its connections together', async () => {
  const waiting: (() => void)[] = []
  await using app = await startH2cApp((stream, headers) => {
    if (headers[':path'] !== '/s/Wait') return answerWithLength(stream, headers)
    waiting.push(() => stream.respond({ ':status': 200, 'grpc-status': '0' }, { endStream: true }))
  })
  await using sidecar = await runSidecar({ app: app.port, inbound: '      protocol: http2\n      limits: { streamsPerPeer: 4 }\n' })
  const [greedy, other] = await Promise.all([sidecar.mesh.issue('/ns/test/sa/greedy'), sidecar.mesh.issue('/ns/test/sa/other')])
  using one = openSession(sidecar.port, greedy)
  using two = openSession(sidecar.port, greedy)
  const held = [one, two, one, two].map((session) => ask(session, grpcHeaders('/s/Wait'), 'x'))
  while (waiting.length < 4) await new Promise((resolve) => void setImmediate(resolve))

  const refused = await ask(one, { ':path': '/' })
  assert.deepEqual([refused.headers[':status'], refused.headers['retry-after']], [503, '1'])
  assert.equal((await ask(two, grpcHeaders('/s/Any'), 'x')).headers['grpc-status'], '14')
  const record = await sidecar.record(({ path }) => path === '/s/Any')
  assert.deepEqual([record['decision'], record['reason']], ['deny', 'ERR_LIMIT_PEER_STREAMS'])
  assert.equal(await counted(sidecar, 'postern_requests_total', 'ERR_LIMIT_PEER_STREAMS'), 2)
  using third = openSession(sidecar.port, other)
  assert.equal((await ask(third, { ':path': '/' })).headers[':status'], 200)

  waiting[0]?.()
  await Promise.race(held)
  assert.equal((await ask(one, { ':path': '/' })).headers[':status'], 200, 'what ended made room')
  for (const end of waiting.slice(1)) end()
  for (const answer of await Promise.all(held)) assert.equal(answer.headers['grpc-status'], '0')
})

/** Looked at once a second, so that what is said of `idle` is right to a second. */
const SLOW = '      limits: { bodyRate: 1KiB }\n      timeouts: { idle: 3s }\n'

test('a body that trickles is 408 and closed over HTTP/1.1, one that comes fast enough is not', async () => {
  await using app = await startApp((_request, response, { body }) => void response.end(String(body.length)))
  await using sidecar = await runSidecar({ app: app.port, inbound: SLOW })
  const svid = await sidecar.mesh.issue('/ns/test/sa/caller')
  using agent = createMtlsAgent(svid)
  async function* trickle(pieces: number, size: number): AsyncGenerator<Buffer> {
    for (let index = 0; index < pieces; index++) {
      yield Buffer.alloc(size)
      await new Promise((resolve) => void setTimeout(resolve, 100))
    }
  }
  const fast = call(sidecar.port, agent, '/', { method: 'POST', body: trickle(60, 2000) })
  const socket = await dial(sidecar.port, svid)
  const answer = readToEnd(socket)
  socket.write('POST /slow HTTP/1.1\r\nhost: h\r\ncontent-length: 100000\r\n\r\n')
  const drip = setInterval(() => socket.write('xx'), 50)
  assert.match(await answer, /^HTTP\/1\.1 408 [^]*\r\nconnection: close\r\n/)
  clearInterval(drip)
  assert.equal((await fast).body, '120000')
  const record = await sidecar.record(({ path }) => path === '/slow')
  assert.equal(record['reason'], 'ERR_BODY_RATE')
  assert.equal(await counted(sidecar, 'postern_requests_total', 'ERR_BODY_RATE'), 1)
})

test('over HTTP/2 such a stream alone is ended; gRPC may be silent, and so may a body whose app takes no more', async () => {
  const answers: (() => void)[] = []
  await using app = await startH2cApp((stream, headers) => {
    if (headers[':path'] === '/s/Silent') {
      answers.push(() => stream.respond({ ':status': 200, 'grpc-status': '0' }, { endStream: true }))
      return
    }
    if (headers[':path'] !== '/app-waits') return answerWithLength(stream, headers)
    // Takes nothing for longer than a window, then all.
    answers.push(() => answerWithLength(stream, headers))
  })
  await using sidecar = await runSidecar({ app: app.port, inbound: `      protocol: http2\n${SLOW}` })
  using session = openSession(sidecar.port, await sidecar.mesh.issue('/ns/test/sa/caller'))
  using other = openSession(sidecar.port, await sidecar.mesh.issue('/ns/test/sa/caller'))
  const silent = session.request(grpcHeaders('/s/Silent'), { endStream: false })
  const silentAnswered = once(silent, 'response')
  const held = ask(other, { ':path': '/app-waits', ':method': 'POST' }, Buffer.alloc(500_000))
  while (answers.length < 2) await new Promise((resolve) => void setImmediate(resolve))

  const slow = session.request({ ':path': '/slow', ':method': 'POST' }, { endStream: false })
  slow.on('error', () => {})
  const drip = setInterval(() => slow.write('xx'), 50)
  const mute = session.request({ ':path': '/mute', ':method': 'POST' }, { endStream: false })
  mute.on('error', () => {})
  const statuses = await Promise.all(
    [slow, mute].map(async (stream) => ((await once(stream, 'response'))[0] as Record<string, unknown>)[':status']),
  )
  clearInterval(drip)
  assert.deepEqual(statuses, [408, 408])
  const reasons = await Promise.all(
    ['/slow', '/mute'].map(async (path) => (await sidecar.record((record) => record['path'] === path))['reason']),
  )
  assert.deepEqual(reasons, ['ERR_BODY_RATE', 'ERR_BODY_TIMEOUT'])

  for (const answer of answers) answer()
  assert.equal((await held).body, '500000')
  const [response] = (await silentAnswered) as [Record<string, unknown>]
  assert.equal(response['grpc-status'], '0')
})

test('a source address that dials and stays silent leaves room for the handshakes of others', async () => {
  await using app = await startApp()
  await using sidecar = await runSidecar({
    app: app.port,
    inbound: '      limits: { handshakes: 4, handshakesPerSource: 3, connectionsPerPeer: 10 }\n      timeouts: { handshake: 1m }\n',
  })
  const svid = await sidecar.mesh.issue('/ns/test/sa/caller')
  const mute = Array.from({ length: 30 }, () => connect({ port: sidecar.port, host: '127.0.0.1', localAddress: '127.0.0.2' }))
  const closed = mute.map((socket) => {
    socket.on('error', () => {}).resume()
    return once(socket, 'close')
  })
  await sidecar.record(({ reason }) => reason === 'ERR_LIMIT_CONNECTIONS')
  for (let index = 0; index < 5; index++) assert.match(await sendRaw(sidecar.port, svid, get('/')), /^HTTP\/1\.1 200 /)
  for (const socket of mute) socket.destroy()
  await Promise.all(closed)
})

test('who was thrown out for a flood is refused at that address for a while, longer the next time; others are served meanwhile', async () => {
  await using app = await startH2cApp(answerWithLength)
  await using sidecar = await runSidecar({ app: app.port, inbound: '      protocol: http2\n      limits: { floodPenalty: 500ms }\n' })
  const [flooder, other] = await Promise.all([sidecar.mesh.issue('/ns/test/sa/flooder'), sidecar.mesh.issue('/ns/test/sa/other')])
  using before = openSession(sidecar.port, flooder)
  const isServed = async (svid: TestSvid, localAddress = '127.0.0.1'): Promise<boolean> => {
    using session = openSession(sidecar.port, svid, {}, localAddress)
    return (await ask(session, { ':path': '/' })).headers[':status'] === 200
  }
  assert.ok((await ask(before, { ':path': '/' })).headers[':status'] === 200)
  const waited: number[] = []
  for (let round = 0; round < 2; round++) {
    using raw = await openRawHttp2(sidecar.port, flooder)
    raw.socket.write(Buffer.concat(Array.from({ length: 2000 }, () => ping())))
    await raw.closed
    const since = performance.now()
    assert.equal(await isServed(flooder), false, 'refused at once')
    assert.ok(await isServed(other), 'another identity of that address')
    assert.ok(await isServed(flooder, '127.0.0.9'), 'another instance of that identity')
    assert.equal((await ask(before, { ':path': '/' })).headers[':status'], 200, 'what it has open goes on')
    while (!(await isServed(flooder))) assert.ok(performance.now() - since < 30_000)
    waited.push(performance.now() - since)
  }
  assert.ok(waited[0]! > 400 && waited[1]! > 900, `${waited.join(', ')} ms`)
  const record = await sidecar.record(({ reason }) => reason === 'ERR_LIMIT_PEER_FLOODED')
  assert.equal(record['msg'], 'handshake')
  assert.equal((record['peer'] as { id: string }).id, 'spiffe://example.org/ns/test/sa/flooder')
  const refused = await counted(sidecar, 'postern_handshakes_total', 'ERR_LIMIT_PEER_FLOODED')
  assert.ok(refused >= 2 && refused <= 25, `${refused} handshakes in two penalties: they are paced`)
})
