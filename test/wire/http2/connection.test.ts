import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  data,
  frame,
  headers,
  literals,
  ping,
  PREFACE,
  reset,
  settings,
  settingsAck,
  uint32,
  windowUpdate,
} from '../../support/http2-frames.ts'
import { type MemoryRelay, relayInMemory, request, requestFields, response } from '../../support/relay-in-memory.ts'

const CODES = {
  NO_ERROR: 0,
  PROTOCOL_ERROR: 1,
  FLOW_CONTROL_ERROR: 3,
  STREAM_CLOSED: 5,
  FRAME_SIZE_ERROR: 6,
  COMPRESSION_ERROR: 9,
  ENHANCE_YOUR_CALM: 11,
} as const

/** What ends the caller's connection. The relay has begun; stream 1 is open, stream 3 half-closed by the caller, 5 has ended. */
const callerFaults: readonly (readonly [string, readonly Buffer[], keyof typeof CODES, string])[] = [
  ['an even stream', [request(2)], 'PROTOCOL_ERROR', 'ERR_HTTP2_STREAM_STATE'],
  ['a stream lower than one before, never opened', [request(11), request(9)], 'PROTOCOL_ERROR', 'ERR_HTTP2_STREAM_STATE'],
  ['HEADERS on a stream that ended', [request(5)], 'STREAM_CLOSED', 'ERR_HTTP2_STREAM_STATE'],
  ['HEADERS on a stream that the caller reset', [reset(1), request(1)], 'STREAM_CLOSED', 'ERR_HTTP2_STREAM_STATE'],
  ['DATA on an idle stream', [data(7, 1)], 'PROTOCOL_ERROR', 'ERR_HTTP2_STREAM_STATE'],
  ['RST_STREAM on an idle stream', [reset(7)], 'PROTOCOL_ERROR', 'ERR_HTTP2_STREAM_STATE'],
  ['WINDOW_UPDATE on an idle stream', [windowUpdate(7, 1)], 'PROTOCOL_ERROR', 'ERR_HTTP2_STREAM_STATE'],
  ['WINDOW_UPDATE on an even stream', [windowUpdate(2, 1)], 'PROTOCOL_ERROR', 'ERR_HTTP2_STREAM_STATE'],
  ['WINDOW_UPDATE of 0 on the connection', [windowUpdate(0, 0)], 'PROTOCOL_ERROR', 'ERR_HTTP2_FLOW_CONTROL'],
  ['a window of the connection beyond 2^31 - 1', [windowUpdate(0, 0x7fff_ffff)], 'FLOW_CONTROL_ERROR', 'ERR_HTTP2_FLOW_CONTROL'],
  [
    'a window of a stream beyond 2^31 - 1 by SETTINGS',
    [windowUpdate(1, 0x7fff_0000), settings([4, 0x7fff_ffff])],
    'FLOW_CONTROL_ERROR',
    'ERR_HTTP2_FLOW_CONTROL',
  ],
  [
    'DATA beyond the window of the connection',
    Array.from({ length: 4 }, () => data(1, 16_384)),
    'FLOW_CONTROL_ERROR',
    'ERR_HTTP2_FLOW_CONTROL',
  ],
  ['ENABLE_PUSH of 2', [settings([2, 2])], 'PROTOCOL_ERROR', 'ERR_HTTP2_SETTINGS'],
  ['INITIAL_WINDOW_SIZE beyond 2^31 - 1', [settings([4, 0x8000_0000])], 'FLOW_CONTROL_ERROR', 'ERR_HTTP2_SETTINGS'],
  ['MAX_FRAME_SIZE below 16,384', [settings([5, 16_383])], 'PROTOCOL_ERROR', 'ERR_HTTP2_SETTINGS'],
  ['MAX_FRAME_SIZE beyond 16,777,215', [settings([5, 16_777_216])], 'PROTOCOL_ERROR', 'ERR_HTTP2_SETTINGS'],
  ['PUSH_PROMISE', [frame('PUSH_PROMISE', 4, 1, '00000002')], 'PROTOCOL_ERROR', 'ERR_HTTP2_PUSH'],
  ['a block that is no HPACK', [headers(7, Buffer.from('80', 'hex'))], 'COMPRESSION_ERROR', 'ERR_HTTP2_COMPRESSION'],
  ['a block that is no HPACK, on a closed stream', [headers(5, Buffer.from('80', 'hex'))], 'COMPRESSION_ERROR', 'ERR_HTTP2_COMPRESSION'],
  [
    'a few bytes that stand for many headers',
    [headers(7, Buffer.concat([literals([['x-a', 'a'.repeat(4000)]], { form: 0x40 }), Buffer.alloc(1000, 0xbe)]))],
    'ENHANCE_YOUR_CALM',
    'ERR_HTTP2_HEADER_FLOOD',
  ],
]

function prepared(): MemoryRelay {
  const memory = relayInMemory()
  memory.caller(request(1, false), request(3), request(5))
  memory.app(response(5))
  memory.toCaller()
  return memory
}

for (const [what, frames, code, reason] of callerFaults) {
  test(`${what} ends the caller’s connection with ${code}`, () => {
    const memory = prepared()
    const said = memory.caller(...frames)
    assert.match(said.at(-1)!, new RegExp(`^GOAWAY \\d+ ${CODES[code]}$`))
    assert.equal(memory.events.at(-1), `downstream ${reason}`)
    assert.equal(memory.relay.exchanges.size, 0)
    assert.equal(memory.toApp().filter((line) => line.startsWith('RST_STREAM')).length >= 2, true)
    assert.deepEqual(memory.caller(request(101), ping()), [], 'nothing is read after the end')
  })
}

/** What resets one stream, and leaves the connection alone. */
const streamFaults: readonly (readonly [string, readonly Buffer[], string])[] = [
  ['DATA after END_STREAM', [data(3, 1)], 'RST_STREAM 3 5'],
  ['HEADERS after END_STREAM', [headers(3, literals([['x-a', '1']]))], 'RST_STREAM 3 5'],
  ['WINDOW_UPDATE of 0', [windowUpdate(1, 0)], 'RST_STREAM 1 1'],
  ['a window beyond 2^31 - 1', [windowUpdate(1, 0x7fff_ffff)], 'RST_STREAM 1 3'],
  ['DATA on a stream that ended', [data(5, 1)], 'RST_STREAM 5 5'],
  ['trailers with a pseudo-header', [headers(1, literals([[':path', '/b']]))], 'RST_STREAM 1 1'],
  ['trailers with a header of connections', [headers(1, literals([['connection', 'close']]))], 'RST_STREAM 1 1'],
  ['trailers with authentication', [headers(1, literals([['authorization', 'Bearer x']]))], 'RST_STREAM 1 1'],
  ['trailers with framing', [headers(1, literals([['content-length', '1']]))], 'RST_STREAM 1 1'],
  [
    'trailers with more fields than the limit',
    [headers(1, literals(Array.from({ length: 101 }, () => ['a', 'b'] as const)))],
    'RST_STREAM 1 1',
  ],
]
for (const [what, frames, expected] of streamFaults) {
  test(`${what} resets the stream and is credited`, () => {
    const memory = prepared()
    const said = memory.caller(...frames)
    assert.ok(said.includes(expected), said.join('; '))
    assert.ok(!said.some((line) => line.startsWith('GOAWAY')))
    if (what.startsWith('DATA')) assert.ok(said.includes('WINDOW_UPDATE 0 1'))
    memory.caller(request(7))
    assert.match(memory.toApp().at(-1)!, /^HEADERS 7 end/)
  })
}

test('DATA beyond the window of its stream resets the stream, and is credited to the connection', () => {
  const memory = relayInMemory({ appSettings: settings([4, 100]) })
  memory.caller(settingsAck(), request(1, false), data(1, 100))
  assert.deepEqual(memory.caller(data(1, 1)), ['RST_STREAM 1 3', 'WINDOW_UPDATE 0 1'])
})

test('until a smaller window is acknowledged, the one before is in force', () => {
  const memory = relayInMemory({ begun: false })
  memory.caller(PREFACE, settings(), settingsAck())
  memory.app(settings([4, 100]), settingsAck())
  memory.caller(request(1, false))
  assert.deepEqual(memory.caller(data(1, 200)), [])
  assert.deepEqual(memory.caller(settingsAck(), data(1, 1)), ['RST_STREAM 1 3', 'WINDOW_UPDATE 0 101'])
})

/** What ends the app's connection: its requests fail, the caller's connection lives to hear so. */
const appFaults: readonly (readonly [string, readonly Buffer[], keyof typeof CODES])[] = [
  ['a head on a stream that was never opened', [response(9)], 'PROTOCOL_ERROR'],
  ['a head on an even stream', [response(2)], 'PROTOCOL_ERROR'],
  ['a head on a stream that ended', [response(5)], 'STREAM_CLOSED'],
  ['DATA on a stream that was never opened', [data(9, 1)], 'PROTOCOL_ERROR'],
  ['PUSH_PROMISE', [frame('PUSH_PROMISE', 4, 1, '00000002')], 'PROTOCOL_ERROR'],
  ['ENABLE_PUSH of 1', [settings([2, 1])], 'PROTOCOL_ERROR'],
  [
    'DATA beyond the window of the connection',
    [response(1, false), ...Array.from({ length: 4 }, () => data(1, 16_384))],
    'FLOW_CONTROL_ERROR',
  ],
  ['a use of the dynamic table', [headers(1, Buffer.from('88be', 'hex'))], 'COMPRESSION_ERROR'],
  ['a flood of pings', Array.from({ length: 1001 }, () => ping()), 'ENHANCE_YOUR_CALM'],
]
for (const [what, frames, code] of appFaults) {
  test(`${what} ends the app’s connection with ${code}`, () => {
    const memory = prepared()
    const said = memory.app(...frames)
    assert.equal(said.at(-1), `GOAWAY 0 ${CODES[code]}`)
    assert.equal(memory.relay.exchanges.size, 0)
    assert.ok(memory.toCaller().some((line) => line.startsWith(`GOAWAY ${2 ** 31 - 1}`)))
  })
}

test('what does not begin as HTTP/2 is sent away', () => {
  for (const bytes of ['GET / HTTP/1.1\r\nHost: a\r\n\r\n', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\rX', '\x16\x03\x01']) {
    const memory = relayInMemory({ begun: false })
    memory.toCaller()
    assert.deepEqual(memory.caller(Buffer.from(bytes, 'latin1')), ['GOAWAY 0 1'])
    assert.deepEqual(memory.events, ['downstream ERR_HTTP2_PREFACE'])
  }
  const memory = relayInMemory({ begun: false })
  memory.toCaller()
  assert.deepEqual(memory.caller(PREFACE, request(1)), ['GOAWAY 0 1'])
})

test('a connection says when its peer has begun something it must end', () => {
  const memory = relayInMemory({ begun: false })
  assert.equal(memory.relay.midway, true)
  memory.caller(PREFACE.subarray(0, 10))
  assert.equal(memory.relay.midway, true)
  memory.caller(PREFACE.subarray(10), settings())
  assert.equal(memory.relay.midway, false)
  memory.caller(frame('HEADERS', 0, 1, literals(requestFields)))
  assert.equal(memory.relay.midway, true)
})

const floods: readonly (readonly [string, (index: number) => Buffer])[] = [
  ['PING', () => ping()],
  ['SETTINGS', () => settings([4, 65_535])],
  ['SETTINGS with ACK', () => settingsAck()],
  ['PRIORITY', () => frame('PRIORITY', 0, 1, '0000000010')],
  ['unknown frames', () => frame(0xfa, 0, 0)],
  ['empty DATA', () => data(1, 0)],
  ['WINDOW_UPDATE of 1', () => windowUpdate(0, 1)],
  ['WINDOW_UPDATE of 1 on a stream', () => windowUpdate(1, 1)],
  ['GOAWAY', () => frame('GOAWAY', 0, 0, Buffer.concat([uint32(0), uint32(0)]))],
  ['requests that are reset at once', (index) => Buffer.concat([request(7 + 2 * index), reset(7 + 2 * index)])],
  ['requests that provoke a reset by their form', (index) => request(7 + 2 * index, true, [])],
  ['requests that provoke a reset by credit of 0', (index) => Buffer.concat([request(7 + 2 * index), windowUpdate(7 + 2 * index, 0)])],
  [
    'requests that provoke a reset by their length',
    (index) => Buffer.concat([request(7 + 2 * index, false, [...requestFields, ['content-length', '1']]), data(7 + 2 * index, 2)]),
  ],
  ['HEADERS on a stream that was reset here', (index) => (index === 0 ? windowUpdate(1, 0) : request(1))],
]
for (const [what, make] of floods) {
  test(`a flood of ${what} ends the connection, and 200 a second do not`, () => {
    const memory = prepared()
    let count = 0
    while (!memory.events.some((event) => event.startsWith('downstream')) && count < 3000) memory.caller(make(count++))
    assert.equal(memory.events.at(-1), 'downstream ERR_HTTP2_FLOOD')
    assert.ok(count > 900 && count <= 1001, `${count} were taken`)

    const patient = prepared()
    for (let index = 0; index < 3000; index++) {
      patient.now += 5
      patient.caller(make(index))
    }
    assert.deepEqual(
      patient.events.filter((event) => event.startsWith('downstream')),
      [],
    )
  })
}

test('DATA that still comes for a stream which was reset here is credited, and no fault', () => {
  const memory = prepared()
  memory.caller(windowUpdate(1, 0))
  for (let index = 0; index < 2000; index++) assert.deepEqual(memory.caller(data(1, 100)), ['WINDOW_UPDATE 0 100'])
  assert.deepEqual(memory.events, [])
})

test('streams beyond the limit are charged for', () => {
  const memory = relayInMemory({ relay: { limits: { bytes: 65_536, headers: 100, streams: 1 } } })
  memory.caller(request(1))
  let count = 0
  while (!memory.events.includes('downstream ERR_HTTP2_FLOOD') && count < 3000) memory.caller(request(3 + 2 * count++))
  assert.ok(count > 900 && count <= 1001, `${count} were taken`)
})

test('what honest peers do often is not charged for', () => {
  const memory = relayInMemory()
  for (let index = 0; index < 5000; index++) {
    const stream = 1 + 2 * index
    memory.caller(request(stream, false), data(stream, 10), data(stream, 0, true), windowUpdate(0, 10), windowUpdate(stream, 10))
    memory.app(response(stream, false), data(stream, 10), response(stream, true, [['grpc-status', '0']]), windowUpdate(0, 10))
    memory.toCaller()
  }
  assert.deepEqual(memory.events, [])
  assert.equal(memory.ended.length, 5000)
})

test('resets by the app are not charged to it', () => {
  const memory = relayInMemory()
  for (let index = 0; index < 2000; index++) {
    const stream = 1 + 2 * index
    memory.caller(request(stream, false))
    memory.app(response(stream), reset(stream, 0))
    memory.toCaller()
  }
  assert.deepEqual(memory.events, [])
})
