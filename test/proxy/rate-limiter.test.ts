import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { RateLimit } from '#policy/decision'
import type { LimitGroup } from '#policy/document'
import { compileLimit } from '#policy/limit'
import { createRateLimiter, MOST_BUCKETS } from '#proxy/rate-limiter'
import { CART, peer, request } from '../support/policies.ts'

function limitOf(requests: string, burst: number, per: LimitGroup = 'peer', name = 'r'): RateLimit {
  const place = { line: 1, column: 1 }
  const limit = compileLimit('p', { name, action: 'allow', operator: 'and', criteria: [], limit: { requests, burst, per }, ...place })
  assert.ok(limit !== undefined)
  return limit
}

/** 0 is exact; other times are as good as doubles are. */
function assertWait(actual: number, expected: number, message: string): void {
  if (expected === 0) assert.equal(actual, 0, message)
  else assert.ok(Math.abs(actual - expected) < 1e-6, `${message}: ${actual} instead of ${expected}`)
}

const caller = (name: string) => request({ peer: peer(`spiffe://example.org/ns/shop/sa/${name}`) })

/** Rate and burst, then at which ms a request comes and how long it must wait. */
const SCHEDULES: readonly (readonly [string, string, number, readonly (readonly [number, number])[]])[] = [
  [
    'a burst passes at once, and what comes after waits for its turn',
    '10/s',
    3,
    [
      [0, 0],
      [0, 0],
      [0, 0],
      [0, 100],
      [40, 60],
      [99, 1],
      [100, 0],
      [100, 100],
    ],
  ],
  [
    'a burst of one spaces requests',
    '2/s',
    1,
    [
      [0, 0],
      [499, 1],
      [500, 0],
      [999, 1],
      [1000, 0],
    ],
  ],
  [
    'who waits is not made to wait longer for having asked',
    '1/s',
    1,
    [
      [0, 0],
      [100, 900],
      [200, 800],
      [900, 100],
      [1000, 0],
    ],
  ],
  [
    'a bucket fills to its burst and no further',
    '1/s',
    2,
    [
      [0, 0],
      [1_000_000, 0],
      [1_000_000, 0],
      [1_000_000, 1000],
    ],
  ],
  [
    'a bucket fills in parts',
    '1/s',
    2,
    [
      [0, 0],
      [0, 0],
      [500, 500],
      [1500, 0],
      [1500, 500],
      [2000, 0],
      [2000, 1000],
    ],
  ],
  [
    'a rate a minute',
    '30/m',
    1,
    [
      [0, 0],
      [1000, 1000],
      [2000, 0],
    ],
  ],
  [
    'a rate an hour',
    '1/h',
    1,
    [
      [5, 0],
      [5, 3_600_000],
      [3_600_005, 0],
    ],
  ],
  [
    'a burst larger than a second earns',
    '1/m',
    2,
    [
      [0, 0],
      [0, 0],
      [0, 60_000],
      [59_999, 1],
      [60_000, 0],
      [60_000, 60_000],
    ],
  ],
]

for (const [what, requests, burst, schedule] of SCHEDULES) {
  test(`${what} (${requests}, burst ${burst})`, () => {
    for (const start of [0, 1e9]) {
      const limiter = createRateLimiter()
      const limit = limitOf(requests, burst)
      for (const [at, wait] of schedule) assertWait(limiter.take(limit, request(), start + at), wait, `at ${at}`)
    }
  })
}

test('thirds of a millisecond add up: a burst of thousands passes whole, after a hundred days too', () => {
  for (const start of [0, 0.1, 8_640_000_000.7]) {
    const limiter = createRateLimiter()
    const limit = limitOf('300000/s', 3000)
    for (let index = 0; index < 3000; index++) assert.equal(limiter.take(limit, request(), start), 0, `${index} at ${start}`)
    assert.ok(limiter.take(limit, request(), start) > 0)
  }
})

/** Who is counted together: pairs of callers that share a bucket, and pairs that do not. */
const GROUPS: readonly (readonly [LimitGroup, readonly (readonly [string, string, boolean])[]])[] = [
  [
    'peer',
    [
      ['spiffe://a/ns/n/sa/s', 'spiffe://a/ns/n/sa/s', true],
      ['spiffe://a/ns/n/sa/s', 'spiffe://b/ns/n/sa/s', false],
      ['spiffe://a/x', 'spiffe://a/y', false],
    ],
  ],
  [
    'service_account',
    [
      ['spiffe://a/ns/n/sa/s', 'spiffe://a/ns/n/sa/s', true],
      ['spiffe://a/ns/n/sa/s', 'spiffe://a/ns/n/sa/t', false],
      ['spiffe://a/ns/n/sa/s', 'spiffe://a/ns/m/sa/s', false],
      ['spiffe://a/ns/n/sa/s', 'spiffe://b/ns/n/sa/s', false],
      ['spiffe://a/x', 'spiffe://a/y', true],
      ['spiffe://a/x', 'spiffe://b/x', false],
    ],
  ],
  [
    'namespace',
    [
      ['spiffe://a/ns/n/sa/s', 'spiffe://a/ns/n/sa/t', true],
      ['spiffe://a/ns/n/sa/s', 'spiffe://a/ns/m/sa/s', false],
      ['spiffe://a/ns/n/sa/s', 'spiffe://b/ns/n/sa/s', false],
      ['spiffe://a/x', 'spiffe://a/ns/n', true],
      ['spiffe://a/x', 'spiffe://a/ns/n/sa/s', false],
    ],
  ],
  [
    'trust_domain',
    [
      ['spiffe://a/ns/n/sa/s', 'spiffe://a/x', true],
      ['spiffe://a/x', 'spiffe://b/x', false],
    ],
  ],
  ['source_ip', [['spiffe://a/x', 'spiffe://b/y', true]]],
  ['all', [['spiffe://a/x', 'spiffe://b/y', true]]],
]

for (const [per, pairs] of GROUPS) {
  for (const [one, other, together] of pairs) {
    test(`per ${per}, ${one} and ${other} are counted ${together ? 'together' : 'apart'}`, () => {
      const limiter = createRateLimiter()
      const limit = limitOf('1/s', 1, per)
      assert.equal(limiter.take(limit, request({ peer: peer(one) }), 0), 0)
      assert.equal(limiter.take(limit, request({ peer: peer(other) }), 0), together ? 1000 : 0)
    })
  }
}

test('per source_ip, addresses are counted apart and whoever calls from one together', () => {
  const limiter = createRateLimiter()
  const limit = limitOf('1/s', 1, 'source_ip')
  assert.equal(limiter.take(limit, request({ sourceIp: '10.0.0.1' }), 0), 0)
  assert.equal(limiter.take(limit, request({ sourceIp: '10.0.0.2' }), 0), 0)
  assert.equal(limiter.take(limit, request({ sourceIp: '10.0.0.1', peer: peer('spiffe://b/y') }), 0), 1000)
})

test('callers without certificate are counted together', () => {
  for (const per of ['peer', 'service_account', 'namespace', 'trust_domain'] as const) {
    const limiter = createRateLimiter()
    const limit = limitOf('1/s', 1, per)
    assert.equal(limiter.take(limit, request({ peer: undefined, sourceIp: '10.0.0.1' }), 0), 0)
    assert.equal(limiter.take(limit, request({ peer: undefined, sourceIp: '10.0.0.2' }), 0), 1000)
    assert.equal(limiter.take(limit, request({ peer: CART }), 0), 0)
  }
})

test('limits of different rules are counted apart', () => {
  const limiter = createRateLimiter()
  for (const name of ['a', 'b']) assert.equal(limiter.take(limitOf('1/s', 1, 'peer', name), request(), 0), 0)
  for (const name of ['a', 'b']) assert.equal(limiter.take(limitOf('1/s', 1, 'peer', name), request(), 0), 1000)
})

test('what was counted survives as long as the limit is kept, and no longer', () => {
  const limiter = createRateLimiter()
  const [kept, gone] = [limitOf('1/s', 1, 'peer', 'kept'), limitOf('1/s', 1, 'peer', 'gone')]
  for (const limit of [kept, gone]) for (const name of ['a', 'b', 'c']) limiter.take(limit, caller(name), 0)
  assert.equal(limiter.size, 6)
  limiter.keep(new Set([kept.key, 'another']))
  assert.equal(limiter.size, 3)
  assert.equal(limiter.take({ ...kept }, caller('a'), 0), 1000)
  assert.equal(limiter.take(gone, caller('a'), 0), 0)
  limiter.keep(new Set())
  assert.equal(limiter.size, 0)
  assert.equal(limiter.take(kept, caller('a'), 0), 0)
  assert.equal(limiter.size, 1)
})

test('a full bucket is forgotten before one that is in use, though that was used longer ago', () => {
  const limiter = createRateLimiter(3)
  const [slow, fast] = [limitOf('1/h', 1, 'peer', 'slow'), limitOf('1000/s', 1, 'peer', 'fast')]
  limiter.take(slow, caller('a'), 0)
  limiter.take(slow, caller('b'), 0)
  limiter.take(fast, caller('c'), 0)
  assert.equal(limiter.take(slow, caller('d'), 100), 0)
  assert.equal(limiter.size, 3)
  for (const name of ['a', 'b', 'd']) assert.ok(limiter.take(slow, caller(name), 100) > 3_599_000, name)
})

test('of buckets in use the least recently used is forgotten, and whoever is new then starts no fuller than it was', () => {
  const limiter = createRateLimiter(2)
  const limit = limitOf('1/s', 2)
  limiter.take(limit, caller('a'), 0)
  limiter.take(limit, caller('a'), 0)
  limiter.take(limit, caller('b'), 0)
  limiter.take(limit, caller('a'), 0)
  assert.equal(limiter.take(limit, caller('c'), 0), 0, 'b is forgotten, whose bucket held one')
  assert.equal(limiter.take(limit, caller('c'), 0), 1000)
  assert.equal(limiter.take(limit, caller('b'), 0), 1000, 'a is forgotten, whose bucket was empty')
  assert.equal(limiter.take(limit, caller('b'), 1000), 0)
  assert.equal(limiter.take(limit, caller('new'), 2000), 0, 'what was forgotten is full by now')
})

test('a million callers are held in ten thousand buckets, and each within its limit', () => {
  const limiter = createRateLimiter()
  const limit = limitOf('1/h', 5, 'source_ip')
  let taken = 0
  for (let index = 0; index < 1_000_000; index++) {
    const facts = request({ sourceIp: `2001:db8::${index.toString(16)}` })
    if (limiter.take(limit, facts, index / 1000) === 0) taken++
  }
  assert.equal(limiter.size, MOST_BUCKETS)
  // In no more buckets than there are, nothing being earned back in a second.
  assert.equal(taken, 5 * MOST_BUCKETS)
})
