/** What holds of every canonical path, whatever it was made of. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { type PathOptIn, canonicalLiteral, canonicalPath } from '#http/canonical-path'

const OPT_INS: PathOptIn[] = ['encoded-slash', 'double-slash', 'params', 'double-encoding']

/** Pieces of which bypasses are made, and harmless ones between them. */
const PIECES = [
  ['/', '/', '/', 'a', 'B', '0', '-', '.', '..', '~', '_', ':', '@', '!', '+', '=', ',', '*', "'", '(', '|', '[', '{', '"', '^'],
  ['%2e', '%2E', '%2f', '%2F', '%5c', '\\', '%00', ';', '%3b', '%3B', '%25', '%252e', '%252f', '%255c', '%61', '%41', '%7e', '%20', '%09'],
  ['%C3%A9', '%c3%a9', '%c0%af', '%e2%82%ac', '%ff', '%', '%4', '%zz', '#', '?', ' ', '\t', '\u00e9', '2e', '2f', '25'],
].flat()

const paths = fc
  .array(fc.oneof({ weight: 9, arbitrary: fc.constantFrom(...PIECES) }, { weight: 1, arbitrary: fc.string({ maxLength: 3 }) }), {
    maxLength: 12,
  })
  .map((pieces) => `/${pieces.join('')}`)
const rules = fc.subarray(OPT_INS).map((allow) => ({ allow: new Set(allow), ignoreCase: false }))
const RUNS = { numRuns: 5_000 }

test('a canonical path is its own canonical form under the same rules', () => {
  fc.assert(
    fc.property(paths, rules, (path, rule) => {
      const once = canonicalPath(path, rule)
      if (typeof once !== 'string') return
      assert.equal(canonicalPath(once, rule), once)
      assert.deepEqual(canonicalLiteral(once, true), { ok: true, suggestion: undefined, refusal: undefined })
    }),
    RUNS,
  )
})

test('canonicalising changes the spelling and never the meaning', () => {
  fc.assert(
    fc.property(paths, rules, (path, rule) => {
      const once = canonicalPath(path, rule)
      if (typeof once === 'string') assert.equal(decodeURIComponent(once), decodeURIComponent(path))
    }),
    RUNS,
  )
})

test('whoever reads a canonical path as a URL reads it as it stands', () => {
  fc.assert(
    fc.property(paths, rules, (path, rule) => {
      const once = canonicalPath(path, rule)
      if (typeof once === 'string') assert.equal(new URL(`http://host${once}`).pathname, once)
    }),
    RUNS,
  )
})

test('no dot segment, backslash or NUL comes to light by decoding once or twice, however segments are cut', () => {
  fc.assert(
    fc.property(paths, rules, (path, rule) => {
      const once = canonicalPath(path, rule)
      if (typeof once !== 'string') return
      for (const seen of [once, lenientDecode(once), lenientDecode(lenientDecode(once))]) {
        assert.doesNotMatch(seen, /[\\\0]/)
        for (const segment of seen.split('/')) assert.doesNotMatch(segment, /^\s*\.{1,2}\s*(?:;|$)/)
      }
    }),
    RUNS,
  )
})

test('one opt-in more never refuses what was accepted, and never changes its form', () => {
  fc.assert(
    fc.property(paths, rules, (path, rule) => {
      const strict = canonicalPath(path, rule)
      if (typeof strict === 'string') assert.equal(canonicalPath(path, { allow: new Set(OPT_INS), ignoreCase: false }), strict)
    }),
    RUNS,
  )
})

/** As careless servers decode: what is no escape stays, and bytes are characters. */
function lenientDecode(text: string): string {
  return text.replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
}
