import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createScratch } from '#wire/http2/hpack/cursor'
import { Output } from '#wire/http2/output'
import { errorName } from '#wire/http2/protocol'
import { ResponseBlock } from '#wire/http2/response-block'
import { createTestDecoder, decodeBlock, type Fields, hpackString, literals } from '../../support/http2-frames.ts'
import { testResources } from '../../support/http2-relay.ts'

const block = new ResponseBlock(createScratch(), 65_536)

function written(): [string, string][] {
  const output = new Output(testResources.slabs)
  output.reserve(block.length)
  block.writeTo(output)
  assert.equal(output.length, block.length)
  return decodeBlock(createTestDecoder(), Buffer.from(output.take() ?? []))
}

for (const huffman of [false, true]) {
  for (const form of [0x00, 0x10, 0x40]) {
    test(`a head is read and goes on as it came, ${huffman ? 'Huffman-coded' : 'plain'}, literals of form ${form}`, () => {
      const fields: Fields = [
        [':status', '200'],
        ['content-type', 'application/grpc'],
        ['content-length', '1024'],
        ['grpc-status', '14'],
        ['x-app', 'anything'],
      ]
      const bytes = literals(fields, { huffman, form })
      assert.equal(block.read(bytes, 0, bytes.length, false), undefined)
      assert.deepEqual([block.status, block.grpcStatus, block.contentLength], [200, 14, 1024])
      assert.deepEqual(written(), fields)
    })
  }
}

test('statuses of the static table, and names of it with other values, are read', () => {
  for (const [bytes, status] of [
    ['88', 200],
    ['8b', 304],
    ['8e', 500],
    ['4803343231', 421],
    ['0803313030', 100],
  ] as const) {
    const head = Buffer.from(bytes, 'hex')
    assert.equal(block.read(head, 0, head.length, false), undefined)
    assert.equal(block.status, status)
  }
})

test('size updates to 0 are left out, and so is every x-request-id of the upstream', () => {
  const fields: Fields = [
    [':status', '200'],
    ['x-request-id', 'theirs'],
    ['x-a', '1'],
    ['x-request-id', 'theirs too'],
    ['x-request-id', 'and again'],
    ['x-b', '2'],
  ]
  const bytes = Buffer.concat([Buffer.from([0x20, 0x20]), literals(fields)])
  assert.equal(block.read(bytes, 0, bytes.length, false), undefined)
  const kept = fields.filter(([name]) => name !== 'x-request-id')
  assert.deepEqual(written(), kept)
  const copy = block.copy()
  block.read(Buffer.from('88', 'hex'), 0, 1, false)
  const output = new Output(testResources.slabs)
  output.reserve(copy.length)
  copy.writeTo(output)
  assert.deepEqual(decodeBlock(createTestDecoder(), Buffer.from(output.take() ?? [])), kept)
})

test('trailers have a grpc-status and no :status', () => {
  const bytes = literals([
    ['grpc-status', '0'],
    ['grpc-message', 'fine'],
  ])
  assert.equal(block.read(bytes, 0, bytes.length, true), undefined)
  assert.deepEqual([block.status, block.grpcStatus], [0, 0])
})

test('a grpc-status that is no number is none', () => {
  for (const value of ['', 'x', '-1', '1234', '1 2']) {
    const bytes = literals([
      [':status', '200'],
      ['grpc-status', value],
    ])
    assert.equal(block.read(bytes, 0, bytes.length, false), undefined)
    assert.equal(block.grpcStatus, -1, value)
  }
})

const ok = literals([[':status', '200']])
const malformed: readonly (readonly [string, Buffer])[] = [
  ['no :status', literals([['x-a', '1']])],
  ['an empty block', Buffer.alloc(0)],
  [':status twice', Buffer.concat([ok, ok])],
  [':status twice from the static table', Buffer.from('8888', 'hex')],
  [
    ':status after a field',
    literals([
      ['x-a', '1'],
      [':status', '200'],
    ]),
  ],
  ...['20', '99', '099', '600', '2000', '', 'abc', '2 0'].map(
    (value) => [`:status ${JSON.stringify(value)}`, literals([[':status', value]])] as const,
  ),
  ['a pseudo-header of requests', Buffer.concat([ok, literals([[':path', '/']])])],
  ['a pseudo-header of requests from the static table', Buffer.concat([ok, Buffer.from([0x84])])],
  ['an unknown pseudo-header', Buffer.concat([ok, literals([[':x', '/']])])],
  ...['connection', 'keep-alive', 'transfer-encoding', 'upgrade', 'proxy-connection', 'te'].map(
    (name) => [name, Buffer.concat([ok, literals([[name, 'x']])])] as const,
  ),
  ['a name in upper case', Buffer.concat([ok, literals([['X-A', 'x']])])],
  ['a value with CR LF', Buffer.concat([ok, literals([['x-a', 'a\r\nb']])])],
  ['a value with CR LF, Huffman-coded', Buffer.concat([ok, literals([['x-a', 'a\r\nb']], { huffman: true })])],
  [
    'content-length twice',
    Buffer.concat([
      ok,
      literals([
        ['content-length', '1'],
        ['content-length', '1'],
      ]),
    ]),
  ],
  ['content-length that is no number', Buffer.concat([ok, literals([['content-length', '1x']])])],
  ['content-length of the static table, which is empty', Buffer.concat([ok, Buffer.from([0x9c])])],
  ['more bytes than the limit', Buffer.concat([ok, literals([['x-a', 'a'.repeat(65_536)]])])],
]
for (const [what, bytes] of malformed) {
  test(`${what} makes a response malformed`, () => {
    const fault = block.read(bytes, 0, bytes.length, false)
    assert.equal(fault && errorName(fault.code), 'PROTOCOL_ERROR')
    assert.equal(fault?.reason, 'ERR_UPSTREAM_RESPONSE')
  })
}

const broken: readonly (readonly [string, Buffer])[] = [
  ['an index of the dynamic table', Buffer.from('88be', 'hex')],
  ['a name index of the dynamic table', Buffer.concat([Buffer.from('887e', 'hex'), hpackString(Buffer.from('a'))])],
  ['a table size above 0', Buffer.from('2188', 'hex')],
  ['three size updates', Buffer.from('20202088', 'hex')],
  ['a size update after a field', Buffer.from('8820', 'hex')],
  ['index 0', Buffer.from('8880', 'hex')],
  ['a string that is cut short', Buffer.from('88000578', 'hex')],
  ['an integer that is cut short', Buffer.from('88ff', 'hex')],
]
for (const [what, bytes] of broken) {
  test(`${what} ends the connection`, () => {
    const fault = block.read(bytes, 0, bytes.length, false)
    assert.equal(fault && errorName(fault.code), 'COMPRESSION_ERROR')
  })
}
