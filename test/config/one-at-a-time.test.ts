/** A task that never runs twice at once: who asks meanwhile gets a run that begins afterwards. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { oneAtATime } from '#config/one-at-a-time'

interface Run {
  readonly end: (value: number) => void
  readonly fail: (error: Error) => void
}

function counted(): { readonly runs: Run[]; readonly call: () => Promise<number> } {
  const runs: Run[] = []
  const call = oneAtATime(() => {
    const { promise, resolve, reject } = Promise.withResolvers<number>()
    runs.push({ end: resolve, fail: reject })
    return promise
  })
  return { runs, call }
}

test('calls one after the other each run', async () => {
  const { runs, call } = counted()
  const first = call()
  runs[0]!.end(1)
  assert.equal(await first, 1)
  const second = call()
  runs[1]!.end(2)
  assert.equal(await second, 2)
})

test('calls during a run share one run that begins after it', async () => {
  const { runs, call } = counted()
  const first = call()
  const others = [call(), call(), call()]
  assert.equal(runs.length, 1)
  runs[0]!.end(1)
  assert.equal(await first, 1)
  await new Promise((resolve) => void setImmediate(resolve))
  assert.equal(runs.length, 2)
  const late = call()
  runs[1]!.end(2)
  assert.deepEqual(await Promise.all(others), [2, 2, 2])
  await new Promise((resolve) => void setImmediate(resolve))
  assert.equal(runs.length, 3, 'what came during the second run is the third')
  runs[2]!.end(3)
  assert.equal(await late, 3)
})

test('a run that fails is its callers’ to see, and the next one runs', async () => {
  const { runs, call } = counted()
  const first = call()
  const second = call()
  runs[0]!.fail(new Error('no'))
  await assert.rejects(first, /no/)
  await new Promise((resolve) => void setImmediate(resolve))
  runs[1]!.end(2)
  assert.equal(await second, 2)
})

test('a call between the end of one run and the begin of the next joins the next', async () => {
  const { runs, call } = counted()
  const first = call()
  const second = call()
  runs[0]!.end(1)
  await first
  const between = call()
  await new Promise((resolve) => void setImmediate(resolve))
  assert.equal(runs.length, 2)
  runs[1]!.end(2)
  assert.deepEqual(await Promise.all([second, between]), [2, 2])
})
