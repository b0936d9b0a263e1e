import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createEndpoints, type Endpoint } from '#proxy/endpoints'

const TO = [{ kind: 'tcp', host: 'cart.internal', port: 7443 }] as const

function sequence(...values: number[]): () => number {
  let index = 0
  return () => values[index++ % values.length]!
}

test('names are resolved again after five seconds, one at a time, and the last answer serves while resolving fails', async () => {
  const answers: (string[] | Error)[] = [['10.0.0.1'], ['10.0.0.1', '10.0.0.2'], new Error('ENOTFOUND')]
  let asked = 0
  const endpoints = createEndpoints(TO, Math.random, async () => {
    const answer = answers[asked++]!
    if (answer instanceof Error) throw answer
    return answer
  })
  assert.equal(endpoints.known, false)
  await Promise.all([endpoints.refresh(0), endpoints.refresh(0)])
  assert.equal(asked, 1)
  const [first] = endpoints.all
  await endpoints.refresh(4999)
  assert.equal(asked, 1)
  await endpoints.refresh(5000)
  assert.deepEqual(
    endpoints.all.map(({ host }) => host),
    ['10.0.0.1', '10.0.0.2'],
  )
  assert.equal(endpoints.all[0], first, 'what is known of an address is kept')
  await endpoints.refresh(10_000)
  assert.equal(endpoints.all.length, 2)
})

test('a name that was never resolved is an error', async () => {
  const endpoints = createEndpoints(TO, Math.random, async () => {
    throw new Error('ENOTFOUND')
  })
  await assert.rejects(endpoints.refresh(0), /ENOTFOUND/)
})

test('of two drawn at random the less loaded is taken; dead ones are passed over while others live', async () => {
  const endpoints = createEndpoints(TO, sequence(0, 0.4, 0.9), async () => ['a', 'b', 'c'])
  await endpoints.refresh(0)
  const [a, b, c] = endpoints.all as [Endpoint, Endpoint, Endpoint]
  a.inFlight = 5
  assert.equal(endpoints.pick([], 0), b, 'drawn: a and b')
  endpoints.failed(b, 0)
  endpoints.failed(c, 0)
  assert.equal(endpoints.pick([], 0), a, 'the one that lives, however loaded')
  assert.notEqual(endpoints.pick([a], 0), a)
  assert.notEqual(endpoints.pick([a], 0), undefined, 'a dead one before none')
  assert.equal(endpoints.pick([a, b, c], 0), undefined)
  assert.ok(b.deadUntil > 0 && b.deadUntil < 1000)
  endpoints.failed(b, 0)
  assert.ok(b.deadUntil > 500, 'longer each time')
  endpoints.succeeded(b)
  assert.equal(b.deadUntil, 0)
})
