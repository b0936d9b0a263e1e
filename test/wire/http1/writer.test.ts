/** What is written reads back. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CHUNKED } from '#wire/http1/limits'
import { CRLF, LAST_CHUNK, writeChunkHead, writeStatusLine, writeTrailers } from '#wire/http1/writer'
import { readBody } from '../../support/body-recorder.ts'
import { readResponse } from '../../support/http1-bytes.ts'

test('chunks that were written read back', () => {
  assert.equal(writeChunkHead(26), '1a\r\n')
  let text = ''
  for (const size of [1, 9, 10, 15, 16, 255, 4096]) text += writeChunkHead(size) + 'x'.repeat(size) + CRLF
  const result = readBody(CHUNKED, [Buffer.from(text + LAST_CHUNK)])
  assert.deepEqual([result.data.length, result.done, result.trailers], [1 + 9 + 10 + 15 + 16 + 255 + 4096, true, undefined])
})

test('trailers that were written read back', () => {
  const trailers = { names: ['x-a', 'x-a'], values: ['1', ''] }
  assert.deepEqual(readBody(CHUNKED, [Buffer.from(writeTrailers(trailers))]).trailers, trailers)
  assert.equal(writeTrailers({ names: [], values: [] }), LAST_CHUNK)
})

test('a status line has the registered phrase, or the one given, or none', () => {
  assert.equal(writeStatusLine(403), 'HTTP/1.1 403 Forbidden\r\n')
  assert.equal(writeStatusLine(200, 'Fine'), 'HTTP/1.1 200 Fine\r\n')
  assert.equal(writeStatusLine(299), 'HTTP/1.1 299 \r\n')
  const result = readResponse(Buffer.from(`${writeStatusLine(299)}content-length: 0\r\n\r\n`))
  assert.equal(result?.ok && result.status, 299)
})
