import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { startApp, startRawApp } from '../fakes/apps.ts'
import { dial, readToEnd, readUntil } from '../support/mtls-client.ts'
import { startSidecarProcess } from '../support/sidecar-process.ts'
import { ask } from '../support/small-client.ts'

const request = (path: string): string => `GET ${path} HTTP/1.1\r\nhost: h\r\n\r\n`

/** Lets a handshake begin, and holds back the caller's last flight until `release()`. */
async function holdHandshake(port: number): Promise<{ port: number; begun: Promise<unknown>; release(): void } & AsyncDisposable> {
  const { promise: begun, resolve: answered } = Promise.withResolvers<void>()
  const { promise: released, resolve: release } = Promise.withResolvers<void>()
  const server = createServer((caller) => {
    const sidecar = connect(port, '127.0.0.1')
    let isHello = true
    caller.on('data', (chunk: Buffer) => {
      if (isHello) sidecar.write(chunk)
      else void released.then(() => sidecar.write(chunk))
      isHello = false
    })
    sidecar.on('data', (chunk: Buffer) => {
      answered()
      caller.write(chunk)
    })
    sidecar.on('end', () => caller.end())
    for (const socket of [caller, sidecar]) socket.on('error', () => {})
    caller.on('close', () => sidecar.destroy())
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    begun,
    release,
    async [Symbol.asyncDispose]() {
      server.close()
    },
  }
}

test('on SIGTERM what runs ends well, idle connections are closed, new ones are refused, and the status is 0', async () => {
  let finish = (): void => {}
  await using app = await startApp((received, response) => {
    if (received.url === '/slow') {
      response.write('begun ')
      finish = () => void response.end('and ended')
    } else response.end('ok')
  })
  await using sidecar = await startSidecarProcess({ app: app.port })
  const svid = await sidecar.mesh.issue('/ns/test/sa/caller')
  const health = join(sidecar.dir, 'health.sock')
  const [idle, running] = await Promise.all([dial(sidecar.port, svid), dial(sidecar.port, svid)])
  idle.write(request('/'))
  await readUntil(idle, '\r\n\r\nok')
  running.write(request('/slow'))
  await readUntil(running, 'begun')
  await using held = await holdHandshake(sidecar.port)
  const late = dial(held.port, svid)
  await held.begun
  // Says nothing, ever: it must hold up neither the others nor the end.
  const mute = connect(sidecar.port, '127.0.0.1')
  mute.on('error', () => {}).resume()
  await once(mute, 'connect')
  assert.equal((await ask(health, '/readyz')).status, 200)

  const idleRest = readToEnd(idle)
  const runningRest = readToEnd(running)
  sidecar.child.kill('SIGTERM')
  await sidecar.logged((line) => line['msg'] === 'draining')

  assert.equal((await ask(health, '/readyz')).status, 503, 'no new traffic is wanted')
  assert.equal((await ask(health, '/livez')).status, 200)
  const refused = connect(sidecar.port, '127.0.0.1')
  const [error] = (await once(refused, 'error')) as [NodeJS.ErrnoException]
  assert.equal(error.code, 'ECONNREFUSED')
  assert.equal(await idleRest, '', 'closed, and nothing but closed')

  held.release()
  const socket = await late
  const answer = readToEnd(socket)
  socket.write(request('/late'))
  assert.match(await answer, /^HTTP\/1\.1 200 [^]*\r\nconnection: close\r\n/, 'who was accepted before is served, once')

  assert.equal(sidecar.child.exitCode, null, 'it waits for what runs')
  finish()
  assert.match(await runningRest, /and ended\r\n0\r\n\r\n$/)
  assert.equal(await sidecar.exited, 0)
  mute.destroy()
  assert.deepEqual(
    sidecar.records.map((record) => [record['path'], record['status'], record['reason']]),
    [
      ['/', 200, undefined],
      ['/late', 200, undefined],
      ['/slow', 200, undefined],
    ],
  )
})

test('at the end of the drain time what remains is cut and recorded, even where callers do not go', async () => {
  await using app = await startRawApp((socket, text) => {
    if (text.startsWith('GET /stream')) socket.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n')
    if (text.startsWith('GET /ws'))
      socket.write('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nwelcome')
  })
  await using sidecar = await startSidecarProcess({ app: app.port, spec: '  drain: 1s\n' })
  const svid = await sidecar.mesh.issue('/ns/test/sa/caller')
  const [stream, tunnel, hung, stubborn] = await Promise.all([
    dial(sidecar.port, svid),
    dial(sidecar.port, svid),
    dial(sidecar.port, svid),
    dial(sidecar.port, svid),
  ])
  stream.write(request('/stream'))
  tunnel.write(
    'GET /ws HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
  )
  await Promise.all([readUntil(stream, 'first'), readUntil(tunnel, 'welcome')])
  const reachedApp = app.connections.length
  hung.write(request('/hung'))
  stubborn.write(request('/stubborn'))
  while (app.connections.length < reachedApp + 2 || app.connections.some(({ text }) => text === ''))
    await new Promise((resolve) => void setImmediate(resolve))
  const rests = Promise.all([stream, tunnel, hung].map(readToEnd))
  // Never ends its side, though it was told to.
  const told = readUntil(stubborn, '"request_id"')
  sidecar.child.kill('SIGTERM')
  const [ofStream, ofTunnel, ofHung] = await rests
  assert.equal(ofStream, '', 'cut, never ended: no last chunk')
  assert.equal(ofTunnel, '')
  assert.match(ofHung ?? '', /^HTTP\/1\.1 503 [^]*\r\nconnection: close\r\n/)
  assert.match(await told, /^HTTP\/1\.1 503 /)
  assert.equal(await sidecar.exited, 0)
  stubborn.destroy()
  await sidecar.logged((line) => String(line['msg']).startsWith('the drain time is over'))
  assert.deepEqual(sidecar.records.map((record) => `${String(record['path'])} ${String(record['reason'])}`).toSorted(), [
    '/hung ERR_DRAINED',
    '/stream ERR_DRAINED',
    '/stubborn ERR_DRAINED',
    '/ws ERR_DRAINED',
  ])
})

test('a second signal ends it at once', async () => {
  await using app = await startRawApp(() => {})
  await using sidecar = await startSidecarProcess({ app: app.port })
  const socket = await dial(sidecar.port, await sidecar.mesh.issue('/ns/test/sa/caller'))
  socket.write(request('/hung'))
  while (app.connections.length === 0) await new Promise((resolve) => void setImmediate(resolve))
  sidecar.child.kill('SIGTERM')
  await sidecar.logged((line) => line['msg'] === 'draining')
  sidecar.child.kill('SIGINT')
  assert.equal(await sidecar.exited, 1)
  socket.destroy()
})
