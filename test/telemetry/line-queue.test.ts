import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { createLineQueue } from '#telemetry/line-queue'

test('lines come out in the order in which they went in, whole, and not more than asked for', () => {
  const queue = createLineQueue(1000)
  for (const line of ['a1\n', 'b2\n', 'c3\n']) queue.push(line, false)
  assert.equal(queue.take(7), 'a1\nb2\n')
  assert.equal(queue.length, 1)
  assert.equal(queue.take(1), 'c3\n', 'a line longer than asked for is still taken')
  assert.equal(queue.take(7), '')
  assert.equal(queue.size, 0)
})

test('an ordinary line finds no room once the queue is full, and is counted', () => {
  const queue = createLineQueue(6)
  for (const line of ['a1\n', 'b2\n', 'c3\n']) queue.push(line, false)
  assert.equal(queue.take(100), 'a1\nb2\n')
  assert.deepEqual(queue.takeLoss(), { ordinary: 1, kept: 0 })
  assert.deepEqual(queue.takeLoss(), { ordinary: 0, kept: 0 })
})

test('a line to keep takes the place of the oldest ordinary lines', () => {
  const queue = createLineQueue(9)
  queue.push('a1\n', false)
  queue.push('K1\n', true)
  queue.push('b2\n', false)
  queue.push('K2\n', true)
  assert.deepEqual(queue.loss, { ordinary: 1, kept: 0 })
  assert.equal(queue.take(100), 'K1\nb2\nK2\n')
})

test('a line to keep is lost only when nothing but such lines is left', () => {
  const queue = createLineQueue(6)
  queue.push('a1\n', false)
  for (const line of ['K1\n', 'K2\n', 'K3\n']) queue.push(line, true)
  assert.deepEqual(queue.loss, { ordinary: 1, kept: 1 })
  assert.equal(queue.take(100), 'K1\nK2\n')
})

test('whatever is pushed and taken, nothing is lost uncounted, order holds, and the size is bounded', () => {
  const step = fc.oneof(
    fc.record({ push: fc.integer({ min: 1, max: 40 }), keep: fc.boolean() }),
    fc.record({ take: fc.integer({ min: 1, max: 120 }) }),
  )
  fc.assert(
    fc.property(fc.integer({ min: 10, max: 200 }), fc.array(step, { maxLength: 300 }), (capacity, steps) => {
      const queue = createLineQueue(capacity)
      let pushed = 0
      let out = ''
      for (const action of steps) {
        if ('push' in action) queue.push(`${String(pushed++).padStart(action.push, '0')}${action.keep ? 'K' : 'o'}\n`, action.keep)
        else out += queue.take(action.take)
        assert.ok(queue.size <= capacity)
      }
      const { ordinary, kept } = queue.loss
      while (queue.length > 0) out += queue.take(50)
      assert.equal(queue.size, 0)
      const numbers = out
        .split('\n')
        .filter(Boolean)
        .map((line) => Number.parseInt(line, 10))
      assert.equal(numbers.length + ordinary + kept, pushed)
      assert.deepEqual(
        numbers,
        numbers.toSorted((a, b) => a - b),
      )
    }),
  )
})
