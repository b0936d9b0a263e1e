/** HPACK: what is encoded decodes to itself over any conversation, and any bytes are decoded or refused without harm. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { HpackEncoder } from '#wire/http2/hpack/encoder'
import { HUFFMAN_GROWTH, decodeHuffman } from '#wire/http2/hpack/huffman'
import { Output } from '#wire/http2/output'
import { createTestDecoder, decodeBlock, huffmanEncode, literals } from '../support/http2-frames.ts'
import { testResources } from '../support/http2-relay.ts'

const names = fc.oneof(
  fc.constantFrom(
    ':method',
    ':path',
    ':authority',
    'accept',
    'content-type',
    'authorization',
    'cookie',
    'x-tenant',
    'traceparent',
    '__proto__',
    'constructor',
  ),
  fc.stringMatching(/^[a-z][a-z0-9-]{0,20}$/),
)
const values = fc.oneof(
  fc.constantFrom('', 'GET', 'POST', '/', 'gzip, deflate', 'a', 'application/grpc'),
  fc.stringMatching(/^[!-~]{1,60}$/),
  fc.integer({ min: 1, max: 5000 }).map((length) => 'v'.repeat(length)),
  fc.string({ maxLength: 30 }).map((text) =>
    Buffer.from(text.replaceAll(/[\0-\x1f\x7f]/g, '').trim())
      .toString('latin1')
      .trim(),
  ),
)
const block = fc.record({
  fields: fc.array(fc.tuple(names, values, fc.boolean()), { maxLength: 12 }),
  limits: fc.array(fc.constantFrom(0, 33, 100, 1024, 4096, 65_536), { maxLength: 3 }),
})

test('a conversation of header lists decodes to itself, whatever the sizes of the table', () => {
  fc.assert(
    fc.property(fc.array(block, { maxLength: 12 }), (blocks) => {
      const encoder = new HpackEncoder()
      const decoder = createTestDecoder(1_000_000)
      for (const { fields, limits } of blocks) {
        for (const limit of limits) {
          encoder.setLimit(limit)
          decoder.setLimit(limit)
        }
        const output = new Output(testResources.slabs)
        output.reserve(100_000)
        encoder.begin(output)
        for (const [name, value, sensitive] of fields) encoder.write(output, name, value, sensitive)
        const bytes = Buffer.from(output.take() ?? [])
        assert.deepEqual(
          decodeBlock(decoder, bytes),
          fields.map(([name, value]) => [name, value]),
        )
        assert.ok(decoder.tableSize <= Math.min(4096, limits.at(-1) ?? 4096))
      }
    }),
    { numRuns: 500 },
  )
})

test('Huffman codes decode to what was encoded, and to nothing else', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      const code = huffmanEncode(bytes)
      const into = Buffer.alloc(Math.ceil(code.length * HUFFMAN_GROWTH))
      const end = decodeHuffman(code, 0, code.length, into, 0)
      assert.deepEqual(into.subarray(0, end), Buffer.from(bytes))
    }),
  )
  // The other way round: what decodes is the one code of what it decodes to.
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (code) => {
      const into = Buffer.alloc(Math.ceil(code.length * HUFFMAN_GROWTH))
      const end = decodeHuffman(code, 0, code.length, into, 0)
      if (end !== -1) assert.deepEqual(huffmanEncode(into.subarray(0, end)), Buffer.from(code))
    }),
    { numRuns: 2000 },
  )
})

test('any bytes are decoded or refused: the table keeps to its size, the list to its limit', () => {
  const pieces = fc.oneof(
    fc.uint8Array({ maxLength: 30 }).map((bytes) => Buffer.from(bytes)),
    fc
      .tuple(names, values, fc.constantFrom(0x00, 0x10, 0x40), fc.boolean())
      .map(([name, value, form, huffman]) => literals([[name, value]], { form, huffman })),
    fc.integer({ min: 0x80, max: 0xff }).map((byte) => Buffer.from([byte])),
  )
  fc.assert(
    fc.property(fc.array(fc.array(pieces, { maxLength: 20 }), { maxLength: 5 }), (blocks) => {
      const decoder = createTestDecoder(2000)
      for (const block of blocks) {
        const bytes = Buffer.concat(block)
        let list = 0
        const outcome = decoder.decode(bytes, 0, bytes.length, { onField: ({ size }) => (list += size) })
        assert.ok(list <= 2000)
        assert.ok(decoder.tableSize <= 4096)
        assert.ok(decoder.tableCount * 32 <= decoder.tableSize)
        if (outcome === 'malformed') assert.notEqual(decoder.detail, '')
        if (outcome === 'malformed' || outcome === 'flood') return
      }
    }),
    { numRuns: 1000 },
  )
})
