import assert from 'node:assert/strict'
import { test } from 'node:test'
import { data, goaway, reset, settings, windowUpdate } from '../../support/http2-frames.ts'
import { asCame } from '../../support/http2-relay.ts'
import { linkedInMemory } from '../../support/linked-relay-in-memory.ts'
import { grpcFields, request, response } from '../../support/relay-in-memory.ts'

const NO_WINDOW = settings([4, 0])

/** Takes what a server did not look at to the second link. */
const elsewhere: Parameters<typeof linkedInMemory>[0] = ({ links }) => ({
  onUnprocessed(exchange) {
    if (exchange.rewind()) exchange.forward(asCame(exchange.request!), links[1]!.link)
  },
})

/** Requests of streams 1, 5, 9 … go to the first link, the others to the second. */
const alternately: Parameters<typeof linkedInMemory>[0] = ({ links, exchanges }) => ({
  onRequest: (exchange) => exchange.forward(asCame(exchange.request!), links[(exchanges.length - 1) % 2]!.link),
})

test('each link has stream identifiers of its own, and answers come back to whoever asked', () => {
  const memory = linkedInMemory(alternately)
  memory.caller(request(1), request(3), request(5))
  const [first, second] = memory.links
  assert.deepEqual(
    first!.toServer().map((line) => line.slice(0, 14)),
    ['HEADERS 1 end ', 'HEADERS 3 end '],
  )
  assert.deepEqual(
    second!.toServer().map((line) => line.slice(0, 14)),
    ['HEADERS 1 end '],
  )
  second!.server(response(1))
  first!.server(response(3))
  assert.deepEqual(memory.toCaller(), ['HEADERS 3 end :status: 200, x-request-id: id', 'HEADERS 5 end :status: 200, x-request-id: id'])
  assert.equal(memory.ended.length, 2)
  assert.equal(first!.link.streams, 1)
})

test('a server that takes nothing holds up neither the caller’s other streams nor other servers', () => {
  const memory = linkedInMemory(alternately, NO_WINDOW)
  const [first, second] = memory.links
  memory.caller(request(1, false), request(3, false))
  // 64 KiB, all that the stream may have under way, are kept here.
  memory.caller(...Array.from({ length: 15 }, () => data(1, 4369)))
  first!.toServer()
  second!.toServer()
  second!.server(windowUpdate(1, 10_000_000))
  for (let sent = 0; sent < 3_000_000; sent += 15_000) {
    const said = memory.caller(data(3, 15_000))
    second!.toServer()
    second!.server(windowUpdate(0, 15_000))
    for (const line of said) assert.doesNotMatch(line, /^(RST_STREAM|GOAWAY)|WINDOW_UPDATE 1 /)
  }
  assert.deepEqual(first!.toServer(), [], 'nothing went to the first')
  assert.equal(memory.exchanges[1]!.bytesIn, 3_000_000)
  assert.deepEqual(memory.caller(data(1, 1)), ['RST_STREAM 1 3'], 'FLOW_CONTROL_ERROR: more than the stream’s window')
})

test('what waits for a server is sent as it takes more, and only then may the caller send on', () => {
  const memory = linkedInMemory(undefined, NO_WINDOW)
  const [link] = memory.links
  memory.caller(request(1, false), data(1, 16_000), data(1, 16_000), data(1, 16_000))
  link!.toServer()
  assert.deepEqual(link!.server(windowUpdate(1, 20_000)), ['DATA 1 16000', 'DATA 1 4000'])
  assert.deepEqual(memory.toCaller(), [], 'credit is saved up')
  assert.deepEqual(link!.server(windowUpdate(1, 20_000)), ['DATA 1 12000', 'DATA 1 8000'])
  assert.deepEqual(memory.toCaller(), ['WINDOW_UPDATE 1 40000'])
})

test('while a socket takes no more, bodies wait, heads do not, and all goes out once it does', () => {
  const memory = linkedInMemory()
  const [link] = memory.links
  link!.link.holdData(true)
  memory.caller(request(1, false), data(1, 1000), data(1, 0, true), request(3))
  assert.deepEqual(
    link!.toServer().map((line) => line.slice(0, 13)),
    ['HEADERS 1 :me', 'HEADERS 3 end'],
  )
  link!.link.holdData(false)
  assert.deepEqual(link!.toServer(), ['DATA 1 end 1000'])
  memory.relay.holdData(true)
  link!.server(response(1, false), data(1, 500, true), response(3))
  assert.deepEqual(memory.toCaller(), ['HEADERS 1 :status: 200, x-request-id: id', 'HEADERS 3 end :status: 200, x-request-id: id'])
  memory.relay.holdData(false)
  assert.deepEqual(memory.toCaller(), ['DATA 1 end 500'])
  assert.equal(memory.ended.length, 2)
})

test('what GOAWAY says was never looked at goes elsewhere, with its body; what was is served to its end', () => {
  const memory = linkedInMemory(elsewhere, NO_WINDOW)
  const [first, second] = memory.links
  memory.caller(request(1), request(3), request(5, false), data(5, 700), data(5, 0, true))
  first!.toServer()
  assert.deepEqual(first!.server(goaway(1)), ['RST_STREAM 3 8', 'RST_STREAM 5 8'])
  assert.equal(first!.link.available, false)
  assert.deepEqual(memory.events, ['unprocessed ERR_HTTP2_UPSTREAM_GOAWAY', 'unprocessed ERR_HTTP2_UPSTREAM_GOAWAY', 'goaway 0'])
  assert.deepEqual(
    second!.toServer().map((line) => line.slice(0, 13)),
    ['HEADERS 1 end', 'HEADERS 3 :me'],
  )
  assert.deepEqual(second!.server(settings([4, 65_535])), ['SETTINGS ack', 'DATA 3 end 700'])
  assert.deepEqual(memory.toCaller(), [])
  second!.server(response(1), response(3))
  first!.server(response(1))
  assert.deepEqual(memory.toCaller().toSorted(), [1, 3, 5].map((id) => `HEADERS ${id} end :status: 200, x-request-id: id`).toSorted())
  assert.deepEqual(
    memory.ended.map(({ status, reason }) => [status, reason]),
    [
      [200, undefined],
      [200, undefined],
      [200, undefined],
    ],
  )
})

for (const [what, refuse] of [
  ['GOAWAY', goaway(0)],
  ['REFUSED_STREAM', reset(1, 7)],
] as const) {
  test(`${what} for a request of which a part has left is passed on as REFUSED_STREAM, for the caller to repeat`, () => {
    const memory = linkedInMemory(elsewhere)
    const [first, second] = memory.links
    memory.caller(request(1, false), data(1, 10))
    assert.equal(first!.toServer().length, 2)
    first!.server(refuse)
    assert.deepEqual(memory.toCaller(), ['RST_STREAM 1 7'])
    assert.deepEqual(second!.toServer(), [])
    assert.match(memory.ended[0]!.reason ?? '', /^ERR_HTTP2_UPSTREAM_(GOAWAY|RESET)$/)
  })
}

test('REFUSED_STREAM for a request that is whole here sends it elsewhere, trailers aside', () => {
  const memory = linkedInMemory(elsewhere, NO_WINDOW)
  const [first, second] = memory.links
  memory.caller(request(1), request(3, false), data(3, 10), request(5, false), request(5, true, [['x-sum', '1']]))
  first!.toServer()
  first!.server(reset(1, 7), reset(3, 7), reset(5, 7))
  assert.deepEqual(
    second!.toServer().map((line) => line.slice(0, 13)),
    ['HEADERS 1 end', 'HEADERS 3 :me'],
  )
  assert.deepEqual(memory.caller(data(3, 0, true)), ['RST_STREAM 5 7'])
  assert.deepEqual(second!.server(windowUpdate(3, 10)), ['DATA 3 end 10'])
})

test('when a server’s connection is gone, what was not answered is answered here, and what was cannot look complete', () => {
  const memory = linkedInMemory(alternately)
  const [first, second] = memory.links
  memory.caller(request(1), request(3), request(5, true, grpcFields), request(7), request(9, true))
  first!.toServer()
  first!.server(response(3, false), data(3, 5), response(5, false))
  memory.toCaller()
  first!.link.closed('ERR_UPSTREAM_CLOSED', 'ECONNRESET')
  assert.deepEqual(memory.toCaller(), ['HEADERS 1 end :status: 502, x-request-id: id', 'HEADERS 5 end grpc-status: 14', 'RST_STREAM 9 8'])
  second!.server(response(1), response(3))
  assert.equal(memory.toCaller().length, 2, 'those of the other server live on')
  assert.deepEqual(
    memory.ended.map(({ reason }) => reason),
    ['ERR_UPSTREAM_CLOSED', 'ERR_UPSTREAM_CLOSED', 'ERR_UPSTREAM_CLOSED', undefined, undefined],
  )
})

test('a response that came whole is delivered whole though its server is gone, and the rest of the upload is not wanted', () => {
  const memory = linkedInMemory()
  const [link] = memory.links
  memory.caller(request(1, false))
  memory.relay.holdData(true)
  link!.server(response(1, false), data(1, 9000, true))
  link!.link.closed('ERR_UPSTREAM_CLOSED', '')
  assert.deepEqual(memory.toCaller(), ['HEADERS 1 :status: 200, x-request-id: id'])
  memory.relay.holdData(false)
  assert.deepEqual(memory.toCaller(), ['DATA 1 end 9000', 'RST_STREAM 1 0'])
  assert.equal(memory.ended[0]!.reason, undefined)
})

test('a request waits for its link with its body, and is answered or forwarded whenever that is decided', () => {
  const memory = linkedInMemory(() => ({ onRequest: () => undefined }))
  const [link] = memory.links
  memory.caller(request(1, false), data(1, 3000), data(1, 2000, true), request(3, false), data(3, 3000))
  const [one, other] = memory.exchanges
  one!.forward(asCame(one!.request!), link!.link)
  assert.deepEqual(
    link!.toServer().map((line) => line.slice(0, 15)),
    ['HEADERS 1 :meth', 'DATA 1 3000', 'DATA 1 end 2000'],
  )
  other!.refuse({ status: 503 }, 'ERR_UPSTREAM_CONNECT_TIMEOUT', '')
  assert.deepEqual(memory.toCaller(), ['HEADERS 3 end :status: 503, x-request-id: id', 'RST_STREAM 3 0'])
})

test('a server that breaks the protocol ends its own streams and no others', () => {
  const memory = linkedInMemory(alternately)
  const [first, second] = memory.links
  memory.caller(request(1), request(3))
  assert.match(first!.server(windowUpdate(0, 0)).at(-1)!, /^GOAWAY 0 1$/)
  assert.deepEqual(memory.events, ['failure ERR_HTTP2_UPSTREAM_PROTOCOL', 'fault 0 ERR_HTTP2_FLOW_CONTROL'])
  second!.server(response(1))
  assert.deepEqual(memory.toCaller(), ['HEADERS 1 end :status: 502, x-request-id: id', 'HEADERS 3 end :status: 200, x-request-id: id'])
  assert.equal(first!.link.available, false)
})
