/**
 * Takes the connections that the kernel redirects to us (`postern redirect`): a service of the mesh is called by mutual TLS at the same address
 * and port, and must answer as one of its own; everything else passes through as it was, or is refused, as the document says.
 */
import { createServer, type Server, type Socket } from 'node:net'
import { boundPort, listenOnEach, plainAddress } from '#base/sockets'
import { formatAddress } from '#base/units'
import type { RedirectConfig } from '#config/mesh-document'
import { DEFAULT_OUTBOUND, type OutboundConfig } from '#config/sidecar-config'
import { createRequestId } from '#http/request-id'
import { parseSpiffeId } from '#identity/spiffe-id'
import type { MeshService, ServiceTable } from '#mesh-agent/service-table'
import type { Surroundings } from './inbound-state.ts'
import type { OriginalDestination, ReadOriginalDestination } from './original-destination.ts'
import { createOutboundLane, type OutboundLane, type OutboundLaneOptions } from './outbound-lane.ts'
import type { OutboundListener } from './outbound-listener.ts'
import { PassThrough } from './pass-through.ts'
import { exchangeOf, recordExchange } from './record.ts'

export interface RedirectOptions extends Surroundings, Pick<OutboundLaneOptions, 'snapshot' | 'metrics' | 'random'> {
  readonly config: RedirectConfig
  /** As it is now. */
  readonly services: () => ServiceTable
  readonly readDestination: ReadOriginalDestination
}

/** A lane and what it was made for: another table may say otherwise. */
interface Open {
  readonly service: MeshService
  readonly lane: OutboundLane
  connections: number
  usedAt: number
}

/** Lanes that nobody used for so long are closed, ms. */
const IDLE = 60_000

/** @throws PosternError ERR_LISTEN if the address cannot be had */
export async function openRedirectListener(options: RedirectOptions): Promise<OutboundListener> {
  const { config, services, readDestination, metrics, clock } = options
  const name = formatAddress(config.listen)
  const lanes = new Map<string, Open>()
  let { snapshot } = options
  let connections = 0

  function closed(): void {
    connections--
    metrics.connectionClosed()
  }

  function laneTo(to: OriginalDestination, service: MeshService): Open {
    const key = `${to.host} ${to.port}`
    let open = lanes.get(key)
    // Compared by content: a new table has new objects for services that are as they were.
    if (open !== undefined && !isSame(open.service, service)) {
      // What runs on it goes on; what comes is expected of somebody else.
      retire(key, open)
      open = undefined
    }
    if (open === undefined) {
      const made: Open = {
        service,
        connections: 0,
        usedAt: clock.now(),
        lane: createOutboundLane({
          ...options,
          snapshot,
          name,
          entries: [entryFor(to, service)],
          onClosed() {
            made.connections--
            made.usedAt = clock.now()
            if (lanes.get(key) !== made && made.connections === 0) made.lane.close()
            closed()
          },
        }),
      }
      open = made
      lanes.set(key, made)
    }
    return open
  }

  function retire(key: string, open: Open): void {
    lanes.delete(key)
    if (open.connections === 0) open.lane.close()
  }

  function refuse(socket: Socket, host: string, detail: string): void {
    const startedAt = clock.now()
    recordExchange(
      options,
      {
        listener: name,
        direction: 'outbound',
        protocol: 'tcp',
        peer: undefined,
        sourceIp: plainAddress(socket.remoteAddress),
        tls: undefined,
      },
      exchangeOf({
        startedAt,
        startedMono: clock.monotonic(),
        requestId: createRequestId(startedAt, options.randomHex),
        host,
        decision: undefined,
        reason: 'ERR_OUTBOUND_OUTSIDE',
        detail,
        bytesIn: 0,
        bytesOut: 0,
      }),
    )
    socket.resetAndDestroy()
  }

  function take(socket: Socket): void {
    socket.on('error', () => {})
    const to = readDestination(socket)
    // Who connects here by itself would be sent in a circle.
    if (to === undefined) return refuse(socket, '', 'it was not redirected')
    const service = services().find(to.host, to.port)
    const host = to.host.includes(':') ? `[${to.host}]:${to.port}` : `${to.host}:${to.port}`
    if (service === undefined && config.passThrough === 'refuse') return refuse(socket, host, '')
    if (connections >= DEFAULT_OUTBOUND.limits.connections) return void socket.destroy()
    connections++
    metrics.connectionOpened()
    if (service === undefined) {
      const { halfClosed } = DEFAULT_OUTBOUND.timeouts
      options.registry.add(new PassThrough(socket, { surroundings: options, listener: name, to, halfClosed, onClosed: closed }))
      return
    }
    const open = laneTo(to, service)
    open.connections++
    open.lane.serve(socket)
    if (!open.lane.opaque) socket.resume()
  }

  // The kernel redirects calls over IPv4 to 127.0.0.1, and those over IPv6 to ::1: `localhost` is both.
  const make = (): Server => {
    const server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true }, take)
    server.on('error', () => {})
    return server
  }
  const servers = await listenOnEach(make, config.listen, 'spec.mesh.redirect.listen')

  return {
    name,
    port: boundPort(servers[0]),
    apply(next) {
      snapshot = next
      for (const { lane } of lanes.values()) lane.apply(next)
    },
    tick(now) {
      for (const [key, open] of lanes) {
        if (open.connections === 0 && now - open.usedAt > IDLE) retire(key, open)
        else open.lane.tick(now)
      }
    },
    close() {
      for (const server of servers) server.close()
    },
    closePools() {
      for (const { lane } of lanes.values()) lane.close()
    },
  }
}

function entryFor(to: OriginalDestination, { peers, protocol }: MeshService): OutboundConfig {
  return {
    ...DEFAULT_OUTBOUND,
    listen: { kind: 'tcp', host: '127.0.0.1', port: 0 },
    hosts: [],
    to: [{ kind: 'tcp', host: to.host, port: to.port }],
    peer: peers.flatMap((peer) => {
      const parsed = parseSpiffeId(peer)
      return parsed.ok ? [parsed.value] : []
    }),
    // HTTP services are called in whatever version the app speaks.
    protocol: protocol === 'tcp' ? 'tcp' : 'both',
  }
}

function isSame(one: MeshService, other: MeshService): boolean {
  return one === other || (one.protocol === other.protocol && one.peers.join() === other.peers.join())
}
