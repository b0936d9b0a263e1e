/** A relay without sockets, spoken to in frames by both sides; what it says to each comes back as lines. */
import { createHttp2Relay } from '#wire/http2/relay'
import type { Http2Relay, Http2RelayHandler, Http2RelayOptions } from '#wire/http2/relay-contract'
import {
  createTestDecoder,
  describeFrames,
  type Fields,
  headers,
  literals,
  PREFACE,
  settings,
  settingsAck,
  takeAll,
} from './http2-frames.ts'
import { asCame, type TestExchange, testRelayOptions } from './http2-relay.ts'

export interface MemoryRelay {
  readonly relay: Http2Relay<unknown>
  /** Exchanges in the order they came, those that ended, and everything else that was reported. */
  readonly exchanges: TestExchange[]
  readonly ended: TestExchange[]
  readonly events: string[]
  /** Frames of the caller; returns what was said to it since. */
  caller(...frames: readonly Buffer[]): string[]
  /** Frames of the app; returns what was said to it since. */
  app(...frames: readonly Buffer[]): string[]
  readonly toCaller: () => string[]
  readonly toApp: () => string[]
  /** Ms; advances the clock that floods are measured by. */
  now: number
}

export interface MemoryRelayOptions {
  readonly handler?: Partial<Http2RelayHandler<unknown>>
  readonly relay?: Partial<Http2RelayOptions>
  /** False: neither prefaces nor settings were exchanged yet. True unless said. */
  readonly begun?: boolean
  readonly callerSettings?: Buffer
  readonly appSettings?: Buffer
}

/** Forwards every request as it came unless `onRequest` is given. */
export function relayInMemory({
  handler,
  relay: options,
  begun = true,
  callerSettings,
  appSettings,
}: MemoryRelayOptions = {}): MemoryRelay {
  const exchanges: TestExchange[] = []
  const ended: TestExchange[] = []
  const events: string[] = []
  const relay = createHttp2Relay<unknown>(
    { ...testRelayOptions, ...options },
    {
      onRequest(exchange) {
        exchanges.push(exchange)
        if (handler?.onRequest !== undefined) return handler.onRequest(exchange)
        exchange.requestId = 'id'
        exchange.forward(asCame(exchange.request!))
      },
      onBadRequest(exchange, refusal) {
        events.push(`bad request ${refusal.reason}`)
        handler?.onBadRequest?.(exchange, refusal)
      },
      onStreamRefused: ({ reason }) => void events.push(`refused ${reason}`),
      onFailure(exchange, reason, detail) {
        events.push(`failure ${reason}`)
        handler?.onFailure?.(exchange, reason, detail)
      },
      onEnd: (exchange) => void ended.push(exchange),
      onDownstreamFault: ({ reason }) => void events.push(`downstream ${reason}`),
      onUpstreamFault: ({ reason }) => void events.push(`upstream ${reason}`),
      onIdle: () => void events.push('idle'),
    },
  )
  const callerTable = createTestDecoder()
  const appTable = createTestDecoder()
  const toCaller = (): string[] =>
    describeFrames(
      takeAll(() => relay.takeDownstream()),
      callerTable,
    )
  let prefaced = false
  const toApp = (): string[] => {
    const bytes = takeAll(() => relay.takeUpstream())
    if (prefaced) return describeFrames(bytes, appTable)
    prefaced = true
    if (!bytes.subarray(0, PREFACE.length).equals(PREFACE)) throw new Error('the upstream was not greeted')
    return describeFrames(bytes.subarray(PREFACE.length), appTable)
  }
  const memory: MemoryRelay = {
    relay,
    exchanges,
    ended,
    events,
    toCaller,
    toApp,
    now: 0,
    caller(...frames) {
      relay.receiveDownstream(Buffer.concat(frames), memory.now)
      return toCaller()
    },
    app(...frames) {
      relay.receiveUpstream(Buffer.concat(frames), memory.now)
      return toApp()
    },
  }
  if (begun) {
    relay.receiveDownstream(Buffer.concat([PREFACE, callerSettings ?? settings(), settingsAck()]), 0)
    relay.receiveUpstream(Buffer.concat([appSettings ?? settings(), settingsAck()]), 0)
    // A second acknowledgement, where settings were passed on.
    toCaller()
    toApp()
  }
  return memory
}

export const requestFields: Fields = [
  [':method', 'POST'],
  [':scheme', 'https'],
  [':authority', 'cart.shop'],
  [':path', '/a'],
]

export const grpcFields: Fields = [...requestFields, ['content-type', 'application/grpc'], ['te', 'trailers']]

/** HEADERS of a request. */
export function request(stream: number, end = true, fields: Fields = requestFields): Buffer {
  return headers(stream, literals(fields), end)
}

/** HEADERS of a response. */
export function response(stream: number, end = true, fields: Fields = [[':status', '200']]): Buffer {
  return headers(stream, literals(fields), end)
}
