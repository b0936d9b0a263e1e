import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createBench } from '../../bench/micro/exchange.ts'

test('the bench of one exchange runs whole requests', async () => {
  const bench = createBench()
  await bench.run(64)
  // The last answers come a turn later.
  await new Promise(setImmediate)
  assert.equal(bench.answered(1000), 64)
})
