import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { jsonText, mark, printable, shellWord, spanText, timeText, validityText } from '../../certs-tooling/text.ts'

test('printable text has no control, format or surrogate character, and plain text is left as it is', () => {
  fc.assert(fc.property(fc.string({ unit: 'binary' }), (text) => !/[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/u.test(printable(text))))
  assert.equal(printable('spiffe://example.org/a Grüße'), 'spiffe://example.org/a Grüße')
  assert.equal(printable('a\x1b[2Jb\u202e'), 'a\\u{1b}[2Jb\\u{202e}')
})

test('JSON reads back as it was, and has no character that a terminal obeys', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      const json = jsonText({ text })
      assert.deepEqual(JSON.parse(json), { text })
      assert.doesNotMatch(json.replaceAll('\n', ''), /[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/u)
    }),
  )
})

test('spans are said in their two largest units', () => {
  const spans = [
    [0, '0s'],
    [999, '0s'],
    [9_000, '9s'],
    [250_000, '4m 10s'],
    [3_600_000, '1h'],
    [3_601_000, '1h'],
    [28_799_000, '7h 59m'],
    [183_600_000, '2d 3h'],
    [-5_000, '5s'],
  ] as const
  for (const [ms, text] of spans) assert.equal(spanText(ms), text)
})

test('times are ISO 8601 to the second, and what no calendar holds is never', () => {
  assert.equal(timeText(Date.UTC(2026, 10, 24, 12)), '2026-11-24T12:00:00Z')
  assert.deepEqual([timeText(NaN), timeText(Infinity), timeText(9e15)], ['never', 'never', 'never'])
})

test('validity is said from where one stands', () => {
  assert.deepEqual(
    [-5_000, 0, 9_999, 10_000, 70_000].map((now) => validityText(0, 10_000, now)),
    ['begins in 5s', '10s left', '0s left', 'ended 0s ago', 'ended 1m ago'],
  )
})

test('marks are coloured where a terminal shows colour', () => {
  assert.deepEqual([mark('√', { colour: false }), mark('×', { colour: true })], ['√', '\x1b[31m×\x1b[0m'])
})

test('words are quoted for a shell only where they need to be', () => {
  assert.deepEqual(['ca/root.pem', 'my ca', "it's"].map(shellWord), ['ca/root.pem', "'my ca'", `'it'\\''s'`])
})
