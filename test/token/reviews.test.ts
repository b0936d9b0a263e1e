import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Refusal, refusal } from '#base/result'
import { createTokenReviews, reviewedToken } from '#token/reviews'
import { manualClock } from '../support/manual-clock.ts'

const GONE = refusal('ERR_TOKEN_REVIEW', 'the pod is gone')
const SILENT = refusal('ERR_TOKEN_REVIEW_UNAVAILABLE', 'ERR_KUBE_UNREACHABLE')

/** One API server whose answer is set, or waited for. */
function setup() {
  const clock = manualClock(1_000_000)
  const state = { asked: 0, answer: undefined as Refusal | undefined, held: undefined as Promise<void> | undefined }
  const rules = {
    refresh: 5_000,
    keep: 60_000,
    async ask() {
      state.asked++
      await state.held
      return state.answer
    },
  }
  const reviews = createTokenReviews(() => clock.now())
  const settled = () => new Promise(setImmediate)
  return {
    clock,
    state,
    rules,
    settled,
    make: (text = 't') => reviewedToken(text, rules),
    judge: async (token: ReturnType<typeof reviewedToken>) => reviews.judge(token, clock.now()),
    isWaiting: (token: ReturnType<typeof reviewedToken>) => reviews.judge(token, clock.now()) instanceof Promise,
    glance: (token: ReturnType<typeof reviewedToken>) => reviews.glance(token, clock.now()),
  }
}

test('an answer counts for its time; a token in use is asked about in the background, an idle one before its request goes on', async () => {
  const { clock, state, settled, make, judge, isWaiting } = setup()
  const token = make()
  assert.equal(isWaiting(token), true)
  await settled()
  assert.equal(state.asked, 1)
  clock.advance(4_999)
  assert.equal(isWaiting(token), false)
  assert.equal(state.asked, 1)
  clock.advance(1)
  assert.equal(isWaiting(token), false, 'in use: its request does not wait')
  await settled()
  assert.equal(state.asked, 2)
  state.answer = GONE
  clock.advance(10_000)
  assert.equal(isWaiting(token), true, 'idle: what is so old says nothing about now')
  assert.equal(await judge(token), GONE)
  assert.equal(state.asked, 3)
})

test('however many requests come with a token that is being asked about, it is one question', async () => {
  const { state, make, judge } = setup()
  const { promise, resolve } = Promise.withResolvers<void>()
  state.held = promise
  const token = make()
  const all = Array.from({ length: 50 }, () => judge(token))
  resolve()
  assert.deepEqual(new Set(await Promise.all(all)), new Set([undefined]))
  assert.equal(state.asked, 1)
})

test('a token that does not count is asked about again after the same time, and may count again', async () => {
  const { clock, state, make, judge } = setup()
  state.answer = GONE
  const token = make()
  assert.equal(await judge(token), GONE)
  assert.equal(await judge(token), GONE)
  assert.equal(state.asked, 1)
  state.answer = undefined
  clock.advance(5_000)
  assert.equal(await judge(token), undefined)
})

test('while nobody answers, the last good answer counts for its time, and no request waits; a token never seen is refused', async () => {
  const { clock, state, settled, make, judge, isWaiting, glance } = setup()
  const token = make()
  await judge(token)
  state.answer = SILENT
  clock.advance(6_000)
  assert.equal(isWaiting(token), false)
  await settled()
  for (let second = 0; second < 53; second++) {
    clock.advance(1_000)
    assert.equal(isWaiting(token), false, `${second}`)
    assert.equal(await judge(token), undefined)
    assert.equal(glance(token), undefined)
    await settled()
  }
  clock.advance(1_000)
  assert.equal(await judge(token), SILENT)
  assert.equal(glance(token), SILENT)
  const fresh = make()
  const before = state.asked
  assert.equal(await judge(fresh), SILENT)
  assert.equal(await judge(fresh), SILENT)
  assert.equal(state.asked, before + 1, 'not for every request')
  state.answer = undefined
  clock.advance(1_000)
  assert.equal(await judge(fresh), undefined)
})

test('a clock that was set back makes answers worthless', async () => {
  const { clock, state, make, judge } = setup()
  const token = make()
  await judge(token)
  state.answer = GONE
  clock.advance(-3_600_000)
  assert.equal(await judge(token), GONE)
})

test('so many questions are under way at once, so many tokens may wait, and the rest are told to come again', async () => {
  const { state, make, judge } = setup()
  const { promise, resolve } = Promise.withResolvers<void>()
  state.held = promise
  const all = Array.from({ length: 32 + 1000 }, () => judge(make()))
  assert.equal(state.asked, 32)
  assert.equal((await judge(make()))?.reason, 'ERR_TOKEN_BUSY')
  resolve()
  assert.deepEqual(new Set(await Promise.all(all)), new Set([undefined]))
  assert.equal(state.asked, 1032)
})
