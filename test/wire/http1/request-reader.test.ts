/** Heads of requests: what is read from good ones, and each way to be refused (facts/attacks rows 3, 9 to 11, 15 to 17, 21, 44, 70). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ReasonCode } from '#base/reasons'
import { CHUNKED } from '#wire/http1/limits'
import type { Http1Request } from '#wire/http1/message'
import { readRequestHead } from '#wire/http1/request-reader'
import { TEST_LIMITS, head, readRequest } from '../../support/http1-bytes.ts'

function accepted(...lines: string[]): Http1Request {
  const result = readRequest(head(...lines))
  assert.ok(result !== undefined && result.ok, JSON.stringify([lines, result]))
  return result
}

function refusedFor(...lines: string[]): ReasonCode | 'accepted' | 'incomplete' {
  const result = readRequest(head(...lines))
  return result === undefined ? 'incomplete' : result.ok ? 'accepted' : result.reason
}

const GET = 'GET / HTTP/1.1'
const POST = 'POST / HTTP/1.1'
const HOST = 'Host: catalog'

test('a head is read into its parts', () => {
  const result = accepted(
    'GET /a/b?x=1?y#'.slice(0, -1) + ' HTTP/1.1',
    'Host: Catalog:80',
    'X-One:  1 \t',
    'x-two:',
    'X_Three:\tb c\t',
    'Accept: */*',
  )
  assert.deepEqual(result, {
    ok: true,
    method: 'GET',
    target: '/a/b?x=1?y',
    path: '/a/b',
    query: 'x=1?y',
    authority: 'Catalog:80',
    headers: { names: ['host', 'x-one', 'x-two', 'x_three', 'accept'], values: ['Catalog:80', '1', '', 'b c', '*/*'] },
    minor: 1,
    bodyLength: 0,
    keepAlive: true,
    expectContinue: false,
    upgradeWebsocket: false,
    hopByHop: undefined,
  })
})

test('targets come in three forms', () => {
  const table: [string, string, string, string, string | undefined][] = [
    ['GET', '/', '/', 'catalog', undefined],
    ['GET', '/?', '/', 'catalog', ''],
    ['GET', '//a/../b', '//a/../b', 'catalog', undefined],
    ['OPTIONS', '*', '*', 'catalog', undefined],
    ['OPTIONS', '/', '/', 'catalog', undefined],
    ['GET', 'http://catalog', '/', 'catalog', undefined],
    ['GET', 'http://catalog/', '/', 'catalog', undefined],
    ['GET', 'HTTPS://CATALOG/a', '/a', 'CATALOG', undefined],
    ['GET', 'http://catalog?x', '/', 'catalog', 'x'],
    ['GET', 'http://catalog/a?b=http://c/', '/a', 'catalog', 'b=http://c/'],
    ['OPTIONS', 'http://catalog', '*', 'catalog', undefined],
    ['OPTIONS', 'http://catalog?', '/', 'catalog', ''],
    ['PROPFIND', '/a', '/a', 'catalog', undefined],
    ['get', '/a', '/a', 'catalog', undefined],
    ["!#$%&'*+-.^_`|~9", '/a', '/a', 'catalog', undefined],
  ]
  for (const [method, target, path, authority, query] of table) {
    const result = accepted(`${method} ${target} HTTP/1.1`, HOST)
    assert.deepEqual([result.method, result.target, result.path, result.authority, result.query], [method, target, path, authority, query])
  }
})

test('a request line that is not exactly one is refused', () => {
  const table: [string, ReasonCode][] = [
    ['', 'ERR_HTTP_REQUEST_LINE'],
    ['GET', 'ERR_HTTP_REQUEST_LINE'],
    ['GET /', 'ERR_HTTP_REQUEST_LINE'],
    ['GET  / HTTP/1.1', 'ERR_HTTP_TARGET'],
    [' GET / HTTP/1.1', 'ERR_HTTP_REQUEST_LINE'],
    ['GET / HTTP/1.1 ', 'ERR_HTTP_REQUEST_LINE'],
    ['GET /  HTTP/1.1', 'ERR_HTTP_REQUEST_LINE'],
    ['GET / a HTTP/1.1', 'ERR_HTTP_REQUEST_LINE'],
    ['GET / HTTP/1.1 HTTP/1.1', 'ERR_HTTP_REQUEST_LINE'],
    ['GET\t/ HTTP/1.1', 'ERR_HTTP_REQUEST_LINE'],
    ['GET /\tHTTP/1.1', 'ERR_HTTP_TARGET'],
    ['G(T / HTTP/1.1', 'ERR_HTTP_REQUEST_LINE'],
    ['G\xe9T / HTTP/1.1', 'ERR_HTTP_REQUEST_LINE'],
    ['GET\0 / HTTP/1.1', 'ERR_HTTP_REQUEST_LINE'],
    ['GET / http/1.1', 'ERR_HTTP_REQUEST_LINE'],
    ['GET / HTTP/1', 'ERR_HTTP_REQUEST_LINE'],
    ['GET / HTTP/1.10', 'ERR_HTTP_REQUEST_LINE'],
    ['GET / HTTP/01.1', 'ERR_HTTP_REQUEST_LINE'],
    ['GET / HTTP/1.1x', 'ERR_HTTP_REQUEST_LINE'],
    ['GET / XTTP/1.1', 'ERR_HTTP_REQUEST_LINE'],
    ['GET / HTTP/2.0', 'ERR_HTTP_VERSION'],
    ['GET / HTTP/1.2', 'ERR_HTTP_VERSION'],
    ['GET / HTTP/0.9', 'ERR_HTTP_VERSION'],
    ['PRI * HTTP/2.0', 'ERR_HTTP_VERSION'],
    ['PRI * HTTP/1.1', 'ERR_HTTP_METHOD'],
    ['PRI / HTTP/1.1', 'ERR_HTTP_METHOD'],
    ['CONNECT catalog:80 HTTP/1.1', 'ERR_HTTP_METHOD'],
    ['CONNECT / HTTP/1.1', 'ERR_HTTP_METHOD'],
    [`${'A'.repeat(65)} / HTTP/1.1`, 'ERR_HTTP_REQUEST_LINE'],
    ['GET * HTTP/1.1', 'ERR_HTTP_TARGET'],
    ['OPTIONS *?a HTTP/1.1', 'ERR_HTTP_TARGET'],
    ['OPTIONS ** HTTP/1.1', 'ERR_HTTP_TARGET'],
    ['GET a HTTP/1.1', 'ERR_HTTP_TARGET'],
    ['GET ?a HTTP/1.1', 'ERR_HTTP_TARGET'],
    ['GET catalog:80 HTTP/1.1', 'ERR_HTTP_TARGET'],
    ['GET ftp://catalog/ HTTP/1.1', 'ERR_HTTP_TARGET'],
    ['GET http:/catalog/ HTTP/1.1', 'ERR_HTTP_TARGET'],
    ['GET http:catalog HTTP/1.1', 'ERR_HTTP_TARGET'],
    ['GET /a\x7f HTTP/1.1', 'ERR_HTTP_TARGET'],
    ['GET /a\0b HTTP/1.1', 'ERR_HTTP_TARGET'],
    ['GET /caf\xc3\xa9 HTTP/1.1', 'ERR_HTTP_TARGET'],
    ['GET /?caf\xc3\xa9 HTTP/1.1', 'ERR_HTTP_TARGET'],
    ['GET /a#b HTTP/1.1', 'ERR_PATH_FRAGMENT'],
    ['GET /a?b#c HTTP/1.1', 'ERR_PATH_FRAGMENT'],
    ['GET http:///a HTTP/1.1', 'ERR_HTTP_HOST'],
    ['GET http://user@catalog/ HTTP/1.1', 'ERR_HTTP_HOST'],
    ['GET http://catalog:80/ HTTP/1.1', 'ERR_HTTP_HOST'],
    ['GET http://other/ HTTP/1.1', 'ERR_HTTP_HOST'],
    ['GET http://catalog\\@other/ HTTP/1.1', 'ERR_HTTP_HOST'],
    ['GET / HTTP/1.1\n', 'ERR_HTTP_LINE_END'],
    ['GET / HTTP/1.1\rX: y', 'ERR_HTTP_LINE_END'],
    ['GET /\rHTTP/1.1', 'ERR_HTTP_LINE_END'],
    ['GET /a\nHTTP/1.1', 'ERR_HTTP_LINE_END'],
    ['GET\n/ HTTP/1.1', 'ERR_HTTP_LINE_END'],
  ]
  for (const [line, reason] of table) assert.equal(refusedFor(line, HOST), reason, JSON.stringify(line))
})

test('one empty line before the request line is ignored, two are not', () => {
  const bytes = Buffer.concat([Buffer.from('\r\n'), head(GET, HOST)])
  assert.equal(readRequest(bytes)?.ok, true)
  const two = readRequest(Buffer.concat([Buffer.from('\r\n'), bytes]))
  assert.equal(two?.ok === false && two.reason, 'ERR_HTTP_REQUEST_LINE')
})

test('exactly one valid Host is required of HTTP/1.1, and at most one of HTTP/1.0', () => {
  assert.equal(refusedFor(GET), 'ERR_HTTP_HOST')
  assert.equal(refusedFor(GET, 'Host:'), 'ERR_HTTP_HOST')
  assert.equal(refusedFor(GET, 'Host: a b'), 'ERR_HTTP_HOST')
  assert.equal(refusedFor(GET, 'Host: a,b'), 'accepted')
  assert.equal(refusedFor(GET, 'Host: user@a'), 'ERR_HTTP_HOST')
  assert.equal(refusedFor(GET, 'Host: a/b'), 'ERR_HTTP_HOST')
  assert.equal(refusedFor(GET, 'Host: caf\xc3\xa9'), 'ERR_HTTP_HOST')
  assert.equal(refusedFor(GET, HOST, 'host: catalog'), 'ERR_HTTP_HEADER_REPEATED')
  assert.equal(refusedFor('GET / HTTP/1.0', HOST, HOST), 'ERR_HTTP_HEADER_REPEATED')
  assert.equal(refusedFor('GET / HTTP/1.0', 'Host: a b'), 'ERR_HTTP_HOST')
  assert.equal(accepted('GET / HTTP/1.0').authority, '')
  assert.equal(accepted('GET / HTTP/1.0', HOST).authority, 'catalog')
  assert.equal(accepted('GET http://catalog/ HTTP/1.0').authority, 'catalog')
})

test('a header line that is not exactly one is refused', () => {
  const table: [string, ReasonCode][] = [
    ['X', 'ERR_HTTP_LINE_END'],
    [': a', 'ERR_HTTP_HEADER_NAME'],
    ['X : a', 'ERR_HTTP_HEADER_NAME'],
    ['X\t: a', 'ERR_HTTP_HEADER_NAME'],
    [' X: a', 'ERR_HTTP_HEADER_NAME'],
    ['\tX: a', 'ERR_HTTP_HEADER_NAME'],
    ['X Y: a', 'ERR_HTTP_HEADER_NAME'],
    ['X\0: a', 'ERR_HTTP_HEADER_NAME'],
    ['X\x01: a', 'ERR_HTTP_HEADER_NAME'],
    ['X(: a', 'ERR_HTTP_HEADER_NAME'],
    ['X/Y: a', 'ERR_HTTP_HEADER_NAME'],
    ['X"Y: a', 'ERR_HTTP_HEADER_NAME'],
    ['X\xc3\xa9: a', 'ERR_HTTP_HEADER_NAME'],
    ['X\x7f: a', 'ERR_HTTP_HEADER_NAME'],
    ['X: a\0', 'ERR_HTTP_HEADER_VALUE'],
    ['X: \x01a', 'ERR_HTTP_HEADER_VALUE'],
    ['X: a\x7f', 'ERR_HTTP_HEADER_VALUE'],
    ['X: a\x0bb', 'ERR_HTTP_HEADER_VALUE'],
    ['X: a\x1b[31m', 'ERR_HTTP_HEADER_VALUE'],
    ['X: \xc3\xa9\0', 'ERR_HTTP_HEADER_VALUE'],
    ['X: a\rY: b', 'ERR_HTTP_LINE_END'],
    ['X: a\nY: b', 'ERR_HTTP_LINE_END'],
    ['X: a\r\r', 'ERR_HTTP_LINE_END'],
    ['X\rY: b', 'ERR_HTTP_LINE_END'],
    ['X\nY: b', 'ERR_HTTP_LINE_END'],
    ['X: a\r\n b', 'ERR_HTTP_HEADER_NAME'],
    ['X: a\r\n\tb', 'ERR_HTTP_HEADER_NAME'],
    ['X: a\r\n ', 'ERR_HTTP_HEADER_NAME'],
    ['X: \xff', 'ERR_HTTP_HEADER_VALUE'],
    ['X: \xc3', 'ERR_HTTP_HEADER_VALUE'],
    ['X: \xc0\xaf', 'ERR_HTTP_HEADER_VALUE'],
    ['X: \xed\xa0\x80', 'ERR_HTTP_HEADER_VALUE'],
  ]
  for (const [line, reason] of table) {
    assert.equal(refusedFor(GET, HOST, line), reason, JSON.stringify(line))
    assert.equal(refusedFor(GET, line, HOST), reason, JSON.stringify([line, 'first']))
  }
})

test('names keep their order, lose their case, and are never taken for properties', () => {
  const result = accepted(GET, HOST, '__proto__: a', 'constructor: b', 'X-A: 1', 'x-a: 2', 'ACCEPT: c', 'Content_Type: 5', 'Caf: d')
  assert.deepEqual(result.headers.names, ['host', '__proto__', 'constructor', 'x-a', 'x-a', 'accept', 'content_type', 'caf'])
  assert.deepEqual(result.headers.values, ['catalog', 'a', 'b', '1', '2', 'c', '5', 'd'])
  assert.equal(result.bodyLength, 0)
})

test('a name that passes for a framing header with its punctuation changed is refused', () => {
  for (const name of [
    'Content_Length',
    'content.length',
    'Content--Length',
    'ContentLength',
    '_Content-Length',
    'Content-Length_',
    'Transfer_Encoding',
    'Transfer---Encoding',
    'TRANSFER.ENCODING',
    'TransferEncoding',
    '!transfer-encoding',
  ]) {
    assert.equal(refusedFor(POST, HOST, `${name}: 5`), 'ERR_HTTP_HEADER_NAME', name)
  }
  for (const name of ['X-Content-Length', 'Content-Lengths', 'Content_Len', 'Transfer-Encoding2', 'Content-Location', 'Transfer_Encodin']) {
    assert.equal(refusedFor(POST, HOST, `${name}: 5`), 'accepted', name)
  }
})

test('a length with leading zeros goes on without them', () => {
  assert.deepEqual(accepted(POST, HOST, 'Content-Length: 010').headers.values, ['catalog', '10'])
  assert.deepEqual(accepted(POST, HOST, 'Content-Length: 00').headers.values, ['catalog', '0'])
})

test('values beyond ASCII are kept byte for byte where they are UTF-8', () => {
  assert.equal(accepted(GET, HOST, 'X: \xc3\xa9 \xe2\x82\xac').headers.values[1], '\xc3\xa9 \xe2\x82\xac')
})

test('a header that has one value may not come twice', () => {
  const table: [string, string][] = [
    ['Content-Type: a/b', 'content-type: c/d'],
    ['Authorization: Bearer a', 'AUTHORIZATION: Bearer b'],
    ['Expect: 100-continue', 'Expect: 100-continue'],
    ['Upgrade: websocket', 'Upgrade: websocket'],
    ['User-Agent: a', 'User-Agent: a'],
    ['Origin: a', 'Origin: b'],
    ['Referer: a', 'Referer: b'],
    ['Sec-WebSocket-Key: a', 'Sec-WebSocket-Key: b'],
    ['Content-Length: 5', 'Content-Length: 5'],
    ['Content-Length: 5', 'Content-Length: 6'],
    ['Transfer-Encoding: chunked', 'Transfer-Encoding: chunked'],
    ['Transfer-Encoding: chunked', 'Transfer-Encoding: identity'],
  ]
  for (const [first, second] of table) assert.equal(refusedFor(POST, HOST, first, 'X: y', second), 'ERR_HTTP_HEADER_REPEATED', first)
  for (const line of ['Accept: a', 'Cookie: a=b', 'X-Own: a', 'Via: 1.1 a', 'Forwarded: for=a']) {
    assert.equal(accepted(POST, HOST, line, line).headers.names.length, 3, line)
  }
})

test('the length of a body is declared in one way only', () => {
  const lengths: [string[], number][] = [
    [[], 0],
    [['Content-Length: 0'], 0],
    [['Content-Length: 5'], 5],
    [['content-length:\t5 '], 5],
    [['Content-Length: 0005'], 5],
    [['Content-Length: 9007199254740991'], 9_007_199_254_740_991],
    [['Transfer-Encoding: chunked'], CHUNKED],
    [['Transfer-Encoding: CHUNKED'], CHUNKED],
  ]
  for (const [lines, length] of lengths) assert.equal(accepted(POST, HOST, ...lines).bodyLength, length, lines.join())

  const faults: [string[], ReasonCode][] = [
    [['Content-Length:'], 'ERR_HTTP_CONTENT_LENGTH'],
    [['Content-Length: +5'], 'ERR_HTTP_CONTENT_LENGTH'],
    [['Content-Length: -5'], 'ERR_HTTP_CONTENT_LENGTH'],
    [['Content-Length: 5, 5'], 'ERR_HTTP_CONTENT_LENGTH'],
    [['Content-Length: 5 5'], 'ERR_HTTP_CONTENT_LENGTH'],
    [['Content-Length: 0x5'], 'ERR_HTTP_CONTENT_LENGTH'],
    [['Content-Length: 5.0'], 'ERR_HTTP_CONTENT_LENGTH'],
    [['Content-Length: 1e3'], 'ERR_HTTP_CONTENT_LENGTH'],
    [['Content-Length: \xd9\xa5'], 'ERR_HTTP_CONTENT_LENGTH'],
    [['Content-Length: 9007199254740992'], 'ERR_HTTP_CONTENT_LENGTH'],
    [['Content-Length: 18446744073709551621'], 'ERR_HTTP_CONTENT_LENGTH'],
    [['Content-Length: 00000000000000005'], 'ERR_HTTP_CONTENT_LENGTH'],
    [['Content-Length: 5', 'Transfer-Encoding: chunked'], 'ERR_HTTP_FRAMING_CONFLICT'],
    [['Transfer-Encoding: chunked', 'Content-Length: 5'], 'ERR_HTTP_FRAMING_CONFLICT'],
    [['Transfer-Encoding: identity', 'Content-Length: 5'], 'ERR_HTTP_FRAMING_CONFLICT'],
    [['Transfer-Encoding:'], 'ERR_HTTP_TRANSFER_ENCODING'],
    [['Transfer-Encoding: identity'], 'ERR_HTTP_TRANSFER_ENCODING'],
    [['Transfer-Encoding: xchunked'], 'ERR_HTTP_TRANSFER_ENCODING'],
    [['Transfer-Encoding: chunked, chunked'], 'ERR_HTTP_TRANSFER_ENCODING'],
    [['Transfer-Encoding: chunked, identity'], 'ERR_HTTP_TRANSFER_ENCODING'],
    [['Transfer-Encoding: identity, chunked'], 'ERR_HTTP_TRANSFER_ENCODING'],
    [['Transfer-Encoding: chunked, gzip'], 'ERR_HTTP_TRANSFER_ENCODING'],
    [['Transfer-Encoding: chunked;a=b'], 'ERR_HTTP_TRANSFER_ENCODING'],
    [['Transfer-Encoding: "chunked"'], 'ERR_HTTP_TRANSFER_ENCODING'],
    [['Transfer-Encoding: ,chunked'], 'ERR_HTTP_TRANSFER_ENCODING'],
    [['Transfer-Encoding: \xc2\xa0chunked'], 'ERR_HTTP_TRANSFER_ENCODING'],
    [['Transfer-Encoding: gzip, chunked'], 'ERR_HTTP_TRANSFER_CODING'],
    [['Transfer-Encoding: x-gzip ,\tChunked'], 'ERR_HTTP_TRANSFER_CODING'],
  ]
  for (const [lines, reason] of faults) assert.equal(refusedFor(POST, HOST, ...lines), reason, lines.join())
  assert.equal(refusedFor('POST / HTTP/1.0', HOST, 'Transfer-Encoding: chunked'), 'ERR_HTTP_TRANSFER_ENCODING')
  assert.equal(accepted('POST / HTTP/1.0', HOST, 'Content-Length: 5').bodyLength, 5)
})

test('Connection says whether the connection goes on, and what ends here', () => {
  const table: [string[], boolean, string[] | undefined][] = [
    [[], true, undefined],
    [['Connection: keep-alive'], true, undefined],
    [['Connection: Keep-Alive'], true, undefined],
    [['Connection: close'], false, undefined],
    [['Connection: CLOSE'], false, undefined],
    [['Connection: keep-alive, close'], false, undefined],
    [['Connection: keep-alive', 'connection: close'], false, undefined],
    [['Connection:'], true, undefined],
    [['Connection: ,, ,'], true, undefined],
    [['Connection: X-Own, te'], true, ['x-own', 'te']],
    [['Connection: X-A', 'Connection: close, X-B'], false, ['x-a', 'x-b']],
    [['Connection: closed'], true, ['closed']],
  ]
  for (const [lines, keepAlive, hopByHop] of table) {
    const result = accepted(GET, HOST, ...lines)
    assert.deepEqual([result.keepAlive, result.hopByHop], [keepAlive, hopByHop], lines.join())
  }
  for (const value of ['a b', 'host', 'Content-Length', 'close, transfer-encoding', 'a\x22', 'caf\xc3\xa9', 'a;b']) {
    assert.equal(refusedFor(GET, HOST, `Connection: ${value}`), 'ERR_HTTP_CONNECTION', value)
  }
})

test('a connection of HTTP/1.0 is never used again', () => {
  assert.equal(accepted('GET / HTTP/1.0').keepAlive, false)
  assert.equal(accepted('GET / HTTP/1.0', 'Connection: keep-alive').keepAlive, false)
})

test('the only expectation is 100-continue, and only where there is a body to wait for', () => {
  assert.equal(accepted(POST, HOST, 'Expect: 100-Continue', 'Content-Length: 5').expectContinue, true)
  assert.equal(accepted(POST, HOST, 'Expect: 100-continue', 'Transfer-Encoding: chunked').expectContinue, true)
  assert.equal(accepted(POST, HOST, 'Expect: 100-continue').expectContinue, false)
  assert.equal(accepted('POST / HTTP/1.0', HOST, 'Expect: 100-continue', 'Content-Length: 5').expectContinue, false)
  for (const value of ['', '200-ok', '100-continue, 100-continue', '100-continue;q=1', '100']) {
    assert.equal(refusedFor(POST, HOST, `Expect: ${value}`, 'Content-Length: 5'), 'ERR_HTTP_EXPECT', value)
  }
})

test('a WebSocket handshake is recognised only when nothing of it is missing', () => {
  const lines = [GET, HOST, 'Connection: keep-alive, Upgrade', 'Upgrade: WebSocket', 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==']
  const result = accepted(...lines)
  assert.equal(result.upgradeWebsocket, true)
  assert.equal(result.hopByHop, undefined)
  for (let left = 2; left < lines.length; left++) {
    assert.equal(accepted(...lines.filter((_, index) => index !== left)).upgradeWebsocket, false, `without line ${left}`)
  }
  assert.equal(accepted(...lines.with(0, POST)).upgradeWebsocket, false)
  assert.equal(accepted(...lines.with(0, 'GET / HTTP/1.0')).upgradeWebsocket, false)
  assert.equal(accepted(...lines.with(3, 'Upgrade: h2c')).upgradeWebsocket, false)
  assert.equal(accepted(...lines.with(3, 'Upgrade: websocket, h2c')).upgradeWebsocket, false)
  assert.equal(accepted(...lines, 'Content-Length: 1').upgradeWebsocket, false)
  assert.equal(accepted(...lines, 'Transfer-Encoding: chunked').upgradeWebsocket, false)
  assert.equal(accepted(...lines, 'Content-Length: 0').upgradeWebsocket, true)
})

test('one header more than the limit is refused, and a framing header is never lost among many', () => {
  const many = (count: number) => Array.from({ length: count }, (_, index) => `X-${index}: y`)
  assert.equal(accepted(POST, HOST, ...many(98), 'Content-Length: 5').bodyLength, 5)
  assert.equal(refusedFor(POST, HOST, ...many(99), 'Content-Length: 5'), 'ERR_HTTP_TOO_MANY_HEADERS')
  const result = readRequest(head(POST, HOST, ...many(2100), 'Content-Length: 5'), { bytes: 65_536, headers: 3000 })
  assert.equal(result?.ok && result.bodyLength, 5)
})

test('a head is read from the middle of a buffer, and nothing after it is looked at', () => {
  const one = head(GET, HOST, 'X-A: 1')
  const bytes = Buffer.concat([Buffer.from('BODY'), one, Buffer.from('GET / HTTP/1.1\nX: evil\n\n')])
  const result = readRequestHead(bytes, 4, 4 + one.length, TEST_LIMITS)
  assert.ok(result.ok)
  assert.deepEqual(result.headers, { names: ['host', 'x-a'], values: ['catalog', '1'] })
})

test('bytes that are no whole head are refused, not thrown over', () => {
  const one = head(GET, HOST, 'Content-Length: 5')
  for (let end = 0; end < one.length; end++) {
    const result = readRequestHead(one, 0, end, TEST_LIMITS)
    assert.equal(result.ok, false, `${end} of ${one.length} bytes`)
  }
})

test('an empty line before the end that is given is refused: nothing may stand behind a head', () => {
  const two = Buffer.concat([head(GET, HOST), head('X: y')])
  const result = readRequestHead(two, 0, two.length, TEST_LIMITS)
  assert.equal(result.ok ? undefined : result.reason, 'ERR_HTTP_LINE_END')
})
