import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decide } from '#policy/decide'
import { explain } from '#policy/explain'
import { parseInstant } from '#policy/read-time'
import { compile, decideBothWays, policies, request, SCOPE } from '../support/policies.ts'

const at = (text: string): number => parseInstant(text) ?? assert.fail(text)

/** A criterion, an instant, whether it holds then, and when that changes first. */
const CRITERIA: readonly (readonly [string, string, boolean, string | undefined])[] = [
  ['date: { after: "2026-06-15T12:00:00Z" }', '2026-06-15T11:59:59.999Z', false, '2026-06-15T12:00:00Z'],
  ['date: { after: "2026-06-15T12:00:00Z" }', '2026-06-15T12:00:00Z', true, undefined],
  ['date: { before: "2026-06-15T14:00:00+02:00" }', '2026-06-15T11:59:59.999Z', true, '2026-06-15T12:00:00Z'],
  ['date: { before: "2026-06-15T12:00:00Z" }', '2026-06-15T12:00:00Z', false, undefined],
  ['date: { after: "2026-06-15T12:00:00Z", before: "2026-06-16T12:00:00Z" }', '2026-06-15T00:00:00Z', false, '2026-06-15T12:00:00Z'],
  ['date: { after: "2026-06-15T12:00:00Z", before: "2026-06-16T12:00:00Z" }', '2026-06-15T13:00:00Z', true, '2026-06-16T12:00:00Z'],
  // 2026-06-15 is a Monday.
  ['day_of_week: mon', '2026-06-15T00:00:00Z', true, '2026-06-16T00:00:00Z'],
  ['day_of_week: mon', '2026-06-14T23:59:59Z', false, '2026-06-15T00:00:00Z'],
  ['day_of_week: monday', '2026-06-15T12:00:00Z', true, '2026-06-16T00:00:00Z'],
  ['day_of_week: mon-fri', '2026-06-15T12:00:00Z', true, '2026-06-20T00:00:00Z'],
  ['day_of_week: fri-mon', '2026-06-15T12:00:00Z', true, '2026-06-16T00:00:00Z'],
  ['day_of_week: fri-mon', '2026-06-16T12:00:00Z', false, '2026-06-19T00:00:00Z'],
  ['day_of_week: "sat, sun"', '2026-06-20T12:00:00Z', true, '2026-06-22T00:00:00Z'],
  ['day_of_week: [sat, mon-tue]', '2026-06-15T12:00:00Z', true, '2026-06-17T00:00:00Z'],
  ['day_of_week: "*"', '2026-06-15T12:00:00Z', true, undefined],
  ['day_of_week: wed-tue', '2026-06-15T12:00:00Z', true, undefined],
  ['day_of_week: { days: mon, timezone: Pacific/Auckland }', '2026-06-14T12:00:00Z', true, '2026-06-15T12:00:00Z'],
  ['day_of_week: { is: sun, timezone: America/New_York }', '2026-06-15T03:59:59Z', true, '2026-06-15T04:00:00Z'],
  ['time_of_day: { timezone: UTC, after: 9:00, before: 17:30 }', '2026-06-15T09:00:00Z', true, '2026-06-15T17:30:00Z'],
  ['time_of_day: { timezone: UTC, after: 9:00, before: 17:30 }', '2026-06-15T17:30:00Z', false, '2026-06-16T09:00:00Z'],
  ['time_of_day: { timezone: UTC, after: "22:00:30", before: 6:00 }', '2026-06-15T23:00:00Z', true, '2026-06-16T06:00:00Z'],
  ['time_of_day: { timezone: UTC, after: "22:00:30", before: 6:00 }', '2026-06-15T22:00:29.999Z', false, '2026-06-15T22:00:30Z'],
  ['time_of_day: { timezone: UTC, after: 9:00 }', '2026-06-15T12:00:00Z', true, '2026-06-16T00:00:00Z'],
  ['time_of_day: { timezone: UTC, before: 9:00 }', '2026-06-15T12:00:00Z', false, '2026-06-16T00:00:00Z'],
  ['time_of_day: { timezone: UTC, after: 0:00 }', '2026-06-15T12:00:00Z', true, undefined],
  ['time_of_day: { timezone: UTC, after: 9:00, before: 0:00 }', '2026-06-15T12:00:00Z', true, '2026-06-16T00:00:00Z'],
  ['time_of_day: { timezone: Asia/Kolkata, after: 9:00, before: 17:00 }', '2026-06-15T03:30:00Z', true, '2026-06-15T11:30:00Z'],
  // In Berlin, clocks go from 2:00 to 3:00 on 29 March 2026 at 01:00Z, and from 3:00 to 2:00 on 25 October at 01:00Z.
  ['time_of_day: { timezone: Europe/Berlin, after: 9:00, before: 17:00 }', '2026-03-28T16:00:00Z', false, '2026-03-29T07:00:00Z'],
  ['time_of_day: { timezone: Europe/Berlin, after: 9:00, before: 17:00 }', '2026-10-24T15:00:00Z', false, '2026-10-25T08:00:00Z'],
  ['time_of_day: { timezone: Europe/Berlin, after: 2:30, before: 3:30 }', '2026-03-29T00:59:59Z', false, '2026-03-29T01:00:00Z'],
  ['time_of_day: { timezone: Europe/Berlin, after: 2:30, before: 3:30 }', '2026-03-29T01:00:00Z', true, '2026-03-29T01:30:00Z'],
  ['time_of_day: { timezone: Europe/Berlin, after: 2:10, before: 2:20 }', '2026-03-28T01:20:00Z', false, '2026-03-30T00:10:00Z'],
  ['time_of_day: { timezone: Europe/Berlin, after: 2:30, before: 3:30 }', '2026-10-25T00:30:00Z', true, '2026-10-25T01:00:00Z'],
  ['time_of_day: { timezone: Europe/Berlin, after: 2:30, before: 3:30 }', '2026-10-25T01:00:00Z', false, '2026-10-25T01:30:00Z'],
  ['day_of_week: { days: sun, timezone: Europe/Berlin }', '2026-03-29T12:00:00Z', true, '2026-03-29T22:00:00Z'],
  ['day_of_week: { days: sun, timezone: Europe/Berlin }', '2026-03-28T12:00:00Z', false, '2026-03-28T23:00:00Z'],
]

for (const [criterion, now, holds, change] of CRITERIA) {
  test(`${criterion} is ${String(holds)} at ${now} until ${change ?? 'ever'}`, () => {
    const documents = policies(`allow: { and: [{ ${criterion} }] }`)
    const { allow, validUntil } = decideBothWays(documents, request(), at(now))
    assert.equal(allow, holds)
    assert.equal(validUntil, change === undefined ? Infinity : at(change))
    assert.equal(explain(documents, SCOPE, request(), at(now)).decision.validUntil, validUntil)
    assert.equal(decide(compile(policies(`allow: { not: [{ ${criterion} }] }`)), request(), at(now)).allow, !holds)
  })
}

const MORNING = '{ time_of_day: { timezone: UTC, after: 6:00, before: 12:00 } }'
const TODAY = '{ date: { after: "2026-06-15T00:00:00Z", before: "2026-06-16T00:00:00Z" } }'
/** Rules, an instant, whether it is allowed, until when at least. */
const COMBINED: readonly (readonly [string, string, string, boolean, string | undefined])[] = [
  [
    'a rule ends with the first of its criteria',
    `- allow: { and: [${MORNING}, ${TODAY}] }`,
    '2026-06-15T08:00:00Z',
    true,
    '2026-06-15T12:00:00Z',
  ],
  [
    'a rule begins with the last of its criteria',
    `- allow: { and: [${MORNING}, ${TODAY}] }`,
    '2026-06-14T01:00:00Z',
    false,
    '2026-06-15T00:00:00Z',
  ],
  ['alternatives end with the last', `- allow: { or: [${MORNING}, ${TODAY}] }`, '2026-06-15T08:00:00Z', true, '2026-06-16T00:00:00Z'],
  ['alternatives begin with the first', `- allow: { or: [${MORNING}, ${TODAY}] }`, '2026-06-14T01:00:00Z', false, '2026-06-14T06:00:00Z'],
  [
    'a timeless allow rule makes it last',
    `- allow: { and: [${MORNING}] }\n- allow: { and: [{ accept: true }] }`,
    '2026-06-15T08:00:00Z',
    true,
    undefined,
  ],
  [
    'a criterion that fails anyway makes it last',
    `- allow: { and: [${MORNING}, { http_path: /x }] }`,
    '2026-06-15T08:00:00Z',
    false,
    undefined,
  ],
  [
    'a timeless deny rule makes it last',
    `- allow: { and: [${MORNING}] }\n- deny: { and: [{ accept: true }] }`,
    '2026-06-15T08:00:00Z',
    false,
    undefined,
  ],
  [
    'a deny rule that will begin ends it',
    `- allow: { and: [{ accept: true }] }\n- deny: { and: [${MORNING}] }`,
    '2026-06-15T05:00:00Z',
    true,
    '2026-06-15T06:00:00Z',
  ],
  [
    'a deny rule that will end begins it',
    `- allow: { and: [{ accept: true }] }\n- deny: { and: [${MORNING}] }`,
    '2026-06-15T07:00:00Z',
    false,
    '2026-06-15T12:00:00Z',
  ],
  [
    'a deny rule that will end changes nothing without an allow rule',
    `- allow: { and: [{ http_path: /x }] }\n- deny: { and: [${MORNING}] }`,
    '2026-06-15T07:00:00Z',
    false,
    undefined,
  ],
  [
    'a deny rule of another caller changes nothing',
    `- allow: { and: [{ accept: true }] }\n- deny: { and: [${MORNING}, { namespace: bank }] }`,
    '2026-06-15T05:00:00Z',
    true,
    undefined,
  ],
]

for (const [title, rules, now, allow, until] of COMBINED) {
  test(`an answer lasts: ${title}`, () => {
    const decision = decideBothWays(policies(rules), request(), at(now))
    assert.equal(decision.allow, allow)
    assert.equal(decision.validUntil, until === undefined ? Infinity : at(until))
  })
}

test('a compiled policy that is asked back and forth in time answers as if asked once', () => {
  const documents = policies(
    'allow: { and: [{ time_of_day: { timezone: Europe/Berlin, after: 2:30, before: 3:30 } }, { day_of_week: { days: sun, timezone: America/New_York } }] }',
  )
  const policy = compile(documents)
  for (let step = 0; step < 300; step++) {
    const now = at('2026-03-01T00:00:00Z') + ((step * 7919) % 300) * 5_400_000
    assert.equal(decide(policy, request(), now).allow, explain(documents, SCOPE, request(), now).decision.allow)
  }
})

const INSTANTS: readonly (readonly [string, number | undefined])[] = [
  ['1970-01-01T00:00:00Z', 0],
  ['1970-01-01t01:00:00.5+01:00', 500],
  ['1969-12-31T23:59:59.9999Z', -1],
  ['2024-02-29T00:00:00-00:30', Date.UTC(2024, 1, 29, 0, 30)],
  ['0099-01-01T00:00:00Z', -59042995200000],
  ['2023-02-29T00:00:00Z', undefined],
  ['2023-13-01T00:00:00Z', undefined],
  ['2023-01-01T24:00:00Z', undefined],
  ['2023-01-01T23:59:60Z', undefined],
  ['2023-01-01 00:00:00Z', undefined],
  ['2023-01-01T00:00:00', undefined],
  ['2023-01-01T00:00:00+24:00', undefined],
  ['2023-01-01T00:00Z', undefined],
  ['1767225600', undefined],
]

test('instants are read as RFC 3339 has them', () => {
  for (const [text, expected] of INSTANTS) assert.equal(parseInstant(text), expected, text)
})
