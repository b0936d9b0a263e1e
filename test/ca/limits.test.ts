/** Who waits how long: shares of callers, and times at which those who were turned away come back. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createCallerLimits } from '#ca/caller-limits'
import { skewFault } from '#ca/clock-skew'
import { createReturnSlots } from '#ca/return-slots'

test('a caller has a burst, then what flows back; others are not touched by it', () => {
  const limits = createCallerLimits({ perMinute: 60, burst: 3 })
  assert.deepEqual(
    [1, 2, 3, 4].map(() => limits.take('a', 1000)),
    [0, 0, 0, 1000],
  )
  assert.equal(limits.wait('a', 1400), 600)
  assert.equal(limits.take('a', 2000), 0)
  assert.equal(limits.take('a', 2000), 1000)
  assert.equal(limits.take('b', 2000), 0)
  assert.equal(limits.wait('a', 1_000_000), 0)
})

test('to look does not take, and a clock that is set back gives nothing away and takes nothing', () => {
  const limits = createCallerLimits({ perMinute: 60, burst: 1 })
  for (let look = 0; look < 5; look++) assert.equal(limits.wait('a', 5000), 0)
  assert.equal(limits.take('a', 5000), 0)
  assert.equal(limits.take('a', 1000), 1000)
})

test('those who are turned away together come back one share of them a second', () => {
  const slots = createReturnSlots({ perSecond: 10, longest: 60 })
  const seconds = Array.from({ length: 100 }, () => slots.next(500))
  for (let second = 1; second <= 10; second++) assert.equal(seconds.filter((each) => each === second).length, 10, String(second))
  assert.equal(slots.next(30_500), 1, 'later the first second is free again')
})

test('nobody is sent away for longer than the longest', () => {
  const slots = createReturnSlots({ perSecond: 1, longest: 5 })
  const seconds = Array.from({ length: 50 }, () => slots.next(0))
  assert.ok(Math.max(...seconds) <= 5)
  assert.ok(Math.min(...seconds) >= 1)
})

test('a clock is too far off when the certificate would not be valid by it, or half over', () => {
  const now = Date.UTC(2026, 0, 1, 12)
  const hour = 3_600_000
  for (const [offset, fault] of [
    [0, false],
    [-59_000, false],
    [-62_000, true],
    [3 * hour, false],
    [5 * hour, true],
  ] as const) {
    const found = skewFault(new Date(now + offset).toUTCString(), now, 8 * hour)
    assert.equal(found !== undefined, fault, String(offset))
  }
  assert.equal(skewFault(undefined, now, hour), undefined)
  assert.equal(skewFault('yesterday', now, hour), undefined)
})
