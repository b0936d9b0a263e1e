/** Takes the app's calls on loopback or a Unix socket. Entries of the document that share an address are one listener. */
import { createServer, type Socket } from 'node:net'
import { boundPort, listen } from '#base/sockets'
import { type Address, formatAddress } from '#base/units'
import type { OutboundConfig } from '#config/sidecar-config'
import type { Snapshot } from '#config/snapshot'
import type { ListenerMetrics } from '#telemetry/metrics'
import type { Surroundings } from './inbound-state.ts'
import { createOutboundLane } from './outbound-lane.ts'

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
  let connections = 0
  const lane = createOutboundLane({
    ...options,
    name,
    onClosed() {
      connections--
      metrics.connectionClosed()
    },
  })
  const server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: lane.opaque })
  await listen(server, options.listen, 'outbound[].listen')
  server.on('error', () => {})
  server.on('connection', (socket: Socket) => {
    if (connections >= first.limits.connections) {
      socket.destroy()
      return
    }
    connections++
    metrics.connectionOpened()
    lane.serve(socket)
  })

  return {
    name,
    port: boundPort(server),
    apply: (snapshot) => lane.apply(snapshot),
    tick: (now) => lane.tick(now),
    close() {
      server.close()
    },
    closePools: () => lane.close(),
  }
}
