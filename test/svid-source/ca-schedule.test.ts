/** When renewals and polls are due. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { pollDelay, renewalTime, retryDelay } from '#svid-source/ca-schedule'
import { createRandom } from '../support/random.ts'

const NOW = 1_800_000_000_000
const HOUR = 3_600_000
const life = { notBefore: NOW - 60_000, notAfter: NOW + 8 * HOUR }

test('a certificate is renewed at the time the authority names, or at half of its life, a little early or late', () => {
  assert.equal(renewalTime(life, NOW, NOW + HOUR, 0.5), NOW + HOUR)
  assert.equal(renewalTime(life, NOW, undefined, 0.5), NOW + 4 * HOUR)
  const spread = [0, 0.999_999].map((random) => renewalTime(life, NOW, undefined, random) - (NOW + 4 * HOUR))
  assert.ok(Math.abs(spread[0]! + 0.4 * HOUR) < 10 && Math.abs(spread[1]! - 0.4 * HOUR) < 10)
})

test('a time that would be too late or is past already is not taken', () => {
  for (const asked of [NOW - 1, NOW, life.notAfter, life.notAfter + HOUR]) assert.equal(renewalTime(life, NOW, asked, 0.5), NOW + 4 * HOUR)
  for (const random of [0, 0.5, 0.999]) assert.equal(renewalTime(life, NOW, life.notAfter - 1, random), NOW + 6.4 * HOUR)
})

test('what failed is tried again after a second, then less often, a minute at most, and sooner for a short life', () => {
  const half = (): number => 0.5
  assert.deepEqual(
    [1, 2, 3, 7, 30].map((failures) => retryDelay(failures, 0, Infinity, half)),
    [1_000, 2_000, 4_000, 60_000, 60_000],
  )
  assert.equal(retryDelay(9, 0, 10_000, half), 1_000)
  assert.equal(retryDelay(9, 0, 300, half), 100)
  assert.equal(retryDelay(9, 0, -5, half), 60_000)
})

test('the authority is not asked sooner than it said, but for the last try before the end', (t) => {
  const random = createRandom(t)
  for (let round = 0; round < 200; round++) {
    const asked = random() * 100_000
    assert.ok(retryDelay(1, asked, Infinity, random) >= asked)
    const left = random() * 100_000
    assert.ok(retryDelay(1, asked, left, random) < Math.max(left, 1_300))
  }
})

test('polls are spread, and fewer while the authority is away', () => {
  assert.deepEqual(
    [0, 0.5, 1].map((random) => Math.round(pollDelay(5_000, 0, random))),
    [4_000, 5_000, 6_000],
  )
  assert.equal(pollDelay(5_000, 100, 0.5), 20_000)
})
