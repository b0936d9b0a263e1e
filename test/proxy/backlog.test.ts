import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createBacklog } from '#proxy/backlog'
import { manualClock } from '../support/manual-clock.ts'

const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve))

test('those that are behind take turns, all of them together a millisecond of each turn', async () => {
  const clock = manualClock(0)
  const backlog = createBacklog(clock)
  const done: string[] = []
  function work(name: string, slices: number): void {
    backlog.add(() => {
      done.push(name)
      clock.advance(0.4)
      if (slices > 1) work(name, slices - 1)
    })
  }
  work('a', 4)
  work('b', 2)
  assert.deepEqual(done, [], 'never within the call')
  await turn()
  assert.deepEqual(done, ['a', 'b', 'a'], '1.2 ms')
  await turn()
  assert.deepEqual(done, ['a', 'b', 'a', 'b', 'a', 'a'])
  await turn()
  work('c', 1)
  await turn()
  assert.equal(done.at(-1), 'c', 'it begins anew')
})

test('who is behind alone has no more of a turn than several', async () => {
  const clock = manualClock(0)
  const backlog = createBacklog(clock)
  let done = 0
  const goOn = (): void => {
    clock.advance(0.4)
    if (++done < 100) backlog.add(goOn)
  }
  backlog.add(goOn)
  for (let turns = 1; turns <= 10; turns++) {
    await turn()
    assert.equal(done, 3 * turns)
  }
})

test('what takes longer than a turn takes one', async () => {
  const clock = manualClock(0)
  const backlog = createBacklog(clock)
  let done = 0
  for (let index = 0; index < 3; index++) {
    backlog.add(() => {
      done++
      clock.advance(50)
    })
  }
  for (const expected of [1, 2, 3]) {
    await turn()
    assert.equal(done, expected)
  }
})
