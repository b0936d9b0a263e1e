import assert from 'node:assert/strict'
import { test } from 'node:test'
import { systemClock } from '#base/clock'
import { createRegistry, type LiveConnection } from '#proxy/registry'

/** Counts what it is told. */
function connection(): LiveConnection & { drained: number } {
  return {
    drained: 0,
    tick() {},
    revalidate() {},
    drain() {
      this.drained++
    },
    cutAtDrainEnd() {},
    describe: () => ({
      listener: '',
      direction: 'inbound',
      protocol: 'http1',
      peer: undefined,
      sourceIp: '',
      openedAt: 0,
      notAfter: undefined,
      exchange: undefined,
    }),
  }
}

test('a thousand connections that leave at once are ended a few in each turn, in order, and all of them', async () => {
  const registry = createRegistry(0, systemClock)
  const ended: number[] = []
  for (let index = 0; index < 1000; index++) registry.leave(() => ended.push(index))
  assert.equal(ended.length, 0, 'none in the turn in which they leave')
  const perTurn: number[] = []
  while (ended.length < 1000) {
    const before = ended.length
    await new Promise((resolve) => void setImmediate(resolve))
    perTurn.push(ended.length - before)
  }
  assert.ok(Math.max(...perTurn) <= 8, String(Math.max(...perTurn)))
  assert.deepEqual(
    ended,
    Array.from({ length: 1000 }, (_, index) => index),
  )
  registry.leave(() => ended.push(-1))
  await new Promise((resolve) => void setImmediate(resolve))
  assert.equal(ended.at(-1), -1, 'and who leaves later is ended too')
})

test('a connection that comes when the drain has begun is told at once', () => {
  const registry = createRegistry(0, systemClock)
  const [early, late] = [connection(), connection()]
  registry.add(early)
  assert.equal(early.drained, 0)
  registry.drain()
  registry.add(late)
  assert.deepEqual([early.drained, late.drained], [1, 1])
})

test('a connection that cannot be looked at keeps none of the others from being looked at, and is reported', async () => {
  const registry = createRegistry(0, systemClock)
  const seen: string[] = []
  const failing = (name: string): LiveConnection => ({
    ...connection(),
    tick() {
      seen.push(name)
      if (name === 'b') throw new Error('a bug')
    },
  })
  for (const name of ['a', 'b', 'c']) registry.add(failing(name))
  await assert.rejects(registry.tick(1), /a bug/)
  assert.deepEqual(seen, ['a', 'b', 'c'])
})
