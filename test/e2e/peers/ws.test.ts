/** `ws`, unmodified, as client and as server, through two sidecars. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { WebSocket, WebSocketServer } from 'ws'
import { CALLER, runSidecarPair } from '../../support/sidecar-pair.ts'

test('messages of all sizes, pings, and either side may close', async () => {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1', maxPayload: 64 * 1024 * 1024 })
  await once(server, 'listening')
  const principals: unknown[] = []
  server.on('connection', (socket, request) => {
    principals.push(request.headers['x-postern-principal'])
    socket.on('message', (data: Buffer, binary) => {
      if (data.toString() === 'close') socket.close(4001, 'as asked')
      else socket.send(data, { binary })
    })
  })
  await using pair = await runSidecarPair((server.address() as AddressInfo).port, 'http1')
  try {
    const client = new WebSocket(`ws://127.0.0.1:${pair.port}/chat`, { perMessageDeflate: true })
    await once(client, 'open')
    for (const size of [0, 1, 125, 126, 65_535, 65_536, 5_000_000]) {
      const message = randomBytes(size)
      client.send(message)
      const [echo] = (await once(client, 'message')) as [Buffer]
      assert.ok(echo.equals(message), `${size} bytes`)
    }
    client.ping('?')
    assert.equal(String((await once(client, 'pong'))[0]), '?')
    client.send('close')
    assert.deepEqual((await once(client, 'close')).map(String), ['4001', 'as asked'])

    const second = new WebSocket(`ws://127.0.0.1:${pair.port}/chat`)
    await once(second, 'open')
    second.close(1000)
    assert.equal((await once(second, 'close'))[0], 1000)
    assert.deepEqual(principals, [CALLER, CALLER])
  } finally {
    for (const socket of server.clients) socket.terminate()
    server.close()
  }
})
