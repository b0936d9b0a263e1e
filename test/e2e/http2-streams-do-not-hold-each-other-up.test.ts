import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { IncomingHttpHeaders, ServerHttp2Stream } from 'node:http2'
import process from 'node:process'
import { test } from 'node:test'
import { answerWithLength, startH2cApp, startRawH2cApp } from '../fakes/h2c-app.ts'
import { ask, grpcHeaders, openRawHttp2, openSession, requestBlock } from '../support/http2-client.ts'
import { data, goaway, headers, hpackInteger, hpackString, literals } from '../support/http2-frames.ts'
import { runSidecar } from '../support/sidecar.ts'
import { startSidecarProcess } from '../support/sidecar-process.ts'

const H2 = '      protocol: http2\n'
const MIB = 1024 * 1024
/** MB that Node's own server may keep of a body that was given to it at once; resets it takes, of which it forgives 33 a second. */
const LARGE = { maxSessionMemory: 1000, streamResetBurst: 100_000, streamResetRate: 1000 }
/** `POSTERN_UPLOADS=10000` is the full run, with 100 MB each way behind it. */
const UPLOADS = Number(process.env['POSTERN_UPLOADS'] ?? 400)
const BEHIND = UPLOADS >= 10_000 ? 100 * MIB : 10 * MIB

test('stream 1 waits two seconds for its answer, stream 3 for nothing, and the connection lives on', async () => {
  await using app = await startH2cApp((stream, headers) => {
    if (headers[':path'] === '/late') setTimeout(() => stream.respond({ ':status': 200 }, { endStream: true }), 2000)
    else answerWithLength(stream, headers)
  })
  await using sidecar = await runSidecar({ app: app.port, inbound: H2 })
  using session = openSession(sidecar.port, await sidecar.mesh.issue('/ns/test/sa/caller'))
  const order: string[] = []
  const late = ask(session, { ':path': '/late' }).then(({ headers }) => order.push(`late ${String(headers[':status'])}`))
  const prompt = ask(session, { ':path': '/prompt' }).then(({ headers }) => order.push(`prompt ${String(headers[':status'])}`))
  await Promise.all([late, prompt])
  assert.deepEqual(order, ['prompt 200', 'late 200'])
  assert.equal((await ask(session, { ':path': '/' })).headers[':status'], 200)
})

test('whatever table of headers a client has, its first stream is refused and its second served', async () => {
  await using app = await startH2cApp(answerWithLength)
  await using sidecar = await runSidecar({ app: app.port, inbound: H2, policy: '- allow: { and: [http_path: { not: /no }] }\n' })
  const svid = await sidecar.mesh.issue('/ns/test/sa/caller')
  for (const headerTableSize of [0, 1024, 4096, 65_536]) {
    using session = openSession(sidecar.port, svid, { headerTableSize })
    const statuses: unknown[] = []
    for (const path of ['/no', '/yes', '/no', '/yes'])
      statuses.push((await ask(session, { ':path': path, 'x-request-id': 'kept' })).headers[':status'])
    statuses.push((await ask(session, grpcHeaders('/no'), 'x')).headers['grpc-status'])
    assert.deepEqual(statuses, [403, 200, 403, 200, '7'], `a table of ${headerTableSize}`)
  }
})

test('blocks and trailers that refer to a table by number bring the app what the client sent, never what we added', async () => {
  const seen: { readonly headers: IncomingHttpHeaders; readonly trailers: IncomingHttpHeaders }[] = []
  await using app = await startH2cApp((stream: ServerHttp2Stream, got) => {
    let trailers: IncomingHttpHeaders = {}
    stream.on('trailers', (came) => {
      trailers = { ...came }
    })
    stream.resume()
    stream.on('end', () => {
      if (stream.aborted || stream.destroyed) return
      seen.push({ headers: got, trailers })
      stream.respond({ ':status': 200 }, { endStream: true })
    })
  })
  await using sidecar = await runSidecar({ app: app.port, inbound: H2 })
  const svid = await sidecar.mesh.issue('/ns/test/sa/caller')
  const insert = (name: string, value: string): Buffer =>
    Buffer.concat([Buffer.from([0x40]), hpackString(Buffer.from(name)), hpackString(Buffer.from(value))])
  const indexed = (number: number): Buffer => hpackInteger(number, 7, 0x80)
  const nameIndexed = (number: number, value: string): Buffer =>
    Buffer.concat([hpackInteger(number, 4, 0x00), hpackString(Buffer.from(value))])
  const answered = (stream: number) => (found: { type: unknown; stream: number }) => found.type === 'HEADERS' && found.stream === stream

  using caller = await openRawHttp2(sidecar.port, svid)
  // Entries of the client's own: the newest is 62.
  const begin = Buffer.concat([
    requestBlock('/', [['te', 'trailers']], 'POST'),
    insert('x-postern-principal', 'forged'),
    insert('x-mine', 'one'),
  ])
  caller.write(headers(1, begin, false), data(1, 3), headers(1, Buffer.concat([indexed(62), indexed(63)])))
  assert.ok(await caller.frame(answered(1)))
  caller.write(headers(3, Buffer.concat([requestBlock('/', [], 'POST'), indexed(62), indexed(63)]), false))
  caller.write(headers(3, Buffer.concat([nameIndexed(62, 'two'), nameIndexed(63, 'forged too')])))
  assert.ok(await caller.frame(answered(3)))
  for (const { headers: got, trailers } of seen) {
    assert.equal(got['x-postern-principal'], 'spiffe://example.org/ns/test/sa/caller')
    assert.equal(got['x-mine'], 'one')
    assert.deepEqual(Object.keys(trailers), ['x-mine'], 'no identity header is a trailer')
  }
  assert.deepEqual(
    seen.map(({ trailers }) => trailers['x-mine']),
    ['one', 'two'],
  )
  // What we added stands in the table toward the app, not in the client's: such numbers are nobody's.
  for (const number of [64, 65, 70, 80]) {
    using other = await openRawHttp2(sidecar.port, svid)
    other.write(headers(1, begin, false), data(1, 3), headers(1, indexed(number)))
    assert.equal(await other.closed, 9, `number ${number}: COMPRESSION_ERROR`)
  }
  assert.equal(seen.length, 2)
})

test(`${UPLOADS} uploads that are refused, reset or given up with 64 KiB under way, then ${BEHIND / MIB} MiB each way on the same connection`, async (t) => {
  await using app = await startH2cApp((stream, got) => {
    if (got[':path'] !== '/reset') return answerWithLength(stream, got)
    stream.once('data', () => stream.close(2))
  }, LARGE)
  await using sidecar = await startSidecarProcess({ app: app.port, inbound: H2, policy: '- allow: { and: [http_path: { not: /no }] }\n' })
  using session = openSession(sidecar.port, await sidecar.mesh.issue('/ns/test/sa/caller'))
  const body = Buffer.alloc(64 * 1024)
  const upload = async (index: number): Promise<void> => {
    const stream = session.request({ ':path': ['/no', '/reset', '/left'][index % 3], ':method': 'POST' }, { endStream: false })
    stream.on('error', () => {})
    stream.resume()
    const closed = once(stream, 'close')
    stream.write(body)
    if (index % 3 === 2) setImmediate(() => stream.close(8))
    await closed
  }
  let before = 0
  for (let index = 0; index < UPLOADS; index += 10) {
    // Code and heap have taken their size.
    if (index === UPLOADS / 2) before = sidecar.residentBytes() / MIB
    await Promise.all(Array.from({ length: 10 }, (_, more) => upload(index + more)))
    // Resets are counted, and forgiven in time: 200 a second.
    await new Promise((resolve) => void setTimeout(resolve, UPLOADS > 1000 ? 25 : 0))
  }
  const answer = await ask(session, { ':path': '/both', ':method': 'POST', 'x-bytes': String(BEHIND) }, Buffer.alloc(BEHIND))
  assert.equal(answer.body.length, BEHIND)
  const record = await sidecar.record(({ path }) => path === '/both')
  assert.deepEqual([record['bytes_in'], record['bytes_out'], record['reason']], [BEHIND, BEHIND, undefined])
  const after = sidecar.residentBytes() / MIB
  t.diagnostic(`the sidecar's memory: ${before.toFixed(0)} MiB after half of the uploads, ${after.toFixed(0)} MiB at the end`)
  assert.ok(after - before < 80, `${before} → ${after} MiB`)
  const seen = new Set(sidecar.records.map(({ reason }) => reason))
  assert.deepEqual(seen, new Set(['ERR_POLICY_NO_ALLOW', 'ERR_HTTP2_UPSTREAM_RESET', 'ERR_HTTP2_RESET', undefined]))
})

test('an app that dies in the middle: what it had begun is cut, what it had not is 502, and others live on', async () => {
  await using app = await startRawH2cApp((connection, found) => {
    if (found.type !== 'HEADERS') return
    const begun = app.connections.indexOf(connection) === 0 ? connection.frames.filter(({ type }) => type === 'HEADERS').length : 9
    if (begun === 1) connection.write(headers(found.stream, literals([[':status', '200']]), false), data(found.stream, 5))
    if (begun === 3) connection.socket.destroy()
    if (begun === 9) connection.write(headers(found.stream, literals([[':status', '204']])))
  })
  await using sidecar = await runSidecar({ app: app.port, inbound: H2 })
  const svid = await sidecar.mesh.issue('/ns/test/sa/caller')
  using dying = openSession(sidecar.port, svid)
  const cut = ask(dying, { ':path': '/begun' })
  // The second connection of the app is made by the other caller's first request.
  while (app.connections.length === 0 || app.connections[0]!.frames.length === 0) await new Promise((resolve) => void setImmediate(resolve))
  using other = openSession(sidecar.port, svid)
  assert.equal((await ask(other, { ':path': '/' })).headers[':status'], 204)
  const waiting = ask(dying, { ':path': '/waits' })
  const grpc = ask(dying, grpcHeaders('/s/Waits'))
  const [first, second, third] = await Promise.all([cut, waiting, grpc])
  assert.deepEqual([first.headers[':status'], first.code === 0], [200, false], 'it does not look complete')
  assert.equal(second.headers[':status'], 502)
  assert.equal(third.headers['grpc-status'], '14')
  assert.equal((await ask(other, { ':path': '/' })).headers[':status'], 204, 'the others live on')
  using next = openSession(sidecar.port, svid)
  assert.equal((await ask(next, { ':path': '/' })).headers[':status'], 204)
})

test('an app that says GOAWAY: what it serves ends well, what it does not may be tried again, the next connection is served', async () => {
  const ends: (() => void)[] = []
  await using app = await startRawH2cApp((connection, found) => {
    if (found.type !== 'HEADERS') return
    const answer = (): void => connection.write(headers(found.stream, literals([[':status', '200']]), false), data(found.stream, 5, true))
    if (connection !== app.connections[0]) return answer()
    ends.push(answer)
    if (ends.length === 2) connection.write(goaway(1))
  })
  await using sidecar = await runSidecar({ app: app.port, inbound: H2 })
  const svid = await sidecar.mesh.issue('/ns/test/sa/caller')
  using session = openSession(sidecar.port, svid)
  const told = once(session, 'goaway')
  const served = ask(session, { ':path': '/served' })
  const passed = ask(session, { ':path': '/passed' })
  assert.equal((await passed).code, 7, 'REFUSED_STREAM')
  await told
  ends[0]!()
  assert.equal((await served).body, 'aaaaa')
  using next = openSession(sidecar.port, svid)
  assert.equal((await ask(next, { ':path': '/' })).body, 'aaaaa')
})
