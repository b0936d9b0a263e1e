/** Callers and apps that attack with HTTP/2 frames (docs/security-tests.md). What a flood costs others is in test/e2e. */
import assert from 'node:assert/strict'
import { closeSync, globSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import process from 'node:process'
import { test } from 'node:test'
import { answerWithLength, startH2cApp, startRawH2cApp } from '../fakes/h2c-app.ts'
import { ask, grpcHeaders, openRawHttp2, openSession, type RawHttp2, requestBlock } from '../support/http2-client.ts'
import {
  data,
  END_HEADERS,
  type Fields,
  frame,
  goaway,
  headers,
  hpackInteger,
  hpackString,
  literals,
  paddedData,
  ping,
  reset,
  settings,
  uint32,
  windowUpdate,
} from '../support/http2-frames.ts'
import { runSidecar, type RunningSidecar } from '../support/sidecar.ts'
import { startSidecarProcess } from '../support/sidecar-process.ts'

const H2 = '      protocol: http2\n'
/** One flood follows the other, on connections of one identity. */
const FORGIVING = `${H2}      limits: { floodPenalty: 0s }\n`
const CALM = 11
const MIB = 1024 * 1024

const isReset = (stream: number) => (found: { type: unknown; stream: number }) => found.type === 'RST_STREAM' && found.stream === stream

/** What a flooder is seen to get: GOAWAY(ENHANCE_YOUR_CALM) and the end, and one record that says so. */
async function assertCalmed(sidecar: RunningSidecar, flooder: RawHttp2, what: string, reason = 'ERR_HTTP2_FLOOD'): Promise<void> {
  assert.equal(await flooder.closed, CALM, what)
  const reasons = (await sidecar.records()).filter((record) => record['reason'] === reason)
  assert.ok(reasons.length >= 1, `${what}: ${reason} is recorded`)
}

/** Node's own server ends a connection after a thousand resets: here it is the sidecar that must. */
const PATIENT = { streamResetBurst: 100_000, streamResetRate: 10_000 }

test('18 · names, values and lengths that would be something else in another version of HTTP', async () => {
  let served = 0
  await using app = await startH2cApp((stream, got) => {
    served++
    answerWithLength(stream, got)
  })
  await using sidecar = await runSidecar({ app: app.port, inbound: H2 })
  const svid = await sidecar.mesh.issue('/ns/test/sa/caller')
  const PSEUDO: Fields = [
    [':method', 'POST'],
    [':scheme', 'https'],
    [':authority', 'h'],
    [':path', '/'],
  ]
  const cases: readonly (readonly [string, Fields, string])[] = [
    ['CRLF in a value', [...PSEUDO, ['x', 'a\r\nx-postern-principal: forged']], 'ERR_HTTP_HEADER_VALUE'],
    ['LF in a value', [...PSEUDO, ['x', 'a\nb']], 'ERR_HTTP_HEADER_VALUE'],
    ['NUL in a value', [...PSEUDO, ['x', 'a\0b']], 'ERR_HTTP_HEADER_VALUE'],
    ['CRLF in a name', [...PSEUDO, ['x\r\ny', 'a']], 'ERR_HTTP_HEADER_NAME'],
    ['a colon in a name', [...PSEUDO, ['x: y', 'a']], 'ERR_HTTP_HEADER_NAME'],
    ['an empty name', [...PSEUDO, ['', 'a']], 'ERR_HTTP_HEADER_NAME'],
    ['a space in a name', [...PSEUDO, ['x y', 'a']], 'ERR_HTTP_HEADER_NAME'],
    ['an upper-case name', [...PSEUDO, ['X', 'a']], 'ERR_HTTP_HEADER_NAME'],
    ['CRLF in the path', [...PSEUDO.slice(0, 3), [':path', '/ HTTP/1.1\r\nx: y']], 'ERR_HTTP_HEADER_VALUE'],
    ['a space in the path', [...PSEUDO.slice(0, 3), [':path', '/a b']], 'ERR_HTTP_TARGET'],
    ['a space in the method', [[':method', 'GET /x'], ...PSEUDO.slice(1)], 'ERR_HTTP_METHOD'],
    ['CRLF in the authority', [...PSEUDO.slice(0, 2), [':authority', 'h\r\nx: y'], [':path', '/']], 'ERR_HTTP_HEADER_VALUE'],
    ['a second path', [...PSEUDO, [':path', '/other']], 'ERR_HTTP2_PSEUDO_HEADER'],
    ['an unknown pseudo-header', [...PSEUDO, [':x', 'a']], 'ERR_HTTP2_PSEUDO_HEADER'],
    ['a pseudo-header behind a header', [['x', 'a'], ...PSEUDO], 'ERR_HTTP2_PSEUDO_HEADER'],
    ['transfer-encoding', [...PSEUDO, ['transfer-encoding', 'chunked']], 'ERR_HTTP2_CONNECTION_HEADER'],
    ['connection', [...PSEUDO, ['connection', 'x-postern-principal']], 'ERR_HTTP2_CONNECTION_HEADER'],
    ['upgrade', [...PSEUDO, ['upgrade', 'h2c']], 'ERR_HTTP2_CONNECTION_HEADER'],
    ['two lengths', [...PSEUDO, ['content-length', '1'], ['content-length', '2']], 'ERR_HTTP_HEADER_REPEATED'],
    ['a length with a sign', [...PSEUDO, ['content-length', '+1']], 'ERR_HTTP_CONTENT_LENGTH'],
    ['a length, and no body', [...PSEUDO, ['content-length', '5']], 'ERR_HTTP2_CONTENT_LENGTH'],
  ]
  using caller = await openRawHttp2(sidecar.port, svid)
  let stream = 1
  for (const [what, fields, reason] of cases) {
    const before = (await sidecar.records()).length
    caller.write(headers(stream, literals(fields)))
    const found = await caller.frame(isReset(stream))
    assert.equal(found?.payload.readUInt32BE(), 1, what)
    const records = (await sidecar.records()).slice(before)
    assert.deepEqual([records.length, records[0]?.['reason']], [1, reason], what)
    stream += 2
  }
  assert.equal(served, 0, 'the app heard of none')

  // Bodies that are longer or shorter than was said are cut where that shows; the app sees no end of them.
  for (const [what, ...frames] of [
    ['more', data(stream, 6)],
    ['less', data(stream + 2, 4, true)],
  ] as const) {
    caller.write(headers(stream, literals([...PSEUDO, ['content-length', '5']]), false), ...frames)
    assert.equal((await caller.frame(isReset(stream)))?.payload.readUInt32BE(), 1, `${what} than content-length`)
    stream += 2
  }
  const lengths = (await sidecar.records()).slice(-2).map((record) => record['reason'])
  assert.deepEqual(lengths, ['ERR_HTTP2_CONTENT_LENGTH', 'ERR_HTTP2_CONTENT_LENGTH'])
  caller.write(headers(stream, literals(PSEUDO)))
  assert.ok(await caller.frame((found) => found.type === 'DATA' && found.stream === stream), 'the connection lives on')
})

test('23 · rapid reset, and resets that are provoked', async () => {
  let heard = 0
  await using app = await startH2cApp((stream, got) => {
    heard++
    if (got[':path'] === '/held') return
    answerWithLength(stream, got)
  }, PATIENT)
  await using sidecar = await runSidecar({ app: app.port, inbound: FORGIVING })
  const svid = await sidecar.mesh.issue('/ns/test/sa/flooder')
  using other = openSession(sidecar.port, await sidecar.mesh.issue('/ns/test/sa/caller'))
  const block = requestBlock('/held', [], 'POST')
  /** Opens streams, and does `each` to every one. */
  const flood = (each: (stream: number) => readonly Buffer[], endStream = true): Buffer =>
    Buffer.concat(
      Array.from({ length: 10_000 }, (_, index) => {
        const stream = 2 * index + 1
        return Buffer.concat([headers(stream, block, endStream), ...each(stream)])
      }),
    )
  const floods: readonly (readonly [string, Buffer])[] = [
    ['HEADERS and RST_STREAM', flood((stream) => [reset(stream)])],
    ['WINDOW_UPDATE of 0', flood((stream) => [windowUpdate(stream, 0)])],
    ['a window beyond 2^31 - 1', flood((stream) => [windowUpdate(stream, 0x7fff_ffff)])],
    ['DATA after END_STREAM', flood((stream) => [data(stream, 1)])],
    ['trailers without END_STREAM', flood((stream) => [headers(stream, literals([['a', 'b']]), false)], false)],
    [
      'a head that is malformed',
      Buffer.concat(Array.from({ length: 10_000 }, (_, index) => headers(2 * index + 1, literals([[':x', 'y']])))),
    ],
    ['more streams than allowed', flood(() => [], false)],
  ]
  for (const [what, bytes] of floods) {
    const before = heard
    using flooder = await openRawHttp2(sidecar.port, svid)
    flooder.socket.write(bytes)
    // Another caller is served meanwhile.
    const answers = await Promise.all(Array.from({ length: 20 }, () => ask(other, { ':path': '/' })))
    assert.ok(
      answers.every(({ headers: got }) => got[':status'] === 200),
      what,
    )
    assert.equal(await flooder.closed, CALM, what)
    assert.ok(heard - before < 1500, `${what}: the app heard of ${heard - before} of 10,000 streams`)
  }
  const records = (await sidecar.records()).filter((record) => record['reason'] === 'ERR_HTTP2_FLOOD')
  assert.ok(records.length >= floods.length)
})

test('24 · header blocks that never end', async () => {
  await using app = await startH2cApp(answerWithLength)
  await using sidecar = await runSidecar({ app: app.port, inbound: `${FORGIVING}      timeouts: { head: 1s }\n` })
  const svid = await sidecar.mesh.issue('/ns/test/sa/flooder')
  const begin = frame('HEADERS', 0, 1, requestBlock())
  const more = (bytes: number): Buffer => frame('CONTINUATION', 0, 1, Buffer.alloc(bytes))
  const cases: readonly (readonly [string, readonly Buffer[]])[] = [
    ['CONTINUATION without end', [begin, ...Array.from({ length: 1000 }, () => more(1000))]],
    ['empty CONTINUATION without end', [begin, ...Array.from({ length: 1000 }, () => more(0))]],
    ['more than the limit of bytes', [begin, ...Array.from({ length: 8 }, () => more(16_384))]],
  ]
  for (const [what, frames] of cases) {
    using flooder = await openRawHttp2(sidecar.port, svid)
    flooder.write(...frames)
    assert.equal(await flooder.closed, CALM, what)
  }
  // Begun and left: the head's deadline.
  using idler = await openRawHttp2(sidecar.port, svid)
  idler.write(begin)
  await idler.closed
  const reasons = (await sidecar.records()).map((record) => record['reason'])
  assert.equal(reasons.filter((reason) => reason === 'ERR_HTTP2_HEADER_FLOOD').length, cases.length)
  using other = openSession(sidecar.port, svid)
  assert.equal((await ask(other, { ':path': '/' })).headers[':status'], 200)
})

test('25 · blocks that are small to send and large to hold, cookie crumbs among them', async (t) => {
  await using app = await startH2cApp(answerWithLength)
  await using sidecar = await runSidecar({ app: app.port, inbound: FORGIVING })
  const svid = await sidecar.mesh.issue('/ns/test/sa/flooder')
  const insert = (name: string, bytes: number): Buffer =>
    Buffer.concat([Buffer.from([0x40]), hpackString(Buffer.from(name)), hpackString(Buffer.alloc(bytes, 'v'))])
  /** The newest entry of the dynamic table, many times over. */
  const bomb = (name: string, times: number): Buffer =>
    Buffer.concat([requestBlock(), insert(name, 3900), Buffer.concat(Array.from({ length: times }, () => hpackInteger(62, 7, 0x80)))])
  const before = process.memoryUsage().rss
  for (const name of ['x', 'cookie']) {
    using caller = await openRawHttp2(sidecar.port, svid)
    caller.write(headers(1, bomb(name, 20)))
    assert.ok(await caller.frame((found) => found.type === 'HEADERS' && found.stream === 1), 'answered')
    const record = (await sidecar.records()).at(-1)
    assert.deepEqual([record?.['status'], record?.['reason']], [431, 'ERR_HTTP_HEAD_TOO_LARGE'], `${name}: 80 KiB decoded`)
    // The table is as it should be: the next request may refer to it.
    caller.write(headers(3, Buffer.concat([requestBlock(), hpackInteger(62, 7, 0x80)])))
    assert.ok(await caller.frame((found) => found.type === 'DATA' && found.stream === 3), 'served')
    // 14 KB on the wire for 38 MiB of headers.
    const split = bomb(name, 10_000)
    caller.write(headers(5, split))
    await assertCalmed(sidecar, caller, `${name}: 38 MiB decoded`, 'ERR_HTTP2_HEADER_FLOOD')
  }
  // Each that is answered counts as twenty of what a flood is made of.
  using persistent = await openRawHttp2(sidecar.port, svid)
  const again = Buffer.concat([requestBlock(), Buffer.concat(Array.from({ length: 20 }, () => hpackInteger(62, 7, 0x80)))])
  persistent.write(headers(1, bomb('x', 20)), ...Array.from({ length: 200 }, (_, index) => headers(2 * index + 3, again)))
  await assertCalmed(sidecar, persistent, 'two hundred lists above the limit')
  const answered = persistent.frames.filter(({ type }) => type === 'HEADERS').length
  assert.ok(answered >= 50 && answered < 60, `${answered} were answered`)
  for (let round = 0; round < 20; round++) {
    using caller = await openRawHttp2(sidecar.port, svid)
    caller.write(headers(1, bomb('cookie', 10_000)))
    await caller.closed
  }
  const grown = (process.memoryUsage().rss - before) / MIB
  t.diagnostic(`22 bombs of 38 MiB: memory grew by ${grown.toFixed(0)} MiB`)
  assert.ok(grown < 100, `${grown} MiB`)
})

test('26 · floods of PING, SETTINGS, PRIORITY, empty frames, credits of one byte, and frames of no known kind', async () => {
  await using app = await startH2cApp(answerWithLength)
  await using sidecar = await runSidecar({ app: app.port, inbound: FORGIVING })
  const svid = await sidecar.mesh.issue('/ns/test/sa/flooder')
  using other = openSession(sidecar.port, await sidecar.mesh.issue('/ns/test/sa/caller'))
  const post = headers(1, requestBlock('/', [], 'POST'), false)
  const floods: readonly (readonly [string, Buffer, Buffer?])[] = [
    ['PING', ping()],
    ['SETTINGS', settings([4, 65_535])],
    ['SETTINGS that change windows', Buffer.concat([settings([4, 1]), settings([4, 65_535])])],
    ['acknowledgements of nothing', frame('SETTINGS', 1, 0)],
    ['PRIORITY', frame('PRIORITY', 0, 1, '0000000010')],
    ['empty DATA', data(1, 0), post],
    ['padding without data', paddedData(1, 0, 1), post],
    ['WINDOW_UPDATE of 1', windowUpdate(0, 1)],
    ['WINDOW_UPDATE of 1 on a stream', windowUpdate(1, 1), post],
    ['a frame of no known kind', frame(0x42, 0, 0, '00')],
    ['GOAWAY', goaway(0), post],
  ]
  for (const [what, one, first] of floods) {
    using flooder = await openRawHttp2(sidecar.port, svid)
    if (first !== undefined) flooder.write(first)
    flooder.socket.write(Buffer.concat(Array.from({ length: 5000 }, () => one)))
    assert.equal((await ask(other, { ':path': '/' })).headers[':status'], 200, what)
    await assertCalmed(sidecar, flooder, what)
  }
  // Acknowledgements that are not read are counted all the same.
  using deaf = await openRawHttp2(sidecar.port, svid)
  deaf.socket.pause()
  deaf.socket.write(Buffer.concat(Array.from({ length: 5000 }, () => ping())))
  await sidecar.record((record) => record['reason'] === 'ERR_HTTP2_FLOOD')
  assert.equal((await ask(other, { ':path': '/' })).headers[':status'], 200)
})

test('26 · answers that are asked for and never read', async (t) => {
  await using app = await startH2cApp(answerWithLength)
  const nowhere = openSync('/dev/null', 'w')
  await using sidecar = await startSidecarProcess({
    app: app.port,
    inbound: H2,
    policy: '- allow: { and: [http_path: /ok] }\n',
    stdout: nowhere,
  })
  closeSync(nowhere)
  const svid = await sidecar.mesh.issue('/ns/test/sa/caller')
  using other = openSession(sidecar.port, svid)
  using deaf = await openRawHttp2(sidecar.port, svid)
  deaf.socket.pause()
  const ASKED = 400_000
  const block = requestBlock('/no')
  deaf.socket.write(Buffer.concat(Array.from({ length: ASKED }, (_, index) => headers(2 * index + 1, block))))
  // Until no more is answered in the time that another caller takes for twenty requests.
  let refused = -1
  for (;;) {
    for (let index = 0; index < 20; index++) assert.equal((await ask(other, { ':path': '/ok' })).headers[':status'], 200)
    const now = await sidecar.metric('postern_requests_total', 'decision="deny"')
    if (now === refused && now > 0) break
    refused = now
  }
  t.diagnostic(`${refused} of ${ASKED} refusals were made for a caller that reads none; the rest waits in its own memory`)
  assert.ok(refused < ASKED, 'it is not read on without end')
})

/** `POSTERN_SESSIONS=10000` is the full run. */
const SESSIONS = Number(process.env['POSTERN_SESSIONS'] ?? 600)

test('27 · sessions that end badly and are never freed', async (t) => {
  await using app = await startH2cApp(answerWithLength)
  await using sidecar = await startSidecarProcess({ app: app.port, inbound: H2 })
  const svid = await sidecar.mesh.issue('/ns/test/sa/caller')
  const live = headers(1, requestBlock('/', [], 'POST'), false)
  const endings: readonly (readonly [string, readonly Buffer[]])[] = [
    ['a window beyond 2^31 - 1', [live, windowUpdate(0, 0x7fff_ffff)]],
    ['a window that SETTINGS make overflow', [live, windowUpdate(1, 0x7fff_0000), settings([4, 0x7fff_ffff])]],
    ['a frame after GOAWAY', [live, goaway(0), headers(3, requestBlock())]],
    ['HPACK that is broken', [live, headers(3, Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff, 0xff]))]],
    ['a frame of a length that is wrong', [live, frame('PING', 0, 0, '00')]],
    ['a stream of an even number', [live, headers(2, requestBlock())]],
    ['END_STREAM twice', [live, data(1, 1, true), data(1, 1, true)]],
    ['no more than a part of a frame', [live, data(1, 100).subarray(0, 50)]],
  ]
  async function endBadly(count: number): Promise<void> {
    for (let index = 0; index < count; index++) {
      const [, frames] = endings[index % endings.length]!
      using caller = await openRawHttp2(sidecar.port, svid)
      caller.write(...frames)
      // Half of them leave without waiting for what they deserve.
      if (index % 2 === 0) await caller.frame(({ type }) => type === 'GOAWAY' || type === 'RST_STREAM')
    }
  }
  const settled = async (): Promise<number> => {
    while ((await sidecar.metric('postern_connections')) > 0 || app.sessions.size > 0)
      await new Promise((resolve) => void setImmediate(resolve))
    return sidecar.residentBytes() / MIB
  }
  await endBadly(SESSIONS / 2)
  const before = await settled()
  await endBadly(SESSIONS / 2)
  const after = await settled()
  t.diagnostic(`${SESSIONS} sessions: ${before.toFixed(0)} MiB after half of them, ${after.toFixed(0)} MiB after all`)
  assert.ok(after - before < Math.max(25, SESSIONS / 400), `${before} → ${after} MiB`)
  using other = openSession(sidecar.port, svid)
  assert.equal((await ask(other, { ':path': '/' })).headers[':status'], 200)
})

test('28 · memory of a native HTTP/2 library', async () => {
  const root = join(import.meta.dirname, '..', '..')
  // What asks the sidecar's own app how it is never meets a caller's bytes.
  const users = globSync('src/{http,proxy,telemetry,wire}/**/*.ts', { cwd: root }).filter((file) =>
    /from 'node:http2'/.test(readFileSync(join(root, file), 'utf8')),
  )
  assert.deepEqual(users, ['src/proxy/app-probes.ts'], 'callers meet none: frames are read and written by code of our own')
  const { engines } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { engines: { node: string } }
  assert.match(engines.node, /^>=26/, 'what has TLS and sockets is a Node that is patched')

  // Its way in was to send while receiving: whoever makes us answer in the middle of what we read gets each answer, in order.
  await using app = await startH2cApp(answerWithLength)
  await using sidecar = await runSidecar({ app: app.port, inbound: H2 })
  using caller = await openRawHttp2(sidecar.port, await sidecar.mesh.issue('/ns/test/sa/caller'))
  const numbered = (index: number): string => index.toString(16).padStart(16, '0')
  const pieces = Array.from({ length: 100 }, (_, index) =>
    Buffer.concat([
      ping(numbered(index)),
      headers(4 * index + 1, requestBlock()),
      headers(4 * index + 3, requestBlock()),
      reset(4 * index + 3),
    ]),
  )
  caller.write(...pieces)
  assert.ok(await caller.frame(({ type, payload }) => type === 'PING' && payload.toString('hex') === numbered(99)))
  const answered = caller.frames.filter(({ type }) => type === 'PING').map(({ payload }) => payload.toString('hex'))
  assert.deepEqual(
    answered,
    pieces.map((_, index) => numbered(index)),
  )
  for (let index = 0; index < 100; index++)
    assert.ok(await caller.frame((found) => found.type === 'DATA' && found.stream === 4 * index + 1), `stream ${4 * index + 1}`)
})

test('29 · apps that attack: settings, GOAWAY, pushes, windows, blocks, floods', async () => {
  const status = (value: string): Buffer => literals([[':status', value]])
  const flood = (one: Buffer): Buffer => Buffer.concat(Array.from({ length: 5000 }, () => one))
  /** What the app does at the first request, and what the caller may get: a status, or the code of a reset. */
  const attacks: readonly (readonly [string, Buffer, readonly (number | string)[]])[] = [
    ['GOAWAY for all', goaway(0), ['reset 7']],
    ['GOAWAY, and no streams', Buffer.concat([goaway(0), settings([3, 0])]), ['reset 7']],
    ['a bad MAX_FRAME_SIZE', settings([5, 1]), [502]],
    ['a bad INITIAL_WINDOW_SIZE', settings([4, 0x8000_0000]), [502]],
    ['ENABLE_PUSH', settings([2, 1]), [502]],
    ['PUSH_PROMISE', frame('PUSH_PROMISE', END_HEADERS, 1, Buffer.concat([uint32(2), status('200')])), [502]],
    ['a window beyond 2^31 - 1', windowUpdate(0, 0x7fff_ffff), [502]],
    ['a frame larger than allowed', frame('DATA', 0, 1, Buffer.alloc(16_385)), [502]],
    ['DATA before a head', data(1, 1), [502, 'reset 1', 'reset 2']],
    ['HEADERS of a stream that nobody opened', headers(7, status('200')), [502]],
    ['HPACK that is broken', headers(1, Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff, 0xff])), [502]],
    ['a table that it was told to do without', headers(1, Buffer.concat([Buffer.from([0x3f, 0xe1, 0x1f]), status('200')])), [502]],
    ['a status that is none', headers(1, status('99')), [502, 'reset 2']],
    ['CONTINUATION without end', Buffer.concat([frame('HEADERS', 0, 1, status('200')), flood(frame('CONTINUATION', 0, 1))]), [502]],
    ['1xx without end', flood(headers(1, status('103'), false)), [502, 'reset 2']],
    ['PING without end', flood(ping()), [502]],
    ['SETTINGS without end', flood(settings([4, 65_535])), [502]],
    [
      'a body without end beyond the window',
      Buffer.concat([headers(1, status('200'), false), flood(data(1, 16_384)).subarray(0, 10 * MIB)]),
      [200],
    ],
    [
      'ORIGIN, ALTSVC and frames of no known kind',
      Buffer.concat([frame(0xc, 0, 0, '0001'), frame(0xa, 0, 0, '0001'), headers(1, status('204'))]),
      [204],
    ],
    ['a reset', reset(1, 2), [502, 'reset 2']],
    ['not HTTP/2', Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n'), [502]],
  ]
  for (const [what, bytes, expected] of attacks) {
    await using app = await startRawH2cApp((connection, found) => {
      if (found.type !== 'HEADERS') return
      // The others on this app have connections of their own.
      if (connection === app.connections[0]) connection.write(bytes)
      else connection.write(headers(found.stream, status('200'), false), data(found.stream, 2, true))
    })
    await using sidecar = await runSidecar({ app: app.port, inbound: H2 })
    const svid = await sidecar.mesh.issue('/ns/test/sa/caller')
    using victim = openSession(sidecar.port, svid)
    const answer = await ask(victim, { ':path': '/' })
    const got = answer.headers[':status'] ?? `reset ${answer.code}`
    assert.ok(
      (expected as readonly unknown[]).includes(got),
      `${what}: the caller got ${String(got)}${answer.code === 0 ? '' : ` and reset ${answer.code}`}`,
    )
    if (answer.headers[':status'] === 200) assert.notEqual(answer.code, 0, `${what}: it does not look complete`)
    using other = openSession(sidecar.port, svid)
    assert.equal((await ask(other, grpcHeaders('/s/M'), 'x')).headers[':status'], 200, `${what}: the next connection is served`)
  }
})
