/** A relay over links without sockets, spoken to in frames by its caller and by each server; what it says to each comes back as lines. */
import { createLinkedRelay } from '#wire/http2/relay'
import type { Http2CallerHandler, LinkedRelay } from '#wire/http2/relay-contract'
import { createHttp2Link, type Http2Link } from '#wire/http2/relay-link'
import { createTestDecoder, describeFrames, PREFACE, settings, settingsAck, takeAll } from './http2-frames.ts'
import { asCame, type TestExchange, testRelayOptions, testResources } from './http2-relay.ts'

export interface MemoryLink {
  readonly link: Http2Link<unknown>
  /** Frames of the server; returns what was said to it since. */
  server(...frames: readonly Buffer[]): string[]
  readonly toServer: () => string[]
}

export interface LinkedMemory {
  readonly relay: LinkedRelay<unknown>
  readonly links: readonly MemoryLink[]
  readonly exchanges: TestExchange[]
  readonly ended: TestExchange[]
  readonly events: string[]
  /** Frames of the caller; returns what was said to it since. */
  caller(...frames: readonly Buffer[]): string[]
  readonly toCaller: () => string[]
}

function openLink(index: number, events: string[], serverSettings: Buffer): MemoryLink {
  const link = createHttp2Link<unknown>(
    { resources: testResources, headBytes: 65_536 },
    {
      onReady: () => void events.push(`ready ${index}`),
      onRoom: () => undefined,
      onGoaway: () => void events.push(`goaway ${index}`),
      onFault: ({ reason }) => void events.push(`fault ${index} ${reason}`),
      onOutput: () => undefined,
    },
  )
  const table = createTestDecoder()
  const toServer = (): string[] =>
    describeFrames(
      takeAll(() => link.take()),
      table,
    )
  // The preface, and our settings.
  takeAll(() => link.take())
  link.receive(Buffer.concat([serverSettings, settingsAck()]), 0)
  toServer()
  return {
    link,
    toServer,
    server(...frames) {
      link.receive(Buffer.concat(frames), 0)
      return toServer()
    },
  }
}

/** Two links. Requests are forwarded to the first unless the handler says otherwise. */
export function linkedInMemory(
  handler: (memory: LinkedMemory) => Partial<Http2CallerHandler<unknown>> = () => ({}),
  serverSettings = settings(),
): LinkedMemory {
  const events: string[] = []
  const exchanges: TestExchange[] = []
  const ended: TestExchange[] = []
  const links = [0, 1].map((index) => openLink(index, events, serverSettings))
  let own: Partial<Http2CallerHandler<unknown>> = {}
  const relay = createLinkedRelay<unknown>(testRelayOptions, {
    onRequest(exchange) {
      exchanges.push(exchange)
      exchange.requestId = 'id'
      if (own.onRequest !== undefined) return own.onRequest(exchange)
      exchange.forward(asCame(exchange.request!), links[0]!.link)
    },
    onBadRequest: (_, { reason }) => void events.push(`bad request ${reason}`),
    onStreamRefused: ({ reason }) => void events.push(`refused ${reason}`),
    onFailure(exchange, reason, detail) {
      events.push(`failure ${reason}`)
      if (own.onFailure === undefined) exchange.refuse({ status: 502 }, reason, detail)
      else own.onFailure(exchange, reason, detail)
    },
    onUnprocessed(exchange, reason, detail) {
      events.push(`unprocessed ${reason}`)
      own.onUnprocessed?.(exchange, reason, detail)
    },
    onEnd: (exchange) => void ended.push(exchange),
    onDownstreamFault: ({ reason }) => void events.push(`downstream ${reason}`),
    onIdle: () => void events.push('idle'),
  })
  const table = createTestDecoder()
  const toCaller = (): string[] =>
    describeFrames(
      takeAll(() => relay.takeDownstream()),
      table,
    )
  const memory: LinkedMemory = {
    relay,
    links,
    exchanges,
    ended,
    events,
    toCaller,
    caller(...frames) {
      relay.receiveDownstream(Buffer.concat(frames), 0)
      return toCaller()
    },
  }
  own = handler(memory)
  relay.receiveDownstream(Buffer.concat([PREFACE, settings(), settingsAck()]), 0)
  toCaller()
  events.length = 0
  return memory
}
