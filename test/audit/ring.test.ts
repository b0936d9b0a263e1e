import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { NOT_KEPT } from '#audit/bound-event'
import { createRing } from '#audit/ring'
import { exchange, handshake, refusal, requestFacts } from '../support/events.ts'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

test('the latest of each kind are kept, so that allowed traffic cannot push refusals out', () => {
  const ring = createRing({ capacity: 3 })
  ring.add(refusal({ requestId: 'refused' }))
  for (let index = 0; index < 100; index++) ring.add(exchange({ requestId: `allowed-${index}` }))
  assert.equal(ring.size, 4)
  assert.equal(ring.find('refused').length, 1)
  assert.equal(ring.find('allowed-96').length, 0)
  assert.equal(ring.find('allowed-97').length, 1)
})

test('the newest come first, whatever their kind', () => {
  const ring = createRing({ capacity: 3 })
  ring.add(exchange({ requestId: 'a' }))
  ring.add(refusal({ requestId: 'b' }))
  ring.add(exchange({ requestId: 'c' }))
  ring.add(exchange({ requestId: 'b' }))
  assert.deepEqual(
    ring.recent(3).map(({ requestId }) => requestId),
    ['b', 'c', 'b'],
  )
  assert.deepEqual(
    ring.find('b').map(({ decision }) => decision?.allow),
    [true, false],
  )
})

test('refused handshakes are kept apart: however many, they push no decision out, and the oldest of them give way', () => {
  const ring = createRing({ capacity: 3 })
  ring.add(refusal({ requestId: 'refused' }))
  for (let index = 0; index < 100; index++) ring.addHandshake(handshake({ id: `shaken-${index}` }))
  assert.equal(ring.find('refused').length, 1)
  assert.deepEqual(
    ring.recentHandshakes(2).map(({ id }) => id),
    ['shaken-99', 'shaken-98'],
  )
  assert.equal(ring.recentHandshakes(10).length, 3)
  assert.equal(ring.findHandshake('shaken-97')?.sourceIp, '10.1.2.3')
  assert.equal(ring.findHandshake('shaken-96'), undefined)
  assert.equal(ring.size, 4)
})

test('of a certificate that names a lot, what a record shows is kept', () => {
  const ring = createRing()
  const long = 'x'.repeat(60_000)
  ring.addHandshake(handshake({ detail: long, presented: { id: long, serial: long, notAfter: 1 } }))
  const [kept] = ring.recentHandshakes(1)
  assert.deepEqual([kept?.detail.length, kept?.presented?.id.length, kept?.presented?.serial.length], [512, 2048, 256])
})

test('an event of ordinary size is kept as it is', () => {
  const ring = createRing()
  const event = exchange()
  ring.add(event)
  assert.equal(ring.recent(1)[0], event)
})

test('an event with a large head keeps what fits, in order, and says of the rest that it was not kept', () => {
  const ring = createRing({ eventSize: 4096 })
  const headers = { names: ['x-first', 'cookie', 'x-last'], values: ['1', 'c'.repeat(60_000), '2'] }
  ring.add(exchange({ facts: requestFacts({ headers, query: 'q'.repeat(9000) }) }))
  const facts = ring.recent(1)[0]?.facts
  assert.deepEqual(facts?.headers, { names: ['x-first', 'cookie', 'x-last'], values: ['1', NOT_KEPT, '2'] })
  assert.equal(facts?.query?.length, 512)
  assert.equal(facts?.peer?.id.uri, 'spiffe://example.org/ns/shop/sa/cart')
})

test('a thousand heads of 64 KiB take no more memory than the ring has room for', () => {
  const ring = createRing()
  collectGarbage()
  const before = process.memoryUsage().heapUsed
  for (let index = 0; index < 2000; index++) {
    // Sliced from one string, as a codec does: a slice keeps the whole of it alive.
    const head = Buffer.alloc(64 * 1024, 97 + (index % 26)).toString('latin1')
    const headers = {
      names: Array.from({ length: 60 }, (_, n) => `x-${n}`),
      values: Array.from({ length: 60 }, (_, n) => head.slice(n * 1000, n * 1000 + 1000)),
    }
    ring.add(refusal({ path: head.slice(0, 30_000), facts: requestFacts({ path: head.slice(0, 30_000), headers }) }))
  }
  collectGarbage()
  const grown = process.memoryUsage().heapUsed - before
  assert.ok(grown < 12e6, `${Math.round(grown / 1e6)} MB`)
})
