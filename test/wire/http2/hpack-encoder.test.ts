import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HpackEncoder } from '#wire/http2/hpack/encoder'
import { Output } from '#wire/http2/output'
import { createTestDecoder, decodeBlock, type Fields } from '../../support/http2-frames.ts'
import { testResources } from '../../support/http2-relay.ts'

function encode(encoder: HpackEncoder, fields: Fields, sensitive = new Set<string>()): Buffer {
  const output = new Output(testResources.slabs)
  output.reserve(200_000)
  encoder.begin(output)
  for (const [name, value] of fields) encoder.write(output, name, value, sensitive.has(name))
  return Buffer.from(output.take() ?? [])
}

const request: Fields = [
  [':method', 'POST'],
  [':scheme', 'http'],
  [':authority', 'cart.shop:8080'],
  [':path', '/shop.Cart/Add'],
  ['content-type', 'application/grpc'],
  ['te', 'trailers'],
  ['x-tenant', 'shop-17'],
  ['empty', ''],
]

test('what repeats takes one byte from the second time on, but the path is always written out', () => {
  const encoder = new HpackEncoder()
  const decoder = createTestDecoder()
  const first = encode(encoder, request)
  const second = encode(encoder, request)
  assert.deepEqual(decodeBlock(decoder, first), request)
  assert.deepEqual(decodeBlock(decoder, second), request)
  assert.equal(second.length, request.length - 1 + 2 + '/shop.Cart/Add'.length)
})

test('credentials are never indexed, nor whatever the caller marked so', () => {
  const encoder = new HpackEncoder()
  const fields: Fields = [
    ['authorization', 'Bearer secret'],
    ['cookie', 'session=secret'],
    ['x-marked', 'secret'],
  ]
  for (let round = 0; round < 2; round++) {
    const decoder = createTestDecoder()
    const flags: boolean[] = []
    const block = encode(encoder, fields, new Set(['x-marked']))
    decoder.decode(block, 0, block.length, { onField: (_, neverIndexed) => void flags.push(neverIndexed) })
    assert.deepEqual(flags, [true, true, true])
    assert.equal(decoder.tableCount, 0)
  }
})

test('a value that was indexed before is not referred to once it is marked', () => {
  const encoder = new HpackEncoder()
  const decoder = createTestDecoder()
  decodeBlock(decoder, encode(encoder, [['x-token', 'a']]))
  const block = encode(encoder, [['x-token', 'a']], new Set(['x-token']))
  assert.equal(block[0]! & 0xf0, 0x10)
  assert.deepEqual(decodeBlock(decoder, block), [['x-token', 'a']])
})

for (const size of [0, 100, 1024, 4096, 65_536]) {
  test(`a peer with a table of ${size} bytes understands every block`, () => {
    const encoder = new HpackEncoder()
    const decoder = createTestDecoder()
    encoder.setLimit(size)
    decoder.setLimit(size)
    for (let round = 0; round < 200; round++) {
      const fields: Fields = [...request, ['x-round', String(round % 7)], ['x-long', 'v'.repeat(round * 5)], [`x-name-${round % 13}`, 'a']]
      assert.deepEqual(decodeBlock(decoder, encode(encoder, fields)), fields)
      assert.ok(decoder.tableSize <= Math.min(size, 4096), `${decoder.tableSize} bytes`)
    }
  })
}

test('a change of size is told before the next block: the least since the last one, then the final', () => {
  const encoder = new HpackEncoder()
  assert.equal(encode(encoder, [[':method', 'GET']]).toString('hex'), '82')
  encoder.setLimit(0)
  encoder.setLimit(1024)
  assert.equal(encode(encoder, [[':method', 'GET']]).toString('hex'), '203fe10782')
  assert.equal(encode(encoder, [[':method', 'GET']]).toString('hex'), '82')
  encoder.setLimit(65_536)
  assert.equal(encode(encoder, [[':method', 'GET']]).toString('hex'), '3fe11f82')
  encoder.setLimit(100_000)
  assert.equal(encode(encoder, [[':method', 'GET']]).toString('hex'), '82')
})

test('entries that the peer evicted are not referred to', () => {
  const encoder = new HpackEncoder()
  const decoder = createTestDecoder()
  for (const size of [4096, 64, 4096, 0, 4096]) {
    encoder.setLimit(size)
    decoder.setLimit(size)
    for (let round = 0; round < 3; round++) assert.deepEqual(decodeBlock(decoder, encode(encoder, request)), request)
  }
})

test('a name with endless values costs neither time nor room', () => {
  const encoder = new HpackEncoder()
  const decoder = createTestDecoder()
  for (let round = 0; round < 5000; round++) {
    const fields: Fields = [['x-unique', String(round)]]
    assert.deepEqual(decodeBlock(decoder, encode(encoder, fields)), fields)
  }
  assert.ok(decoder.tableSize <= 4096)
})
