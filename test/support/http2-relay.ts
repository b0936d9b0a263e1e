/** A relay between real sockets, as the proxy would drive it: one connection of a caller, one of the app. */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { createHttp2Relay } from '#wire/http2/relay'
import type { Http2Relay, Http2RelayHandler, Http2RelayOptions } from '#wire/http2/relay-contract'
import type { OutgoingRequest } from '#wire/http2/client-codec'
import { createHttp2Resources } from '#wire/http2/resources'
import type { Http2Exchange } from '#wire/http2/relay-exchange'
import type { Http2Request } from '#wire/http2/request-fields'

export type TestExchange = Http2Exchange<unknown>

export const testResources = createHttp2Resources()

export const testRelayOptions: Http2RelayOptions = {
  resources: testResources,
  limits: { bytes: 65_536, headers: 100, streams: 128 },
  keepTrailer: (name) => !name.startsWith('x-postern'),
}

/** The request as it came, for the app. */
export function asCame(request: Http2Request): OutgoingRequest {
  const { method, authority, target, headers, teTrailers, sensitive } = request
  return { method, scheme: 'http', authority, path: target, headers, ours: undefined, teTrailers, sensitive }
}

/** Forwards all, answers failures with 502, and notes what ended. */
export function forwardAll(ended: TestExchange[] = []): Http2RelayHandler<unknown> {
  return {
    onRequest(exchange) {
      exchange.requestId = 'test-id'
      exchange.forward(asCame(exchange.request!))
    },
    onBadRequest: () => undefined,
    onStreamRefused: () => undefined,
    onFailure: (exchange, reason, detail) => exchange.refuse({ status: 502 }, reason, detail),
    onEnd: (exchange) => void ended.push(exchange),
    onDownstreamFault: () => undefined,
    onUpstreamFault: () => undefined,
    onIdle: () => undefined,
  }
}

export interface RelayServer extends AsyncDisposable {
  readonly port: number
  /** The relays of connections so far. */
  readonly relays: Http2Relay<unknown>[]
}

export interface RelayServerOptions {
  readonly relay?: Partial<Http2RelayOptions>
  readonly handler?: (ended: TestExchange[]) => Partial<Http2RelayHandler<unknown>>
  readonly ended?: TestExchange[]
}

/** Listens without TLS and relays each connection to the app's port. */
export async function startRelay(appPort: number, { relay: options, handler, ended = [] }: RelayServerOptions = {}): Promise<RelayServer> {
  const relays: Http2Relay<unknown>[] = []
  const sockets = new Set<Socket>()
  const server = createServer({ noDelay: true }, (downstream) => {
    const upstream = connect({ port: appPort, host: '127.0.0.1', noDelay: true })
    const base = { ...forwardAll(ended), ...handler?.(ended) }
    const relay = createHttp2Relay<unknown>(
      { ...testRelayOptions, ...options },
      {
        ...base,
        onDownstreamFault(fault) {
          base.onDownstreamFault(fault)
          flush()
          downstream.end()
          upstream.destroy()
        },
        onUpstreamFault(fault) {
          base.onUpstreamFault(fault)
          flush()
          upstream.end()
        },
        onIdle() {
          base.onIdle()
          flush()
          downstream.end()
          upstream.end()
        },
      },
    )
    relays.push(relay)
    for (const socket of [downstream, upstream]) sockets.add(socket.once('close', () => sockets.delete(socket)))
    function flush(): void {
      for (let piece = relay.takeDownstream(); piece !== undefined; piece = relay.takeDownstream()) {
        if (downstream.writable && !downstream.write(piece)) upstream.pause()
      }
      for (let piece = relay.takeUpstream(); piece !== undefined; piece = relay.takeUpstream()) {
        if (upstream.writable && !upstream.write(piece)) downstream.pause()
      }
    }
    downstream.on('data', (chunk: Buffer) => {
      relay.receiveDownstream(chunk, performance.now())
      flush()
    })
    upstream.on('data', (chunk: Buffer) => {
      relay.receiveUpstream(chunk, performance.now())
      flush()
    })
    downstream.on('drain', () => upstream.resume())
    upstream.on('drain', () => downstream.resume())
    downstream.on('error', () => undefined)
    upstream.on('error', () => undefined)
    downstream.on('close', () => {
      relay.downstreamClosed()
      flush()
      upstream.destroy()
    })
    upstream.on('close', () => {
      relay.upstreamClosed('ERR_UPSTREAM_CLOSED', '')
      flush()
    })
    flush()
    Object.assign(relay, { flush })
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    relays,
    async [Symbol.asyncDispose]() {
      server.close()
      for (const socket of sockets) socket.destroy()
      await once(server, 'close')
    },
  }
}

/** Writes what a relay has to say after something was done to it outside of its sockets' events. */
export function flushRelay(relay: Http2Relay<unknown>): void {
  ;(relay as Http2Relay<unknown> & { readonly flush: () => void }).flush()
}
