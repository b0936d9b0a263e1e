/**
 * Accepts callers of a service: paced TLS handshakes, then the verdict on the peer's certificate before the first byte is read
 * (DESIGN §5). A refused handshake is closed, recorded and counted; an admitted one becomes a connection.
 */
import { createServer, type Socket } from 'node:net'
import { createServer as createTlsServer, type Server as TlsServer, type TLSSocket } from 'node:tls'
import type { ConnectionOrigin } from '#audit/event'
import type { ReasonCode } from '#base/reasons'
import { formatAddress } from '#base/units'
import type { InboundConfig, SidecarConfig } from '#config/sidecar-config'
import type { Snapshot } from '#config/snapshot'
import { verifyPeerSocket } from '#pki/peer-from-socket'
import { reloadServerContext, serverTlsOptions, type TlsSettings } from '#pki/tls-options'
import type { ListenerMetrics, PeerMetrics } from '#telemetry/metrics'
import { createAcceptQueue } from './accept-queue.ts'
import { boundPort, keyExchangeGroup, listen, plainAddress } from './sockets.ts'
import { serveHttp1 } from './http1-connection.ts'
import { InboundService } from './inbound-service.ts'
import type { InboundListenerState, Surroundings } from './inbound-state.ts'

export interface InboundListener {
  readonly name: string
  /** The port it is bound to. */
  readonly port: number
  /** Takes over certificates, bundles and policy for what comes from now on; live connections are the registry's. */
  apply(snapshot: Snapshot): void
  /** Accepts no more; live connections go on. */
  close(): void
}

export interface InboundOptions extends Surroundings {
  readonly config: InboundConfig
  /** Which of `snapshot.policies` is this listener's. */
  readonly index: number
  readonly sidecar: SidecarConfig
  readonly snapshot: Snapshot
  readonly metrics: ListenerMetrics
  readonly peerMetrics: (namespace: string | undefined, serviceAccount: string | undefined) => PeerMetrics
}

/** @throws PosternError ERR_LISTEN if the address cannot be had */
export async function openInboundListener(options: InboundOptions): Promise<InboundListener> {
  const { config, sidecar, clock, log, metrics } = options
  const name = formatAddress(config.listen)
  let snapshot = options.snapshot
  let connections = 0
  const tls: TlsSettings = { ...sidecar.tls, alpnProtocols: ['http/1.1'] }
  const tlsServer: TlsServer = createTlsServer({
    ...serverTlsOptions(snapshot.identity, snapshot.trust, tls),
    handshakeTimeout: config.timeouts.handshake,
    allowHalfOpen: true,
  })
  const queue = createAcceptQueue(
    { waiting: config.limits.connections, inFlight: config.limits.handshakes, perTurn: config.limits.handshakesPerTurn },
    (socket) => tlsServer.emit('connection', socket),
  )
  const server = createServer({ pauseOnConnect: true, allowHalfOpen: true, noDelay: true })
  await listen(server, config.listen, 'inbound[].listen')
  const state = listenerState(options, name, boundPort(server), () => {
    connections--
    metrics.connectionClosed()
  })

  server.on('connection', (socket: Socket) => {
    socket.on('error', () => {})
    if (connections + queue.waiting + queue.inFlight >= config.limits.connections || !queue.push(socket)) {
      refuseHandshake(socket, 'ERR_LIMIT_CONNECTIONS', '')
      socket.destroy()
    }
  })
  server.on('drop', () => metrics.handshake('refused', 'ERR_LIMIT_CONNECTIONS'))
  // Later errors are of single accepts, as when no file descriptor is left: the listener goes on.
  server.on('error', (error) => metrics.handshake('refused', error.message === '' ? 'ERR_TLS_HANDSHAKE' : 'ERR_LIMIT_CONNECTIONS'))

  tlsServer.on('tlsClientError', (error: NodeJS.ErrnoException, socket) => {
    queue.release()
    refuseHandshake(socket, handshakeReason(error), error.code ?? error.message)
    socket.destroy()
  })
  tlsServer.on('secureConnection', (socket) => {
    queue.release()
    admit(socket)
  })

  function admit(socket: TLSSocket): void {
    const verdict = verifyPeerSocket(socket, snapshot.trust, clock.now())
    if (!verdict.ok) {
      refuseHandshake(socket, verdict.reason, verdict.detail, verdict.presented)
      socket.destroy()
      return
    }
    connections++
    metrics.connectionOpened()
    metrics.handshake('accepted', undefined)
    const origin: ConnectionOrigin = {
      listener: name,
      direction: 'inbound',
      protocol: 'http1',
      peer: verdict.value,
      sourceIp: plainAddress(socket.remoteAddress),
      tls: { version: socket.getProtocol() ?? '', group: keyExchangeGroup(socket) },
    }
    const { facts, id } = snapshot.identity
    const peer = options.peerMetrics(verdict.value.id.namespace, verdict.value.id.serviceAccount)
    serveHttp1(socket, new InboundService(state, origin, peer, id.uri, facts.notAfter))
  }

  function refuseHandshake(
    socket: Socket,
    reason: ReasonCode,
    detail: string,
    presented?: { readonly id: string; readonly serial: string; readonly notAfter: number },
  ): void {
    metrics.handshake('refused', reason)
    log.handshake({ listener: name, time: clock.now(), sourceIp: plainAddress(socket.remoteAddress), reason, detail, presented })
  }

  return {
    name,
    port: state.port,
    apply(next) {
      if (next.identity !== snapshot.identity || next.trust !== snapshot.trust) {
        reloadServerContext(tlsServer, serverTlsOptions(next.identity, next.trust, tls))
      }
      snapshot = next
      const policy = next.policies[options.index]
      if (policy !== undefined) state.policy = policy
    },
    close() {
      queue.close()
      server.close()
    },
  }
}

function listenerState(options: InboundOptions, name: string, port: number, connectionClosed: () => void): InboundListenerState {
  const { config, sidecar, snapshot } = options
  const policy = snapshot.policies[options.index]
  if (policy === undefined) throw new TypeError(`the snapshot has no policy for listener ${name}`)
  return {
    ...options,
    name,
    port,
    policy,
    pathRules: config.paths,
    keepOverrides: config.paths.overrideHeaders,
    headLimits: { bytes: config.limits.headBytes, headers: config.limits.headers },
    forwarders: new Set(sidecar.forwarders.map((id) => id.uri)),
    appHost: config.app.kind === 'unix' ? 'localhost' : formatAddress(config.app),
    connectionClosed,
  }
}

function handshakeReason(error: NodeJS.ErrnoException): ReasonCode {
  if (error.code === 'ERR_TLS_HANDSHAKE_TIMEOUT') return 'ERR_TLS_HANDSHAKE_TIMEOUT'
  return error.code === 'ERR_SSL_NO_APPLICATION_PROTOCOL' ? 'ERR_TLS_ALPN' : 'ERR_TLS_HANDSHAKE'
}
