import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { test } from 'node:test'
import { startApp, startRawApp } from '../fakes/apps.ts'
import { call, createMtlsAgent, dial, readUntil, sendRaw } from '../support/mtls-client.ts'
import { runSidecar } from '../support/sidecar.ts'

test('bodies with a length, in chunks with trailers, and none arrive as they were sent, and so do their answers', async () => {
  await using app = await startApp((request, response, received) => {
    if (request.url === '/chunks' && request.method === 'GET') {
      response.writeHead(200, { trailer: 'x-sum' })
      response.write('one')
      response.write('two')
      response.addTrailers({ 'x-sum': '6' })
      return response.end()
    }
    return response.end(`${received.method} ${received.body.length}`)
  })
  await using sidecar = await runSidecar({ app: app.port })
  const svid = await sidecar.mesh.issue('/ns/test/sa/caller')
  using agent = createMtlsAgent(svid, { maxSockets: 1 })
  assert.equal((await call(sidecar.port, agent, '/', {})).body, 'GET 0')
  assert.equal((await call(sidecar.port, agent, '/', { method: 'POST', body: 'hello' })).body, 'POST 5')
  assert.equal((await call(sidecar.port, agent, '/', { method: 'POST', body: Buffer.alloc(300_000) })).body, 'POST 300000')
  assert.equal((await call(sidecar.port, agent, '/', { method: 'DELETE' })).body, 'DELETE 0')
  const head = await call(sidecar.port, agent, '/chunks', { method: 'HEAD' })
  assert.deepEqual([head.status, head.body], [200, ''])
  const chunks = await call(sidecar.port, agent, '/chunks')
  assert.deepEqual([chunks.body, chunks.trailers['x-sum']], ['onetwo', '6'])

  const sent = await sendRaw(
    sidecar.port,
    svid,
    'PUT /t HTTP/1.1\r\nhost: h\r\nconnection: close\r\ntransfer-encoding: chunked\r\ntrailer: x-end\r\n\r\n3;ext=1\r\nabc\r\n0\r\nx-end: yes\r\nx-postern-principal: me\r\n\r\n',
  )
  assert.match(sent, /^HTTP\/1\.1 200 /)
  const last = app.received.at(-1)
  assert.equal(last?.body, 'abc')
  assert.deepEqual(last?.trailers, ['x-end', 'yes'], 'the reserved trailer is gone')
})

test('informational answers and Expect are relayed, and a body waits for its 100', async () => {
  await using app = await startRawApp((socket, text) => {
    if (text.endsWith('\r\n\r\n')) socket.write('HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n')
    if (text.endsWith('hello')) socket.write('HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\nok')
  })
  await using sidecar = await runSidecar({ app: app.port })
  const socket = await dial(sidecar.port, await sidecar.mesh.issue('/ns/test/sa/caller'))
  socket.write('POST /x HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n')
  const before = await readUntil(socket, '100 Continue')
  assert.match(before, /^HTTP\/1\.1 103 Early Hints\r\nlink: <\/a>\r\n/)
  assert.doesNotMatch(app.connections[0]?.text ?? '', /hello/)
  socket.write('hello')
  assert.match(await readUntil(socket, '\r\n\r\nok'), /^HTTP\/1\.1 201 Created/)
  socket.destroy()
})

test('a response that ends with its connection reaches HTTP/1.1 callers in chunks and HTTP/1.0 callers as it is', async () => {
  await using app = await startRawApp((socket) => void socket.end('HTTP/1.0 200 OK\r\ncontent-type: text/plain\r\n\r\nuntil the end'))
  await using sidecar = await runSidecar({ app: app.port })
  const svid = await sidecar.mesh.issue('/ns/test/sa/caller')
  assert.match(
    await sendRaw(sidecar.port, svid, 'GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n'),
    /transfer-encoding: chunked[^]*\r\n\r\nd\r\nuntil the end\r\n0\r\n\r\n$/,
  )
  const old = await sendRaw(sidecar.port, svid, 'GET / HTTP/1.0\r\nhost: h\r\n\r\n')
  assert.match(old, /connection: close\r\n\r\nuntil the end$/)
  assert.doesNotMatch(old, /transfer-encoding/)
})

test('pipelined requests are answered one after the other, in order', async () => {
  await using app = await startApp((request, response) => void setImmediate(() => response.end(request.url)))
  await using sidecar = await runSidecar({ app: app.port })
  const requests = Array.from(
    { length: 20 },
    (_, index) => `GET /${index} HTTP/1.1\r\nhost: h\r\n${index === 19 ? 'connection: close\r\n' : ''}\r\n`,
  )
  const answer = await sendRaw(sidecar.port, await sidecar.mesh.issue('/ns/test/sa/caller'), requests.join(''))
  assert.deepEqual(
    [...answer.matchAll(/\r\n\r\n\/(\d+)/g)].map((match) => Number(match[1])),
    Array.from({ length: 20 }, (_, index) => index),
  )
})

test('thousands of pipelined requests that are all refused do not exhaust the stack', async () => {
  await using sidecar = await runSidecar({ policy: 'allow: { and: [http_path: /never] }\n' })
  const requests = Array.from(
    { length: 5000 },
    (_, index) => `GET / HTTP/1.1\r\nhost: h\r\n${index === 4999 ? 'connection: close\r\n' : ''}\r\n`,
  )
  const answer = await sendRaw(sidecar.port, await sidecar.mesh.issue('/ns/test/sa/caller'), requests.join(''))
  assert.equal(answer.split('HTTP/1.1 403 Forbidden').length - 1, 5000)
})

test('100 MB pass in each direction while neither side is read faster than it wants', async () => {
  const size = 100 * 1024 * 1024
  let received = 0
  const server = createServer((request, response) => {
    request.on('data', (chunk: Buffer) => {
      received += chunk.length
    })
    request.on('end', () => {
      response.writeHead(200, { 'content-length': size })
      const block = Buffer.alloc(65_536)
      let left = size
      const write = (): void => {
        while (left > 0) {
          left -= block.length
          if (!response.write(block)) return void response.once('drain', write)
        }
        response.end()
      }
      write()
    })
  })
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  await using sidecar = await runSidecar({ app: typeof address === 'object' && address !== null ? address.port : 0 })
  using agent = createMtlsAgent(await sidecar.mesh.issue('/ns/test/sa/caller'))
  const before = process.memoryUsage().rss
  const got = await new Promise<number>((resolve, reject) => {
    const request = httpsRequest(
      { host: '127.0.0.1', port: sidecar.port, path: '/', agent, method: 'POST', headers: { 'content-length': size } },
      (response) => {
        let bytes = 0
        response.on('data', (chunk: Buffer) => {
          bytes += chunk.length
        })
        response.on('end', () => resolve(bytes))
        response.on('error', reject)
      },
    )
    request.on('error', reject)
    const block = Buffer.alloc(65_536)
    let left = size
    const write = (): void => {
      while (left > 0) {
        left -= block.length
        if (!request.write(block)) return void request.once('drain', write)
      }
      request.end()
    }
    write()
  })
  assert.deepEqual([received, got], [size, size])
  const grown = process.memoryUsage().rss - before
  assert.ok(grown < 120 * 1024 * 1024, `memory grew by ${grown >> 20} MiB, client and app of this process included`)
  server.closeAllConnections()
  server.close()
})
