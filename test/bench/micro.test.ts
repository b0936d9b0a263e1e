import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createBench } from '../../bench/micro/exchange.ts'

test('the bench of one exchange runs whole requests', async () => {
  const { run, answered } = createBench()
  await run(64)
  // The last answers come a turn later.
  await new Promise(setImmediate)
  assert.equal(answered(1000), 64)
})
