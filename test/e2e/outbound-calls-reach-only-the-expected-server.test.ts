import assert from 'node:assert/strict'
import { request } from 'node:http'
import { test } from 'node:test'
import { startApp } from '../fakes/apps.ts'
import { createTestMesh } from '../support/authority.ts'
import { runSidecar, type RunningSidecar } from '../support/sidecar.ts'

interface Reply {
  readonly status: number
  readonly body: string
}

/** A call as the app makes it: plain HTTP to its sidecar on loopback. */
function callOut(port: number, path: string, headers: Record<string, string> = {}, method = 'GET', body?: string): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ host: '127.0.0.1', port, path, headers, method }, (response) => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => {
        text += chunk
      })
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: text }))
      response.on('error', reject)
    })
    outgoing.on('error', reject)
    outgoing.end(body)
  })
}

function outbound(to: readonly number[], peer: string, more = ''): string {
  return `    - listen: 127.0.0.1:0\n      to: [${to.map((port) => `'127.0.0.1:${port}'`).join(', ')}]\n      peer: spiffe://example.org${peer}\n${more}`
}

test('a call passes both sidecars, and the called app learns who called', async () => {
  const mesh = await createTestMesh()
  await using app = await startApp(
    (incoming, response, received) => void response.end(`${incoming.headers['x-postern-principal'] as string} ${received.body}`),
  )
  await using server = await runSidecar({ mesh, app: app.port, path: '/ns/shop/sa/catalog' })
  await using client = await runSidecar({ mesh, path: '/ns/shop/sa/cart', outbound: outbound([server.port], '/ns/shop/sa/catalog') })
  assert.deepEqual(await callOut(client.outboundPort, '/items'), { status: 200, body: 'spiffe://example.org/ns/shop/sa/cart ' })
  assert.deepEqual(await callOut(client.outboundPort, '/items', {}, 'POST', 'new'), {
    status: 200,
    body: 'spiffe://example.org/ns/shop/sa/cart new',
  })
  const record = await client.record((entry) => entry['direction'] === 'outbound')
  assert.equal((record['peer'] as { id: string }).id, 'spiffe://example.org/ns/shop/sa/catalog')
  const other = await server.record((entry) => entry['request_id'] === record['request_id'])
  assert.equal(other['trace_id'], record['trace_id'], 'one request id and one trace through both')
  assert.equal(app.received.length, 2)
})

test('a server that is somebody else gets not one byte of the request', async () => {
  const mesh = await createTestMesh()
  await using app = await startApp()
  await using impostor = await runSidecar({ mesh, app: app.port, path: '/ns/shop/sa/mallory' })
  await using client = await runSidecar({ mesh, outbound: outbound([impostor.port], '/ns/shop/sa/catalog') })
  assert.equal((await callOut(client.outboundPort, '/secret', { authorization: 'Bearer x' })).status, 502)
  const record = await client.record((entry) => entry['direction'] === 'outbound')
  assert.equal(record['reason'], 'ERR_UPSTREAM_IDENTITY')
  assert.match(String(record['detail']), /mallory/)
  assert.equal(app.received.length, 0)
})

test('a server of a foreign authority is refused, with the reason', async () => {
  const mesh = await createTestMesh()
  await using app = await startApp()
  await using foreign = await runSidecar({ mesh: await createTestMesh(), app: app.port, path: '/ns/shop/sa/catalog' })
  await using client = await runSidecar({ mesh, outbound: outbound([foreign.port], '/ns/shop/sa/catalog') })
  assert.equal((await callOut(client.outboundPort, '/')).status, 502)
  assert.match(String((await client.record((entry) => entry['direction'] === 'outbound'))['reason']), /^ERR_UPSTREAM_(TLS|CLOSED)$/)
})

test('a dead address among several is passed over, and calls are spread over the living', async () => {
  const mesh = await createTestMesh()
  const apps = await Promise.all([startApp(), startApp()])
  const servers: RunningSidecar[] = []
  for (const app of apps) servers.push(await runSidecar({ mesh, app: app.port, path: '/ns/shop/sa/catalog' }))
  const dead = servers[0]!.port
  await using client = await runSidecar({ mesh, outbound: outbound([1, dead, servers[1]!.port], '/ns/shop/sa/catalog') })
  for (let index = 0; index < 40; index++) assert.equal((await callOut(client.outboundPort, '/')).status, 200)
  assert.ok(
    apps.every((app) => app.received.length > 0),
    `spread: ${apps.map((app) => app.received.length).join(' and ')}`,
  )
  for (const server of servers) await server[Symbol.asyncDispose]()
  for (const app of apps) await app[Symbol.asyncDispose]()
  const down = await callOut(client.outboundPort, '/')
  assert.equal(down.status, 502, 'none is left')
})

test('connections to a server are used again for the same SVID only', async () => {
  const mesh = await createTestMesh()
  await using app = await startApp()
  await using server = await runSidecar({ mesh, app: app.port, path: '/ns/shop/sa/catalog' })
  await using client = await runSidecar({ mesh, path: '/ns/shop/sa/cart', outbound: outbound([server.port], '/ns/shop/sa/catalog') })
  const serialSeen = async (): Promise<string> => {
    await callOut(client.outboundPort, '/')
    const records = await server.records()
    return (records.at(-1)!['peer'] as { serial: string }).serial
  }
  const first = await serialSeen()
  assert.equal(await serialSeen(), first)
  const handshakes = /postern_handshakes_total\{[^}]*accepted[^}]*\} (\d+)/.exec((await server.metrics.render()).text)?.[1]
  assert.equal(handshakes, '1', 'one connection served both')

  const renewed = await mesh.issue('/ns/shop/sa/cart')
  const swapped = new Promise<void>((resolve) => void client.source.subscribe(() => resolve()))
  client.write('key.pem', renewed.keyPem)
  client.write('svid.pem', renewed.certificatePem)
  await swapped
  assert.notEqual(await serialSeen(), first)
})

test('entries that share an address are told apart by authority, absolute form included', async () => {
  const mesh = await createTestMesh()
  await using cartApp = await startApp((_request, response) => void response.end('cart'))
  await using catalogApp = await startApp((_request, response) => void response.end('catalog'))
  await using cart = await runSidecar({ mesh, app: cartApp.port, path: '/ns/shop/sa/cart' })
  await using catalog = await runSidecar({ mesh, app: catalogApp.port, path: '/ns/shop/sa/catalog' })
  const { createServer } = await import('node:net')
  const probe = createServer()
  const free = await new Promise<number>(
    (resolve) => void probe.listen(0, '127.0.0.1', () => resolve((probe.address() as { port: number }).port)),
  )
  await new Promise((resolve) => void probe.close(resolve))
  const entry = (host: string, port: number, sa: string): string =>
    `    - listen: 127.0.0.1:${free}\n      hosts: [${host}]\n      to: 127.0.0.1:${port}\n      peer: spiffe://example.org/ns/shop/sa/${sa}\n`
  await using client = await runSidecar({
    mesh,
    outbound: entry('cart.shop', cart.port, 'cart') + entry('catalog.shop', catalog.port, 'catalog'),
  })
  assert.equal((await callOut(client.outboundPort, '/', { host: 'cart.shop' })).body, 'cart')
  assert.equal((await callOut(client.outboundPort, '/', { host: 'Catalog.Shop:8080' })).body, 'catalog')
  assert.equal((await callOut(client.outboundPort, 'http://catalog.shop/x', { host: 'catalog.shop' })).body, 'catalog')
  assert.equal((await callOut(client.outboundPort, '/', { host: 'other.shop' })).status, 404)
})
