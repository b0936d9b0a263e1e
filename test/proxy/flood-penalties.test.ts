import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createFloodPenalties, type FloodPenalties } from '#proxy/flood-penalties'
import { type ManualClock, manualClock } from '../support/manual-clock.ts'

const FIRST = 1000

function setUp(): { penalties: FloodPenalties; clock: ManualClock } {
  const clock = manualClock(0)
  return { penalties: createFloodPenalties(() => clock.monotonic()), clock }
}

test('an identity is refused at the address it flooded from, and nobody else, nor itself elsewhere', () => {
  const { penalties, clock } = setUp()
  penalties.flooded('a', '10.0.0.1', FIRST)
  assert.equal(penalties.remaining('a', '10.0.0.1'), FIRST)
  assert.equal(penalties.remaining('b', '10.0.0.1'), 0)
  assert.equal(penalties.remaining('a', '10.0.0.2'), 0)
  clock.advance(600)
  assert.equal(penalties.remaining('a', '10.0.0.1'), 400)
  clock.advance(400)
  assert.equal(penalties.remaining('a', '10.0.0.1'), 0)
})

test('who floods again once it is let in waits twice as long, up to 16 times; a minute of calm is forgiven', () => {
  const { penalties, clock } = setUp()
  for (const times of [1, 2, 4, 8, 16, 16]) {
    penalties.flooded('a', '10.0.0.1', FIRST)
    assert.equal(penalties.remaining('a', '10.0.0.1'), times * FIRST)
    clock.advance(times * FIRST)
  }
  clock.advance(59_999)
  penalties.flooded('a', '10.0.0.1', FIRST)
  assert.equal(penalties.remaining('a', '10.0.0.1'), 16 * FIRST, 'not calm for long enough')
  clock.advance(16 * FIRST + 60_001)
  penalties.flooded('a', '10.0.0.1', FIRST)
  assert.equal(penalties.remaining('a', '10.0.0.1'), FIRST)
})

test('connections that flood side by side are one flood', () => {
  const { penalties, clock } = setUp()
  for (let index = 0; index < 10; index++) {
    penalties.flooded('a', '10.0.0.1', FIRST)
    clock.advance(10)
  }
  assert.equal(penalties.remaining('a', '10.0.0.1'), FIRST - 10)
})

test('handshakes of an address begin a tenth of a second apart while a penalty lasts there', () => {
  const { penalties, clock } = setUp()
  assert.equal(penalties.restOf('10.0.0.1'), 0)
  penalties.flooded('a', '10.0.0.1', FIRST)
  assert.equal(penalties.restOf('10.0.0.1'), 100)
  assert.equal(penalties.restOf('10.0.0.2'), 0)
  clock.advance(100)
  assert.equal(penalties.restOf('10.0.0.1'), 0, 'one')
  assert.equal(penalties.restOf('10.0.0.1'), 100, 'and the next has to wait')
  clock.advance(901)
  assert.equal(penalties.restOf('10.0.0.1'), 0)
  assert.equal(penalties.restOf('10.0.0.1'), 0, 'the penalty is over')
})

test('an identity that floods from many addresses is refused everywhere', () => {
  const { penalties } = setUp()
  for (let index = 1; index <= 16; index++) penalties.flooded('a', `10.0.0.${index}`, FIRST)
  assert.equal(penalties.remaining('a', '10.0.1.1'), 0)
  penalties.flooded('a', '10.0.0.17', FIRST)
  assert.equal(penalties.remaining('a', '10.0.1.1'), FIRST)
  assert.equal(penalties.remaining('b', '10.0.1.1'), 0)
})

test('who has no identity is refused by address alone', () => {
  const { penalties } = setUp()
  for (let index = 1; index <= 50; index++) penalties.flooded('', `10.0.0.${index}`, FIRST)
  assert.equal(penalties.remaining('', '10.0.0.50'), FIRST)
  assert.equal(penalties.remaining('', '10.0.1.1'), 0)
})

test('what is remembered is bounded', () => {
  const { penalties } = setUp()
  for (let index = 0; index < 20_000; index++) penalties.flooded(`p${index}`, `s${index}`, FIRST)
  assert.equal(penalties.remaining('p0', 's0'), 0, 'the oldest is forgotten')
  assert.equal(penalties.remaining('p19999', 's19999'), FIRST)
})
