/** How the app's calls reach one destination, or several told apart by authority: pools or dialer, whatever listens in front of them. */
import type { Socket } from 'node:net'
import type { ConnectionOrigin } from '#audit/event'
import { plainAddress } from '#base/sockets'
import type { OutboundConfig } from '#config/sidecar-config'
import type { Snapshot } from '#config/snapshot'
import type { ListenerMetrics } from '#telemetry/metrics'
import { createHttp2Resources } from '#wire/http2/resources'
import { createFlushTurn } from './flush-turn.ts'
import { serveHttp1 } from './http1-connection.ts'
import { Http2Outbound } from './http2-outbound.ts'
import { createHttp2Pool } from './http2-pool.ts'
import type { Surroundings } from './inbound-state.ts'
import { createOutboundDialer } from './outbound-dial.ts'
import { createOutboundPool } from './outbound-pool.ts'
import { UndecidedConnection } from './outbound-preface.ts'
import { type OutboundListenerState, type OutboundRoute, OutboundService } from './outbound-service.ts'
import { TcpOutbound } from './tcp-outbound.ts'

export interface OutboundLane {
  /** Takes a connection of the app, which must be paused if the lane is opaque. */
  serve(socket: Socket): void
  /** Nothing of a connection is read before there is a server: it must be accepted paused. */
  readonly opaque: boolean
  apply(snapshot: Snapshot): void
  tick(now: number): void
  /** Ends the pooled connections. */
  close(): void
}

export interface OutboundLaneOptions extends Surroundings {
  /** Of the listener, for records and metrics. */
  readonly name: string
  /** At least one; what bounds a listener is the same in all. */
  readonly entries: readonly OutboundConfig[]
  readonly snapshot: Snapshot
  readonly metrics: ListenerMetrics
  readonly random: () => number
  /** A connection that was served has ended. */
  readonly onClosed: () => void
}

export function createOutboundLane(options: OutboundLaneOptions): OutboundLane {
  const { name, entries } = options
  const [first] = entries
  if (first === undefined) throw new TypeError('an outbound lane needs an entry')
  const dialer = first.protocol === 'tcp' ? createOutboundDialer({ ...options, config: first, alpnProtocols: undefined }) : undefined
  const { protocol } = first
  const resources = createHttp2Resources()
  const turn = createFlushTurn()
  const routes = new Map<string, OutboundRoute>()
  for (const config of dialer === undefined ? entries : []) {
    const route: OutboundRoute = {
      config,
      http1: protocol === 'http2' ? undefined : createOutboundPool({ ...options, config }),
      http2: protocol === 'http1' ? undefined : createHttp2Pool({ ...options, config, resources, turn }),
    }
    for (const host of config.hosts.length === 0 ? [''] : config.hosts) routes.set(host, route)
  }
  const pools = [...new Set(routes.values())].flatMap(({ http1, http2 }) => [http1, http2].filter((pool) => pool !== undefined))
  const state: OutboundListenerState = {
    ...options,
    name,
    limits: { bytes: first.limits.headBytes, headers: first.limits.headers },
    streams: first.limits.streams,
    resources,
    turn,
    timeouts: first.timeouts,
    routes,
    connectionClosed: options.onClosed,
  }
  function serveConnection(socket: Socket): void {
    const sourceIp = plainAddress(socket.remoteAddress)
    if (dialer !== undefined) options.registry.add(new TcpOutbound(socket, state, dialer, sourceIp))
    else if (protocol === 'http1' || protocol === 'http2') serve(socket, protocol, sourceIp)
    else options.registry.add(new UndecidedConnection(socket, state, sourceIp, (found) => serve(socket, found, sourceIp)))
  }

  function serve(socket: Socket, spoken: 'http1' | 'http2', sourceIp: string): void {
    if (spoken === 'http2') {
      options.registry.add(new Http2Outbound(socket, state, sourceIp))
      return
    }
    const origin: ConnectionOrigin = {
      listener: name,
      direction: 'outbound',
      protocol: 'http1',
      peer: undefined,
      sourceIp,
      tls: undefined,
    }
    serveHttp1(socket, new OutboundService(state, origin))
  }

  return {
    serve: serveConnection,
    opaque: dialer !== undefined,
    apply(snapshot) {
      dialer?.apply(snapshot)
      for (const pool of pools) pool.apply(snapshot)
    },
    tick(now) {
      for (const pool of pools) pool.tick(now)
    },
    close() {
      for (const pool of pools) pool.close()
    },
  }
}
