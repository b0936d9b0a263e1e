import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { once } from 'node:events'
import { test } from 'node:test'
import { createSmallServer, json } from '#telemetry/http-server'
import type { SmallServerOptions } from '#telemetry/http-server'
import { silentLog } from '#telemetry/log'
import { ask, askRaw, listenAnywhere } from '../support/small-client.ts'

async function serving(options: Partial<SmallServerOptions>, body: (port: number) => Promise<void>): Promise<void> {
  const server = createSmallServer({
    log: silentLog,
    routes: [
      { path: '/plain', answer: () => ({ status: 200, text: 'ok\n' }) },
      { path: '/things/{id}/part', answer: ({ params, query }) => json({ params, query: Object.fromEntries(query) }) },
      { method: 'POST', path: '/orders', answer: (request) => json({ got: request.body ?? null }, 202) },
      {
        path: '/broken',
        answer() {
          throw new Error('secret detail')
        },
      },
    ],
    ...options,
  })
  const port = await listenAnywhere(server)
  try {
    await body(port)
  } finally {
    server.close()
    server.closeAllConnections()
    await once(server, 'close')
  }
}

test('a route answers, on a connection that ends with it', () =>
  serving({}, async (port) => {
    const { status, text, headers } = await ask(port, '/plain')
    assert.deepEqual([status, text], [200, 'ok\n'])
    assert.equal(headers['connection'], 'close')
    assert.equal(headers['cache-control'], 'no-store')
    assert.equal(headers['x-content-type-options'], 'nosniff')
    const answers = await askRaw(port, 'GET /plain HTTP/1.1\r\nHost: a\r\n\r\nGET /plain HTTP/1.1\r\nHost: a\r\n\r\n')
    assert.equal(answers.split('HTTP/1.1 200').length, 2, 'one answer a connection')
  }))

test('segments in braces are whole segments, percent-decoded', () =>
  serving({}, async (port) => {
    assert.deepEqual((await ask(port, '/things/a%2Fb/part?x=1')).json(), { params: { id: 'a/b' }, query: { x: '1' } })
    for (const path of ['/things//part', '/things/%zz/part', '/things/a/b/part', '/things/a/part/', '/Plain', '//plain', '/plain/']) {
      assert.equal((await ask(port, path)).status, 404, path)
    }
  }))

test('other methods than those of the route are refused, and HEAD is a GET without body', () =>
  serving({}, async (port) => {
    for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS', 'TRACE']) {
      const { status, headers } = await ask(port, '/plain', { method })
      assert.deepEqual([status, headers['allow']], [405, 'GET'], method)
    }
    assert.equal((await ask(port, '/orders')).status, 405)
    const head = await ask(port, '/plain', { method: 'HEAD' })
    assert.deepEqual([head.status, head.text, head.headers['content-length']], [200, '', '3'])
  }))

test('a body is JSON of at most 4 KiB', () =>
  serving({}, async (port) => {
    assert.deepEqual((await ask(port, '/orders', { method: 'POST', body: '{"a":1}' })).json(), { got: { a: 1 } })
    assert.deepEqual((await ask(port, '/orders', { method: 'POST' })).json(), { got: null })
    assert.equal((await ask(port, '/orders', { method: 'POST', body: '{"a":' })).status, 400)
    assert.equal((await ask(port, '/orders', { method: 'POST', body: JSON.stringify('x'.repeat(5000)) })).status, 400)
  }))

test('a fault of ours is a 500 without detail', () =>
  serving({}, async (port) => {
    const { status, text } = await ask(port, '/broken')
    assert.equal(status, 500)
    assert.equal(text, '{"title":"Internal Server Error","status":500}\n')
  }))

const BAD: readonly { readonly what: string; readonly bytes: string }[] = [
  { what: 'a head above 8 KiB', bytes: `GET /plain HTTP/1.1\r\nHost: a\r\nX: ${'x'.repeat(9000)}\r\n\r\n` },
  { what: 'no HTTP', bytes: '\x16\x03\x01\x00\x05hello\r\n\r\n' },
  { what: 'a request without Host', bytes: 'GET /plain HTTP/1.1\r\n\r\n' },
  { what: 'another site as target', bytes: 'GET http://evil.example/plain HTTP/1.1\r\nHost: evil.example\r\n\r\n' },
]
for (const { what, bytes } of BAD) {
  test(`${what} gets no answer worth having, and the connection ends`, () =>
    serving({}, async (port) => {
      assert.doesNotMatch(await askRaw(port, bytes), /HTTP\/1\.1 2/)
    }))
}

const HOSTS: readonly { readonly host: string; readonly status: number }[] = [
  { host: 'localhost', status: 200 },
  { host: 'LOCALHOST:7000', status: 200 },
  { host: '127.0.0.1:7000', status: 200 },
  { host: '127.1.2.3', status: 200 },
  { host: '[::1]:7000', status: 200 },
  { host: 'evil.example', status: 403 },
  { host: 'localhost.evil.example', status: 403 },
  { host: '127.0.0.1.evil.example', status: 403 },
  { host: 'evil.example:127', status: 403 },
  { host: '127.0.0.1@evil.example', status: 403 },
  { host: '10.0.0.1', status: 403 },
  { host: '', status: 403 },
]
for (const { host, status } of HOSTS) {
  test(`where only loopback names may be asked for, Host \`${host}\` is ${status}`, () =>
    serving({ loopbackHostOnly: true }, async (port) => {
      const answer = await askRaw(port, `GET /plain HTTP/1.1\r\nHost: ${host}\r\n\r\n`)
      assert.ok(answer.startsWith(`HTTP/1.1 ${status} `), answer)
    }))
}

test('who holds connections open cannot keep others out: the oldest goes', () =>
  serving({ connections: 2 }, async (port) => {
    const held = [connect(port, '127.0.0.1'), connect(port, '127.0.0.1')]
    const closings = held.map((socket) =>
      once(
        socket.on('error', () => undefined),
        'close',
      ),
    )
    await Promise.all(held.map((socket) => once(socket, 'connect')))
    assert.equal((await ask(port, '/plain')).status, 200)
    await closings[0]
    assert.equal(held[1]?.destroyed, false)
    held[1]?.destroy()
  }))
