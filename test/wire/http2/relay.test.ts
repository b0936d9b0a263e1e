import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  data,
  frame,
  goaway,
  headers,
  literals,
  PADDED,
  END_HEADERS,
  paddedData,
  ping,
  PREFACE,
  reset,
  settings,
  settingsAck,
  windowUpdate,
} from '../../support/http2-frames.ts'
import { asCame, type TestExchange } from '../../support/http2-relay.ts'
import { grpcFields, relayInMemory, request, requestFields, response } from '../../support/relay-in-memory.ts'

const forwarded = 'HEADERS 1 end :method: POST, :scheme: http, :authority: cart.shop, :path: /a'
const forwardedOpen = forwarded.replace(' end', '')
/** Keeps requests until they are forwarded by hand. */
const waiting = { onRequest: (exchange: TestExchange) => void (exchange.requestId = 'id') }

test('both sides are greeted with settings of our own, and both theirs are acknowledged', () => {
  const memory = relayInMemory({ begun: false })
  assert.deepEqual(memory.toCaller(), ['SETTINGS 6=65536 3=128'])
  assert.deepEqual(memory.toApp(), ['SETTINGS 1=0 2=0 6=65536'])
  assert.deepEqual(memory.caller(PREFACE, settings()), ['SETTINGS ack'])
  assert.deepEqual(memory.app(settings()), ['SETTINGS ack'])
})

test('of the settings of either side, the other learns the window, and the caller the smaller number of streams', () => {
  const memory = relayInMemory()
  assert.deepEqual(memory.caller(settings([4, 1000], [1, 0], [3, 7], [5, 20_000])), ['SETTINGS ack'])
  assert.deepEqual(memory.toApp(), ['SETTINGS 4=1000'])
  assert.deepEqual(memory.app(settings([4, 2000], [3, 50], [1, 100])), ['SETTINGS ack'])
  assert.deepEqual(memory.toCaller(), ['SETTINGS 3=50 4=2000'])
  memory.app(settings([3, 5000]))
  assert.deepEqual(memory.toCaller(), ['SETTINGS 3=128'])
})

test('a window larger than what may have to be held is not offered to the caller', () => {
  const memory = relayInMemory()
  memory.app(settings([4, 2 ** 31 - 1]))
  assert.deepEqual(memory.toCaller(), ['SETTINGS 4=262144'])
})

test('a peer that never acknowledges is told of at most four changes', () => {
  const memory = relayInMemory({ begun: false })
  memory.caller(PREFACE, settings())
  memory.toApp()
  for (let round = 0; round < 20; round++) memory.caller(settings([4, 1000 + round]))
  assert.equal(memory.toApp().length, 3)
  memory.app(settings(), settingsAck())
  memory.app(settingsAck(), settingsAck(), settingsAck())
  const told = memory.app(settingsAck())
  assert.deepEqual(told, [])
  assert.deepEqual(memory.events, [])
})

test('a request and its response pass, with a request id for the caller', () => {
  const memory = relayInMemory()
  assert.deepEqual(memory.caller(request(1)), [])
  assert.deepEqual(memory.toApp(), [forwarded])
  assert.deepEqual(
    memory.app(
      response(1, false, [
        [':status', '200'],
        ['x-request-id', 'theirs'],
        ['x-app', 'a'],
      ]),
      data(1, 5, true),
    ),
    [],
  )
  assert.deepEqual(memory.toCaller(), ['HEADERS 1 :status: 200, x-app: a, x-request-id: id', 'DATA 1 end 5'])
  assert.equal(memory.ended.length, 1)
  const { status, bytesIn, bytesOut, reason, done } = memory.ended[0]!
  assert.deepEqual({ status, bytesIn, bytesOut, reason, done }, { status: 200, bytesIn: 0, bytesOut: 5, reason: undefined, done: true })
  assert.equal(memory.relay.exchanges.size, 0)
})

test('streams have numbers of their own upstream, in the order in which they were forwarded', () => {
  const memory = relayInMemory({ handler: waiting })
  memory.caller(request(1), request(7), request(9))
  const [first, second, third] = memory.exchanges
  for (const exchange of [third, first, second]) exchange!.forward(asCame(exchange!.request!))
  assert.deepEqual(
    memory.toApp().map((line) => line.slice(0, 10)),
    ['HEADERS 1 ', 'HEADERS 3 ', 'HEADERS 5 '],
  )
  memory.app(response(1), response(5))
  assert.deepEqual(
    memory.toCaller().map((line) => line.slice(0, 10)),
    ['HEADERS 9 ', 'HEADERS 7 '],
  )
})

test('what waits for a decision keeps its body, and holds up nobody', () => {
  const memory = relayInMemory({ handler: waiting })
  memory.caller(request(1, false), data(1, 16_384), data(1, 100, true))
  assert.deepEqual(memory.toApp(), [])
  memory.caller(request(3))
  memory.exchanges[1]!.forward(asCame(memory.exchanges[1]!.request!))
  assert.deepEqual(memory.toApp(), [forwarded])
  memory.exchanges[0]!.forward(asCame(memory.exchanges[0]!.request!))
  assert.deepEqual(memory.toApp(), [forwardedOpen.replace('HEADERS 1', 'HEADERS 3'), 'DATA 3 16384', 'DATA 3 end 100'])
})

test('a body that waits does not use up what other streams may send, and the loan is repaid', () => {
  const memory = relayInMemory({ handler: waiting })
  assert.deepEqual(memory.caller(request(1, false), data(1, 16_384), data(1, 16_384), data(1, 16_384), data(1, 16_383)), [
    'WINDOW_UPDATE 0 65535',
  ])
  memory.exchanges[0]!.forward(asCame(memory.exchanges[0]!.request!))
  memory.app(windowUpdate(0, 65_535))
  assert.deepEqual(memory.toCaller(), [])
  memory.app(windowUpdate(0, 10))
  assert.deepEqual(memory.toCaller(), ['WINDOW_UPDATE 0 10'])
})

test('a body that waited and was refused is credited once', () => {
  const memory = relayInMemory({ handler: waiting })
  assert.deepEqual(memory.caller(request(1, false), data(1, 1000)), ['WINDOW_UPDATE 0 1000'])
  memory.exchanges[0]!.refuse({ status: 403 }, 'ERR_POLICY_NO_ALLOW', '')
  assert.deepEqual(memory.toCaller(), ['HEADERS 1 end :status: 403, x-request-id: id', 'RST_STREAM 1 0'])
  assert.deepEqual(memory.caller(data(1, 50, true)), ['WINDOW_UPDATE 0 50'])
  memory.app(windowUpdate(0, 20))
  assert.deepEqual(memory.toCaller(), ['WINDOW_UPDATE 0 20'])
})

test('a refusal is a head alone, and the stream is reset if the request is unfinished', () => {
  const memory = relayInMemory({ handler: { onRequest: (exchange) => exchange.refuse({ status: 403 }, 'ERR_POLICY_NO_ALLOW', 'why') } })
  assert.deepEqual(memory.caller(request(1), request(3, false)), [
    'HEADERS 1 end :status: 403',
    'HEADERS 3 end :status: 403',
    'RST_STREAM 3 0',
  ])
  assert.deepEqual(memory.toApp(), [])
  assert.deepEqual(
    memory.ended.map(({ status, reason, detail }) => [status, reason, detail]),
    [
      [403, 'ERR_POLICY_NO_ALLOW', 'why'],
      [403, 'ERR_POLICY_NO_ALLOW', 'why'],
    ],
  )
})

test('answers of our own are understood whatever table the caller has, and begin with an update to 0', () => {
  for (const size of [0, 4096, 65_536]) {
    const memory = relayInMemory({
      callerSettings: settings([1, size]),
      handler: { onRequest: (exchange) => exchange.refuse({ status: 418 }, 'ERR_INTERNAL', '') },
    })
    memory.relay.receiveDownstream(request(1), 0)
    const bytes = memory.relay.takeDownstream()!
    assert.equal(bytes[9], 0x20)
    assert.equal(bytes.toString('latin1', 9).includes('418'), true)
  }
})

test('a gRPC refusal is trailers-only', () => {
  const memory = relayInMemory({
    handler: { onRequest: (exchange) => exchange.refuse({ status: 200, grpcStatus: 7 }, 'ERR_POLICY_NO_ALLOW', '') },
  })
  assert.deepEqual(memory.caller(request(1, true, grpcFields)), [
    'HEADERS 1 end :status: 200, content-type: application/grpc, grpc-status: 7',
  ])
  assert.equal(memory.ended[0]!.grpcStatus, 7)
})

test('further headers of a refusal are sent', () => {
  const headers = { names: ['www-authenticate', 'x-long'], values: ['Bearer error="invalid_token"', 'v'.repeat(20_000)] }
  const memory = relayInMemory({ handler: { onRequest: (exchange) => exchange.refuse({ status: 401, headers }, 'ERR_INTERNAL', '') } })
  assert.deepEqual(memory.caller(request(1)), [
    `HEADERS 1 end :status: 401, www-authenticate: Bearer error="invalid_token", x-long: ${'v'.repeat(20_000)}`,
  ])
})

test('trailers pass both ways, those of the caller filtered', () => {
  const memory = relayInMemory()
  memory.caller(
    request(1, false, grpcFields),
    headers(
      1,
      literals([
        ['x-postern-principal', 'forged'],
        ['x-checksum', '1'],
      ]),
    ),
  )
  assert.deepEqual(memory.toApp(), [
    'HEADERS 1 :method: POST, :scheme: http, :authority: cart.shop, :path: /a, content-type: application/grpc, te: trailers',
    'HEADERS 1 end x-checksum: 1',
  ])
  memory.app(
    response(1, false),
    data(1, 3),
    response(1, true, [
      ['grpc-status', '5'],
      ['grpc-message', 'no'],
    ]),
  )
  assert.deepEqual(memory.toCaller(), [
    'HEADERS 1 :status: 200, x-request-id: id',
    'DATA 1 3',
    'HEADERS 1 end grpc-status: 5, grpc-message: no',
  ])
  assert.equal(memory.ended[0]!.grpcStatus, 5)
})

test('trailers of which none is left end the stream by an empty frame', () => {
  const memory = relayInMemory()
  memory.caller(request(1, false), headers(1, literals([['x-postern-principal', 'forged']])))
  assert.deepEqual(memory.toApp(), [forwardedOpen, 'DATA 1 end 0'])
})

test('trailers that came before the decision follow it', () => {
  const memory = relayInMemory({ handler: waiting })
  memory.caller(request(1, false), data(1, 4), headers(1, literals([['x-checksum', '1']])))
  memory.exchanges[0]!.forward(asCame(memory.exchanges[0]!.request!))
  assert.deepEqual(memory.toApp(), [forwardedOpen, 'DATA 1 4', 'HEADERS 1 end x-checksum: 1'])
})

test('trailers that refer to entries of our table are decoded by the caller’s own', () => {
  const memory = relayInMemory()
  // Indexed by the caller at 62; in our table towards the app, 62 is another field.
  const block = Buffer.concat([literals(requestFields), literals([['x-theirs', 'a']], { form: 0x40 })])
  memory.caller(headers(1, block, false), headers(1, Buffer.from([0xbe])))
  assert.match(memory.toApp()[1]!, /^HEADERS 1 end x-theirs: a$/)
})

test('informational responses pass before the final one', () => {
  const memory = relayInMemory()
  memory.caller(request(1, false))
  memory.app(
    response(1, false, [[':status', '100']]),
    response(1, false, [
      [':status', '103'],
      ['link', '</a>'],
    ]),
    response(1),
  )
  assert.deepEqual(memory.toCaller(), [
    'HEADERS 1 :status: 100',
    'HEADERS 1 :status: 103, link: </a>',
    'HEADERS 1 end :status: 200, x-request-id: id',
  ])
  assert.equal(memory.exchanges[0]!.status, 200)
})

test('credit of each side is passed on to the other', () => {
  const memory = relayInMemory()
  memory.caller(request(1, false))
  memory.toApp()
  memory.app(windowUpdate(0, 100), windowUpdate(1, 200))
  // On the connection once a turn, behind all else.
  assert.deepEqual(memory.toCaller(), ['WINDOW_UPDATE 1 200', 'WINDOW_UPDATE 0 100'])
  memory.caller(windowUpdate(0, 300), windowUpdate(1, 400))
  assert.deepEqual(memory.toApp(), ['WINDOW_UPDATE 1 400', 'WINDOW_UPDATE 0 300'])
})

test('credit that came before the request was forwarded follows it', () => {
  const memory = relayInMemory({ handler: waiting })
  memory.caller(request(1), windowUpdate(1, 10), windowUpdate(1, 20))
  memory.exchanges[0]!.forward(asCame(memory.exchanges[0]!.request!))
  assert.deepEqual(memory.toApp(), [forwarded, 'WINDOW_UPDATE 1 30'])
})

test('padding is left out, and credited to its sender on stream and connection', () => {
  const memory = relayInMemory()
  assert.deepEqual(memory.caller(request(1, false), paddedData(1, 10, 20)), ['WINDOW_UPDATE 1 21', 'WINDOW_UPDATE 0 21'])
  assert.deepEqual(memory.toApp(), [forwardedOpen, 'DATA 1 10'])
  assert.deepEqual(memory.app(response(1, false), paddedData(1, 5, 7, true)), ['WINDOW_UPDATE 0 8'])
  assert.deepEqual(memory.toCaller(), ['HEADERS 1 :status: 200, x-request-id: id', 'DATA 1 end 5'])
})

test('what the upstream cannot take yet waits, and is sent as it gives credit', () => {
  const memory = relayInMemory()
  // The app makes its window smaller; the caller has not heard of it yet.
  memory.app(settings([4, 100]))
  memory.caller(request(1, false), data(1, 250, true))
  assert.deepEqual(memory.toApp(), [forwardedOpen, 'DATA 1 100'])
  assert.deepEqual(memory.app(windowUpdate(1, 100)), ['DATA 1 100'])
  assert.deepEqual(memory.app(windowUpdate(1, 100)), ['DATA 1 end 50'])
})

test('windows may become negative, and are filled again, larger ones not before they are acknowledged', () => {
  const memory = relayInMemory()
  memory.caller(request(1, false), data(1, 1000))
  memory.toApp()
  memory.app(settings([4, 500]))
  memory.caller(data(1, 10))
  assert.deepEqual(memory.toApp(), [])
  // It stands at -500: only what goes beyond 0 may be sent.
  assert.deepEqual(memory.app(windowUpdate(1, 505)), ['DATA 1 5'])
  assert.deepEqual(memory.app(settings([4, 600])), ['SETTINGS ack', 'DATA 1 5'])
})

test('trailers of the app do not overtake data that waits for the caller', () => {
  const memory = relayInMemory()
  memory.caller(request(1), settings([4, 10]))
  memory.app(response(1, false), data(1, 15), response(1, true, [['grpc-status', '0']]))
  assert.deepEqual(memory.toCaller().slice(0, 2), ['HEADERS 1 :status: 200, x-request-id: id', 'DATA 1 10'])
  assert.deepEqual(memory.caller(windowUpdate(1, 5)), ['DATA 1 5', 'HEADERS 1 end grpc-status: 0'])
  assert.equal(memory.ended.length, 1)
})

test('a reset that follows a complete response waits behind data and trailers that wait', () => {
  const memory = relayInMemory()
  memory.caller(request(1, false), settings([4, 10]))
  memory.app(response(1, false), data(1, 15), response(1, true, [['grpc-status', '0']]), reset(1, 0))
  assert.deepEqual(memory.toCaller().slice(0, 2), ['HEADERS 1 :status: 200, x-request-id: id', 'DATA 1 10'])
  assert.deepEqual(memory.caller(windowUpdate(1, 5)), ['DATA 1 5', 'HEADERS 1 end grpc-status: 0', 'RST_STREAM 1 0'])
  assert.deepEqual(
    memory.ended.map(({ status, reason }) => [status, reason]),
    [[200, undefined]],
  )
})

test('a caller that resets has its stream cancelled upstream, and late data credited', () => {
  const memory = relayInMemory()
  memory.caller(request(1))
  memory.toApp()
  assert.deepEqual(memory.caller(reset(1)), [])
  assert.deepEqual(memory.toApp(), ['RST_STREAM 1 8'])
  assert.deepEqual(memory.app(response(1, false), data(1, 300)), ['WINDOW_UPDATE 0 300'])
  assert.deepEqual(memory.toCaller(), [])
  assert.deepEqual(
    memory.ended.map(({ reason, detail }) => [reason, detail]),
    [['ERR_HTTP2_RESET', 'CANCEL']],
  )
})

test('data that waited on a stream which was reset is credited to where it came from', () => {
  const memory = relayInMemory()
  memory.app(settings([4, 100]))
  memory.caller(request(1, false), data(1, 250))
  memory.toApp()
  assert.deepEqual(memory.caller(reset(1)), ['WINDOW_UPDATE 0 150'])
  // The 100 that were sent are the app's to credit.
  memory.app(windowUpdate(0, 100))
  assert.deepEqual(memory.toCaller(), ['WINDOW_UPDATE 0 100'])
})

test('an upstream that resets before it answered is a failure that can be answered', () => {
  const memory = relayInMemory({ handler: { onFailure: (exchange, reason, detail) => exchange.refuse({ status: 502 }, reason, detail) } })
  memory.caller(request(1))
  memory.app(reset(1, 2))
  assert.deepEqual(memory.toCaller(), ['HEADERS 1 end :status: 502, x-request-id: id'])
  assert.deepEqual([memory.ended[0]!.reason, memory.ended[0]!.detail], ['ERR_HTTP2_UPSTREAM_RESET', 'INTERNAL_ERROR'])
})

test('a failure that nobody answers resets the stream', () => {
  const memory = relayInMemory()
  memory.caller(request(1))
  memory.app(reset(1, 8))
  assert.deepEqual(memory.toCaller(), ['RST_STREAM 1 2'])
})

test('an upstream that says it did nothing is believed', () => {
  const memory = relayInMemory()
  memory.caller(request(1))
  memory.app(reset(1, 7))
  assert.deepEqual(memory.toCaller(), ['RST_STREAM 1 7'])
})

test('an upstream that resets after its head has the code passed on', () => {
  const memory = relayInMemory()
  memory.caller(request(1))
  memory.app(response(1, false), reset(1, 8))
  assert.deepEqual(memory.toCaller(), ['HEADERS 1 :status: 200, x-request-id: id', 'RST_STREAM 1 8'])
  assert.equal(memory.ended[0]!.reason, 'ERR_HTTP2_UPSTREAM_RESET')
})

test('an early answer lets the request go on until it ends', () => {
  const memory = relayInMemory()
  memory.caller(request(1, false))
  memory.app(response(1))
  assert.equal(memory.ended.length, 0)
  memory.caller(data(1, 5, true))
  assert.deepEqual(memory.toApp(), ['DATA 1 end 5'])
  assert.equal(memory.ended.length, 1)
  assert.equal(memory.ended[0]!.reason, undefined)
})

test('once the upstream wants no more of a request, what still comes is credited', () => {
  const memory = relayInMemory()
  memory.caller(request(1, false))
  memory.app(response(1), reset(1, 0))
  assert.deepEqual(memory.toCaller(), ['HEADERS 1 end :status: 200, x-request-id: id', 'RST_STREAM 1 0'])
  assert.deepEqual(memory.caller(data(1, 77)), ['WINDOW_UPDATE 0 77'])
})

test('a gRPC stream that is cut after its head ends in trailers, any other is reset with CANCEL', () => {
  for (const [fields, answered, expected] of [
    [grpcFields, true, ['HEADERS 1 end grpc-status: 7', 'RST_STREAM 1 0']],
    [grpcFields, false, ['RST_STREAM 1 8']],
    [requestFields, true, ['RST_STREAM 1 8']],
    [requestFields, false, ['RST_STREAM 1 8']],
  ] as const) {
    const memory = relayInMemory()
    memory.caller(request(1, false, fields))
    if (answered) memory.app(response(1, false), data(1, 5))
    memory.toCaller()
    memory.toApp()
    memory.exchanges[0]!.cut('ERR_POLICY_NO_ALLOW', 'changed', 7)
    assert.deepEqual(memory.toCaller(), expected)
    assert.deepEqual(memory.toApp(), ['RST_STREAM 1 8'])
    assert.deepEqual(
      memory.ended.map(({ reason, detail }) => [reason, detail]),
      [['ERR_POLICY_NO_ALLOW', 'changed']],
    )
  }
})

test('nothing can be done to an exchange that is over', () => {
  const memory = relayInMemory()
  memory.caller(request(1))
  memory.app(response(1))
  memory.toCaller()
  memory.toApp()
  const [exchange] = memory.exchanges
  exchange!.refuse({ status: 500 }, 'ERR_INTERNAL', '')
  exchange!.cut('ERR_INTERNAL', '', 13)
  exchange!.forward(asCame(exchange!.request!))
  assert.deepEqual([...memory.toCaller(), ...memory.toApp()], [])
  assert.equal(memory.ended.length, 1)
  assert.equal(exchange!.reason, undefined)
})

test('a response that is answered already is not refused', () => {
  const memory = relayInMemory()
  memory.caller(request(1, false))
  memory.app(response(1, false))
  memory.toCaller()
  memory.exchanges[0]!.refuse({ status: 403 }, 'ERR_POLICY_NO_ALLOW', '')
  assert.deepEqual(memory.toCaller(), [])
})

test('malformed requests are reset with PROTOCOL_ERROR and never reach the app', () => {
  const memory = relayInMemory()
  assert.deepEqual(memory.caller(request(1, true, [...requestFields, ['connection', 'close']])), ['RST_STREAM 1 1'])
  assert.deepEqual(memory.toApp(), [])
  assert.deepEqual(memory.events, ['bad request ERR_HTTP2_CONNECTION_HEADER'])
  assert.deepEqual(
    memory.ended.map(({ reason, request }) => [reason, request]),
    [['ERR_HTTP2_CONNECTION_HEADER', undefined]],
  )
  memory.caller(request(3))
  assert.deepEqual(memory.toApp(), [forwarded])
})

test('too large a head can be answered, and the table is right after it', () => {
  const memory = relayInMemory({
    handler: { onBadRequest: (exchange, { reason, detail }) => exchange.refuse({ status: 431 }, reason, detail) },
  })
  const large = Buffer.concat([
    literals(requestFields),
    literals([['x-kept', 'kept']], { form: 0x40 }),
    literals([['x-large', 'a'.repeat(3900)]], { form: 0x40 }),
    Buffer.alloc(20, 0xbe),
    literals([['x-kept', 'kept']], { form: 0x40 }),
  ])
  assert.deepEqual(memory.caller(headers(1, large)), ['HEADERS 1 end :status: 431'])
  assert.deepEqual(memory.events, ['bad request ERR_HTTP_HEAD_TOO_LARGE'])
  memory.caller(headers(3, Buffer.concat([literals(requestFields), Buffer.from([0xbe])])))
  assert.deepEqual(memory.toApp(), [`${forwarded}, x-kept: kept`])
})

test('a body that differs from its content-length is reset, and the app never sees its end', () => {
  for (const frames of [
    [data(1, 11)],
    [data(1, 11, true)],
    [data(1, 9, true)],
    [data(1, 5), data(1, 6)],
    [data(1, 5), headers(1, literals([['x-a', '1']]))],
  ]) {
    const memory = relayInMemory()
    memory.caller(request(1, false, [...requestFields, ['content-length', '10']]))
    const said = memory.caller(...frames)
    assert.ok(said.includes('RST_STREAM 1 1'), said.join())
    assert.equal(memory.toApp().at(-1), 'RST_STREAM 1 8')
    assert.equal(memory.ended[0]!.reason, 'ERR_HTTP2_CONTENT_LENGTH')
  }
})

test('a response that differs from its content-length is not passed on as if it were whole', () => {
  for (const [method, frames, whole] of [
    [
      'GET',
      [
        response(1, false, [
          [':status', '200'],
          ['content-length', '10'],
        ]),
        data(1, 9, true),
      ],
      false,
    ],
    [
      'GET',
      [
        response(1, false, [
          [':status', '200'],
          ['content-length', '10'],
        ]),
        data(1, 11),
      ],
      false,
    ],
    [
      'GET',
      [
        response(1, true, [
          [':status', '200'],
          ['content-length', '10'],
        ]),
      ],
      false,
    ],
    [
      'GET',
      [
        response(1, false, [
          [':status', '200'],
          ['content-length', '10'],
        ]),
        data(1, 10, true),
      ],
      true,
    ],
    [
      'HEAD',
      [
        response(1, true, [
          [':status', '200'],
          ['content-length', '10'],
        ]),
      ],
      true,
    ],
    [
      'HEAD',
      [
        response(1, false, [
          [':status', '200'],
          ['content-length', '10'],
        ]),
        data(1, 10, true),
      ],
      false,
    ],
    [
      'GET',
      [
        response(1, true, [
          [':status', '304'],
          ['content-length', '10'],
        ]),
      ],
      true,
    ],
    ['GET', [response(1, false, [[':status', '204']]), data(1, 1, true)], false],
  ] as const) {
    const memory = relayInMemory()
    memory.caller(request(1, true, [[':method', method], ...requestFields.slice(1)]))
    memory.app(...frames)
    const said = memory.toCaller()
    assert.equal(
      said.some((line) => line.includes(' end ')),
      whole,
      said.join('; '),
    )
    assert.equal(memory.ended[0]!.reason === undefined, whole)
  }
})

test('malformed responses fail, and the caller sees nothing of them', () => {
  for (const frames of [
    [response(1, true, [[':status', '101']])],
    [response(1, true, [[':status', '100']])],
    [
      response(1, false, [
        [':status', '200'],
        ['connection', 'close'],
      ]),
    ],
    [response(1, false, [['x-a', '1']])],
    [data(1, 5)],
    Array.from({ length: 17 }, () => response(1, false, [[':status', '103']])),
  ]) {
    const memory = relayInMemory({ handler: { onFailure: (exchange, reason, detail) => exchange.refuse({ status: 502 }, reason, detail) } })
    memory.caller(request(1))
    memory.toApp()
    assert.deepEqual(
      memory.app(...frames).filter((line) => line.startsWith('RST')),
      ['RST_STREAM 1 1'],
    )
    assert.equal(memory.toCaller().at(-1), 'HEADERS 1 end :status: 502, x-request-id: id')
  }
})

test('a second head, and trailers that do not end the stream, are malformed', () => {
  const memory = relayInMemory()
  memory.caller(request(1))
  memory.app(response(1, false), response(1, false))
  assert.deepEqual(memory.toCaller(), ['HEADERS 1 :status: 200, x-request-id: id', 'RST_STREAM 1 2'])
  memory.caller(request(3, false))
  assert.deepEqual(memory.caller(headers(3, literals([['x-a', '1']]), false)), ['RST_STREAM 3 1'])
})

test('the caller may have as many streams as it was told, and one more is refused unseen', () => {
  const memory = relayInMemory({ relay: { limits: { bytes: 65_536, headers: 100, streams: 2 } } })
  assert.deepEqual(memory.caller(request(1), request(3), request(5, false), data(5, 10)), ['RST_STREAM 5 7', 'WINDOW_UPDATE 0 10'])
  assert.deepEqual(memory.events, ['refused ERR_HTTP2_STREAM_LIMIT'])
  assert.equal(memory.exchanges.length, 2)
  memory.app(response(1))
  memory.toCaller()
  assert.deepEqual(memory.caller(request(7)), [])
})

test('what is beyond the streams that the upstream allows is refused as not processed', () => {
  const memory = relayInMemory({ appSettings: settings([3, 1]) })
  assert.deepEqual(memory.caller(request(1), request(3)), ['RST_STREAM 3 7'])
  assert.equal(memory.ended[0]!.reason, 'ERR_HTTP2_STREAM_LIMIT')
})

test('when the upstream goes away, what it did not process is refused, the rest is served, then both ends close', () => {
  const memory = relayInMemory()
  memory.caller(request(1), request(3))
  memory.app(goaway(1))
  assert.deepEqual(memory.toCaller(), ['RST_STREAM 3 7', `GOAWAY ${2 ** 31 - 1} 0`])
  assert.deepEqual(memory.caller(request(5)), ['RST_STREAM 5 7'])
  memory.app(response(1))
  assert.deepEqual(memory.toCaller(), ['HEADERS 1 end :status: 200, x-request-id: id', 'GOAWAY 5 0'])
  assert.deepEqual(memory.events, ['idle'])
})

test('a drain is announced, then final; streams that come later are refused', () => {
  const memory = relayInMemory()
  memory.caller(request(1))
  memory.relay.drain()
  assert.deepEqual(memory.toCaller(), [`GOAWAY ${2 ** 31 - 1} 0`])
  memory.caller(request(3))
  memory.relay.drain()
  assert.deepEqual(memory.toCaller(), ['GOAWAY 3 0'])
  assert.deepEqual(memory.caller(request(5)), ['RST_STREAM 5 7'])
  memory.app(response(1), response(3))
  assert.deepEqual(memory.events, ['idle'])
})

test('a connection without exchanges is idle as soon as it drains', () => {
  const memory = relayInMemory()
  memory.relay.drain()
  assert.deepEqual(memory.toCaller(), [`GOAWAY ${2 ** 31 - 1} 0`, 'GOAWAY 0 0'])
  assert.deepEqual(memory.events, ['idle'])
})

test('without an upstream every request fails with its reason, and the caller is sent away', () => {
  const memory = relayInMemory({ handler: { onFailure: (exchange, reason, detail) => exchange.refuse({ status: 503 }, reason, detail) } })
  memory.caller(request(1))
  memory.relay.upstreamClosed('ERR_UPSTREAM_UNREACHABLE', 'ECONNREFUSED')
  assert.deepEqual(memory.toCaller(), ['HEADERS 1 end :status: 503, x-request-id: id', `GOAWAY ${2 ** 31 - 1} 0`, 'GOAWAY 1 0'])
  assert.deepEqual(
    memory.ended.map(({ reason, detail }) => [reason, detail]),
    [['ERR_UPSTREAM_UNREACHABLE', 'ECONNREFUSED']],
  )
})

test('an upstream that disappears in the middle of responses cuts them', () => {
  const memory = relayInMemory()
  memory.caller(request(1), request(3, true, grpcFields), request(5))
  memory.app(response(1, false), response(3, false), response(5, false), data(5, 1, true))
  memory.toCaller()
  memory.relay.upstreamClosed('ERR_UPSTREAM_CLOSED', '')
  assert.deepEqual(memory.toCaller().slice(0, 2), ['RST_STREAM 1 8', 'HEADERS 3 end grpc-status: 14'])
  assert.deepEqual(
    memory.ended.map(({ status, grpcStatus, reason }) => [status, grpcStatus, reason]),
    [
      [200, -1, undefined],
      [200, -1, 'ERR_UPSTREAM_CLOSED'],
      [200, 14, 'ERR_UPSTREAM_CLOSED'],
    ],
  )
})

test('a response that is whole but waits for the caller survives the end of the upstream', () => {
  const memory = relayInMemory()
  memory.caller(request(1), settings([4, 10]))
  memory.app(response(1, false), data(1, 15, true))
  memory.toCaller()
  memory.relay.upstreamClosed('ERR_UPSTREAM_CLOSED', '')
  assert.deepEqual(memory.caller(windowUpdate(1, 100)).slice(0, 2), [`GOAWAY ${2 ** 31 - 1} 0`, 'DATA 1 end 5'])
  assert.equal(memory.ended[0]!.reason, undefined)
})

test('a caller that disappears has all its streams cancelled', () => {
  const memory = relayInMemory()
  memory.caller(request(1), request(3, false))
  memory.toApp()
  memory.relay.downstreamClosed()
  assert.deepEqual(
    memory.toApp().filter((line) => line.startsWith('RST')),
    ['RST_STREAM 1 8', 'RST_STREAM 3 8'],
  )
  assert.deepEqual(
    memory.ended.map(({ reason }) => reason),
    ['ERR_DOWNSTREAM_ABORTED', 'ERR_DOWNSTREAM_ABORTED'],
  )
  assert.deepEqual(memory.events, ['idle'])
})

test('an upstream that breaks the protocol is sent away, and its requests fail', () => {
  const memory = relayInMemory({ handler: { onFailure: (exchange, reason, detail) => exchange.refuse({ status: 502 }, reason, detail) } })
  memory.caller(request(1))
  memory.toApp()
  assert.deepEqual(memory.app(headers(1, Buffer.from('88be', 'hex'))), ['GOAWAY 0 9'])
  assert.deepEqual(memory.events, ['failure ERR_HTTP2_UPSTREAM_PROTOCOL', 'idle', 'upstream ERR_HTTP2_COMPRESSION'])
  assert.equal(memory.toCaller()[0], 'HEADERS 1 end :status: 502, x-request-id: id')
})

test('a block longer than a frame is continued, towards either side', () => {
  const memory = relayInMemory({
    handler: {
      onRequest: (exchange) =>
        exchange.forward({ ...asCame(exchange.request!), ours: { names: ['x-long'], values: ['v'.repeat(40_000)] } }),
    },
  })
  memory.caller(request(1))
  assert.deepEqual(memory.toApp(), [`${forwarded}, x-long: ${'v'.repeat(40_000)}`])
  const block = literals([
    [':status', '200'],
    ['x-long', 'w'.repeat(40_000)],
  ])
  memory.app(
    frame('HEADERS', 0, 1, block.subarray(0, 16_384)),
    frame('CONTINUATION', 0, 1, block.subarray(16_384, 32_768)),
    frame('CONTINUATION', END_HEADERS, 1, block.subarray(32_768)),
    data(1, 0, true),
  )
  assert.deepEqual(memory.toCaller(), [`HEADERS 1 :status: 200, x-long: ${'w'.repeat(40_000)}`, 'DATA 1 end 0'])
})

test('pings are answered here, and unknown frames go nowhere', () => {
  const memory = relayInMemory()
  assert.deepEqual(
    memory.caller(
      ping('1122334455667788'),
      frame(0xfa, 0, 0, 'aa'),
      frame('PRIORITY', 0, 3, '0000000010'),
      frame('PING', 1, 0, '0000000000000000'),
    ),
    ['PING ack 1122334455667788'],
  )
  assert.deepEqual(memory.app(ping('1122334455667788'), frame(0xc, 0, 0, 'aa'), frame(0xa, 0, 1, 'aa')), ['PING ack 1122334455667788'])
  assert.deepEqual([...memory.toApp(), ...memory.toCaller()], [])
})

test('what arrives is not needed after the call that brought it', () => {
  const memory = relayInMemory({ handler: waiting })
  const overwritten = (side: 'caller' | 'app', ...frames: readonly Buffer[]): void => {
    const bytes = Buffer.concat(frames)
    if (side === 'caller') memory.relay.receiveDownstream(bytes, 0)
    else memory.relay.receiveUpstream(bytes, 0)
    bytes.fill(0xee)
  }
  overwritten(
    'caller',
    settings([4, 4]),
    request(1, false, [...requestFields, ['x-a', 'value']]),
    data(1, Buffer.from('held')),
    request(3, true).subarray(0, 20),
  )
  overwritten('caller', request(3, true).subarray(20))
  memory.exchanges[0]!.forward(asCame(memory.exchanges[0]!.request!))
  assert.deepEqual(memory.toApp().slice(1), [`${forwardedOpen}, x-a: value`, 'DATA 1 4'])
  overwritten('app', response(1, false), data(1, Buffer.from('waits for')), response(1, true, [['grpc-status', '3']]))
  memory.toCaller()
  const said = memory.relay
  said.receiveDownstream(windowUpdate(1, 100), 0)
  const bytes = said.takeDownstream()!
  assert.ok(bytes.includes('s for'), 'the data that waited')
  assert.ok(bytes.includes('grpc-status'), 'the trailers that waited')
})

test('a frame may carry padding and nothing else', () => {
  const memory = relayInMemory()
  memory.caller(request(1, false), frame('DATA', PADDED | 1, 1, '03000000'))
  assert.deepEqual(memory.toApp(), [forwardedOpen, 'DATA 1 end 0'])
})

test('a caller that sends a hundred heads at once has a few of them read in each turn, in order and completely', () => {
  const memory = relayInMemory({ relay: { headsPerCall: 32 } })
  const heads = Array.from({ length: 100 }, (_, index) => request(2 * index + 1))
  memory.caller(...heads.slice(0, 90))
  const counts = [memory.exchanges.length]
  assert.equal(memory.relay.behind, true)
  memory.caller(...heads.slice(90))
  counts.push(memory.exchanges.length)
  while (memory.relay.behind) {
    memory.caller()
    counts.push(memory.exchanges.length)
  }
  assert.deepEqual(counts, [32, 64, 96, 100])
  assert.deepEqual(memory.toApp().filter((line) => line.startsWith('HEADERS')).length, 100)
  // An app is asked for what it sends: nothing of its is put off.
  memory.app(...heads.map((_, index) => response(2 * index + 1)))
  assert.equal(memory.ended.length, 100)
})
