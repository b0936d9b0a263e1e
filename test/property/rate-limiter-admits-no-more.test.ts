/** Buckets fill while nobody looks, and are forgotten: here they are held against what a limit promises, over any schedule. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { compileLimit } from '#policy/limit'
import { createRateLimiter } from '#proxy/rate-limiter'
import { request } from '../support/policies.ts'

const RUNS = Number(process.env['POSTERN_PROPERTY_RUNS'] ?? 1000)

const limits = fc
  .record({
    requests: fc.tuple(fc.constantFrom(1, 2, 3, 7, 100, 999, 1_000_000), fc.constantFrom('s', 'm', 'h')).map((parts) => parts.join('/')),
    burst: fc.integer({ min: 1, max: 12 }),
  })
  .map(({ requests, burst }) => {
    const limit = { requests, burst, per: 'source_ip' } as const
    const compiled = compileLimit('p', { name: 'r', action: 'allow', operator: 'and', criteria: [], line: 1, column: 1, limit })
    assert.ok(compiled !== undefined)
    return compiled
  })

/** Gaps in intervals of the limit, so that any limit is met at its edge: nothing, parts, whole ones, long ones. */
const gap = fc.oneof(
  { weight: 4, arbitrary: fc.constant(0) },
  { weight: 3, arbitrary: fc.double({ min: 0, max: 2, noNaN: true }) },
  { weight: 2, arbitrary: fc.integer({ min: 1, max: 3 }) },
  { weight: 1, arbitrary: fc.integer({ min: 5, max: 50 }) },
)

const schedule = fc.array(fc.tuple(gap, fc.nat(5)), { minLength: 1, maxLength: 120 })
const start = fc.constantFrom(0, 0.3, 12_345.678, 8_640_000_000.1)

test('no caller is ever given more than the burst and what its rate earns, in any span of any schedule, however few buckets there are', () => {
  fc.assert(
    fc.property(limits, fc.integer({ min: 1, max: 4 }), start, schedule, (limit, capacity, begin, steps) => {
      const limiter = createRateLimiter(capacity)
      const admitted = new Map<number, number[]>()
      let now = begin
      for (const [intervals, who] of steps) {
        now += intervals * limit.interval
        const wait = limiter.take(limit, request({ sourceIp: `10.0.0.${who}` }), now)
        assert.ok(limiter.size <= capacity)
        // Never longer than the whole bucket takes.
        assert.ok(wait >= 0 && wait <= limit.burst * limit.interval * 1.001, String(wait))
        if (wait === 0) admitted.set(who, [...(admitted.get(who) ?? []), now])
      }
      // What rounding may add: a millionth of a request, and the grain of the clock itself late in its life.
      const slack = 2e-6 + (3 * Number.EPSILON * now * steps.length) / limit.interval
      for (const times of admitted.values()) {
        for (const [first, from] of times.entries()) {
          for (const [offset, to] of times.slice(first).entries()) {
            const earned = (to - from) / limit.interval
            assert.ok(offset + 1 <= limit.burst + earned + slack, `${offset + 1} between ${from} and ${to}`)
          }
        }
      }
    }),
    { numRuns: RUNS },
  )
})

test('with room for all, whoever waits as long as it was told is served, and nobody is told to wait while its bucket holds a request', () => {
  fc.assert(
    fc.property(limits, start, schedule, (limit, begin, steps) => {
      const limiter = createRateLimiter()
      /** Requests in each caller's bucket, kept as one would by hand. */
      const held = new Map<number, { tokens: number; at: number }>()
      let now = begin
      for (const [intervals, who] of steps) {
        now += intervals * limit.interval
        const facts = request({ sourceIp: `10.0.0.${who}` })
        const bucket = held.get(who) ?? { tokens: limit.burst, at: now }
        const tokens = Math.min(limit.burst, bucket.tokens + (now - bucket.at) / limit.interval)
        const wait = limiter.take(limit, facts, now)
        // On the edge, either is right.
        if (Math.abs(tokens - 1) > 0.01) assert.equal(wait === 0, tokens >= 1, `${tokens} held at ${now}`)
        held.set(who, { tokens: tokens - (wait === 0 ? 1 : 0), at: now })
        if (wait === 0) continue
        // A clock that has run for long has no finer grain.
        now += wait + 4 * Number.EPSILON * now
        assert.equal(limiter.take(limit, facts, now), 0)
        held.set(who, { tokens: 0, at: now })
      }
    }),
    { numRuns: RUNS },
  )
})
