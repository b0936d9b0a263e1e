import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ok, refusal, type Result } from '#base/result'
import { createIssuerKeys } from '#token/issuer-keys'
import { manualClock } from '../support/manual-clock.ts'
import { issuerKey, keySetText } from '../support/token-issuer.ts'

const HOUR = 3_600_000
const first = keySetText(issuerKey('ES256', 'first'))
const second = keySetText(issuerKey('ES256', 'second'))

function world(answer: Result<string>) {
  const clock = manualClock(Date.UTC(2026, 10, 24))
  const state = { answer, looks: 0, changes: 0, outcomes: [] as (string | undefined)[] }
  const keys = createIssuerKeys({
    origin: {
      name: 'test',
      isLocal: false,
      interval: 300_000,
      cooldown: 10_000,
      load() {
        state.looks++
        return Promise.resolve(state.answer)
      },
    },
    jwtSvid: false,
    keep: HOUR,
    clock,
    random: () => 0.5,
    onChange: () => void state.changes++,
    onOutcome: (failure) => void state.outcomes.push(failure?.reason),
  })
  const kids = (): (string | undefined)[] | undefined => keys.current?.keys.map(({ kid }) => kid)
  const tick = async (ms: number): Promise<void> => {
    clock.advance(ms)
    keys.tick(clock.now())
    await keys.seek()
  }
  return { clock, state, keys, kids, tick }
}

test('keys are looked at again after their interval, and a change is told once', async () => {
  const { state, keys, kids, tick } = world(ok(first))
  await keys.look()
  await tick(299_000)
  assert.equal(state.looks, 1 + 1, 'a seek after the cooldown is a look')
  state.answer = ok(second)
  await tick(301_000)
  assert.deepEqual(kids(), ['second'])
  assert.equal(state.changes, 2)
})

test('the last good keys stay for their time while the origin fails, then go, and come back without a restart', async () => {
  const { state, keys, kids, tick } = world(ok(first))
  await keys.look()
  state.answer = refusal('ERR_JWKS_STATUS', '503')
  await tick(HOUR - 1000)
  assert.deepEqual(kids(), ['first'])
  assert.equal(keys.failure?.reason, 'ERR_JWKS_STATUS')
  await tick(1001)
  assert.equal(keys.current, undefined)
  assert.equal(state.changes, 2)
  state.answer = ok(first)
  await tick(60_000)
  assert.deepEqual(kids(), ['first'])
  assert.equal(keys.failure, undefined)
  assert.deepEqual(state.outcomes, ['ERR_JWKS_STATUS', undefined])
})

test('a set that is wrong replaces nothing', async () => {
  const { state, keys, kids } = world(ok(first))
  await keys.look()
  for (const answer of ['<html>', '{"keys":[{"kty":"oct","k":"AA"}]}', keySetText(issuerKey('ES256', 'a'), issuerKey('ES256', 'a'))]) {
    state.answer = ok(answer)
    await keys.look()
    assert.deepEqual(kids(), ['first'])
  }
  assert.deepEqual(state.outcomes, ['ERR_JWKS_MALFORMED', 'ERR_JWKS_NO_KEY', 'ERR_JWKS_AMBIGUOUS'])
})

test('an issuer that withdraws all keys has none at once', async () => {
  const { state, keys, kids } = world(ok(first))
  await keys.look()
  state.answer = ok('{"keys":[]}')
  await keys.look()
  assert.deepEqual(kids(), [])
  assert.equal(state.changes, 2)
})

test('many who seek cause one look, and none in the cooldown after it', async () => {
  const { clock, state, keys } = world(ok(first))
  const looks = Array.from({ length: 100 }, () => keys.seek())
  assert.ok(looks.every((look) => look === looks[0]))
  await looks[0]
  assert.equal(state.looks, 1)
  clock.advance(9_999)
  assert.equal(keys.seek(), undefined)
  clock.advance(1)
  await keys.seek()
  assert.equal(state.looks, 2)
})

test('failures are tried again ever more rarely, at most as rarely as a good origin is looked at', async () => {
  const { clock, state, keys } = world(refusal('ERR_JWKS_UNREACHABLE'))
  await keys.look()
  const delays: number[] = []
  for (let at = clock.now(); delays.length < 8;) {
    clock.advance(250)
    const before = state.looks
    keys.tick(clock.now())
    if (state.looks === before) continue
    await new Promise<void>((resolve) => void setImmediate(resolve))
    delays.push(clock.now() - at)
    at = clock.now()
  }
  assert.deepEqual(delays, [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000])
})
