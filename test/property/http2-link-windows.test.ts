/**
 * Flow control of relays over links that they share, against a model of honest ends: two callers, two servers. None is ever sent more
 * than it allowed, none is ever taken for dishonest, what waits is bounded by the windows of streams alone, and once all is done every
 * byte of every window is back.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { createLinkedRelay } from '#wire/http2/relay'
import type { LinkedRelay } from '#wire/http2/relay-contract'
import type { RelayExchange } from '#wire/http2/relay-exchange'
import { createHttp2Link, type Http2Link, LINK_WINDOW } from '#wire/http2/relay-link'
import { CALLER_WINDOW } from '#wire/http2/relay-windows'
import { data, frame, goaway, headers, literals, PREFACE, takeAll } from '../support/http2-frames.ts'
import { asCame, testRelayOptions, testResources } from '../support/http2-relay.ts'
import { WindowModel } from '../support/http2-window-model.ts'
import { linkedInMemory } from '../support/linked-relay-in-memory.ts'
import { grpcFields, request, response } from '../support/relay-in-memory.ts'

const OPERATIONS = [
  'open',
  'open',
  'open waiting',
  'caller data',
  'caller data',
  'caller data',
  'caller end',
  'caller trailers',
  'caller reset',
  'caller credits',
  'caller credits stream',
  'caller window',
  'caller acknowledges',
  'caller stuck',
  'caller unstuck',
  'forward',
  'refuse',
  'cut',
  'server answers',
  'server answers',
  'server data',
  'server data',
  'server data',
  'server ends',
  'server trailers',
  'server reset',
  'server refuses',
  'server credits',
  'server credits stream',
  'server window',
  'server acknowledges',
  'server stuck',
  'server unstuck',
  'server goes away',
] as const
type Operation = readonly [(typeof OPERATIONS)[number], number, number]

const operations = fc.array(fc.tuple(fc.constantFrom(...OPERATIONS), fc.nat(1_000_000), fc.nat(40_000)), { maxLength: 200, size: 'max' })

const STREAM_WINDOW = 65_535
const RESPONSE_WINDOW = 1_048_576

type Exchange = RelayExchange<unknown>

interface Caller {
  readonly model: WindowModel
  readonly relay: LinkedRelay<unknown>
  nextStream: number
}

interface Server {
  readonly model: WindowModel
  readonly link: Http2Link<unknown>
  readonly answered: Set<number>
  /** Of streams by id: what the server may have under way at once, as it was when the request was forwarded. */
  readonly windows: Map<number, number>
  goingAway: boolean
}

const unlimited = { flood: { burst: Number.POSITIVE_INFINITY }, creditFrom: 1 }

class Conversation {
  readonly callers: Caller[]
  readonly servers: Server[]
  readonly waiting: Exchange[] = []
  readonly begun: Exchange[] = []
  readonly ended: Exchange[] = []
  readonly rewound: Exchange[] = []
  readonly faults: string[] = []
  #choice = 0
  #wait = false

  constructor(callerWindow: number, serverWindow: number) {
    this.servers = [0, 1].map((index) => this.#server(index, serverWindow))
    this.callers = [0, 1].map((index) => this.#caller(index, callerWindow))
    this.carry()
  }

  #caller(index: number, window: number): Caller {
    const relay = createLinkedRelay<unknown>(
      { ...testRelayOptions, ...unlimited },
      {
        onRequest: (given) => {
          const exchange = given as Exchange
          this.begun.push(exchange)
          if (this.#wait) this.waiting.push(exchange)
          else this.forward(exchange)
        },
        onBadRequest: (_, { reason }) => void this.faults.push(reason),
        onStreamRefused: () => undefined,
        onFailure: (exchange, reason, detail) => exchange.refuse({ status: 502 }, reason, detail),
        onUnprocessed: (exchange) => {
          if (!exchange.rewind()) return
          this.rewound.push(exchange as Exchange)
          if (this.#choice % 2 === 0) this.forward(exchange as Exchange)
          else this.waiting.push(exchange as Exchange)
        },
        onEnd: (exchange) => void this.ended.push(exchange as Exchange),
        onDownstreamFault: ({ reason, detail }) => void this.faults.push(`${reason} ${detail}`),
        onIdle: () => undefined,
      },
    )
    const model = new WindowModel(`caller ${index}`)
    model.write(PREFACE)
    model.greet(window)
    return { relay, model, nextStream: 1 }
  }

  #server(index: number, window: number): Server {
    const link = createHttp2Link<unknown>(
      { resources: testResources, headBytes: 65_536, ...unlimited },
      {
        onReady: () => undefined,
        onRoom: () => undefined,
        onGoaway: () => undefined,
        onFault: ({ reason, detail }) => void this.faults.push(`${reason} ${detail}`),
        onOutput: () => undefined,
      },
    )
    const model = new WindowModel(`server ${index}`)
    model.greet(window)
    model.receive(takeAll(() => link.take()).subarray(PREFACE.length))
    return { link, model, answered: new Set(), windows: new Map(), goingAway: false }
  }

  forward(exchange: Exchange): void {
    const server = this.servers[this.#choice % 3 === 0 ? 1 : 0]!
    if (exchange.done) return
    const takes = Math.min(exchange.downstream.sendWindow, RESPONSE_WINDOW)
    exchange.forward(asCame(exchange.request!), server.link)
    const { upstream } = exchange
    // Less than a step more is not worth a frame.
    if (upstream !== undefined) server.windows.set(upstream.id, takes >= STREAM_WINDOW + 32_768 ? takes : STREAM_WINDOW)
  }

  /** Carries bytes until nobody has more to say. */
  carry(): void {
    for (let quiet = false; !quiet;) {
      let carried = 0
      for (const { model, relay } of this.callers) {
        const bytes = model.takeOutput()
        carried += bytes.length
        if (bytes.length > 0) relay.receiveDownstream(bytes, 0)
      }
      for (const { model, link } of this.servers) {
        const bytes = model.takeOutput()
        carried += bytes.length
        if (bytes.length > 0) link.receive(bytes, 0)
      }
      for (const { model, link } of this.servers) {
        const bytes = takeAll(() => link.take())
        carried += bytes.length
        model.receive(bytes)
      }
      for (const { model, relay } of this.callers) {
        const bytes = takeAll(() => relay.takeDownstream())
        carried += bytes.length
        model.receive(bytes)
      }
      quiet = carried === 0
    }
    assert.deepEqual(this.faults, [])
    for (const exchange of this.begun) {
      if (exchange.done) continue
      const { upstream, downstream, heldBytes } = exchange
      assert.ok(heldBytes + (upstream?.queue?.bytes ?? 0) <= STREAM_WINDOW, 'what waits of a request is bounded')
      assert.ok((downstream.queue?.bytes ?? 0) <= RESPONSE_WINDOW, 'what waits of a response is bounded')
    }
    // However much waits for a server, or for another caller: the connection is free for the rest.
    for (const { model } of this.callers) assert.equal(model.connectionSend, CALLER_WINDOW, 'a caller has its whole connection')
    for (const { model } of this.servers) assert.equal(model.connectionSend, LINK_WINDOW, 'a server has its whole connection')
  }

  run([operation, choice, amount]: Operation): void {
    this.#choice = choice
    const caller = this.callers[choice % 2]!
    const server = this.servers[choice % 3 === 0 ? 1 : 0]!
    if (operation.startsWith('caller')) this.#runCaller(operation, caller, choice, amount)
    else if (operation.startsWith('server')) this.#runServer(operation, server, choice, amount)
    else if (operation === 'open' || operation === 'open waiting') {
      this.#wait = operation === 'open waiting'
      const end = choice % 5 === 0
      caller.model.open(caller.nextStream, headers(caller.nextStream, literals(grpcFields), end), end)
      caller.nextStream += 2
    } else if (operation === 'cut') this.begun[choice % Math.max(1, this.begun.length)]?.cut('ERR_DRAINED', '', 14)
    else {
      const [exchange] = this.waiting.splice(choice % Math.max(1, this.waiting.length), 1)
      if (exchange !== undefined && operation === 'forward') this.forward(exchange)
      else exchange?.refuse({ status: 503 }, 'ERR_DRAINED', '')
    }
    this.carry()
  }

  #runCaller(operation: string, { model, relay }: Caller, choice: number, amount: number): void {
    const padding = choice % 5 === 0 ? choice % 256 : undefined
    if (operation === 'caller acknowledges') return model.acknowledge()
    if (operation === 'caller credits') return model.creditConnection(choice % 4 === 0 ? amount : 0)
    if (operation === 'caller window') return model.announceWindow(choice % 4 === 0 ? amount % 50 : amount * 5)
    if (operation === 'caller stuck' || operation === 'caller unstuck') return relay.holdData(operation === 'caller stuck')
    const id = pick(model, choice)
    if (id === undefined) return
    if (operation === 'caller data') model.sendData(id, amount, padding, false)
    else if (operation === 'caller end') model.sendData(id, amount % 100, padding, true)
    else if (operation === 'caller trailers' && !model.streams.get(id)!.sentEnd)
      model.sendHead(id, headers(id, literals([['x-sum', '1']])), true)
    else if (operation === 'caller reset') model.reset(id)
    else if (operation === 'caller credits stream') model.creditStream(id, choice % 4 === 0 ? amount : 0)
  }

  #runServer(operation: string, server: Server, choice: number, amount: number): void {
    const { model, link, answered } = server
    const padding = choice % 5 === 0 ? choice % 256 : undefined
    if (operation === 'server acknowledges') return model.acknowledge()
    if (operation === 'server credits') return model.creditConnection(choice % 4 === 0 ? amount : 0)
    if (operation === 'server window') return model.announceWindow(choice % 2 === 0 ? amount % 50 : amount * 3)
    if (operation === 'server stuck' || operation === 'server unstuck') return link.holdData(operation === 'server stuck')
    if (operation === 'server goes away') {
      // Once in a while, and with the last of the streams not looked at.
      if (choice % 10 !== 0 || server.goingAway) return
      server.goingAway = true
      const last = Math.max(0, ...[...model.streams.keys()].filter((id) => answered.has(id)))
      for (const id of [...model.streams.keys()]) if (id > last) ignore(model, id)
      return model.write(goaway(last))
    }
    const id = pick(model, choice)
    if (id === undefined) return
    if (operation === 'server answers' && !answered.has(id)) {
      answered.add(id)
      model.sendHead(id, headers(id, literals([[':status', '200']]), choice % 4 === 0), choice % 4 === 0)
    } else if (operation === 'server reset') model.reset(id)
    else if (operation === 'server refuses' && !answered.has(id)) model.reset(id, 7)
    else if (operation === 'server credits stream') model.creditStream(id, choice % 4 === 0 ? amount : 0)
    else if (!answered.has(id) || model.streams.get(id)!.sentEnd) return
    else if (operation === 'server data') model.sendData(id, amount, padding, false)
    else if (operation === 'server ends') model.sendData(id, amount % 100, padding, true)
    else if (operation === 'server trailers') model.sendHead(id, headers(id, literals([['grpc-status', '0']])), true)
  }

  /** All is forwarded, all settings acknowledged, all sockets writable, all that was received credited. */
  settle(): void {
    for (const { relay } of this.callers) relay.holdData(false)
    for (const { link } of this.servers) link.holdData(false)
    for (const exchange of this.waiting.splice(0)) this.forward(exchange)
    this.carry()
    // What waits in a relay leaves it as credit comes, and that brings new credit.
    for (let round = 0; round < 300; round++) {
      for (const { model } of [...this.callers, ...this.servers]) {
        while (model.hasSettings) model.acknowledge()
        model.creditConnection(0)
        for (const [id, stream] of model.streams) model.creditStream(id, stream.receive < 0 ? 50 - stream.receive : 5000)
      }
      this.carry()
      if (this.begun.every(({ done, upstream, downstream }) => done || (upstream?.queue ?? downstream.queue) === undefined)) return
    }
    assert.fail('something waits for ever')
  }
}

/** The server will not look at the stream. */
function ignore(model: WindowModel, id: number): void {
  model.streams.delete(id)
  model.gone.set(id, 'reset')
}

function pick(end: WindowModel, choice: number): number | undefined {
  const ids = [...end.streams.keys()]
  return ids[choice % Math.max(1, ids.length)]
}

/** Honest ends never give cause for any other. */
const HONEST_ENDS: readonly (string | undefined)[] = [
  undefined,
  'ERR_DRAINED',
  'ERR_HTTP2_RESET',
  'ERR_HTTP2_UPSTREAM_RESET',
  'ERR_HTTP2_UPSTREAM_GOAWAY',
]

test('windows over shared links are kept to by all, none of their bytes is lost or made, and nobody holds up another', () => {
  let rewound = 0
  let accounted = 0
  fc.assert(
    fc.property(
      operations,
      fc.constantFrom(0, 100, 65_535, 300_000),
      fc.constantFrom(0, 100, 65_535, 200_000),
      (steps, callerWindow, serverWindow) => {
        const conversation = new Conversation(callerWindow, serverWindow)
        for (const step of steps) conversation.run(step)
        conversation.settle()
        rewound += conversation.rewound.length
        for (const exchange of conversation.begun) {
          const { done, downstream, upstream, owner, link } = exchange
          if (done || upstream === undefined) continue
          const caller = conversation.callers.find(({ relay }) => (relay as unknown) === owner)!
          const server = conversation.servers.find((one) => (one.link as unknown) === link)!
          const near = caller.model.streams.get(downstream.id)!
          const far = server.model.streams.get(upstream.id)!
          accounted++
          if (!near.sentEnd) assert.equal(near.send + exchange.requestDue, STREAM_WINDOW, 'what a caller may send on a stream')
          if (!far.sentEnd) assert.equal(far.send + exchange.responseDue, server.windows.get(upstream.id), 'what a server may send on one')
        }
        for (const { model } of conversation.servers) for (const id of [...model.streams.keys()]) model.reset(id)
        conversation.carry()
        for (const { model } of conversation.callers) for (const id of [...model.streams.keys()]) model.reset(id)
        conversation.carry()
        assert.equal(new Set(conversation.ended).size, conversation.begun.length, 'every exchange ends')
        assert.equal(conversation.ended.length, conversation.begun.length, 'and once')
        for (const { link } of conversation.servers) assert.equal(link.streams, 0)
        for (const { reason } of conversation.ended) assert.ok(HONEST_ENDS.includes(reason), `an end for ${reason}`)
      },
    ),
    { numRuns: 300 },
  )
  assert.ok(rewound > 20, `requests were taken back: ${rewound}`)
  assert.ok(accounted > 500, `streams were accounted for: ${accounted}`)
})

test('whatever a server sends, it harms its own streams alone: every exchange ends once, and what goes out is whole frames', () => {
  const frames = fc.oneof(
    fc
      .tuple(fc.nat(10), fc.nat(255), fc.nat(6), fc.uint8Array({ maxLength: 40 }))
      .map(([type, flags, stream, payload]) => frame(type, flags, stream, payload)),
    fc.nat(6).map((stream) => headers(stream, literals([[':status', '200']]), stream % 2 === 0)),
    fc.nat(6).map((stream) => data(stream, 100, stream % 2 === 0)),
    fc.uint8Array({ maxLength: 30 }).map((bytes) => Buffer.from(bytes)),
  )
  fc.assert(
    fc.property(fc.array(frames, { maxLength: 30 }), fc.integer({ min: 1, max: 4 }), (hostile, requests) => {
      const memory = linkedInMemory(({ links, exchanges }) => ({
        onRequest: (exchange) => exchange.forward(asCame(exchange.request!), links[(exchanges.length - 1) % 2]!.link),
        onUnprocessed: (exchange) => {
          if (exchange.rewind()) exchange.forward(asCame(exchange.request!), links[1]!.link)
        },
      }))
      const [first, second] = memory.links
      for (let index = 0; index < 2 * requests; index++) memory.caller(request(1 + 2 * index))
      const toSecond = [...second!.toServer()]
      // Throws at output that is no whole frames.
      for (const bytes of hostile) {
        first!.server(bytes)
        memory.toCaller()
      }
      first!.link.closed('ERR_UPSTREAM_CLOSED', '')
      toSecond.push(...second!.toServer())
      memory.toCaller()
      const ids = toSecond.filter((line) => line.startsWith('HEADERS')).map((line) => Number(line.split(' ')[1]))
      assert.ok(ids.length >= requests)
      for (const id of ids) second!.server(response(id))
      memory.toCaller()
      assert.equal(memory.ended.length, 2 * requests)
      assert.equal(new Set(memory.ended).size, 2 * requests)
      // Those of the second server are answered, whatever the first did.
      for (const [index, exchange] of memory.exchanges.entries()) if (index % 2 === 1) assert.equal(exchange.status, 200)
      assert.deepEqual(
        memory.events.filter((event) => event.startsWith('downstream')),
        [],
      )
    }),
    { numRuns: 500 },
  )
})
