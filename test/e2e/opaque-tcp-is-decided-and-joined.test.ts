import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { test } from 'node:test'
import { startRawApp } from '../fakes/apps.ts'
import { createTestMesh } from '../support/authority.ts'
import { dial, readToEnd, readUntil } from '../support/mtls-client.ts'
import { runSidecar } from '../support/sidecar.ts'

const TCP = '      protocol: tcp\n'

test('a server-first protocol works through both sidecars, and one side may end before the other', async () => {
  const mesh = await createTestMesh()
  await using app = await startRawApp(
    () => {},
    (socket) => {
      socket.removeAllListeners('end')
      socket.write('+OK ready\r\n')
      socket.on('end', () => socket.end('goodbye'))
    },
  )
  await using server = await runSidecar({ mesh, app: app.port, path: '/ns/shop/sa/db', inbound: TCP })
  await using client = await runSidecar({
    mesh,
    outbound: `    - listen: 127.0.0.1:0\n      to: 127.0.0.1:${server.port}\n      peer: spiffe://example.org/ns/shop/sa/db\n      protocol: tcp\n`,
  })
  const socket = connect({ port: client.outboundPort, host: '127.0.0.1', allowHalfOpen: true })
  let text = ''
  socket.on('data', (chunk) => {
    text += chunk.toString()
  })
  await once(socket, 'data')
  socket.end('QUIT\r\n')
  await once(socket, 'close')
  assert.equal(text, '+OK ready\r\ngoodbye')
  assert.equal(app.connections[0]?.text, 'QUIT\r\n')
  const record = await server.record((entry) => entry['protocol'] === 'tcp')
  assert.deepEqual([record['decision'], record['bytes_in'], record['bytes_out']], ['allow', 6, 18])
  assert.equal((await client.record((entry) => entry['direction'] === 'outbound'))['protocol'], 'tcp')
})

test('who is not allowed gets nothing, and a connection that is no longer allowed is cut', async () => {
  await using app = await startRawApp(
    () => {},
    (socket) => void socket.write('hello'),
  )
  await using sidecar = await runSidecar({
    app: app.port,
    inbound: TCP,
    policy: '- allow: { and: [ spiffe_id: spiffe://example.org/ns/test/sa/friend ] }\n',
  })
  const stranger = await dial(sidecar.port, await sidecar.mesh.issue('/ns/test/sa/stranger'))
  assert.equal(await readToEnd(stranger), '')
  assert.equal(app.connections.length, 0)
  assert.equal((await sidecar.record((record) => record['decision'] === 'deny'))['reason'], 'ERR_POLICY_NO_ALLOW')
  const friend = await dial(sidecar.port, await sidecar.mesh.issue('/ns/test/sa/friend'))
  await readUntil(friend, 'hello')
  const cut = readToEnd(friend)
  await sidecar.setPolicy('- allow: { and: [ spiffe_id: spiffe://example.org/ns/test/sa/other ] }\n')
  await cut
  assert.equal((await sidecar.records()).at(-1)?.['reason'], 'ERR_POLICY_NO_ALLOW')
})

test('an app that is absent, and a server that is somebody else, close the connection with their reason on record', async () => {
  const mesh = await createTestMesh()
  await using server = await runSidecar({ mesh, app: 1, inbound: TCP, path: '/ns/shop/sa/db' })
  const socket = await dial(server.port, await mesh.issue('/ns/test/sa/caller'))
  assert.equal(await readToEnd(socket), '')
  assert.equal((await server.record((record) => record['protocol'] === 'tcp'))['reason'], 'ERR_UPSTREAM_UNREACHABLE')
  await using client = await runSidecar({
    mesh,
    outbound: `    - listen: 127.0.0.1:0\n      to: 127.0.0.1:${server.port}\n      peer: spiffe://example.org/ns/shop/sa/other\n      protocol: tcp\n`,
  })
  const plain = connect(client.outboundPort, '127.0.0.1')
  plain.on('error', () => {})
  plain.write('secret')
  plain.resume()
  await new Promise((resolve) => void plain.once('close', resolve))
  assert.equal((await client.record((record) => record['direction'] === 'outbound'))['reason'], 'ERR_UPSTREAM_IDENTITY')
})

test('50 MB pass each way at once, byte for byte', async () => {
  const sockets: Socket[] = []
  const server = createServer((socket) => {
    sockets.push(socket)
    socket.pipe(socket)
  })
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve))
  await using sidecar = await runSidecar({ app: (server.address() as { port: number }).port, inbound: TCP })
  const socket = await dial(sidecar.port, await sidecar.mesh.issue('/ns/test/sa/caller'))
  const size = 50 * 1024 * 1024
  let received = 0
  let wrong = 0
  socket.on('data', (chunk: Buffer) => {
    for (let index = 0; index < chunk.length; index += 997) if (chunk[index] !== (received + index) % 251) wrong++
    received += chunk.length
    if (received === size) socket.end()
  })
  let sent = 0
  const write = (): void => {
    while (sent < size) {
      const block = Buffer.allocUnsafe(Math.min(65_536, size - sent))
      for (let index = 0; index < block.length; index++) block[index] = (sent + index) % 251
      sent += block.length
      if (!socket.write(block)) return void socket.once('drain', write)
    }
  }
  write()
  await once(socket, 'end')
  assert.deepEqual([received, wrong], [size, 0])
  socket.destroy()
  for (const open of sockets) open.destroy()
  server.close()
})
