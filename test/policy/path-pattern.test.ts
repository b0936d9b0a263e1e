import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { compilePattern, literalPrefix, patternFault } from '#policy/path-pattern'

/** What a pattern means, as a regular expression: the oracle that the product does not use. */
function oracle(pattern: string): RegExp {
  const parts = pattern.slice(1).split('/')
  const body = parts.map((part) => (part === '{**}' ? '.*' : part.startsWith('{') ? '[^/]+' : RegExp.escape(part)))
  return new RegExp(`^/${body.join('/')}$`, 's')
}

test('a pattern takes the paths that its regular expression would', () => {
  const part = fc.constantFrom('a', 'b', 'ab', '{x}', '{long_name-2}', '')
  const pattern = fc
    .tuple(fc.array(part, { minLength: 1, maxLength: 4 }), fc.boolean())
    .map(([parts, open]) => `/${parts.join('/')}${open ? '/{**}' : ''}`)
  const path = fc.array(fc.constantFrom('a', 'b', 'ab', '', 'abc'), { maxLength: 6 }).map((parts) => `/${parts.join('/')}`)
  let taken = 0
  fc.assert(
    fc.property(pattern, path, (text, subject) => {
      assert.equal(patternFault(text), undefined)
      const takes = compilePattern(text)(subject)
      assert.equal(takes, oracle(text).test(subject), `${text} ${subject}`)
      if (takes) {
        taken++
        assert.ok(subject.startsWith(literalPrefix(text)))
      }
    }),
    { numRuns: 20_000 },
  )
  assert.ok(taken > 500, String(taken))
})

test('what is no pattern is said to be none', () => {
  for (const text of [
    '',
    'a',
    '{x}',
    '/{**}/a',
    '/a{x}',
    '/{x}b',
    '/{}',
    '/{1x}',
    '/{x',
    '/x}',
    '/*',
    '/a/**',
    '/{*}',
    '/{a b}',
    '/{**}{**}',
  ]) {
    assert.notEqual(patternFault(text), undefined, text)
  }
})

test('nothing but a path matches', () => {
  assert.equal(compilePattern('/{**}')(''), false)
  assert.equal(compilePattern('/{**}')('*'), false)
  assert.equal(compilePattern('/{x}')('a'), false)
})
