/** Callers that hold, fill or exhaust (docs/security-tests.md). Memory is that of this process, app and callers included. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { test } from 'node:test'
import { startApp, startRawApp } from '../fakes/apps.ts'
import { call, createMtlsAgent, dial, readToEnd, sendRaw } from '../support/mtls-client.ts'
import { hasProgram, temporaryFolder } from '../support/openssl.ts'
import { writeSvid } from '../support/authority.ts'
import { get } from '../support/probe.ts'
import { runSidecar } from '../support/sidecar.ts'
import { startSidecarProcess } from '../support/sidecar-process.ts'

const MIB = 1024 * 1024

test('30 · slow heads, slow bodies, silence, handshakes that are not ended', async () => {
  await using app = await startRawApp(() => {})
  await using sidecar = await runSidecar({ app: app.port, inbound: '      timeouts: { head: 1s, idle: 1s, handshake: 1s }\n' })
  const svid = await sidecar.mesh.issue('/ns/test/sa/caller')
  const [head, body, silent] = await Promise.all([dial(sidecar.port, svid), dial(sidecar.port, svid), dial(sidecar.port, svid)])
  const mute = connect(sidecar.port, '127.0.0.1')
  mute.on('error', () => {}).resume()
  const muteGone = new Promise((resolve) => void mute.once('close', resolve))
  const answers = Promise.all([head, body, silent].map(readToEnd))

  // A byte now and then does not help: what counts is the whole head.
  head.write('GET / HTTP/1.1\r\nx: ')
  const drip = setInterval(() => head.write('y'), 200)
  body.write('POST /body HTTP/1.1\r\nhost: h\r\ncontent-length: 10\r\n\r\nhalf')
  const [ofHead, ofBody, ofSilence] = await answers
  clearInterval(drip)
  await muteGone
  assert.match(ofHead ?? '', /^HTTP\/1\.1 408 [^]*\r\nconnection: close\r\n/)
  assert.match(ofBody ?? '', /^HTTP\/1\.1 408 [^]*\r\nconnection: close\r\n/, 'nobody knows when the rest would come')
  assert.equal(ofSilence, '')
  const reasons = (await sidecar.records()).map((record) => String(record['reason']))
  assert.deepEqual(reasons.toSorted(), ['ERR_BODY_TIMEOUT', 'ERR_HEAD_TIMEOUT', 'ERR_TLS_HANDSHAKE_TIMEOUT'])
  assert.ok(
    app.connections.every(({ text }) => !text.startsWith('GET')),
    'no head, no request',
  )
})

test('31 · exhaustion of connections', async () => {
  await using app = await startApp()
  await using sidecar = await runSidecar({
    app: app.port,
    inbound: '      limits: { connections: 20, handshakes: 4 }\n      timeouts: { handshake: 1m }\n',
  })
  const svid = await sidecar.mesh.issue('/ns/test/sa/caller')
  const mute: Socket[] = []
  const closed = Array.from({ length: 60 }, () => {
    const socket = connect(sidecar.port, '127.0.0.1')
    socket.on('error', () => {}).resume()
    mute.push(socket)
    return new Promise<void>((resolve) => void socket.once('close', () => resolve()))
  })
  const refused = async (): Promise<number> =>
    (await sidecar.records()).filter((record) => record['reason'] === 'ERR_LIMIT_CONNECTIONS').length
  // Twenty are kept, whether they wait for their handshake or are in it; the others are closed at once.
  while ((await refused()) < 40) await new Promise((resolve) => void setImmediate(resolve))
  assert.equal(await refused(), 40)
  const gone = Promise.all(closed)
  for (const socket of mute) socket.destroy()
  await gone
  // Who leaves without a handshake makes room at once, not at the deadline, which would be in a minute.
  let answer = ''
  while (answer === '') answer = await sendRaw(sidecar.port, svid, get('/')).catch(() => '')
  assert.match(answer, /^HTTP\/1\.1 200 /)

  // A protocol that is not spoken here ends in the handshake and holds nothing.
  for (let index = 0; index < 30; index++) await assert.rejects(dial(sidecar.port, svid, { ALPNProtocols: ['h2'] }))
  assert.match(await sendRaw(sidecar.port, svid, get('/')), /^HTTP\/1\.1 200 /)
  const alpn = (await sidecar.records()).filter((record) => record['reason'] === 'ERR_TLS_ALPN')
  assert.equal(alpn.length, 30)
})

test('32 · small chunks and pipelined requests to a reader that does not read', async (t) => {
  const ANSWER = Buffer.alloc(64 * 1024, 'x')
  await using app = await startRawApp((socket, text) => {
    if (text.includes('/chunks')) return
    const seen = text.split('\r\n\r\n').length - 1
    for (let count = answered.get(socket) ?? 0; count < seen; count++) {
      answered.set(socket, count + 1)
      socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${ANSWER.length}\r\n\r\n`)
      socket.write(ANSWER)
    }
  })
  const answered = new Map<Socket, number>()
  await using sidecar = await runSidecar({ app: app.port })
  const svid = await sidecar.mesh.issue('/ns/test/sa/caller')

  // 2,000 pipelined requests would be 128 MiB of answers; who reads none of them gets no more made.
  const greedy = await dial(sidecar.port, svid)
  greedy.pause()
  greedy.write('GET /p HTTP/1.1\r\nhost: h\r\n\r\n'.repeat(2000))
  using agent = createMtlsAgent(svid)
  // Another caller is served meanwhile; by its hundredth answer the greedy one’s have come to rest.
  for (let index = 0; index < 100; index++) assert.equal((await call(sidecar.port, agent, '/other')).status, 200)
  const made = answered.get(app.connections[0]?.socket as Socket) ?? 0
  assert.ok(made < 500, `${made} of 2,000 answers were made`)
  greedy.destroy()

  const dribble = await dial(sidecar.port, svid)
  dribble.write('POST /chunks HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n')
  const before = process.memoryUsage().rss
  const chunks = '1\r\nx\r\n'.repeat(10_000)
  for (let index = 0; index < 20; index++) {
    if (!dribble.write(chunks)) await new Promise((resolve) => void dribble.once('drain', resolve))
  }
  const grown = (process.memoryUsage().rss - before) / MIB
  t.diagnostic(`200,000 chunks of one byte: memory grew by ${grown.toFixed(0)} MiB; ${made} pipelined answers were made`)
  assert.ok(grown < 150, `${grown} MiB`)
  dribble.destroy()

  for (const extension of [`;a=${'x'.repeat(2000)}`, `;${'a;'.repeat(1000)}`]) {
    const answer = await sendRaw(
      sidecar.port,
      svid,
      `POST /chunks HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n1${extension}\r\nx\r\n0\r\n\r\n`,
    )
    assert.match(answer, /^HTTP\/1\.1 400 /)
  }
  assert.equal((await sidecar.records()).filter((record) => record['reason'] === 'ERR_HTTP_CHUNK').length, 2)
})

test('32 · pipelined requests that are refused, to a reader that does not read', async (t) => {
  await using app = await startApp()
  const nowhere = openSync('/dev/null', 'w')
  await using sidecar = await startSidecarProcess({ app: app.port, policy: '- allow: { and: [http_path: /ok] }\n', stdout: nowhere })
  closeSync(nowhere)
  const svid = await sidecar.mesh.issue('/ns/test/sa/caller')
  const deaf = await dial(sidecar.port, svid)
  deaf.pause()
  const ASKED = 100_000
  deaf.write('GET /no HTTP/1.1\r\nhost: h\r\n\r\n'.repeat(ASKED))
  using agent = createMtlsAgent(svid)
  // Until no more is answered in the time that another caller takes for twenty requests.
  let refused = -1
  for (;;) {
    for (let index = 0; index < 20; index++) assert.equal((await call(sidecar.port, agent, '/ok')).status, 200)
    const now = await sidecar.metric('postern_requests_total', 'decision="deny"')
    if (now === refused && now > 0) break
    refused = now
  }
  t.diagnostic(`${refused} of ${ASKED} refusals were made for a caller that reads none`)
  assert.ok(refused < ASKED / 2, `${refused}: it is not read on without end`)
  // Once it reads, all are answered.
  const last = 'GET /ok HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n'
  deaf.write(last)
  let statuses = 0
  let tail = ''
  deaf.setEncoding('latin1').on('data', (chunk: string) => {
    const text = tail + chunk
    statuses += text.split('HTTP/1.1 403 ').length - 1
    tail = text.slice(-'HTTP/1.1 403'.length)
  })
  deaf.resume()
  await once(deaf, 'end')
  deaf.destroy()
  assert.equal(statuses, ASKED)
})

test('33 · memory of large heads', async () => {
  await using app = await startApp()
  await using sidecar = await runSidecar({ app: app.port })
  const svid = await sidecar.mesh.issue('/ns/test/sa/caller')
  const KIB = 1024
  const edge = (bytes: number): string => {
    const [start, end] = ['GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\nx: ', '\r\n\r\n']
    return start + 'x'.repeat(bytes - start.length - end.length) + end
  }
  const cases: readonly (readonly [string, string, number, string])[] = [
    ['a head of one byte more than 64 KiB', edge(64 * KIB + 1), 431, 'ERR_HTTP_HEAD_TOO_LARGE'],
    ['a head without an end', `GET / HTTP/1.1\r\nhost: h\r\nx: ${'x'.repeat(65 * KIB)}`, 431, 'ERR_HTTP_HEAD_TOO_LARGE'],
    ['a target without an end', `GET /${'x'.repeat(65 * KIB)}`, 414, 'ERR_HTTP_TARGET_TOO_LONG'],
    ['101 headers', `GET / HTTP/1.1\r\nhost: h\r\n${'a: b\r\n'.repeat(100)}\r\n`, 431, 'ERR_HTTP_TOO_MANY_HEADERS'],
    [
      'trailers without an end',
      `POST / HTTP/1.1\r\nhost: h\r\n${CHUNKED}\r\n\r\n0\r\nx: ${'x'.repeat(66 * KIB)}`,
      431,
      'ERR_HTTP_HEAD_TOO_LARGE',
    ],
    [
      '101 trailers',
      `POST / HTTP/1.1\r\nhost: h\r\n${CHUNKED}\r\n\r\n0\r\n${'a: b\r\n'.repeat(101)}\r\n`,
      431,
      'ERR_HTTP_TOO_MANY_HEADERS',
    ],
  ]
  for (const [what, bytes, status, reason] of cases) {
    const before = (await sidecar.records()).length
    assert.match(await sendRaw(sidecar.port, svid, bytes), new RegExp(`^HTTP/1\\.1 ${status} `), what)
    assert.deepEqual(
      (await sidecar.records()).slice(before).map((record) => record['reason']),
      [reason],
      what,
    )
  }
  assert.match(
    await sendRaw(sidecar.port, svid, `GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n${'a: b\r\n'.repeat(98)}\r\n`),
    /^HTTP\/1\.1 200 /,
  )
})

const CHUNKED = 'transfer-encoding: chunked'

test(
  '58 · floods of messages after the handshake',
  { skip: !hasProgram('openssl', 'version') && 'there is no openssl command' },
  async (t) => {
    await using app = await startApp()
    await using sidecar = await runSidecar({ app: app.port, inbound: '      timeouts: { idle: 1s }\n' })
    const { certificate, key } = writeSvid(temporaryFolder(t), await sidecar.mesh.issue('/ns/test/sa/flooder'))
    const flooder = spawn('openssl', [
      's_client',
      '-connect',
      `127.0.0.1:${sidecar.port}`,
      '-tls1_3',
      '-cert',
      certificate,
      '-key',
      key,
      '-cert_chain',
      certificate,
    ])
    const ended = new Promise((resolve) => void flooder.once('close', resolve))
    flooder.stdin.on('error', () => {})
    flooder.stdout.resume()
    let updates = 0
    flooder.stderr.on('data', (text: Buffer) => {
      updates += text.toString().split('KEYUPDATE').length - 1
    })
    // For an input that begins with K, s_client sends a KeyUpdate and asks for ours.
    const flood = setInterval(() => flooder.stdin.write('K\n'), 1)
    using agent = createMtlsAgent(await sidecar.mesh.issue('/ns/test/sa/caller'))
    for (let index = 0; index < 100; index++) assert.equal((await call(sidecar.port, agent, '/')).status, 200)
    // They are no bytes of a request: the connection counts as silent, and is closed in the middle of the flood.
    await ended
    clearInterval(flood)
    t.diagnostic(`${updates} key updates until the connection was closed`)
    assert.ok(updates > 10)
    assert.equal(app.received.length, 100)
  },
)
