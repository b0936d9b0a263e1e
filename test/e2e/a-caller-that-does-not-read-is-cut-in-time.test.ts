/** What waits for a caller is bounded in memory by back-pressure, and in time here: it may not hold the app, a stream or a connection for good. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { startRawApp } from '../fakes/apps.ts'
import { answerWithLength, startH2cApp } from '../fakes/h2c-app.ts'
import { ask, openRawHttp2, openSession, requestBlock } from '../support/http2-client.ts'
import { headers, settings, windowUpdate } from '../support/http2-frames.ts'
import { dial, readUntil } from '../support/mtls-client.ts'
import { runSidecar } from '../support/sidecar.ts'

const MIB = 1024 * 1024
/** Looked at once a second, so that what is said of `idle` is right to a second. */
const TIMEOUTS = '      timeouts: { idle: 1s }\n'

test('over HTTP/1.1 who stops reading is cut, the app with it; who reads slowly gets all of it', async () => {
  await using app = await startRawApp((socket, text) => {
    if (!text.endsWith('\r\n\r\n')) return
    socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${20 * MIB}\r\n\r\n`)
    socket.write(Buffer.alloc(20 * MIB))
  })
  await using sidecar = await runSidecar({ app: app.port, inbound: TIMEOUTS })
  const svid = await sidecar.mesh.issue('/ns/test/sa/caller')

  const deaf = await dial(sidecar.port, svid)
  deaf.write('GET /deaf HTTP/1.1\r\nhost: h\r\n\r\n')
  await readUntil(deaf, '\r\n\r\n')
  deaf.pause()
  const slow = await dial(sidecar.port, svid)
  slow.write('GET /slow HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n')
  let read = ''
  slow.setEncoding('latin1').on('data', (chunk: string) => {
    read += chunk
    slow.pause()
    setTimeout(() => slow.resume(), 2)
  })
  const ended = once(slow, 'end')

  const record = await sidecar.record(({ path }) => path === '/deaf')
  assert.deepEqual([record['reason'], record['status']], ['ERR_DOWNSTREAM_STALLED', 200])
  assert.ok(Number(record['bytes_out']) < 20 * MIB)
  const { socket } = app.connections[0]!
  if (!socket.destroyed) await once(socket, 'close')
  // What was on its way comes still, then the cut.
  let heard = 0
  deaf.on('data', (chunk: Buffer) => void (heard += chunk.length)).resume()
  await once(deaf, 'end')
  assert.ok(heard < 20 * MIB)
  deaf.destroy()

  await ended
  slow.end()
  assert.equal(read.length - read.indexOf('\r\n\r\n') - 4, 20 * MIB)
  assert.equal((await sidecar.record(({ path }) => path === '/slow'))['reason'], undefined)
})

test('over HTTP/2 a stream whose caller gives no leave to send is cut alone; gRPC may be slow', async () => {
  await using app = await startH2cApp((stream, got) => {
    if (got[':path'] !== '/big') return answerWithLength(stream, got)
    stream.respond({ ':status': 200 })
    stream.end(Buffer.alloc(MIB))
  })
  await using sidecar = await runSidecar({ app: app.port, inbound: `      protocol: http2\n${TIMEOUTS}` })
  using caller = await openRawHttp2(sidecar.port, await sidecar.mesh.issue('/ns/test/sa/caller'))
  const grpc = [
    ['content-type', 'application/grpc'],
    ['te', 'trailers'],
  ] as const
  caller.write(windowUpdate(0, 100 * MIB), headers(1, requestBlock('/big')), headers(3, requestBlock('/big', grpc, 'POST')))
  let stream = 5
  let cut: number | undefined
  void caller
    .frame((found) => found.type === 'RST_STREAM' && found.stream === 1)
    .then((found) => {
      cut = found?.payload.readUInt32BE()
    })
  // Others go on, beside it and behind it; and it, too, for as long as it takes a little.
  const begun = performance.now()
  while (performance.now() - begun < 2500) {
    caller.write(windowUpdate(1, 100), headers(stream, requestBlock('/')))
    assert.ok(await caller.frame((found) => found.type === 'DATA' && found.stream === stream))
    stream += 2
    await pause(50)
  }
  assert.equal(cut, undefined, 'a hundred bytes twenty times a second are enough')
  while (cut === undefined) {
    caller.write(headers(stream, requestBlock('/')))
    assert.ok(await caller.frame((found) => found.type === 'DATA' && found.stream === stream))
    stream += 2
    await pause(50)
  }
  assert.equal(cut, 8, 'CANCEL')
  const record = await sidecar.record(({ reason }) => reason === 'ERR_DOWNSTREAM_STALLED')
  assert.deepEqual([record['path'], record['status']], ['/big', 200])
  assert.equal(
    caller.frames.some((found) => found.type === 'RST_STREAM' && found.stream === 3),
    false,
  )
})

test('over HTTP/2 a connection whose caller does not read it is cut, gRPC or not', async () => {
  await using app = await startH2cApp((stream, got) => {
    if (got[':path'] !== '/big') return answerWithLength(stream, got)
    stream.respond({ ':status': 200 })
    stream.on('error', () => {})
    stream.end(Buffer.alloc(40 * MIB))
  })
  await using sidecar = await runSidecar({ app: app.port, inbound: `      protocol: http2\n${TIMEOUTS}` })
  const svid = await sidecar.mesh.issue('/ns/test/sa/caller')
  using deaf = await openRawHttp2(sidecar.port, svid, settings([4, 100 * MIB]))
  deaf.write(windowUpdate(0, 100 * MIB), headers(1, requestBlock('/big', [['content-type', 'application/grpc']], 'POST')))
  await deaf.frame(({ type }) => type === 'DATA')
  deaf.socket.pause()
  const record = await sidecar.record(({ path }) => path === '/big')
  assert.deepEqual([record['reason'], record['status']], ['ERR_DOWNSTREAM_STALLED', 200])
  using other = openSession(sidecar.port, svid)
  assert.equal((await ask(other, { ':path': '/' })).headers[':status'], 200)
  deaf.socket.resume()
  await deaf.closed
})
