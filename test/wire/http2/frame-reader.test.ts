import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type FrameHandler, FrameReader, createFramePool } from '#wire/http2/frame-reader'
import { errorName, type Http2Fault } from '#wire/http2/protocol'
import {
  data,
  END_HEADERS,
  END_STREAM,
  frame,
  goaway,
  headers,
  PADDED,
  paddedData,
  ping,
  PRIORITY,
  reset,
  settings,
  settingsAck,
  uint32,
  windowUpdate,
} from '../../support/http2-frames.ts'

/** Notes what a reader reports. */
function record(lines: string[]): FrameHandler {
  const note = (line: string): undefined => void lines.push(line)
  return {
    onData: (stream, bytes, start, end, flow, endStream) =>
      note(`data ${stream} ${bytes.toString('latin1', start, end)} flow ${flow}${endStream ? ' end' : ''}`),
    onHeaderBlock: (stream, bytes, start, end, endStream) =>
      note(`block ${stream} ${bytes.toString('latin1', start, end)}${endStream ? ' end' : ''}`),
    onReset: (stream, code) => note(`reset ${stream} ${code}`),
    onSettings: (bytes, start, end) => note(`settings ${bytes.toString('hex', start, end)}`),
    onSettingsAck: () => note('settings ack'),
    onPing: (bytes, start) => note(`ping ${bytes.toString('hex', start, start + 8)}`),
    onGoaway: (last, code) => note(`goaway ${last} ${code}`),
    onWindowUpdate: (stream, increment) => note(`window ${stream} ${increment}`),
    onIgnored: () => note('ignored'),
    satisfied: false,
  }
}

function read(bytes: Uint8Array): { lines: string[]; fault: Http2Fault | undefined } {
  const lines: string[] = []
  const fault = new FrameReader(record(lines), 65_536).read(Buffer.from(bytes))
  return { lines, fault }
}

const text = (value: string): Buffer => Buffer.from(value, 'latin1')

const conversation = Buffer.concat([
  settings([4, 1000]),
  settingsAck(),
  headers(1, text('block one'), false),
  frame(
    'HEADERS',
    PADDED | PRIORITY | END_STREAM | END_HEADERS,
    3,
    Buffer.concat([Buffer.from([4]), uint32(0x8000_0001), Buffer.from([9]), text('two'), Buffer.alloc(4)]),
  ),
  frame('HEADERS', END_STREAM, 5, text('thr')),
  frame('CONTINUATION', 0, 5, ''),
  frame('CONTINUATION', END_HEADERS, 5, text('ee')),
  frame('PRIORITY', 0, 7, '0000000010'),
  data(1, text('hello')),
  paddedData(1, 3, 5, true),
  frame('DATA', PADDED, 1, Buffer.from([0])),
  frame(0xfa, 0xff, 9, text('unknown')),
  ping('1122334455667788'),
  frame('PING', 1, 0, '1122334455667788'),
  reset(3, 0xffff_ffff),
  windowUpdate(0, 0x8000_0005),
  frame('WINDOW_UPDATE', 0, 0x8000_0001, uint32(7)),
  Buffer.concat([goaway(5, 11)]),
  frame('GOAWAY', 0, 0, Buffer.concat([uint32(7), uint32(0), text('debug')])),
  data(1, 0, true),
])
const expected = [
  'settings 0004000003e8',
  'settings ack',
  'block 1 block one',
  'block 3 two end',
  'block 5 three end',
  'ignored',
  'data 1 hello flow 5',
  'data 1 aaa flow 9 end',
  'data 1  flow 1',
  'ignored',
  'ping 1122334455667788',
  'ignored',
  'reset 3 4294967295',
  'window 0 5',
  'window 1 7',
  'goaway 5 11',
  'goaway 7 0',
  'data 1  flow 0 end',
]

test('every kind of frame is reported once, reserved bits ignored', () => {
  assert.deepEqual(read(conversation), { lines: expected, fault: undefined })
})

test('it makes no difference into which two or three pieces the bytes fall', () => {
  for (let first = 1; first < conversation.length; first++) {
    for (const second of [first, first + 1, first + 8, conversation.length - 3]) {
      if (second < first || second > conversation.length) continue
      const lines: string[] = []
      const reader = new FrameReader(record(lines), 65_536)
      for (const piece of [conversation.subarray(0, first), conversation.subarray(first, second), conversation.subarray(second)]) {
        assert.equal(reader.read(Buffer.from(piece)), undefined)
      }
      assert.deepEqual(lines, expected, `split at ${first} and ${second}`)
      assert.equal(reader.midway, false)
    }
  }
})

test('it makes no difference if the bytes come one by one', () => {
  const lines: string[] = []
  const reader = new FrameReader(record(lines), 65_536)
  for (const byte of conversation) reader.read(Buffer.from([byte]))
  assert.deepEqual(lines, expected)
})

test('frames that come in pieces share their room, one after the other and never at the same time', () => {
  const pool = createFramePool()
  const bodies: string[] = []
  const reader = (): FrameReader => {
    const handler = record([])
    return new FrameReader(
      {
        ...handler,
        onData(_, bytes, start, end) {
          bodies.push(bytes.toString('latin1', start, end))
          return undefined
        },
      },
      65_536,
      pool,
    )
  }
  const data = (text: string): Buffer => frame('DATA', 0, 1, Buffer.from(text.repeat(8000), 'latin1').toString('hex'))
  const [one, other] = [reader(), reader()]
  for (const each of [one, other]) each.read(settings())
  const [a, b] = [data('a'), data('b')]
  one.read(a.subarray(0, 5000))
  other.read(b.subarray(0, 4000))
  one.read(a.subarray(5000))
  const kept = pool.take(8000)
  other.read(b.subarray(4000))
  assert.notEqual(pool.take(8000), kept)
  assert.deepEqual(bodies, ['a'.repeat(8000), 'b'.repeat(8000)])
})

test('a frame or a header block that was begun and not ended is told', () => {
  const reader = new FrameReader(record([]), 65_536)
  reader.read(settings())
  assert.equal(reader.midway, false)
  reader.read(frame('HEADERS', 0, 1, 'aa'))
  assert.equal(reader.midway, true)
  reader.read(frame('CONTINUATION', END_HEADERS, 1, 'aa'))
  assert.equal(reader.midway, false)
  reader.read(ping().subarray(0, 12))
  assert.equal(reader.midway, true)
})

const begin = settings()
const faults: readonly (readonly [string, Buffer, string, string])[] = [
  ['a first frame that is not SETTINGS', ping(), 'PROTOCOL_ERROR', 'ERR_HTTP2_PREFACE'],
  ['a first SETTINGS with ACK', settingsAck(), 'PROTOCOL_ERROR', 'ERR_HTTP2_PREFACE'],
  [
    'a frame above the largest size',
    Buffer.concat([begin, frame('DATA', 0, 1, Buffer.alloc(16_385)).subarray(0, 9)]),
    'FRAME_SIZE_ERROR',
    'ERR_HTTP2_FRAME_SIZE',
  ],
  ['DATA on stream 0', Buffer.concat([begin, data(0, 1)]), 'PROTOCOL_ERROR', 'ERR_HTTP2_FRAME'],
  [
    'DATA with padding as long as the frame',
    Buffer.concat([begin, frame('DATA', PADDED, 1, '04aaaaaa')]),
    'PROTOCOL_ERROR',
    'ERR_HTTP2_FRAME',
  ],
  ['DATA with padding and no length of it', Buffer.concat([begin, frame('DATA', PADDED, 1)]), 'PROTOCOL_ERROR', 'ERR_HTTP2_FRAME'],
  ['HEADERS on stream 0', Buffer.concat([begin, headers(0, text('a'))]), 'PROTOCOL_ERROR', 'ERR_HTTP2_FRAME'],
  [
    'HEADERS with padding longer than the frame',
    Buffer.concat([begin, frame('HEADERS', PADDED | END_HEADERS, 1, '04aaaaaa')]),
    'PROTOCOL_ERROR',
    'ERR_HTTP2_FRAME',
  ],
  [
    'HEADERS too short for its priority',
    Buffer.concat([begin, frame('HEADERS', PRIORITY | END_HEADERS, 1, 'aaaaaaaa')]),
    'PROTOCOL_ERROR',
    'ERR_HTTP2_FRAME',
  ],
  [
    'HEADERS with padding and no length of it',
    Buffer.concat([begin, frame('HEADERS', PADDED | END_HEADERS, 1)]),
    'PROTOCOL_ERROR',
    'ERR_HTTP2_FRAME',
  ],
  ['PRIORITY on stream 0', Buffer.concat([begin, frame('PRIORITY', 0, 0, '0000000010')]), 'PROTOCOL_ERROR', 'ERR_HTTP2_FRAME'],
  ['PRIORITY of 4 bytes', Buffer.concat([begin, frame('PRIORITY', 0, 1, '00000000')]), 'FRAME_SIZE_ERROR', 'ERR_HTTP2_FRAME_SIZE'],
  ['RST_STREAM on stream 0', Buffer.concat([begin, reset(0)]), 'PROTOCOL_ERROR', 'ERR_HTTP2_FRAME'],
  ['RST_STREAM of 5 bytes', Buffer.concat([begin, frame('RST_STREAM', 0, 1, '0000000000')]), 'FRAME_SIZE_ERROR', 'ERR_HTTP2_FRAME_SIZE'],
  ['SETTINGS on a stream', Buffer.concat([begin, frame('SETTINGS', 0, 1)]), 'PROTOCOL_ERROR', 'ERR_HTTP2_FRAME'],
  ['SETTINGS of 5 bytes', Buffer.concat([begin, frame('SETTINGS', 0, 0, '0001000000')]), 'FRAME_SIZE_ERROR', 'ERR_HTTP2_FRAME_SIZE'],
  [
    'SETTINGS with ACK and a setting',
    Buffer.concat([begin, frame('SETTINGS', 1, 0, '000100000000')]),
    'FRAME_SIZE_ERROR',
    'ERR_HTTP2_FRAME_SIZE',
  ],
  ['PUSH_PROMISE', Buffer.concat([begin, frame('PUSH_PROMISE', END_HEADERS, 1, '00000002')]), 'PROTOCOL_ERROR', 'ERR_HTTP2_PUSH'],
  ['PING on a stream', Buffer.concat([begin, frame('PING', 0, 1, '0000000000000000')]), 'PROTOCOL_ERROR', 'ERR_HTTP2_FRAME'],
  ['PING of 7 bytes', Buffer.concat([begin, frame('PING', 0, 0, '00000000000000')]), 'FRAME_SIZE_ERROR', 'ERR_HTTP2_FRAME_SIZE'],
  ['GOAWAY on a stream', Buffer.concat([begin, frame('GOAWAY', 0, 1, '0000000000000000')]), 'PROTOCOL_ERROR', 'ERR_HTTP2_FRAME'],
  ['GOAWAY of 7 bytes', Buffer.concat([begin, frame('GOAWAY', 0, 0, '00000000000000')]), 'FRAME_SIZE_ERROR', 'ERR_HTTP2_FRAME_SIZE'],
  ['WINDOW_UPDATE of 3 bytes', Buffer.concat([begin, frame('WINDOW_UPDATE', 0, 1, '000000')]), 'FRAME_SIZE_ERROR', 'ERR_HTTP2_FRAME_SIZE'],
  ['CONTINUATION without HEADERS', Buffer.concat([begin, frame('CONTINUATION', END_HEADERS, 1)]), 'PROTOCOL_ERROR', 'ERR_HTTP2_FRAME'],
  [
    'CONTINUATION after the end of the block',
    Buffer.concat([begin, headers(1, text('a')), frame('CONTINUATION', END_HEADERS, 1)]),
    'PROTOCOL_ERROR',
    'ERR_HTTP2_FRAME',
  ],
  [
    'CONTINUATION on another stream',
    Buffer.concat([begin, frame('HEADERS', 0, 1, 'aa'), frame('CONTINUATION', END_HEADERS, 3)]),
    'PROTOCOL_ERROR',
    'ERR_HTTP2_FRAME',
  ],
  [
    'another frame within a header block',
    Buffer.concat([begin, frame('HEADERS', 0, 1, 'aa'), data(1, 1)]),
    'PROTOCOL_ERROR',
    'ERR_HTTP2_FRAME',
  ],
  [
    'an unknown frame within a header block',
    Buffer.concat([begin, frame('HEADERS', 0, 1, 'aa'), frame(0xfa, 0, 1)]),
    'PROTOCOL_ERROR',
    'ERR_HTTP2_FRAME',
  ],
  [
    'nine CONTINUATION',
    Buffer.concat([begin, frame('HEADERS', 0, 1, 'aa'), ...Array.from({ length: 9 }, () => frame('CONTINUATION', 0, 1))]),
    'ENHANCE_YOUR_CALM',
    'ERR_HTTP2_HEADER_FLOOD',
  ],
  [
    'a block longer than the limit in CONTINUATION',
    Buffer.concat([
      begin,
      frame('HEADERS', 0, 1, Buffer.alloc(16_384)),
      ...Array.from({ length: 4 }, () => frame('CONTINUATION', 0, 1, Buffer.alloc(16_384))),
    ]),
    'ENHANCE_YOUR_CALM',
    'ERR_HTTP2_HEADER_FLOOD',
  ],
]
for (const [what, bytes, code, reason] of faults) {
  test(`${what} ends the connection with ${code}`, () => {
    const { fault } = read(bytes)
    assert.equal(fault && errorName(fault.code), code)
    assert.equal(fault?.reason, reason)
  })
}

test('eight CONTINUATION are taken', () => {
  const { fault, lines } = read(
    Buffer.concat([
      begin,
      frame('HEADERS', 0, 1, text('a')),
      ...Array.from({ length: 8 }, (_, index) => frame('CONTINUATION', index === 7 ? END_HEADERS : 0, 1, text('b'))),
    ]),
  )
  assert.equal(fault, undefined)
  assert.deepEqual(lines.slice(1), ['block 1 abbbbbbbb'])
})

test('a block in one frame is held to the limit too', () => {
  const fault = new FrameReader(record([]), 100).read(Buffer.concat([begin, headers(1, Buffer.alloc(101))]))
  assert.equal(fault?.reason, 'ERR_HTTP2_HEADER_FLOOD')
})

test('a frame that is too long is refused by its head, before its payload comes', () => {
  const reader = new FrameReader(record([]), 65_536)
  reader.read(settings())
  const head = frame('DATA', 0, 1, Buffer.alloc(16_385)).subarray(0, 9)
  for (let index = 0; index < 8; index++) assert.equal(reader.read(Buffer.from([head[index]!])), undefined)
  assert.equal(reader.read(Buffer.from([head[8]!]))?.reason, 'ERR_HTTP2_FRAME_SIZE')
})
