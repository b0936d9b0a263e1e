import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BodyPace } from '#proxy/body-pace'

const WINDOW = 60_000

test('a window passes before anything is said, then it must have brought enough', () => {
  const pace = new BodyPace(0)
  assert.equal(pace.check(WINDOW, 0, false, WINDOW, 16), undefined)
  assert.equal(pace.check(WINDOW + 1, 961, false, WINDOW, 16), undefined)
  assert.equal(pace.check(2 * WINDOW + 1, 961, false, WINDOW, 16), undefined, 'the next window is not over')
  assert.equal(pace.check(2 * WINDOW + 2, 961 + 960, false, WINDOW, 16), 'ERR_BODY_RATE')
})

test('what came before a window does not count in it', () => {
  const pace = new BodyPace(0)
  assert.equal(pace.check(WINDOW + 1, 1e9, false, WINDOW, 16), undefined)
  assert.equal(pace.check(2 * WINDOW + 2, 1e9 + 1, false, WINDOW, 16), 'ERR_BODY_RATE')
})

test('without a rate one byte is enough, and none is silence', () => {
  const pace = new BodyPace(0)
  assert.equal(pace.check(WINDOW + 1, 1, false, WINDOW, 0), undefined)
  assert.equal(pace.check(2 * WINDOW + 2, 1, false, WINDOW, 0), 'ERR_BODY_TIMEOUT')
})

test('time in which the sender could not send does not count', () => {
  const pace = new BodyPace(0)
  assert.equal(pace.check(10 * WINDOW, 0, true, WINDOW, 16), undefined)
  assert.equal(pace.check(11 * WINDOW, 0, false, WINDOW, 16), undefined)
  assert.equal(pace.check(11 * WINDOW + 1, 0, false, WINDOW, 16), 'ERR_BODY_TIMEOUT')
})
