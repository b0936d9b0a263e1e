/** IDs made of attested facts: what a template may be, and that no fact can make more of it than one segment. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { fillIdTemplate, type IdTemplate, parseIdTemplate } from '#identity/id-template'

function template(text: string): IdTemplate {
  const parsed = parseIdTemplate(text, 'example.org', { names: ['a', 'b'], prefix: 'claims.' })
  assert.ok(parsed.ok, parsed.ok ? '' : parsed.fault)
  return parsed.value
}

test('facts fill the gaps', () => {
  const facts: Readonly<Record<string, string>> = { a: 'one', b: 'two', 'claims.x.y': 'z' }
  const rows: readonly (readonly [text: string, uri: string])[] = [
    ['spiffe://{trustDomain}/ns/{a}/sa/{b}', 'spiffe://example.org/ns/one/sa/two'],
    ['spiffe://example.org/p-{a}-q', 'spiffe://example.org/p-one-q'],
    ['spiffe://example.org/{claims.x.y}', 'spiffe://example.org/z'],
    ['spiffe://example.org/fixed', 'spiffe://example.org/fixed'],
  ]
  for (const [text, uri] of rows) {
    const filled = fillIdTemplate(template(text), (gap) => facts[gap])
    assert.equal(filled.ok && filled.value.uri, uri, text)
  }
})

test('a fact that is absent, empty, too long or more than a segment is refused', () => {
  const facts = [undefined, '', '..', '.', 'a/b', 'a b', 'a%2fb', 'é', 'x'.repeat(254), '{b}', 'a?b', 'a#b', 'a\0']
  for (const fact of facts) {
    const filled = fillIdTemplate(template('spiffe://example.org/ns/{a}'), () => fact)
    assert.equal(filled.ok ? filled.value.uri : filled.reason, 'ERR_SPIFFE_ID_MALFORMED', String(fact))
  }
})

test('no facts make an ID of Postern itself', () => {
  for (const [text, facts] of [
    ['spiffe://example.org/{a}', { a: 'postern' }],
    ['spiffe://example.org/{a}/{b}', { a: 'postern', b: 'ca' }],
    ['spiffe://example.org/p{a}/ca', { a: 'ostern' }],
  ] as const) {
    assert.equal(fillIdTemplate(template(text), (gap) => (facts as Record<string, string>)[gap]).ok, false, text)
  }
})

test('two different sets of facts never make the same ID', () => {
  const made = template('spiffe://example.org/x-{a}/y{b}z')
  const fact = fc.string({ unit: fc.constantFrom('x', 'y', 'z', '-', '/', '.', 'q'), minLength: 1, maxLength: 6 })
  fc.assert(
    fc.property(fact, fact, fact, fact, (a, b, c, d) => {
      const fill = (one: string, two: string): string | undefined => {
        const filled = fillIdTemplate(made, (gap) => (gap === 'a' ? one : two))
        return filled.ok ? filled.value.uri : undefined
      }
      const first = fill(a, b)
      if (first !== undefined && first === fill(c, d)) assert.deepEqual([a, b], [c, d])
    }),
  )
})
