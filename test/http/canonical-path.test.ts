/** Paths: one spelling each, and what is refused (DESIGN §6; facts/attacks rows 1 to 6). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ReasonCode } from '#base/reasons'
import { type PathOptIn, canonicalLiteral, canonicalPath, decisionPath } from '#http/canonical-path'

const rules = (...allow: PathOptIn[]) => ({ allow: new Set(allow), ignoreCase: false })
const STRICT = rules()
const EVERYTHING: PathOptIn[] = ['encoded-slash', 'double-slash', 'params', 'double-encoding']

function outcome(path: string, ...allow: PathOptIn[]): string {
  const result = canonicalPath(path, rules(...allow))
  return typeof result === 'string' ? result : result.reason
}

test('a path that is canonical stays the very same', () => {
  for (const path of [
    '/',
    '/a',
    '/a/',
    '/a/b.c/d-e_f~g',
    "/a!$&'()*+,=:@b",
    '/.well-known/x',
    '/..a/.b',
    '/...',
    '/a/b...c',
    '/a%20b',
    '/%C3%A9',
    '/%E2%82%AC',
    '/%F0%9F%98%80',
    '/100%25',
    '/a%25zz',
    '/a%3Bb',
    '/a%3Fb%23c',
    '/a%0Ab',
    '*',
  ]) {
    assert.equal(canonicalPath(path, STRICT), path)
  }
})

test('spellings of one path become one path', () => {
  const table: [string, string][] = [
    ['/%61', '/a'],
    ['/%7Euser', '/~user'],
    ['/%7euser', '/~user'],
    ['/%2D%5F%30', '/-_0'],
    ['/a%2eb', '/a.b'],
    ['/caf%c3%a9', '/caf%C3%A9'],
    ['/%e2%82%ac', '/%E2%82%AC'],
    ['/a%3ab', '/a%3Ab'],
    ['/a|b', '/a%7Cb'],
    ['/a[0]', '/a%5B0%5D'],
    ['/{id}', '/%7Bid%7D'],
    ['/"<>^`', '/%22%3C%3E%5E%60'],
    ['/%41dmin', '/Admin'],
  ]
  for (const [path, expected] of table) assert.equal(canonicalPath(path, STRICT), expected, path)
})

test('what two servers could read differently is refused, whatever a listener opts into', () => {
  const table: [string, ReasonCode][] = [
    ['', 'ERR_PATH_RELATIVE'],
    ['a', 'ERR_PATH_RELATIVE'],
    ['**', 'ERR_PATH_RELATIVE'],
    ['%2Fa', 'ERR_PATH_RELATIVE'],
    ['/a b', 'ERR_PATH_CHARACTER'],
    ['/a\tb', 'ERR_PATH_CHARACTER'],
    ['/a\0', 'ERR_PATH_CHARACTER'],
    ['/a\n', 'ERR_PATH_CHARACTER'],
    ['/a\x7f', 'ERR_PATH_CHARACTER'],
    ['/\xe9', 'ERR_PATH_CHARACTER'],
    ['/\u20ac', 'ERR_PATH_CHARACTER'],
    ['/a?b', 'ERR_PATH_CHARACTER'],
    ['/a#b', 'ERR_PATH_FRAGMENT'],
    ['/#', 'ERR_PATH_FRAGMENT'],
    ['/%', 'ERR_PATH_ESCAPE'],
    ['/%4', 'ERR_PATH_ESCAPE'],
    ['/%zz', 'ERR_PATH_ESCAPE'],
    ['/%4g', 'ERR_PATH_ESCAPE'],
    ['/%%32%65', 'ERR_PATH_ESCAPE'],
    ['/%u002e', 'ERR_PATH_ESCAPE'],
    ['/a\\b', 'ERR_PATH_BACKSLASH'],
    ['/a%5cb', 'ERR_PATH_BACKSLASH'],
    ['/a%5Cb', 'ERR_PATH_BACKSLASH'],
    ['/..\\admin', 'ERR_PATH_BACKSLASH'],
    ['/a%00', 'ERR_PATH_NUL'],
    ['/%00/admin', 'ERR_PATH_NUL'],
    ['/%c0%af', 'ERR_PATH_UTF8'],
    ['/%c0%ae%c0%ae/', 'ERR_PATH_UTF8'],
    ['/%e0%80%af', 'ERR_PATH_UTF8'],
    ['/%f0%80%80%af', 'ERR_PATH_UTF8'],
    ['/%c1%9c', 'ERR_PATH_UTF8'],
    ['/%ed%a0%80', 'ERR_PATH_UTF8'],
    ['/%f4%90%80%80', 'ERR_PATH_UTF8'],
    ['/%f5%80%80%80', 'ERR_PATH_UTF8'],
    ['/%80', 'ERR_PATH_UTF8'],
    ['/%ff', 'ERR_PATH_UTF8'],
    ['/%c3', 'ERR_PATH_UTF8'],
    ['/%c3a', 'ERR_PATH_UTF8'],
    ['/%c3%41', 'ERR_PATH_UTF8'],
    ['/%e2%82', 'ERR_PATH_UTF8'],
    ['/.', 'ERR_PATH_DOT_SEGMENT'],
    ['/..', 'ERR_PATH_DOT_SEGMENT'],
    ['/./', 'ERR_PATH_DOT_SEGMENT'],
    ['/a/./b', 'ERR_PATH_DOT_SEGMENT'],
    ['/a/../b', 'ERR_PATH_DOT_SEGMENT'],
    ['/a/..', 'ERR_PATH_DOT_SEGMENT'],
    ['/%2e', 'ERR_PATH_DOT_SEGMENT'],
    ['/%2e%2E/', 'ERR_PATH_DOT_SEGMENT'],
    ['/.%2e/', 'ERR_PATH_DOT_SEGMENT'],
    ['/a/%2e./b', 'ERR_PATH_DOT_SEGMENT'],
    ['/..%20/', 'ERR_PATH_DOT_SEGMENT'],
    ['/..%09', 'ERR_PATH_DOT_SEGMENT'],
    ['/%20../', 'ERR_PATH_DOT_SEGMENT'],
    ['/..%0d%0a/a', 'ERR_PATH_DOT_SEGMENT'],
    ['/..%3b/', 'ERR_PATH_DOT_SEGMENT'],
    ['/..%3Bx=y/a', 'ERR_PATH_DOT_SEGMENT'],
  ]
  for (const [path, reason] of table) {
    assert.equal(outcome(path), reason, path)
    assert.equal(outcome(path, ...EVERYTHING), reason, `${path} with every opt-in`)
  }
})

test('each opt-in lets through its own kind and no other', () => {
  const table: [string, PathOptIn, ReasonCode, string?][] = [
    ['/a%2Fb', 'encoded-slash', 'ERR_PATH_ENCODED_SLASH'],
    ['/a%2fb', 'encoded-slash', 'ERR_PATH_ENCODED_SLASH', '/a%2Fb'],
    ['//a', 'double-slash', 'ERR_PATH_DOUBLE_SLASH'],
    ['/a//b', 'double-slash', 'ERR_PATH_DOUBLE_SLASH'],
    ['/a//', 'double-slash', 'ERR_PATH_DOUBLE_SLASH'],
    ['//', 'double-slash', 'ERR_PATH_DOUBLE_SLASH'],
    ['///', 'double-slash', 'ERR_PATH_DOUBLE_SLASH'],
    ['/a;b=c', 'params', 'ERR_PATH_PARAMS'],
    ['/;', 'params', 'ERR_PATH_PARAMS'],
    ['/a;/b', 'params', 'ERR_PATH_PARAMS'],
    ['/a%2541', 'double-encoding', 'ERR_PATH_DOUBLE_ENCODING'],
    ['/a%25%34%31', 'double-encoding', 'ERR_PATH_DOUBLE_ENCODING', '/a%2541'],
    ['/%2561dmin', 'double-encoding', 'ERR_PATH_DOUBLE_ENCODING'],
    ['/%25252e', 'double-encoding', 'ERR_PATH_DOUBLE_ENCODING'],
  ]
  for (const [path, optIn, reason, canonical = path] of table) {
    assert.equal(outcome(path), reason, path)
    assert.equal(outcome(path, ...EVERYTHING.filter((other) => other !== optIn)), reason, `${path} with every other opt-in`)
    assert.equal(outcome(path, optIn), canonical, `${path} with ${optIn}`)
  }
})

test('opt-ins together do not open what each alone keeps shut', () => {
  const table: [string, PathOptIn[], ReasonCode][] = [
    ['/..;/admin', ['params'], 'ERR_PATH_DOT_SEGMENT'],
    ['/a/..;x=y/b', ['params'], 'ERR_PATH_DOT_SEGMENT'],
    ['/a/.;', ['params'], 'ERR_PATH_DOT_SEGMENT'],
    ['/%2e%2e;/', ['params'], 'ERR_PATH_DOT_SEGMENT'],
    ['/;/admin', ['params'], 'ERR_PATH_DOUBLE_SLASH'],
    ['/a/;x/b', ['params'], 'ERR_PATH_DOUBLE_SLASH'],
    ['/a%2F..%2Fb', ['encoded-slash'], 'ERR_PATH_DOT_SEGMENT'],
    ['/..%2fadmin', ['encoded-slash'], 'ERR_PATH_DOT_SEGMENT'],
    ['/a%2f%2e%2e', ['encoded-slash'], 'ERR_PATH_DOT_SEGMENT'],
    ['/%2Fa', ['encoded-slash'], 'ERR_PATH_DOUBLE_SLASH'],
    ['/a%2F%2Fb', ['encoded-slash'], 'ERR_PATH_DOUBLE_SLASH'],
    ['/a%2F/b', ['encoded-slash'], 'ERR_PATH_DOUBLE_SLASH'],
    ['/..%2F;/', ['encoded-slash', 'params'], 'ERR_PATH_DOT_SEGMENT'],
    ['/%252e%252e/', ['double-encoding'], 'ERR_PATH_DOT_SEGMENT'],
    ['/.%252e/', ['double-encoding'], 'ERR_PATH_DOT_SEGMENT'],
    ['/%252e', ['double-encoding'], 'ERR_PATH_DOT_SEGMENT'],
    ['/a%252fb', ['double-encoding'], 'ERR_PATH_ENCODED_SLASH'],
    ['/..%252fb', ['double-encoding', 'encoded-slash'], 'ERR_PATH_DOT_SEGMENT'],
    ['/a%252f%252fb', ['double-encoding', 'encoded-slash'], 'ERR_PATH_DOUBLE_SLASH'],
    ['/a%255cb', ['double-encoding'], 'ERR_PATH_BACKSLASH'],
    ['/a%2500', ['double-encoding'], 'ERR_PATH_NUL'],
    ['/%25c0%25af', ['double-encoding'], 'ERR_PATH_UTF8'],
    ['/..%253b/', ['double-encoding'], 'ERR_PATH_DOT_SEGMENT'],
  ]
  for (const [path, allow, reason] of table) assert.equal(outcome(path, ...allow), reason, path)
})

test('for apps that ignore case the decision is made in lower case, with escapes as they were', () => {
  const ignoreCase = { allow: new Set<PathOptIn>(), ignoreCase: true }
  for (const [path, expected] of [
    ['/Admin/Users', '/admin/users'],
    ['/caf%C3%A9/B', '/caf%C3%A9/b'],
    ['/ADMIN%20A', '/admin%20a'],
    ['/a', '/a'],
  ] as const) {
    const canonical = canonicalPath(path, ignoreCase)
    assert.ok(typeof canonical === 'string')
    assert.equal(decisionPath(canonical, ignoreCase), expected)
    assert.equal(decisionPath(canonical, STRICT), canonical)
  }
})

test('a literal of a policy is judged, and mended where it can be', () => {
  for (const text of ['/', '/a/b', '/a;b', '/a//b', '/a%2Fb', '/a%2541']) {
    assert.deepEqual(canonicalLiteral(text, true), { ok: true, suggestion: undefined, refusal: undefined }, text)
  }
  for (const [text, suggestion] of [
    ['/%61', '/a'],
    ['/a%2fb', '/a%2Fb'],
    ['/a b', '/a%20b'],
    ['/café', '/caf%C3%A9'],
    ['/€', '/%E2%82%AC'],
    ['/{id}', '/%7Bid%7D'],
    ['/\ud800', '/%EF%BF%BD'],
  ] as const) {
    assert.deepEqual(canonicalLiteral(text, true), { ok: false, suggestion, refusal: undefined }, text)
  }
  for (const text of ['/a/../b', '/a\\b', '/a?b', 'a', '/a\0', '/%zz']) {
    const verdict = canonicalLiteral(text, true)
    assert.equal(verdict.ok, false, text)
    assert.equal(verdict.suggestion, undefined, text)
    assert.ok(verdict.refusal !== undefined, text)
  }
})

test('a part of a path is judged without its segments', () => {
  assert.equal(canonicalLiteral('/.', false).ok, true)
  assert.equal(canonicalLiteral('.json', false).ok, true)
  assert.equal(canonicalLiteral('/%2e', false).suggestion, '/.')
  assert.equal(canonicalLiteral('%2', false).refusal?.reason, 'ERR_PATH_ESCAPE')
})

test('a hostile path of 60 KB is judged as a short one is', () => {
  const blanks = `/a${'%20'.repeat(20_000)}x`
  const dots = `/${'.'.repeat(60_000)}`
  const slashes = `/${'a/'.repeat(30_000)}.`
  assert.equal(outcome(blanks), blanks)
  assert.equal(outcome(`/${'%20'.repeat(20_000)}x`), `/${'%20'.repeat(20_000)}x`)
  assert.equal(outcome(dots), dots)
  assert.equal(outcome(slashes), 'ERR_PATH_DOT_SEGMENT')
  assert.equal(outcome(`/${'%252e'.repeat(12_000)}`, 'double-encoding'), `/${'%252e'.repeat(12_000)}`)
})
