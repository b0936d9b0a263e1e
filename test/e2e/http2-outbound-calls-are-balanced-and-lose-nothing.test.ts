/** The app speaks h2c to its own sidecar, which carries each request to a server that has proved who it is. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { answerWithLength, startH2cApp } from '../fakes/h2c-app.ts'
import { createTestMesh, type TestMesh } from '../support/authority.ts'
import { ask, openPlainSession } from '../support/http2-client.ts'
import { outboundTo } from '../support/outbound-entries.ts'
import { type RunningSidecar, runSidecar } from '../support/sidecar.ts'

const CART = '/ns/shop/sa/cart'
const CATALOG = '/ns/shop/sa/catalog'
const H2 = '      protocol: http2\n'

function server(mesh: TestMesh, app: number, path = CATALOG): Promise<RunningSidecar> {
  return runSidecar({ mesh, app, path, inbound: H2 })
}

test('requests pass both sidecars, many at once, and both tell of the same call', async () => {
  const mesh = await createTestMesh()
  await using app = await startH2cApp((stream, headers) => {
    if (headers[':path'] !== '/who') return answerWithLength(stream, headers)
    stream.respond({ ':status': 200, 'x-principal': String(headers['x-postern-principal']), 'x-host': String(headers[':authority']) })
    stream.end('hello')
  })
  await using called = await server(mesh, app.port)
  await using calling = await runSidecar({ mesh, path: CART, outbound: outboundTo([called.port], CATALOG, H2) })
  using session = openPlainSession(calling.outboundPort)
  const who = await ask(session, { ':path': '/who', ':authority': 'catalog.shop' })
  assert.equal(who.headers[':status'], 200)
  assert.equal(who.headers['x-principal'], `spiffe://example.org${CART}`)
  assert.equal(who.headers['x-host'], 'catalog.shop')
  assert.equal(who.body, 'hello')
  const answers = await Promise.all(
    Array.from({ length: 100 }, (_, index) => ask(session, { ':path': `/${index}`, ':method': 'POST' }, Buffer.alloc(index * 1000))),
  )
  assert.deepEqual(
    answers.map(({ body }) => body),
    answers.map((_, index) => String(index * 1000)),
  )
  const record = await calling.record((entry) => entry['path'] === '/who')
  assert.equal((record['peer'] as { id: string }).id, `spiffe://example.org${CATALOG}`)
  assert.deepEqual([record['direction'], record['protocol'], record['status'], record['decision']], ['outbound', 'http2', 200, 'allow'])
  assert.equal(record['request_id'], who.headers['x-request-id'])
  const other = await called.record((entry) => entry['request_id'] === record['request_id'])
  assert.equal(other['trace_id'], record['trace_id'], 'one request id and one trace through both')
  const handshakes = /postern_handshakes_total\{[^}]*accepted[^}]*\} (\d+)/.exec((await called.metrics.render()).text)?.[1]
  assert.equal(handshakes, '1', 'one connection served them all')
})
