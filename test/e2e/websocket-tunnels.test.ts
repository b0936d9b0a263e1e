import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import { WebSocket, WebSocketServer } from 'ws'
import { startRawApp } from '../fakes/apps.ts'
import { dial, readToEnd, readUntil, sendRaw } from '../support/mtls-client.ts'
import { runSidecar } from '../support/sidecar.ts'

const UPGRADE =
  'GET /ws HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n'

async function startEcho(): Promise<{ port: number } & AsyncDisposable> {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' })
  server.on('connection', (socket) => socket.on('message', (data, binary) => socket.send(data, { binary })))
  await new Promise((resolve) => void server.once('listening', resolve))
  const address = server.address()
  return {
    port: typeof address === 'object' && address !== null ? address.port : 0,
    async [Symbol.asyncDispose]() {
      for (const client of server.clients) client.terminate()
      await new Promise((resolve) => void server.close(resolve))
    },
  }
}

test('an ordinary WebSocket client and server talk through the sidecar, large messages included', async () => {
  await using echo = await startEcho()
  await using sidecar = await runSidecar({ app: echo.port })
  const svid = await sidecar.mesh.issue('/ns/test/sa/caller')
  const socket = new WebSocket(`wss://127.0.0.1:${sidecar.port}/chat`, {
    cert: svid.certificatePem,
    key: svid.keyPem,
    rejectUnauthorized: false,
  })
  await new Promise((resolve) => void socket.once('open', resolve))
  for (const message of [Buffer.from('hello'), Buffer.alloc(5_000_000, 7)]) {
    const echoed = new Promise<Buffer>((resolve) => void socket.once('message', resolve))
    socket.send(message)
    assert.deepEqual(
      createHash('sha256')
        .update(await echoed)
        .digest('hex'),
      createHash('sha256').update(message).digest('hex'),
    )
  }
  socket.close()
  await new Promise((resolve) => void socket.once('close', resolve))
  const record = await sidecar.record((entry) => entry['status'] === 101)
  assert.equal(record['decision'], 'allow')
  assert.ok(Number(record['bytes_in']) > 5_000_000)
})

test('one side of a tunnel may close while the other goes on', async () => {
  await using app = await startRawApp(
    (socket, text) => {
      if (text.endsWith('\r\n\r\n'))
        socket.write('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nwelcome')
    },
    (socket) => {
      socket.removeAllListeners('end')
      socket.on('end', () => socket.end('after your end'))
    },
  )
  await using sidecar = await runSidecar({ app: app.port })
  const socket = await dial(sidecar.port, await sidecar.mesh.issue('/ns/test/sa/caller'))
  socket.write(UPGRADE)
  await readUntil(socket, 'welcome')
  const rest = readToEnd(socket)
  socket.end('bye')
  assert.equal(await rest, 'after your end')
  assert.match(app.connections[0]?.text ?? '', /bye$/)
})

test('other upgrades are stripped, and bytes sent behind an upgrade before its answer reach nobody', async () => {
  await using app = await startRawApp((socket, text) => {
    if (text.startsWith('GET /ws')) socket.write('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n')
    else if (text.endsWith('\r\n\r\n')) socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok')
  })
  await using sidecar = await runSidecar({ app: app.port })
  const svid = await sidecar.mesh.issue('/ns/test/sa/caller')
  const plain = await sendRaw(
    sidecar.port,
    svid,
    'GET /plain HTTP/1.1\r\nhost: h\r\nconnection: upgrade, http2-settings, close\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n',
  )
  assert.match(plain, /^HTTP\/1\.1 200 OK/)
  assert.doesNotMatch(app.connections[0]?.text ?? '', /upgrade|http2-settings/i)

  const early = await sendRaw(sidecar.port, svid, `${UPGRADE}GET /admin HTTP/1.1\r\nhost: h\r\n\r\n`)
  assert.match(early, /^HTTP\/1\.1 400 /)
  assert.equal((await sidecar.record((record) => record['reason'] === 'ERR_UPGRADE_EARLY_DATA'))['status'], 400)
  assert.ok(app.connections.every(({ text }) => !text.includes('/admin')))
})

test('CONNECT and the HTTP/2 preface are refused, and an answer 101 that nobody asked for is a bad answer', async () => {
  await using app = await startRawApp((socket, text) => {
    if (text.endsWith('\r\n\r\n')) socket.write('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n')
  })
  await using sidecar = await runSidecar({ app: app.port })
  const svid = await sidecar.mesh.issue('/ns/test/sa/caller')
  for (const bytes of ['CONNECT h:443 HTTP/1.1\r\nhost: h:443\r\n\r\n', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n']) {
    assert.match(await sendRaw(sidecar.port, svid, bytes), /^HTTP\/1\.1 (400|501|505) /)
  }
  assert.equal(app.connections.length, 0)
  assert.match(await sendRaw(sidecar.port, svid, 'GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n'), /^HTTP\/1\.1 502 /)
  const record = await sidecar.record((entry) => entry['reason'] === 'ERR_UPGRADE_UNASKED')
  assert.equal(record['decision'], 'allow', 'it was policy’s decision; the reason says what became of it')
})

test('a tunnel and a streaming download are cut within two seconds of the policy that no longer allows them, and recorded', async () => {
  await using app = await startRawApp((socket, text) => {
    if (text.startsWith('GET /ws'))
      socket.write('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nwelcome')
    else if (text.endsWith('\r\n\r\n')) socket.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n')
  })
  await using sidecar = await runSidecar({ app: app.port })
  const svid = await sidecar.mesh.issue('/ns/test/sa/caller')
  const tunnel = await dial(sidecar.port, svid)
  tunnel.write(UPGRADE)
  await readUntil(tunnel, 'welcome')
  const download = await dial(sidecar.port, svid)
  download.write('GET /stream HTTP/1.1\r\nhost: h\r\n\r\n')
  await readUntil(download, 'first')
  const other = await dial(sidecar.port, svid)
  other.write('GET /kept HTTP/1.1\r\nhost: h\r\n\r\n')
  await readUntil(other, 'first')

  const closed = Promise.all([readToEnd(tunnel), readToEnd(download)])
  const changedAt = performance.now()
  await sidecar.setPolicy('- allow: { and: [http_path: /kept] }\n')
  await closed
  assert.ok(performance.now() - changedAt < 2000, 'both are cut within 2 s of the edit')
  for (const path of ['/ws', '/stream']) {
    const record = await sidecar.record((entry) => entry['path'] === path)
    assert.deepEqual([record['decision'], record['reason']], ['deny', 'ERR_POLICY_NO_ALLOW'])
  }
  assert.equal(other.destroyed, false, 'what is still allowed goes on')
  other.destroy()
})
