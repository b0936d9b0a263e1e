/** Paths that two servers read differently, and request lines that are none (docs/security-tests.md). */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import * as fc from 'fast-check'
import { get, startProbe } from '../support/probe.ts'

const POLICY = `
- allow: { and: [accept: true] }
- deny: { or: [http_path: { starts_with: /admin }] }
- deny: { or: [http_path: /exact] }
`
const probe = await startProbe({ policy: POLICY })
after(() => probe[Symbol.asyncDispose]())

interface Expected {
  readonly status: number
  readonly reason: string
}
const DENIED: Expected = { status: 403, reason: 'ERR_POLICY_DENIED' }
const refused = (reason: string, status = 400): Expected => ({ status, reason })

/** Target → the target that the app receives, or why it receives none. */
async function check(table: Readonly<Record<string, string | Expected>>): Promise<void> {
  for (const [target, expected] of Object.entries(table)) {
    const seen = await probe.send(get(target))
    if (typeof expected === 'string') {
      assert.deepEqual([seen.status, seen.requests[0]?.head.split(' ')[1]], [200, expected], target)
      assert.equal(seen.records[0]?.['path'], expected.split('?')[0], `${target}: what is forwarded is what was decided and recorded`)
    } else {
      assert.deepEqual([seen.status, seen.reason, seen.app], [expected.status, expected.reason, ''], target)
      assert.equal(seen.records[0]?.['decision'], 'deny', target)
    }
  }
}

test('1 · paths with `//`, `%2F` and `%5C`', () =>
  check({
    '//admin': refused('ERR_PATH_DOUBLE_SLASH'),
    '/a//admin': refused('ERR_PATH_DOUBLE_SLASH'),
    '/a/%2Fadmin': refused('ERR_PATH_ENCODED_SLASH'),
    '/%2fadmin': refused('ERR_PATH_ENCODED_SLASH'),
    '/a%2F..%2Fadmin': refused('ERR_PATH_ENCODED_SLASH'),
    '/a%5cadmin': refused('ERR_PATH_BACKSLASH'),
    '/a%5C..%5Cadmin': refused('ERR_PATH_BACKSLASH'),
    '/a\\admin': refused('ERR_PATH_BACKSLASH'),
    '/a%252Fadmin': refused('ERR_PATH_DOUBLE_ENCODING'),
    '/a;/admin': refused('ERR_PATH_PARAMS'),
    '/%61dmin': DENIED,
    '/adm%69n/x': DENIED,
    '/a%20b/%7euser': '/a%20b/~user',
  }))

test('2 · dot segments that are not normalised', () =>
  check({
    '/a/../admin': refused('ERR_PATH_DOT_SEGMENT'),
    '/./admin': refused('ERR_PATH_DOT_SEGMENT'),
    '/a/%2e%2e/admin': refused('ERR_PATH_DOT_SEGMENT'),
    '/a/.%2E/admin': refused('ERR_PATH_DOT_SEGMENT'),
    '/..': refused('ERR_PATH_DOT_SEGMENT'),
    '/a/.': refused('ERR_PATH_DOT_SEGMENT'),
    '/a/%252e%252e/admin': refused('ERR_PATH_DOUBLE_ENCODING'),
    '/a/..%00/admin': refused('ERR_PATH_NUL'),
    '/a/..%20/admin': refused('ERR_PATH_DOT_SEGMENT'),
    '/a/..%09/admin': refused('ERR_PATH_DOT_SEGMENT'),
    '/a/..;x/admin': refused('ERR_PATH_PARAMS'),
    '/a/..%3Bx/admin': refused('ERR_PATH_DOT_SEGMENT'),
    '/a/%c0%ae%c0%ae/admin': refused('ERR_PATH_UTF8'),
    '/a/%c0%2e/admin': refused('ERR_PATH_UTF8'),
    '/a/...': '/a/...',
    '/a/.well-known/x..y': '/a/.well-known/x..y',
  }))

test('3 · fragments', () =>
  check({
    '/open#/admin': refused('ERR_PATH_FRAGMENT'),
    '/admin#': refused('ERR_PATH_FRAGMENT'),
    '/a?x=#y': refused('ERR_PATH_FRAGMENT'),
    '/open%23/admin': '/open%23/admin',
  }))

test('4 · `?` counted into an exact match', async (t) => {
  await check({
    '/exact': DENIED,
    '/exact?': DENIED,
    '/exact?x=1': DENIED,
    '/exact?/../other': DENIED,
    '/exact%3Fx': '/exact%3Fx',
  })
  const character = fc.constantFrom(...'abcXYZ019-._~!$&\'()*+,;=:@/?%[]"<>|'.split(''))
  const query = fc.string({ unit: character, maxLength: 40 })
  await fc.assert(
    fc.asyncProperty(query, async (text) => {
      const seen = await probe.send(get(`/exact?${text}`))
      assert.deepEqual([seen.status, seen.reason, seen.app], [403, 'ERR_POLICY_DENIED', ''], text)
      const other = await probe.send(get(`/other?${text}`))
      assert.equal(other.requests[0]?.head.split(' ')[1], `/other?${text}`)
    }),
    { numRuns: 25 },
  )
  t.diagnostic('25 random queries changed no decision')
})

test('5 · case of paths and of their escapes', async () => {
  await check({ '/%c3%a9': '/%C3%A9', '/%C3%A9': '/%C3%A9', '/Admin': '/Admin' })
  await using caseless = await startProbe({ policy: POLICY, inbound: '      paths: { ignoreCase: true }\n' })
  for (const target of ['/ADMIN', '/Admin/x', '/%41dmin', '/EXACT?q=1']) {
    const seen = await caseless.send(get(target))
    assert.deepEqual([seen.status, seen.reason, seen.app], [403, 'ERR_POLICY_DENIED', ''], target)
  }
  assert.match((await caseless.send(get('/Open%c3'))).answer, /^HTTP\/1\.1 400 /, 'half a character')
  assert.match((await caseless.send(get('/Open'))).requests[0]?.head ?? '', /^GET \/Open HTTP/, 'the app gets it as it was sent')
})

test('6 · targets without a leading slash', async () => {
  await check({
    admin: refused('ERR_HTTP_TARGET'),
    'shop.Catalog/Get': refused('ERR_HTTP_TARGET'),
    '?x=1': refused('ERR_HTTP_TARGET'),
    '*': refused('ERR_HTTP_TARGET'),
    'h/admin': refused('ERR_HTTP_TARGET'),
    'h:80': refused('ERR_HTTP_TARGET'),
    'http:/admin': refused('ERR_HTTP_TARGET'),
    'http:///admin': refused('ERR_HTTP_HOST'),
    'ftp://h/admin': refused('ERR_HTTP_TARGET'),
    '%2Fadmin': refused('ERR_HTTP_TARGET'),
    'http://h/admin': DENIED,
    'http://h/open?x': '/open?x',
    'http://h': '/',
  })
  const whole = await probe.send('OPTIONS * HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n')
  assert.match(whole.requests[0]?.head ?? '', /^OPTIONS \* HTTP\/1\.1\r\n/)
})

test('9 · spaces and control bytes in the request line', async () => {
  const lines: readonly (readonly [string, string])[] = [
    ['GET /open /admin HTTP/1.1', 'ERR_HTTP_REQUEST_LINE'],
    ['GET  /admin HTTP/1.1', 'ERR_HTTP_TARGET'],
    ['GET\t/admin HTTP/1.1', 'ERR_HTTP_REQUEST_LINE'],
    ['GET /admin\tHTTP/1.1', 'ERR_HTTP_TARGET'],
    ['GET /a\x00dmin HTTP/1.1', 'ERR_HTTP_TARGET'],
    ['GET /a\x01 HTTP/1.1', 'ERR_HTTP_TARGET'],
    ['GET /a\x7f HTTP/1.1', 'ERR_HTTP_TARGET'],
    ['GET /a\x80 HTTP/1.1', 'ERR_HTTP_TARGET'],
    ['GET /a\x0b HTTP/1.1', 'ERR_HTTP_TARGET'],
    ['GET /a\rHTTP/1.1', 'ERR_HTTP_LINE_END'],
    ['GET /a HTTP/1.1 ', 'ERR_HTTP_REQUEST_LINE'],
    ['GET /a  HTTP/1.1', 'ERR_HTTP_REQUEST_LINE'],
    ['GET /a', 'ERR_HTTP_REQUEST_LINE'],
    [' GET /a HTTP/1.1', 'ERR_HTTP_REQUEST_LINE'],
    ['G\x00T /a HTTP/1.1', 'ERR_HTTP_REQUEST_LINE'],
    ['GET /a HTTP/1.1\x00', 'ERR_HTTP_REQUEST_LINE'],
  ]
  for (const [line, reason] of lines) {
    const seen = await probe.send(`${line}\r\nhost: h\r\nconnection: close\r\n\r\n`)
    assert.deepEqual([seen.status, seen.reason, seen.app], [400, reason, ''], JSON.stringify(line))
  }
})
