/** Where a head ends, and that no trick with line ends makes the reader wait for ever. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { findHeadEnd, oversizedHead } from '#wire/http1/head-end'
import { head, readRequest } from '../../support/http1-bytes.ts'

test('a head ends after its first empty line', () => {
  for (const [text, end] of [
    ['', -1],
    ['GET / HTTP/1.1\r\n', -1],
    ['GET / HTTP/1.1\r\nHost: a\r\n\r', -1],
    ['GET / HTTP/1.1\r\n\r\n', 18],
    ['GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n', 18],
    ['\r\nGET / HTTP/1.1\r\n\r\n', 20],
    ['\r\n\r\n', 4],
  ] as const) {
    assert.equal(findHeadEnd(Buffer.from(text), 0), end, JSON.stringify(text))
  }
})

test('an empty line of bare LFs ends a head too, and the head is refused for it', () => {
  for (const text of [
    'GET / HTTP/1.1\nHost: a\n\n',
    'GET / HTTP/1.1\r\nHost: a\n\n',
    'GET / HTTP/1.1\r\nHost: a\n\r\n',
    'GET / HTTP/1.1\r\nHost: a\r\n\n',
    'GET / HTTP/1.1\nHost: a\r\n\r\n',
    '\nGET / HTTP/1.1\r\nHost: a\r\n\r\n',
    '\n\n',
    'GET / HTTP/1.1\r\nHost: a\n\nGET /admin HTTP/1.1\r\nHost: a\r\n\r\n',
  ]) {
    const result = readRequest(Buffer.from(text))
    assert.equal(result?.ok === false && result.reason, 'ERR_HTTP_LINE_END', JSON.stringify(text))
  }
})

test('going on from three bytes before what is new finds the same end, however the bytes were split', () => {
  for (const text of ['GET / HTTP/1.1\r\nHost: a\r\n\r\n', 'GET / HTTP/1.1\nHost: a\n\n', 'a: b\r\nc: d\n\r\n']) {
    const whole = Buffer.from(text)
    const expected = findHeadEnd(whole, 0)
    assert.equal(expected, whole.length)
    for (let split = 0; split < whole.length; split++) {
      assert.equal(findHeadEnd(whole.subarray(0, split), 0), -1, `${JSON.stringify(text)} at ${split}`)
      assert.equal(findHeadEnd(whole, Math.max(0, split - 3)), expected, `${JSON.stringify(text)} at ${split}`)
    }
  }
})

test('a head without end is too long in its target or in its headers', () => {
  const limits = { bytes: 100, headers: 10 }
  const reason = (text: string) => oversizedHead(Buffer.from(text), 0, limits).reason
  assert.equal(reason(`GET /${'a'.repeat(200)}`), 'ERR_HTTP_TARGET_TOO_LONG')
  assert.equal(reason(`GET /${'a'.repeat(200)} HTTP/1.1\r\nHost: a\r\n`), 'ERR_HTTP_TARGET_TOO_LONG')
  assert.equal(reason(`GET / HTTP/1.1\r\nX: ${'a'.repeat(200)}`), 'ERR_HTTP_HEAD_TOO_LARGE')
  assert.equal(reason(`\r\nGET / HTTP/1.1\r\nX: ${'a'.repeat(200)}`), 'ERR_HTTP_HEAD_TOO_LARGE')
})

test('a head over the limit is refused even when it came whole', () => {
  const limits = { bytes: 100, headers: 10 }
  const target = readRequest(head(`GET /${'a'.repeat(200)} HTTP/1.1`, 'Host: a'), limits)
  assert.equal(target?.ok === false && target.reason, 'ERR_HTTP_TARGET_TOO_LONG')
  const headers = readRequest(head('GET / HTTP/1.1', 'Host: a', `X: ${'a'.repeat(100)}`), limits)
  assert.equal(headers?.ok === false && headers.reason, 'ERR_HTTP_HEAD_TOO_LARGE')
  const exact = head('GET / HTTP/1.1', 'Host: a', `X: ${'a'.repeat(100 - 32)}`)
  assert.equal(exact.length, 100)
  assert.equal(readRequest(exact, limits)?.ok, true)
})
