/** Bodies: by length, until close, in chunks; and that no split of the bytes changes what is told (facts/attacks rows 16, 32). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type BodySink, createBodyReader } from '#wire/http1/body-reader'
import { CHUNKED, UNTIL_CLOSE } from '#wire/http1/limits'
import { readBody, splits } from '../../support/body-recorder.ts'
import { TEST_LIMITS } from '../../support/http1-bytes.ts'

const NEXT = 'GET / HTTP/1.1\r\n'

test('a body of known length ends with its last byte, and what follows is left alone', () => {
  for (const pieces of splits(Buffer.from(`hello${NEXT}`))) {
    assert.deepEqual(readBody(5, pieces), { data: 'hello', ends: 1, trailers: undefined, done: true, fault: undefined, consumed: 5 })
  }
})

test('a body of length 0 is done from the beginning and tells nothing', () => {
  const reader = createBodyReader(0, TEST_LIMITS)
  assert.equal(reader.done, true)
  assert.deepEqual(readBody(0, [Buffer.from(NEXT)], { fin: true }), {
    data: '',
    ends: 0,
    trailers: undefined,
    done: true,
    fault: undefined,
    consumed: 0,
  })
})

test('a body that ends early is at fault', () => {
  for (const [length, text] of [
    [5, 'hell'],
    [5, ''],
    [CHUNKED, ''],
    [CHUNKED, '5\r\nhello\r\n'],
    [CHUNKED, '5\r\nhello\r\n0\r\n'],
    [CHUNKED, '5\r\nhello\r\n0\r\n\r'],
    [CHUNKED, '0\r\nA: b\r\n'],
  ] as const) {
    const result = readBody(length, text === '' ? [] : [Buffer.from(text)], { fin: true })
    assert.deepEqual([result.fault, result.ends, result.done], ['ERR_HTTP_BODY_TRUNCATED', 0, false], text)
  }
})

test('a body until close takes everything, and the end of the connection completes it', () => {
  for (const pieces of splits(Buffer.from('hello'))) {
    assert.deepEqual(readBody(UNTIL_CLOSE, pieces), {
      data: 'hello',
      ends: 0,
      trailers: undefined,
      done: false,
      fault: undefined,
      consumed: 5,
    })
    assert.equal(readBody(UNTIL_CLOSE, pieces, { fin: true }).ends, 1)
  }
})

test('once a body is done or at fault, nothing more is read or told', () => {
  let calls = 0
  const sink: BodySink = { onData: () => void calls++, onEnd: () => void calls++ }
  for (const [length, text, expected] of [
    [5, 'hello', 2],
    [CHUNKED, '0\r\n\r\n', 1],
    [CHUNKED, 'x', 0],
  ] as const) {
    calls = 0
    const reader = createBodyReader(length, TEST_LIMITS)
    reader.read(Buffer.from(text), 0, sink)
    const fault = reader.fault
    assert.equal(reader.read(Buffer.from('5\r\nhello'), 3, sink), 3)
    reader.end(sink)
    assert.equal(calls, expected, text)
    assert.equal(reader.fault, fault, text)
  }
})

test('data is handed on without a copy', () => {
  const bytes = Buffer.from('hello')
  let seen: Buffer | undefined
  const sink: BodySink = { onData: (chunk) => void (seen = chunk), onEnd: () => undefined }
  createBodyReader(10, TEST_LIMITS).read(bytes, 0, sink)
  assert.equal(seen, bytes)
  createBodyReader(CHUNKED, TEST_LIMITS).read(Buffer.from('3\r\nabc'), 0, sink)
  assert.equal(seen?.toString(), 'abc')
  const chunk = Buffer.from('3\r\nabc\r\n')
  createBodyReader(CHUNKED, TEST_LIMITS).read(chunk, 0, sink)
  assert.equal(seen?.buffer, chunk.buffer)
})

test('chunks are put together, their extensions dropped, whatever the split', () => {
  for (const [text, data] of [
    ['0\r\n\r\n', ''],
    ['000\r\n\r\n', ''],
    ['5\r\nhello\r\n0\r\n\r\n', 'hello'],
    ['a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n', '01234567890123456789'],
    ['005\r\nhello\r\n00\r\n\r\n', 'hello'],
    ['5;a\r\nhello\r\n0\r\n\r\n', 'hello'],
    ['5;a=b;c="d\\"e; \xe9\t"\r\nhello\r\n0;last\r\n\r\n', 'hello'],
    ['5 ; a = b\r\nhello\r\n0\r\n\r\n', 'hello'],
    ['2\r\n\r\n\r\n0\r\n\r\n', '\r\n'],
    ['1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n', 'abc'],
    ['1a\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\n\r\n', 'abcdefghijklmnopqrstuvwxyz'],
  ] as const) {
    const bytes = Buffer.from(text + NEXT, 'latin1')
    for (const pieces of splits(bytes)) {
      assert.deepEqual(
        readBody(CHUNKED, pieces),
        { data, ends: 1, trailers: undefined, done: true, fault: undefined, consumed: text.length },
        text,
      )
    }
  }
})

test('a malformed chunk is refused, whatever the split', () => {
  for (const text of [
    '\r\n',
    '\n',
    ' 5\r\nhello',
    'g\r\n',
    '-5\r\nhello',
    '+5\r\nhello',
    '0x5\r\nhello',
    '5\nhello',
    '5\rhello',
    '5\r\rhello',
    '5x\r\nhello',
    '5 5\r\nhello',
    '5 \r\nhello',
    '5\t\r\nhello',
    '5,5\r\nhello',
    '5_0\r\nhello',
    ';a\r\nhello',
    '5;\r\nhello',
    '5; \r\nhello',
    '5;;a\r\nhello',
    '5;a \r\nhello',
    '5;a="b"\t\r\nhello',
    '5;a\nhello',
    '5;a\0\r\nhello',
    '5;a="b\r\nhello',
    '5;a="b\nhello"',
    '5;a="b\\\r\nhello',
    '5;a=\xe9\r\nhello',
    '5;a=b,c\r\nhello',
    '5\r\nhello0\r\n\r\n',
    '5\r\nhello\n0\r\n\r\n',
    '5\r\nhello\rX',
    '5\r\nhello\r\n\r\n',
    '5\r\nhello!\r\n0\r\n\r\n',
    '5\r\nhell\r\n0\r\n\r\n',
    '00000000000000\r\n\r\n',
    '10000000000000\r\n',
    'ffffffffffffffff\r\n',
    `5;${'a'.repeat(1024)}\r\nhello`,
  ]) {
    for (const pieces of splits(Buffer.from(text, 'latin1'))) {
      const result = readBody(CHUNKED, pieces)
      assert.deepEqual([result.fault, result.ends, result.done], ['ERR_HTTP_CHUNK', 0, false], JSON.stringify(text))
    }
  }
})

test('a chunk may be as large as a number is exact, and no larger', () => {
  const reader = createBodyReader(CHUNKED, TEST_LIMITS)
  reader.read(Buffer.from('fffffffffffff\r\n'), 0, { onData: () => assert.fail(), onEnd: () => assert.fail() })
  assert.equal(reader.fault, undefined)
})

test('extensions are bounded over the whole body, not only in each chunk', () => {
  const chunk = Buffer.from(`1;${'a'.repeat(500)}\r\nx\r\n`)
  const limits = { bytes: 4096, headers: 100 }
  assert.equal(
    readBody(
      CHUNKED,
      Array.from({ length: 8 }, () => chunk),
      { limits },
    ).fault,
    undefined,
  )
  assert.equal(
    readBody(
      CHUNKED,
      Array.from({ length: 9 }, () => chunk),
      { limits },
    ).fault,
    'ERR_HTTP_CHUNK',
  )
})

test('trailers come with the end, whatever the split', () => {
  const text = '5\r\nhello\r\n0\r\nX-Checksum: abc \r\nServer-Timing:\r\nx-checksum: d\xc3\xa9f\r\n\r\n'
  for (const pieces of splits(Buffer.from(text + NEXT, 'latin1'))) {
    assert.deepEqual(readBody(CHUNKED, pieces), {
      data: 'hello',
      ends: 1,
      trailers: { names: ['x-checksum', 'server-timing', 'x-checksum'], values: ['abc', '', 'd\xc3\xa9f'] },
      done: true,
      fault: undefined,
      consumed: text.length,
    })
  }
})

test('trailers that belong into the head are dropped, or refused where they would change what was decided', () => {
  const trailers = (line: string) => readBody(CHUNKED, [Buffer.from(`0\r\n${line}\r\n\r\n`, 'latin1')])
  for (const name of ['Content-Type', 'TE', 'Trailer', 'Keep-Alive', 'Cache-Control', 'Content-Encoding', 'Vary', 'Max-Forwards']) {
    assert.deepEqual([trailers(`${name}: a`).trailers, trailers(`${name}: a`).done], [undefined, true], name)
  }
  assert.deepEqual(trailers('Vary: a\r\nX: y').trailers, { names: ['x'], values: ['y'] })
  for (const name of [
    'Host',
    'CONTENT-LENGTH',
    'Transfer-Encoding',
    'Connection',
    'Upgrade',
    'Expect',
    'Authorization',
    'Cookie',
    'Set-Cookie',
  ]) {
    assert.deepEqual([trailers(`${name}: a`).fault, trailers(`${name}: a`).ends], ['ERR_HTTP_TRAILER', 0], name)
  }
})

test('trailers are held to the grammar of headers and to the limits, whatever the split', () => {
  const limits = { bytes: 200, headers: 3 }
  for (const [lines, fault] of [
    ['A : b\r\n\r\n', 'ERR_HTTP_HEADER_NAME'],
    [' A: b\r\n\r\n', 'ERR_HTTP_HEADER_NAME'],
    ['A: b\r\n c\r\n\r\n', 'ERR_HTTP_HEADER_NAME'],
    ['A: b\0\r\n\r\n', 'ERR_HTTP_HEADER_VALUE'],
    ['A: \xff\r\n\r\n', 'ERR_HTTP_HEADER_VALUE'],
    ['A: b\n\r\n', 'ERR_HTTP_LINE_END'],
    ['A: b\n\n', 'ERR_HTTP_LINE_END'],
    ['\n', 'ERR_HTTP_LINE_END'],
    ['A: b\rC: d\r\n\r\n', 'ERR_HTTP_LINE_END'],
    ['A: b\r\nA: b\r\nA: b\r\nA: b\r\n\r\n', 'ERR_HTTP_TOO_MANY_HEADERS'],
    [`A: ${'b'.repeat(300)}`, 'ERR_HTTP_HEAD_TOO_LARGE'],
    [`A: ${'b'.repeat(300)}\r\n\r\n`, 'ERR_HTTP_HEAD_TOO_LARGE'],
    ['Content-Length: 5\r\nContent-Length: 5\r\n\r\n', 'ERR_HTTP_HEADER_REPEATED'],
  ] as const) {
    for (const pieces of splits(Buffer.from(`0\r\n${lines}`, 'latin1'))) {
      const result = readBody(CHUNKED, pieces, { limits })
      assert.deepEqual([result.fault, result.ends], [fault, 0], JSON.stringify(lines))
    }
  }
})

test('a trailer section of exactly the limit is read', () => {
  const section = `A: ${'b'.repeat(193)}\r\n\r\n`
  assert.equal(section.length, 200)
  for (const pieces of splits(Buffer.from(`0\r\n${section}${NEXT}`))) {
    const result = readBody(CHUNKED, pieces, { limits: { bytes: 200, headers: 3 } })
    assert.deepEqual([result.done, result.consumed], [true, 203])
  }
})
