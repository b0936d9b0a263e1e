import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type ClientHttp2Session, connect } from 'node:http2'
import { type AddressInfo, createServer } from 'node:net'
import { test } from 'node:test'
import { HUFFMAN_GROWTH, HUFFMAN_LENGTHS, decodeHuffman } from '#wire/http2/hpack/huffman'
import {
  createTestDecoder,
  decodeBlock,
  END_HEADERS,
  type Frame,
  framesOf,
  huffmanEncode,
  PREFACE,
  PRIORITY,
  settings,
} from '../../support/http2-frames.ts'

function decode(code: Uint8Array): string | undefined {
  const into = Buffer.alloc(Math.ceil(code.length * HUFFMAN_GROWTH))
  const end = decodeHuffman(code, 0, code.length, into, 0)
  return end === -1 ? undefined : into.toString('latin1', 0, end)
}

test('the code is complete: every sequence of bits is a prefix of one text', () => {
  assert.equal(HUFFMAN_LENGTHS.length, 257)
  assert.equal(
    HUFFMAN_LENGTHS.reduce((sum, length) => sum + 2 ** -length, 0),
    1,
  )
})

test('the examples of RFC 7541 C.4 and C.6 decode', () => {
  const examples: readonly (readonly [string, string])[] = [
    ['f1e3c2e5f23a6ba0ab90f4ff', 'www.example.com'],
    ['a8eb10649cbf', 'no-cache'],
    ['25a849e95ba97d7f', 'custom-key'],
    ['25a849e95bb8e8b4bf', 'custom-value'],
    ['6402', '302'],
    ['aec3771a4b', 'private'],
    ['d07abe941054d444a8200595040b8166e082a62d1bff', 'Mon, 21 Oct 2013 20:13:21 GMT'],
    ['9d29ad171863c78f0b97c8e9ae82ae43d3', 'https://www.example.com'],
    [
      '94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007',
      'foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1',
    ],
  ]
  for (const [code, text] of examples) assert.equal(decode(Buffer.from(code, 'hex')), text)
})

test('every byte decodes from its code, alone and between others', () => {
  for (let byte = 0; byte < 256; byte++) {
    for (const bytes of [[byte], [0x61, byte, 0x61], [byte, byte, byte, 0x30]]) {
      assert.equal(decode(huffmanEncode(Uint8Array.from(bytes))), Buffer.from(bytes).toString('latin1'))
    }
  }
})

const malformed: readonly (readonly [string, string])[] = [
  ['padding of eight ones', 'f1e3c2e5f23a6ba0ab90f4ffff'],
  ['nothing but eight ones', 'ff'],
  ['padding of zeros', '18'],
  ['padding with a zero in it', '1e'],
  ['EOS', 'fffffffc'],
  ['EOS between texts', '1fffffffe1ff'],
]
for (const [what, code] of malformed) {
  test(`${what} is refused`, () => assert.equal(decode(Buffer.from(code, 'hex')), undefined))
}

test('what nghttp2 encodes decodes, for every byte that a header value may hold', async () => {
  const values = [
    0x09,
    ...Array.from({ length: 95 }, (_, index) => index + 0x20),
    ...Array.from({ length: 128 }, (_, index) => index + 0x80),
  ].map(
    // Long enough that the code is shorter than the text whatever stands in the middle.
    (byte) => `${'a'.repeat(60)}${String.fromCharCode(byte)}${'a'.repeat(60)}`,
  )
  const captured: Buffer[] = []
  let session: ClientHttp2Session | undefined
  const server = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.write(settings())
    socket.on('data', (bytes) => {
      captured.push(bytes as Buffer)
      const frames = wholeFrames(Buffer.concat(captured).subarray(PREFACE.length))
      if (frames.some(({ type, flags }) => isBlock({ type }) && (flags & END_HEADERS) !== 0)) session?.destroy()
    })
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  session = connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  session.on('error', () => undefined)
  const request = session.request({ ':path': '/', 'x-value': values })
  request.on('error', () => undefined)
  await once(session, 'close')
  server.close()

  const block = wholeFrames(Buffer.concat(captured).subarray(PREFACE.length))
    .filter(isBlock)
    .map(({ payload, flags }) => ((flags & PRIORITY) === 0 ? payload : payload.subarray(5)))
  const decoded = decodeBlock(createTestDecoder(), Buffer.concat(block)).filter(([name]) => name === 'x-value')
  assert.deepEqual(
    decoded.map(([, value]) => value),
    values,
  )
})

function isBlock({ type }: Pick<Frame, 'type'>): boolean {
  return type === 'HEADERS' || type === 'CONTINUATION'
}

/** Without the frame of which only a part came. */
function wholeFrames(bytes: Buffer): Frame[] {
  let end = 0
  while (end + 9 <= bytes.length && end + 9 + bytes.readUIntBE(end, 3) <= bytes.length) end += 9 + bytes.readUIntBE(end, 3)
  return framesOf(bytes.subarray(0, end))
}
