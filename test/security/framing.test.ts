/** Messages whose end two readers see in different places (docs/security-tests.md). */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { dial, readUntil } from '../support/mtls-client.ts'
import { get, startProbe } from '../support/probe.ts'

const probe = await startProbe({ policy: '- allow: { and: [http_path: { starts_with: /open }] }\n' })
after(() => probe[Symbol.asyncDispose]())

/** Stands where a smuggled request would: it must never become a request of the app's. */
const HIDDEN = 'GET /open/hidden HTTP/1.1\r\nhost: h\r\n\r\n'

const post = (lines: readonly string[], body: string): string =>
  ['POST /open HTTP/1.1', 'host: h', 'connection: close', ...lines, '', body].join('\r\n')

const CHUNKED = 'transfer-encoding: chunked'

test('16 · smuggling by Content-Length and Transfer-Encoding', async () => {
  const refused: readonly (readonly [readonly string[], number, string])[] = [
    [['content-length: 5', CHUNKED], 400, 'ERR_HTTP_FRAMING_CONFLICT'],
    [[CHUNKED, 'content-length: 5'], 400, 'ERR_HTTP_FRAMING_CONFLICT'],
    [['content-length: 5', 'content-length: 5'], 400, 'ERR_HTTP_HEADER_REPEATED'],
    [['content-length: 5', 'content-length: 0'], 400, 'ERR_HTTP_HEADER_REPEATED'],
    [['content-length: 5, 5'], 400, 'ERR_HTTP_CONTENT_LENGTH'],
    [['content-length: +5'], 400, 'ERR_HTTP_CONTENT_LENGTH'],
    [['content-length: -5'], 400, 'ERR_HTTP_CONTENT_LENGTH'],
    [['content-length: 5 5'], 400, 'ERR_HTTP_CONTENT_LENGTH'],
    [['content-length: 0x5'], 400, 'ERR_HTTP_CONTENT_LENGTH'],
    [['content-length: 5.0'], 400, 'ERR_HTTP_CONTENT_LENGTH'],
    [['content-length: '], 400, 'ERR_HTTP_CONTENT_LENGTH'],
    [['content-length: 99999999999999999999'], 400, 'ERR_HTTP_CONTENT_LENGTH'],
    [['content-length: 18446744073709551621'], 400, 'ERR_HTTP_CONTENT_LENGTH'],
    [['content-length : 5'], 400, 'ERR_HTTP_HEADER_NAME'],
    [['content_length: 5'], 400, 'ERR_HTTP_HEADER_NAME'],
    [['transfer-encoding : chunked'], 400, 'ERR_HTTP_HEADER_NAME'],
    [['transfer_encoding: chunked'], 400, 'ERR_HTTP_HEADER_NAME'],
    [[' transfer-encoding: chunked'], 400, 'ERR_HTTP_HEADER_NAME'],
    [['x: y\ntransfer-encoding: chunked'], 400, 'ERR_HTTP_LINE_END'],
    [['x: y\rtransfer-encoding: chunked'], 400, 'ERR_HTTP_LINE_END'],
    [['transfer-encoding:\n chunked'], 400, 'ERR_HTTP_LINE_END'],
    [['transfer-encoding: xchunked'], 400, 'ERR_HTTP_TRANSFER_ENCODING'],
    [['transfer-encoding: chunked, identity'], 400, 'ERR_HTTP_TRANSFER_ENCODING'],
    [['transfer-encoding: identity'], 400, 'ERR_HTTP_TRANSFER_ENCODING'],
    [['transfer-encoding: identity, chunked'], 400, 'ERR_HTTP_TRANSFER_ENCODING'],
    [['transfer-encoding: chunked, chunked'], 400, 'ERR_HTTP_TRANSFER_ENCODING'],
    [['transfer-encoding: "chunked"'], 400, 'ERR_HTTP_TRANSFER_ENCODING'],
    [['transfer-encoding: chunked;q=1'], 400, 'ERR_HTTP_TRANSFER_ENCODING'],
    [['transfer-encoding: '], 400, 'ERR_HTTP_TRANSFER_ENCODING'],
    [['transfer-encoding: chunked\x0b'], 400, 'ERR_HTTP_HEADER_VALUE'],
    [['transfer-encoding: \x00chunked'], 400, 'ERR_HTTP_HEADER_VALUE'],
    [['transfer-encoding: gzip, chunked'], 501, 'ERR_HTTP_TRANSFER_CODING'],
    [[CHUNKED, CHUNKED], 400, 'ERR_HTTP_HEADER_REPEATED'],
    [[CHUNKED, 'transfer-encoding: identity'], 400, 'ERR_HTTP_HEADER_REPEATED'],
    [[CHUNKED, 'connection: transfer-encoding'], 400, 'ERR_HTTP_CONNECTION'],
  ]
  for (const [lines, status, reason] of refused) {
    const seen = await probe.send(post(lines, `0\r\n\r\n${HIDDEN}`))
    assert.deepEqual([seen.status, seen.reason, seen.app], [status, reason, ''], JSON.stringify(lines))
    assert.equal(seen.answer.split('HTTP/1.1 ').length, 2, `${JSON.stringify(lines)}: one answer, then the end`)
  }
  const old = await probe.send(`POST /open HTTP/1.0\r\nhost: h\r\n${CHUNKED}\r\n\r\n0\r\n\r\n${HIDDEN}`)
  assert.deepEqual([old.status, old.reason, old.app], [400, 'ERR_HTTP_TRANSFER_ENCODING', ''], 'HTTP/1.0 has no chunks')

  const accepted: readonly (readonly [readonly string[], string, string])[] = [
    [['content-length: 5'], 'hello', 'hello'],
    [['Content-Length: 05'], 'hello', 'hello'],
    [['Transfer-Encoding: Chunked'], '5\r\nhello\r\n0\r\n\r\n', '5\r\nhello\r\n0\r\n\r\n'],
    [[CHUNKED], '0005;a=b\r\nhello\r\n0;last\r\n\r\n', '5\r\nhello\r\n0\r\n\r\n'],
  ]
  for (const [lines, body, received] of accepted) {
    const seen = await probe.send(post(lines, body + HIDDEN))
    assert.equal(seen.status, 200, JSON.stringify(lines))
    assert.deepEqual(
      seen.requests.map((request) => request.body),
      [received],
      'written anew, and what follows on a connection that was to be closed is no request',
    )
    assert.equal(seen.requests[0]?.head.match(/content-length|transfer-encoding/g)?.length, 1)
    assert.doesNotMatch(seen.app, /hidden/)
  }
})

test('16 · smuggling by chunks that are malformed: the app sees no end, and no further request', async () => {
  const bodies = [
    '5\nhello\r\n0\r\n\r\n',
    '5\r\nhello0\r\n\r\n',
    '5\r\nhello\n0\r\n\r\n',
    '5\r\nhelloXX0\r\n\r\n',
    '0x5\r\nhello\r\n0\r\n\r\n',
    '+5\r\nhello\r\n0\r\n\r\n',
    '-1\r\nhello\r\n0\r\n\r\n',
    ' 5\r\nhello\r\n0\r\n\r\n',
    'g\r\nhello\r\n0\r\n\r\n',
    '\r\nhello\r\n0\r\n\r\n',
    '5;a\nb\r\nhello\r\n0\r\n\r\n',
    '5;a="\r\nhello\r\n0\r\n\r\n',
    '5;\x00\r\nhello\r\n0\r\n\r\n',
    'fffffffffffffffff5\r\nhello\r\n0\r\n\r\n',
    '10000000000000005\r\nhello\r\n0\r\n\r\n',
    '0\r\nhost: other\r\n\r\n',
    '0\r\ncontent-length: 5\r\n\r\n',
    '0\r\ntransfer-encoding: chunked\r\n\r\n',
    '0\r\na: b\n\r\n',
    '0\r\n a: b\r\n\r\n',
  ]
  for (const body of bodies) {
    const seen = await probe.send(post([CHUNKED], body + HIDDEN))
    assert.equal(seen.status, 400, JSON.stringify(body))
    assert.match(String(seen.reason), /^ERR_HTTP_(?:CHUNK|TRAILER|LINE_END|HEADER_NAME)$/, JSON.stringify(body))
    assert.deepEqual(seen.requests, [], JSON.stringify(body))
    assert.doesNotMatch(seen.app, /hidden/, JSON.stringify(body))
  }
})

test('17 · framing headers behind so many that a parser stops to look', async () => {
  const many = Array.from({ length: 2100 }, (_, index) => `x-${index}: ${index}`)
  for (const lines of [
    [...many, 'content-length: 5'],
    [...many, CHUNKED],
    [...many.slice(0, 98), 'content-length: 5', CHUNKED],
  ]) {
    const seen = await probe.send(post(lines, `hello${HIDDEN}`))
    assert.deepEqual([seen.status, seen.reason, seen.app], [431, 'ERR_HTTP_TOO_MANY_HEADERS', ''])
  }
  // Host, Connection and Content-Length are three of the 100.
  const last = await probe.send(post([...many.slice(0, 97), 'content-length: 5'], `hello${HIDDEN}`))
  assert.deepEqual(
    last.requests.map(({ body }) => body),
    ['hello'],
    'a framing header in the last place there is counts',
  )
})

test('21 · desync by Expect', async () => {
  const refused: readonly (readonly [readonly string[], number, string])[] = [
    [['expect: 100-continue, x'], 417, 'ERR_HTTP_EXPECT'],
    [['expect: y 100-continue'], 417, 'ERR_HTTP_EXPECT'],
    [['expect: \x0b100-continue'], 400, 'ERR_HTTP_HEADER_VALUE'],
    [['expect: 100-continue', 'expect: 100-continue'], 400, 'ERR_HTTP_HEADER_REPEATED'],
    [['expect: '], 417, 'ERR_HTTP_EXPECT'],
  ]
  for (const [lines, status, reason] of refused) {
    const seen = await probe.send(post([...lines, 'content-length: 5'], `hello${HIDDEN}`))
    assert.deepEqual([seen.status, seen.reason, seen.app], [status, reason, ''], JSON.stringify(lines))
  }
  const bodiless = await probe.send(get('/open', 'expect: 100-continue'))
  assert.equal(bodiless.status, 200, 'without a body there is nothing to wait for')

  // A final answer instead of the 100: what comes next is the body that was announced, never a request.
  const socket = await dial(probe.sidecar.port, probe.svid)
  socket.write('POST /closed HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 40\r\n\r\n')
  const closed = new Promise((resolve) => void socket.once('end', resolve))
  const refusal = await readUntil(socket, '"request_id"')
  assert.match(refusal, /^HTTP\/1\.1 403 [^]*\r\nconnection: close\r\n/)
  socket.write(HIDDEN)
  socket.resume()
  await closed
  socket.destroy()
  const records = await probe.sidecar.records()
  assert.equal(records.at(-1)?.['path'], '/closed', 'no request was read behind it')
})

test('22 · policy that depends on whether there is a body', async () => {
  const bodies: readonly (readonly [readonly string[], string])[] = [
    [[], ''],
    [['content-length: 0'], ''],
    [['content-length: 5'], 'hello'],
    [[CHUNKED], '5\r\nhello\r\n0\r\n\r\n'],
    [[CHUNKED], '0\r\n\r\n'],
    [['content-length: 5', 'expect: 100-continue'], 'hello'],
  ]
  for (const [lines, body] of bodies) {
    for (const method of ['GET', 'POST', 'DELETE', 'HEAD', 'QUERY']) {
      const request = (path: string): string =>
        [`${method} ${path} HTTP/1.1`, 'host: h', 'connection: close', ...lines, '', body].join('\r\n')
      const what = `${method} ${lines.join(' ')}`
      assert.equal((await probe.send(request('/open'))).status, 200, what)
      const seen = await probe.send(request('/closed'))
      assert.deepEqual([seen.status, seen.reason, seen.app], [403, 'ERR_POLICY_NO_ALLOW', ''], what)
    }
  }
})
