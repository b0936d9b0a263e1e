import assert from 'node:assert/strict'
import type { Socket } from 'node:net'
import { test } from 'node:test'
import { startApp, startRawApp } from '../fakes/apps.ts'
import { call, createMtlsAgent, dial, readToEnd, readUntil, sendRaw } from '../support/mtls-client.ts'
import { runSidecar } from '../support/sidecar.ts'

const GET = 'GET /x HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n'

const ANSWERS: readonly (readonly [string, string, string])[] = [
  [
    'both a length and chunks',
    'HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
    'ERR_UPSTREAM_RESPONSE',
  ],
  ['two lengths', 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok', 'ERR_UPSTREAM_RESPONSE'],
  ['no status line', 'hello\r\n\r\n', 'ERR_UPSTREAM_RESPONSE'],
  ['a bare line feed', 'HTTP/1.1 200 OK\ncontent-length: 0\n\n', 'ERR_UPSTREAM_RESPONSE'],
  ['a folded header', 'HTTP/1.1 200 OK\r\na: b\r\n c\r\ncontent-length: 0\r\n\r\n', 'ERR_UPSTREAM_RESPONSE'],
  ['an end before any answer', '', 'ERR_UPSTREAM_CLOSED'],
  ['an end in the middle of the head', 'HTTP/1.1 200 OK\r\ncont', 'ERR_UPSTREAM_CLOSED'],
]

test('answers that are malformed, ambiguous or missing become 502, with the reason in the record', async () => {
  for (const [what, bytes, reason] of ANSWERS) {
    await using app = await startRawApp((socket) => void socket.end(bytes))
    await using sidecar = await runSidecar({ app: app.port })
    const answer = await sendRaw(sidecar.port, await sidecar.mesh.issue('/ns/test/sa/caller'), GET)
    assert.match(answer, /^HTTP\/1\.1 502 /, what)
    assert.doesNotMatch(answer, /ERR_|upstream/i, 'the caller learns nothing of why')
    assert.equal((await sidecar.record((record) => record['path'] === '/x'))['reason'], reason, what)
  }
})

test('a body that is cut reaches the caller as a cut, never as an end', async () => {
  for (const head of ['content-length: 100\r\n', 'transfer-encoding: chunked\r\n']) {
    await using app = await startRawApp(
      (socket) => void socket.end(`HTTP/1.1 200 OK\r\n${head}\r\n${head.includes('chunked') ? '5\r\nhello\r\n' : 'hello'}`),
    )
    await using sidecar = await runSidecar({ app: app.port })
    const answer = await sendRaw(sidecar.port, await sidecar.mesh.issue('/ns/test/sa/caller'), GET)
    assert.match(answer, /hello/)
    assert.doesNotMatch(answer, /\r\n0\r\n\r\n$/)
    assert.equal((await sidecar.record((record) => record['path'] === '/x'))['reason'], 'ERR_UPSTREAM_TRUNCATED')
  }
})

test('an app that is absent is 502', async () => {
  await using absent = await runSidecar({ app: 1 })
  using agent = createMtlsAgent(await absent.mesh.issue('/ns/test/sa/caller'))
  assert.equal((await call(absent.port, agent, '/')).status, 502)
  assert.equal((await absent.record(() => true))['reason'], 'ERR_UPSTREAM_UNREACHABLE')
})

test('bytes while no request is out, and a second answer, end that connection and are never given to anyone', async () => {
  const sockets: Socket[] = []
  let answers = 0
  await using app = await startRawApp(
    (socket, text) => {
      if (!text.endsWith('\r\n\r\n')) return
      answers++
      const one = `HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n${answers}`
      socket.write(answers === 1 ? `${one}HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison` : one)
    },
    (socket) => void sockets.push(socket),
  )
  await using sidecar = await runSidecar({ app: app.port })
  using agent = createMtlsAgent(await sidecar.mesh.issue('/ns/test/sa/caller'), { maxSockets: 1 })
  assert.equal((await call(sidecar.port, agent, '/')).body, '1')
  assert.equal((await call(sidecar.port, agent, '/')).body, '2', 'the poisoned connection was not used again')
  assert.equal(sockets.length, 2)
  const gone = new Promise((resolve) => void sockets[1]?.once('close', resolve))
  sockets[1]?.write('HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison')
  await gone
  assert.equal((await call(sidecar.port, agent, '/')).body, '3')
})

test('a connection that the app closed while idle costs a bodiless request nothing, and one with a body is not sent twice', async () => {
  let first: Socket | undefined
  await using app = await startRawApp((socket, text) => {
    if (!/\r\n\r\n/.test(text)) return
    if (first === undefined || first === socket) {
      if (first === undefined) socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok')
      else socket.destroy()
      first = socket
      return
    }
    socket.write('HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nnew')
  })
  await using sidecar = await runSidecar({ app: app.port })
  using agent = createMtlsAgent(await sidecar.mesh.issue('/ns/test/sa/caller'), { maxSockets: 1 })
  assert.equal((await call(sidecar.port, agent, '/')).body, 'ok')
  assert.equal((await call(sidecar.port, agent, '/')).body, 'new', 'retried once on a fresh connection')
  first = undefined
  assert.equal((await call(sidecar.port, agent, '/', { method: 'POST', body: 'a' })).status, 200)
  assert.equal((await call(sidecar.port, agent, '/', { method: 'POST', body: 'b' })).status, 502, 'not retried')
})

test('an early final answer is relayed, the upload stopped, both sides closed', async () => {
  await using app = await startRawApp((socket, text) => {
    if (text.endsWith('start')) socket.write('HTTP/1.1 413 Content Too Large\r\ncontent-length: 3\r\n\r\nbig')
  })
  await using sidecar = await runSidecar({ app: app.port })
  const socket = await dial(sidecar.port, await sidecar.mesh.issue('/ns/test/sa/caller'))
  socket.write('POST /up HTTP/1.1\r\nhost: h\r\ncontent-length: 1000000\r\n\r\nstart')
  const answer = await readToEnd(socket)
  assert.match(answer, /^HTTP\/1\.1 413 [^]*connection: close\r\n\r\nbig$/)
  const gone = app.connections[0]?.socket
  if (gone?.destroyed === false) await new Promise((resolve) => void gone.once('close', resolve))
})

test('the app may listen on a Unix socket', async () => {
  await using sidecar = await runSidecar({ app: 'unix:app.sock' })
  await using app = await startApp((_request, response) => void response.end('unix'), { path: `${sidecar.dir}/app.sock` })
  using agent = createMtlsAgent(await sidecar.mesh.issue('/ns/test/sa/caller'))
  assert.equal((await call(sidecar.port, agent, '/')).body, 'unix')
  assert.equal(app.received.length, 1)
})

test('a caller that reads slowly holds back the app, not the memory of the sidecar', async () => {
  let written = 0
  await using app = await startRawApp((socket, text) => {
    if (!text.endsWith('\r\n\r\n')) return
    socket.write('HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n')
    const block = Buffer.alloc(65_536)
    const write = (): void => {
      while (written < 1_000_000_000) {
        written += block.length
        if (!socket.write(block)) return void socket.once('drain', write)
      }
    }
    write()
  })
  await using sidecar = await runSidecar({ app: app.port })
  const slow = await dial(sidecar.port, await sidecar.mesh.issue('/ns/test/sa/slow'))
  slow.write('GET /big HTTP/1.1\r\nhost: h\r\n\r\n')
  await readUntil(slow, '\r\n\r\n')
  slow.pause()
  let before = -1
  while (before !== written) {
    before = written
    // The app has no other way to tell that it is held back than that nothing more was taken for a while.
    await new Promise((resolve) => setTimeout(resolve, 300))
  }
  assert.ok(written < 64 * 1024 * 1024, `the app could write ${written >> 20} MiB before it was held back`)
  slow.destroy()
})
