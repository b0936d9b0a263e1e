/** Takes the app's calls on loopback or a Unix socket. Entries of the document that share an address are one listener. */
import { createServer, type Socket } from 'node:net'
import type { ConnectionOrigin } from '#audit/event'
import { type Address, formatAddress } from '#base/units'
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
import { boundPort, listen, plainAddress } from '#base/sockets'
import { TcpOutbound } from './tcp-outbound.ts'

export interface OutboundListener {
  readonly name: string
  /** 0 for Unix sockets. */
  readonly port: number
  apply(snapshot: Snapshot): void
  tick(now: number): void
  /** Accepts no more; live connections go on. */
  close(): void
  /** Ends the pooled connections. */
  closePools(): void
}

export interface OutboundOptions extends Surroundings {
  readonly listen: Address
  /** At least one; all share `listen`. */
  readonly entries: readonly OutboundConfig[]
  readonly snapshot: Snapshot
  readonly metrics: ListenerMetrics
  readonly random: () => number
}

/** Entries grouped by the address they share, in the order of the document. */
export function groupByListen(entries: readonly OutboundConfig[]): OutboundConfig[][] {
  return [...Map.groupBy(entries, (entry) => formatAddress(entry.listen)).values()]
}

/** @throws PosternError ERR_LISTEN if the address cannot be had */
export async function openOutboundListener(options: OutboundOptions): Promise<OutboundListener> {
  const { entries, metrics } = options
  const [first] = entries
  if (first === undefined) throw new TypeError('an outbound listener needs an entry')
  const name = formatAddress(options.listen)
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
  let connections = 0
  const state: OutboundListenerState = {
    ...options,
    name,
    limits: { bytes: first.limits.headBytes, headers: first.limits.headers },
    streams: first.limits.streams,
    resources,
    turn,
    timeouts: first.timeouts,
    routes,
    connectionClosed() {
      connections--
      metrics.connectionClosed()
    },
  }
  // An opaque connection is read once there is somebody to read it to.
  const server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: dialer !== undefined })
  await listen(server, options.listen, 'outbound[].listen')
  server.on('error', () => {})
  server.on('connection', (socket: Socket) => {
    if (connections >= first.limits.connections) {
      socket.destroy()
      return
    }
    connections++
    metrics.connectionOpened()
    const sourceIp = plainAddress(socket.remoteAddress)
    if (dialer !== undefined) {
      options.registry.add(new TcpOutbound(socket, state, dialer, sourceIp))
      return
    }
    if (protocol === 'http1' || protocol === 'http2') serve(socket, protocol, sourceIp)
    else options.registry.add(new UndecidedConnection(socket, state, sourceIp, (found) => serve(socket, found, sourceIp)))
  })

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
    name,
    port: boundPort(server),
    apply(snapshot) {
      dialer?.apply(snapshot)
      for (const pool of pools) pool.apply(snapshot)
    },
    tick(now) {
      for (const pool of pools) pool.tick(now)
    },
    close() {
      server.close()
    },
    closePools() {
      for (const pool of pools) pool.close()
    },
  }
}
