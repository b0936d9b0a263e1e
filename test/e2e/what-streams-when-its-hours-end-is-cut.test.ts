import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Clock, systemClock } from '#base/clock'
import { startRawApp } from '../fakes/apps.ts'
import { createTestMesh } from '../support/authority.ts'
import { dial, readToEnd, readUntil, sendRaw } from '../support/mtls-client.ts'
import { runSidecar } from '../support/sidecar.ts'

const HOUR = 3_600_000
const DAY = 24 * HOUR

/** The real time, until it is moved on. */
function movableClock(): Clock & { advance(ms: number): void } {
  let offset = 0
  return {
    now: () => systemClock.now() + offset,
    monotonic: () => systemClock.monotonic(),
    advance(ms) {
      offset += ms
    },
  }
}

/** `H:MM` in UTC. */
const timeOfDay = (at: number): string => `${new Date(at).getUTCHours()}:${String(new Date(at).getUTCMinutes()).padStart(2, '0')}`

const UPGRADE =
  'GET /ws HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n'

test('a download, a tunnel and an upload are cut on the tick after their window has ended; what is allowed without one goes on', async () => {
  const clock = movableClock()
  const now = clock.now()
  const [from, until] = [timeOfDay(now - 2 * HOUR), timeOfDay(now + 2 * HOUR)]
  const end = new Date(now + 2 * HOUR).toISOString()
  const mesh = await createTestMesh()
  await using app = await startRawApp((socket, text) => {
    if (text.startsWith('GET /ws'))
      socket.write('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nwelcome')
    else if (text.startsWith('GET ') && text.endsWith('\r\n\r\n'))
      socket.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n')
  })
  await using sidecar = await runSidecar({
    mesh,
    app: app.port,
    clock,
    svid: await mesh.issue('/ns/test/sa/service', { ttl: DAY }),
    policy: `
- allow: { and: [http_path: /hours, time_of_day: { timezone: UTC, after: "${from}", before: "${until}" }] }
- allow: { and: [http_path: /date, date: { before: "${end}" }] }
- allow: { and: [http_path: { in: [/ws, /upload] }, date: { before: "${end}" }] }
- allow: { and: [http_path: { in: [/always, /until-denied] }] }
- deny: { and: [http_path: /until-denied, date: { after: "${end}" }] }
`,
  })
  const svid = await mesh.issue('/ns/test/sa/caller', { ttl: DAY })
  const open = async (bytes: string, mark: string): Promise<ReturnType<typeof dial>> => {
    const socket = await dial(sidecar.port, svid)
    socket.write(bytes)
    if (mark !== '') await readUntil(socket, mark)
    return socket
  }
  const get = (path: string): string => `GET ${path} HTTP/1.1\r\nhost: h\r\n\r\n`
  const ending = await Promise.all([
    open(get('/hours'), 'first'),
    open(get('/date'), 'first'),
    open(get('/until-denied'), 'first'),
    open(UPGRADE, 'welcome'),
  ])
  const upload = await open('POST /upload HTTP/1.1\r\nhost: h\r\ncontent-length: 100\r\n\r\nsome', '')
  const always = await open(get('/always'), 'first')
  while (!app.connections.some(({ text }) => text.endsWith('some'))) await new Promise((resolve) => void setImmediate(resolve))
  assert.equal(sidecar.sidecar.registry.size, 6)

  const rests = Promise.all(ending.map(readToEnd))
  const refusal = readUntil(upload, '"request_id"')
  clock.advance(3 * HOUR)
  assert.deepEqual(await rests, ['', '', '', ''], 'cut: no last chunk, no further byte')
  assert.match(await refusal, /^HTTP\/1\.1 403 /, 'what was not answered yet is refused')
  assert.deepEqual(
    (await sidecar.records())
      .map((record) => `${String(record['path'])} ${String(record['decision'])} ${String(record['reason'])}`)
      .toSorted(),
    [
      '/date deny ERR_POLICY_NO_ALLOW',
      '/hours deny ERR_POLICY_NO_ALLOW',
      '/until-denied deny ERR_POLICY_DENIED',
      '/upload deny ERR_POLICY_NO_ALLOW',
      '/ws deny ERR_POLICY_NO_ALLOW',
    ],
  )
  assert.equal(always.destroyed, false)
  for (const socket of [always, upload]) socket.destroy()
  assert.match(await sendRaw(sidecar.port, svid, get('/hours').replace('\r\n\r\n', '\r\nconnection: close\r\n\r\n')), /^HTTP\/1\.1 403 /)
})

test('a window that begins while a connection lives lets its next request in', async () => {
  const clock = movableClock()
  const mesh = await createTestMesh()
  await using app = await startRawApp((socket, text) => {
    if (text.endsWith('\r\n\r\n')) socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok')
  })
  await using sidecar = await runSidecar({
    mesh,
    app: app.port,
    clock,
    svid: await mesh.issue('/ns/test/sa/service', { ttl: DAY }),
    policy: `allow: { and: [date: { after: "${new Date(clock.now() + HOUR).toISOString()}" }] }\n`,
    inbound: '      timeouts: { idle: 1d }\n',
  })
  const socket = await dial(sidecar.port, await mesh.issue('/ns/test/sa/caller', { ttl: DAY }))
  socket.write('GET / HTTP/1.1\r\nhost: h\r\n\r\n')
  assert.match(await readUntil(socket, '"request_id"'), /^HTTP\/1\.1 403 /)
  clock.advance(2 * HOUR)
  socket.write('GET / HTTP/1.1\r\nhost: h\r\n\r\n')
  assert.match(await readUntil(socket, '\r\n\r\nok'), /HTTP\/1\.1 200 /)
  socket.destroy()
})
