/** Heads of responses: what is read from good ones, and what an app is not believed (facts/attacks rows 20, 29). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ReasonCode } from '#base/reasons'
import { CHUNKED, UNTIL_CLOSE } from '#wire/http1/limits'
import type { Http1Response } from '#wire/http1/message'
import { readResponseHead } from '#wire/http1/response-reader'
import { TEST_LIMITS, head, readResponse } from '../../support/http1-bytes.ts'

function accepted(lines: string[], method = 'GET'): Http1Response {
  const result = readResponse(head(...lines), method)
  assert.ok(result !== undefined && result.ok, JSON.stringify([lines, result]))
  return result
}

function refusedFor(...lines: string[]): ReasonCode | 'accepted' | 'incomplete' {
  const result = readResponse(head(...lines))
  return result === undefined ? 'incomplete' : result.ok ? 'accepted' : result.reason
}

const OK = 'HTTP/1.1 200 OK'

test('a head is read into its parts', () => {
  assert.deepEqual(accepted(['HTTP/1.1 404 Not  Found', 'Content-Length: 5', 'Set-Cookie: a', 'SET-COOKIE: b', 'Connection: X-Own']), {
    ok: true,
    status: 404,
    reasonPhrase: 'Not  Found',
    minor: 1,
    headers: { names: ['content-length', 'set-cookie', 'set-cookie', 'connection'], values: ['5', 'a', 'b', 'X-Own'] },
    bodyLength: 5,
    keepAlive: true,
    hopByHop: ['x-own'],
    upgradeWebsocket: false,
  })
})

test('a phrase may be empty, missing with its space, or beyond ASCII', () => {
  assert.equal(accepted(['HTTP/1.1 200 ']).reasonPhrase, '')
  assert.equal(accepted(['HTTP/1.1 200']).reasonPhrase, '')
  assert.equal(accepted(['HTTP/1.1 200 d\xe9j\xe0 vu']).reasonPhrase, 'd\xe9j\xe0 vu')
})

test('a status line that is not exactly one is refused', () => {
  for (const line of [
    '',
    'HTTP/1.1',
    'HTTP/1.1 ',
    'HTTP/1.1  200 OK',
    'HTTP/1.1 20 OK',
    'HTTP/1.1 2000 OK',
    'HTTP/1.1 2x0 OK',
    'HTTP/1.1 099 OK',
    'HTTP/1.1 600 OK',
    'HTTP/1.1 +20 OK',
    'HTTP/1.1 200OK',
    'HTTP/1.1\t200 OK',
    'HTTP/2.0 200 OK',
    'HTTP/1.2 200 OK',
    'http/1.1 200 OK',
    'ICY 200 OK',
    ' HTTP/1.1 200 OK',
    'HTTP/1.1 200 O\0K',
    'HTTP/1.1 200 O\x1bK',
    'HTTP/1.1 200 OK\n',
    'HTTP/1.1 200 OK\rX: y',
    'GET / HTTP/1.1',
  ]) {
    assert.equal(refusedFor(line, 'Content-Length: 0'), 'ERR_RESPONSE_STATUS_LINE', JSON.stringify(line))
  }
  const blankFirst = readResponse(Buffer.concat([Buffer.from('\r\n'), head(OK)]))
  assert.equal(blankFirst?.ok === false && blankFirst.reason, 'ERR_RESPONSE_STATUS_LINE')
})

test('headers are held to the grammar, but values may be in any encoding and may repeat', () => {
  for (const line of [
    'X : a',
    ' X: a',
    ': a',
    'X: a\0',
    'X: a\rb',
    'X: a\nb',
    'X: a\r\n b',
    'X',
    'X\xe9: a',
    'Connection: a b',
    'Connection: content-length',
  ]) {
    assert.equal(refusedFor(OK, line, 'Content-Length: 0'), 'ERR_RESPONSE_HEADER', JSON.stringify(line))
  }
  assert.deepEqual(accepted([OK, 'X: \xff', 'Content-Type: a', 'Content-Type: b', 'Content-Length: 0']).headers.values, [
    '\xff',
    'a',
    'b',
    '0',
  ])
})

test('the length of a body follows from the request, the status and the head', () => {
  const table: [string[], string, number, boolean][] = [
    [[OK, 'Content-Length: 5'], 'GET', 5, true],
    [[OK, 'Content-Length: 0'], 'GET', 0, true],
    [[OK, 'Transfer-Encoding: chunked'], 'GET', CHUNKED, true],
    [[OK], 'GET', UNTIL_CLOSE, false],
    [['HTTP/1.0 200 OK'], 'GET', UNTIL_CLOSE, false],
    [['HTTP/1.0 200 OK', 'Content-Length: 5'], 'GET', 5, false],
    [['HTTP/1.0 200 OK', 'Content-Length: 5', 'Connection: keep-alive'], 'GET', 5, false],
    [[OK, 'Content-Length: 5', 'Connection: close'], 'GET', 5, false],
    [[OK, 'Content-Length: 5'], 'HEAD', 0, true],
    [[OK, 'Transfer-Encoding: chunked'], 'HEAD', 0, true],
    [[OK], 'HEAD', 0, true],
    [['HTTP/1.1 204 No Content'], 'GET', 0, true],
    [['HTTP/1.1 204 No Content', 'Content-Length: 5'], 'GET', 0, true],
    [['HTTP/1.1 304 Not Modified', 'Content-Length: 5'], 'GET', 0, true],
    [['HTTP/1.1 304 Not Modified', 'Transfer-Encoding: chunked'], 'GET', 0, true],
    [['HTTP/1.1 100 Continue'], 'POST', 0, true],
    [['HTTP/1.1 103 Early Hints', 'Link: a'], 'GET', 0, true],
    [['HTTP/1.1 500 Oh'], 'POST', UNTIL_CLOSE, false],
  ]
  for (const [lines, method, length, keepAlive] of table) {
    const result = accepted(lines, method)
    assert.deepEqual([result.bodyLength, result.keepAlive], [length, keepAlive], `${method} ${lines.join()}`)
  }
})

test('an ambiguous length is refused', () => {
  for (const lines of [
    ['Content-Length: 5', 'Transfer-Encoding: chunked'],
    ['Content-Length: 5', 'Content-Length: 5'],
    ['Content-Length: 5', 'Content-Length: 6'],
    ['Content-Length: 5, 5'],
    ['Content-Length: -1'],
    ['Content-Length: abc'],
    ['Content-Length: 99999999999999999999'],
    ['Transfer-Encoding: gzip'],
    ['Transfer-Encoding: gzip, chunked'],
    ['Transfer-Encoding: chunked', 'Transfer-Encoding: chunked'],
  ]) {
    assert.equal(refusedFor(OK, ...lines), 'ERR_RESPONSE_FRAMING', lines.join())
    const toHead = readResponse(head(OK, ...lines), 'HEAD')
    assert.equal(toHead?.ok, false, `HEAD ${lines.join()}`)
  }
  assert.equal(refusedFor('HTTP/1.0 200 OK', 'Transfer-Encoding: chunked'), 'ERR_RESPONSE_FRAMING')
  assert.equal(refusedFor('HTTP/1.1 204 No Content', 'Transfer-Encoding: chunked'), 'ERR_RESPONSE_FRAMING')
  assert.equal(refusedFor('HTTP/1.1 103 Early Hints', 'Transfer-Encoding: chunked'), 'ERR_RESPONSE_FRAMING')
})

test('a switch to WebSocket needs the status and both headers', () => {
  const lines = ['HTTP/1.1 101 Switching Protocols', 'Connection: Upgrade', 'Upgrade: websocket']
  const result = accepted(lines)
  assert.deepEqual([result.upgradeWebsocket, result.bodyLength], [true, 0])
  assert.equal(accepted(lines.with(0, OK)).upgradeWebsocket, false)
  assert.equal(accepted(lines.with(1, 'X: y')).upgradeWebsocket, false)
  assert.equal(accepted(lines.with(2, 'Upgrade: h2c')).upgradeWebsocket, false)
})

test('a head over the limits is refused', () => {
  const many = Array.from({ length: 101 }, (_, index) => `X-${index}: y`)
  assert.equal(refusedFor(OK, ...many), 'ERR_RESPONSE_TOO_LARGE')
  assert.equal(refusedFor(OK, `X: ${'y'.repeat(66_000)}`), 'ERR_RESPONSE_TOO_LARGE')
})

test('bytes that are no whole head are refused, not thrown over', () => {
  const one = head(OK, 'Content-Length: 5')
  for (let end = 0; end < one.length; end++) {
    assert.equal(readResponseHead(one, 0, end, TEST_LIMITS, 'GET').ok, false, `${end} of ${one.length} bytes`)
  }
})
