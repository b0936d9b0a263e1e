/** Commits in groups: who shares one, who gets what, and that an error of a group is of that group alone. */
import assert from 'node:assert/strict'
import { setImmediate } from 'node:timers/promises'
import { test } from 'node:test'
import { createGroupCommit, type GroupCommit, type Outcome } from '#ca/store/group-commit'

/** A disk that commits when it is told to. */
function disk({ most, pause }: { readonly most?: number; readonly pause?: number } = {}): {
  readonly writes: GroupCommit<string>
  readonly groups: (readonly string[])[]
  readonly settle: (outcomes?: readonly Outcome[] | Error) => Promise<void>
} {
  const groups: (readonly string[])[] = []
  const under: PromiseWithResolvers<readonly Outcome[] | undefined>[] = []
  const writes = createGroupCommit<string>({
    commit(items) {
      groups.push(items)
      const promise = Promise.withResolvers<readonly Outcome[] | undefined>()
      under.push(promise)
      return promise.promise
    },
    ...(most !== undefined && { most }),
    ...(pause !== undefined && { pause }),
  })
  return {
    writes,
    groups,
    async settle(outcomes) {
      const first = under.shift()
      if (outcomes instanceof Error) first?.reject(outcomes)
      else first?.resolve(outcomes)
      await setImmediate()
    },
  }
}

test('what comes in one turn goes together, and what comes meanwhile shares the next', async () => {
  const { writes, groups, settle } = disk()
  const first = [writes.add('a'), writes.add('b')]
  assert.deepEqual(groups, [], 'not before the turn is over')
  await setImmediate()
  const second = [writes.add('c'), writes.add('d'), writes.add('e')]
  await setImmediate()
  assert.deepEqual(groups, [['a', 'b']], 'one commit at a time')
  let early = false
  void second[0]?.then(() => (early = true))
  await settle()
  await Promise.all(first)
  assert.equal(early, false, 'nothing is answered before its own commit')
  assert.deepEqual(groups, [
    ['a', 'b'],
    ['c', 'd', 'e'],
  ])
  await settle()
  await Promise.all(second)
  assert.equal(writes.groups, 2)
})

test('each gets its own outcome', async () => {
  const { writes, settle } = disk()
  const answers = Promise.allSettled([writes.add('a'), writes.add('b'), writes.add('c')])
  await setImmediate()
  await settle([{ value: 1 }, { error: new Error('of b') }, { value: undefined }])
  const [a, b, c] = await answers
  assert.deepEqual([a?.status === 'fulfilled' && a.value, b?.status, c?.status], [1, 'rejected', 'fulfilled'])
})

test('a group that fails is an error for all of it, and the next one is tried', async () => {
  const { writes, groups, settle } = disk()
  const first = Promise.allSettled([writes.add('a'), writes.add('b')])
  await setImmediate()
  const second = writes.add('c')
  await settle(new Error('full'))
  assert.deepEqual(
    (await first).map(({ status }) => status),
    ['rejected', 'rejected'],
  )
  assert.deepEqual(groups.at(-1), ['c'])
  await settle()
  await second
})

test('a group has a bound, and order stays', async () => {
  const { writes, groups, settle } = disk({ most: 3 })
  const all = Promise.all(['1', '2', '3', '4', '5', '6', '7'].map((item) => writes.add(item)))
  await setImmediate()
  let settled = false
  void writes.settled().then(() => (settled = true))
  for (const expected of [['1', '2', '3'], ['4', '5', '6'], ['7']]) {
    assert.deepEqual(groups.at(-1), expected)
    assert.equal(settled, false)
    await settle()
  }
  await all
  assert.equal(settled, true)
  await writes.settled()
})

test('a quick disk is given the next group when the pause since the last began is over, a slow one at once', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const { writes, groups, settle } = disk({ pause: 2 })
  const first = writes.add('a')
  await setImmediate()
  assert.deepEqual(groups, [['a']], 'whoever comes alone does not wait')
  await settle()
  await first
  const second = [writes.add('b')]
  await setImmediate()
  second.push(writes.add('c'))
  let idle = false
  void writes.settled().then(() => (idle = true))
  await setImmediate()
  assert.deepEqual([groups.length, idle], [1, false], 'within the pause, and not forgotten')
  t.mock.timers.tick(2)
  assert.deepEqual(groups.at(-1), ['b', 'c'])
  const third = writes.add('d')
  t.mock.timers.tick(2)
  assert.equal(groups.length, 2, 'one at a time, however long it takes')
  await settle()
  assert.deepEqual(groups.at(-1), ['d'], 'the pause was over before the commit was')
  await settle()
  await Promise.all([...second, third])
  await writes.settled()
  assert.equal(idle, true)
})
