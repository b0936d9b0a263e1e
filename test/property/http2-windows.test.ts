/**
 * Flow control through a relay, against a model of two honest ends: neither is ever sent more than it allowed, neither is ever taken for
 * dishonest, and once all is done every byte of every window is back where it belongs.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { createHttp2Relay } from '#wire/http2/relay'
import { headers, literals, PREFACE, takeAll } from '../support/http2-frames.ts'
import { asCame, type TestExchange, testRelayOptions } from '../support/http2-relay.ts'
import { WindowModel } from '../support/http2-window-model.ts'
import { grpcFields } from '../support/relay-in-memory.ts'

const OPERATIONS = [
  'open',
  'open',
  'open held',
  'open held',
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
  'decide',
  'refuse',
  'cut',
  'app answers',
  'app answers',
  'app data',
  'app data',
  'app data',
  'app ends',
  'app trailers',
  'app reset',
  'app credits',
  'app credits stream',
  'app window',
  'app acknowledges',
] as const
type Operation = readonly [(typeof OPERATIONS)[number], number, number]

const operations = fc.array(fc.tuple(fc.constantFrom(...OPERATIONS), fc.nat(1_000_000), fc.nat(40_000)), { maxLength: 150, size: 'max' })

class Conversation {
  readonly caller = new WindowModel('caller')
  readonly app = new WindowModel('app')
  readonly pending: TestExchange[] = []
  readonly begun: TestExchange[] = []
  readonly ended: TestExchange[] = []
  readonly faults: string[] = []
  #nextStream = 1
  #hold = false
  readonly #relay = createHttp2Relay<unknown>(
    { ...testRelayOptions, flood: { burst: Number.POSITIVE_INFINITY } },
    {
      onRequest: (exchange) => {
        this.begun.push(exchange)
        if (this.#hold) this.pending.push(exchange)
        else exchange.forward(asCame(exchange.request!))
      },
      onBadRequest: (_, { reason }) => void this.faults.push(reason),
      onStreamRefused: () => undefined,
      onFailure: (exchange, reason, detail) => exchange.refuse({ status: 502 }, reason, detail),
      onEnd: (exchange) => void this.ended.push(exchange),
      onDownstreamFault: ({ reason, detail }) => void this.faults.push(`${reason} ${detail}`),
      onUpstreamFault: ({ reason, detail }) => void this.faults.push(`${reason} ${detail}`),
      onIdle: () => undefined,
    },
  )

  constructor(callerWindow: number, appWindow: number) {
    this.caller.write(PREFACE)
    this.caller.greet(callerWindow)
    this.app.greet(appWindow)
    const preface = takeAll(() => this.#relay.takeUpstream())
    this.app.receive(preface.subarray(PREFACE.length))
    this.exchange()
  }

  /** Carries bytes until nobody has more to say. */
  exchange(): void {
    for (let quiet = false; !quiet;) {
      const fromCaller = this.caller.takeOutput()
      if (fromCaller.length > 0) this.#relay.receiveDownstream(fromCaller, 0)
      const fromApp = this.app.takeOutput()
      if (fromApp.length > 0) this.#relay.receiveUpstream(fromApp, 0)
      const toApp = takeAll(() => this.#relay.takeUpstream())
      const toCaller = takeAll(() => this.#relay.takeDownstream())
      this.app.receive(toApp)
      this.caller.receive(toCaller)
      quiet = fromCaller.length + fromApp.length + toApp.length + toCaller.length === 0
    }
    assert.deepEqual(this.faults, [])
  }

  run([operation, choice, amount]: Operation): void {
    const { caller, app } = this
    const callers = pick(caller, choice)
    const apps = pick(app, choice)
    const exchange = this.pending[choice % Math.max(1, this.pending.length)]
    const padding = choice % 5 === 0 ? choice % 256 : undefined
    if (operation === 'open' || operation === 'open held') {
      this.#hold = operation === 'open held'
      const end = choice % 3 === 0
      caller.open(this.#nextStream, headers(this.#nextStream, literals(grpcFields), end), end)
      this.#nextStream += 2
    } else if (operation === 'caller acknowledges') caller.acknowledge()
    else if (operation === 'app acknowledges') app.acknowledge()
    else if (operation === 'caller credits') caller.creditConnection(choice % 4 === 0 ? amount : 0)
    else if (operation === 'app credits') app.creditConnection(choice % 4 === 0 ? amount : 0)
    else if (operation === 'caller window') caller.announceWindow(choice % 2 === 0 ? amount % 50 : amount * 3)
    else if (operation === 'app window') app.announceWindow(choice % 2 === 0 ? amount % 50 : amount * 3)
    else if (operation === 'decide') exchange?.forward(asCame(exchange.request!))
    else if (operation === 'refuse') exchange?.refuse({ status: 403 }, 'ERR_POLICY_NO_ALLOW', '')
    else if (operation === 'cut') this.begun[choice % Math.max(1, this.begun.length)]?.cut('ERR_POLICY_NO_ALLOW', '', 7)
    else if (callers !== undefined && operation.startsWith('caller')) {
      const open = !caller.streams.get(callers)!.sentEnd
      if (operation === 'caller data') caller.sendData(callers, amount, padding, false)
      else if (operation === 'caller end') caller.sendData(callers, amount % 100, padding, true)
      else if (operation === 'caller trailers' && open) caller.sendHead(callers, headers(callers, literals([['x-sum', '1']])), true)
      else if (operation === 'caller reset') caller.reset(callers)
      else if (operation === 'caller credits stream') caller.creditStream(callers, choice % 4 === 0 ? amount : 0)
    } else if (apps !== undefined && operation.startsWith('app')) this.#runApp(operation, apps, amount, padding, choice)
    if ((operation === 'decide' || operation === 'refuse') && exchange !== undefined) this.pending.splice(this.pending.indexOf(exchange), 1)
    this.exchange()
  }

  #runApp(operation: string, id: number, amount: number, padding: number | undefined, choice: number): void {
    const { app } = this
    const stream = app.streams.get(id)!
    const answered = this.#answered.has(id)
    if (operation === 'app answers' && !answered) {
      this.#answered.add(id)
      app.sendHead(id, headers(id, literals([[':status', '200']]), choice % 4 === 0), choice % 4 === 0)
    } else if (operation === 'app reset') app.reset(id)
    else if (operation === 'app credits stream') app.creditStream(id, choice % 4 === 0 ? amount : 0)
    else if (!answered || stream.sentEnd) return
    else if (operation === 'app data') app.sendData(id, amount, padding, false)
    else if (operation === 'app ends') app.sendData(id, amount % 100, padding, true)
    else if (operation === 'app trailers') app.sendHead(id, headers(id, literals([['grpc-status', '0']])), true)
  }

  readonly #answered = new Set<number>()

  /** All decisions are made, all settings acknowledged, all that was received is credited. */
  settle(): void {
    for (const exchange of this.pending.splice(0)) exchange.forward(asCame(exchange.request!))
    this.exchange()
    // What waits in the relay leaves it as credit comes, and that brings new credit.
    for (let round = 0; round < 200; round++) {
      for (const end of [this.caller, this.app]) {
        while (end.hasSettings) end.acknowledge()
        end.creditConnection(0)
        for (const [id, stream] of end.streams) end.creditStream(id, stream.receive < 0 ? 50 - stream.receive : 50)
      }
      this.exchange()
    }
  }
}

function pick(end: WindowModel, choice: number): number | undefined {
  const ids = [...end.streams.keys()]
  return ids[choice % Math.max(1, ids.length)]
}

/** Honest ends never give cause for any other. */
const HONEST_ENDS: readonly (string | undefined)[] = [undefined, 'ERR_POLICY_NO_ALLOW', 'ERR_HTTP2_RESET', 'ERR_HTTP2_UPSTREAM_RESET']

interface StreamPair {
  readonly downstream: { readonly id: number }
  readonly upstream: { readonly id: number } | undefined
}

test('windows are kept to by all, and none of their bytes is lost or made', () => {
  fc.assert(
    fc.property(
      operations,
      fc.constantFrom(0, 100, 65_535, 200_000),
      fc.constantFrom(0, 100, 65_535, 200_000),
      (steps, callerWindow, appWindow) => {
        const conversation = new Conversation(callerWindow, appWindow)
        for (const step of steps) conversation.run(step)
        conversation.settle()
        const { caller, app } = conversation
        assert.equal(caller.connectionSend, app.connectionReceive, 'what the caller may send is what the app takes')
        assert.equal(app.connectionSend, caller.connectionReceive, 'what the app may send is what the caller takes')
        for (const { downstream, upstream } of conversation.begun as unknown as readonly StreamPair[]) {
          const near = caller.streams.get(downstream.id)
          const far = upstream === undefined ? undefined : app.streams.get(upstream.id)
          if (near === undefined || far === undefined) continue
          if (!near.sentEnd) assert.equal(near.send, far.receive, 'what the caller may send on a stream is what the app takes on it')
          if (!far.sentEnd) assert.equal(far.send, near.receive, 'what the app may send on a stream is what the caller takes on it')
        }
        // Both ends forget a stream at the same time, and what is left of their windows agrees.
        assert.equal(conversation.ended.length + caller.streams.size, conversation.begun.length)
        for (const id of app.streams.keys()) app.reset(id)
        conversation.exchange()
        for (const id of caller.streams.keys()) caller.reset(id)
        conversation.exchange()
        assert.equal(caller.connectionSend, app.connectionReceive, 'after the end of all streams, too')
        assert.equal(app.connectionSend, caller.connectionReceive)
        assert.equal(new Set(conversation.ended).size, conversation.begun.length)
        for (const { reason } of conversation.ended) assert.ok(HONEST_ENDS.includes(reason), `an end for ${reason}`)
      },
    ),
    { numRuns: 400 },
  )
})
