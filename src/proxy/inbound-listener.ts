/**
 * Accepts callers of a service: paced TLS handshakes, then the verdict on the peer's certificate before the first byte is read
 * (DESIGN §5). A refused handshake is closed, recorded and counted; an admitted one becomes a connection.
 */
import { createServer, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer, type Server as TlsServer, type TLSSocket } from 'node:tls'
import type { ConnectionOrigin } from '#audit/event'
import type { ReasonCode } from '#base/reasons'
import { formatAddress } from '#base/units'
import type { Protocol } from '#config/sidecar-config'
import type { Snapshot } from '#config/snapshot'
import { createRequestId } from '#http/request-id'
import type { Peer } from '#identity/peer'
import { verifyPeerSocket } from '#pki/peer-from-socket'
import { reloadServerContext, serverTlsOptions, type TlsChoices } from '#pki/tls-options'
import type { ListenerMetrics, PeerMetrics } from '#telemetry/metrics'
import { createAcceptQueue } from '#base/accept-queue'
import { serveTcp } from './tcp-inbound.ts'
import { boundPort, keyExchangeGroup, listenOnEach, plainAddress } from '#base/sockets'
import { serveHttp1 } from './http1-connection.ts'
import { lapsedLease } from './identity-lease.ts'
import { serveHttp2 } from './http2-inbound.ts'
import { InboundService } from './inbound-service.ts'
import { createBacklog } from './backlog.ts'
import { createFloodPenalties } from './flood-penalties.ts'
import { createPeerUsage } from './peer-usage.ts'
import { type PlaintextCallers, tellApart } from './plaintext.ts'
import { createRateLimiter } from './rate-limiter.ts'
import type { InboundListenerState, InboundSettings, Surroundings } from './inbound-state.ts'

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
  /** Which of `config.inbound` and of `policies` of a snapshot is this listener's. */
  readonly index: number
  readonly snapshot: Snapshot
  readonly metrics: ListenerMetrics
  /** Who came without TLS. */
  readonly plaintext: PlaintextCallers
  readonly peerMetrics: (namespace: string | undefined, serviceAccount: string | undefined) => PeerMetrics
}

const ALPN: Readonly<Record<Exclude<Protocol, 'tcp'>, readonly string[]>> = { http1: ['http/1.1'], http2: ['h2'], both: ['h2', 'http/1.1'] }

/** @throws PosternError ERR_LISTEN if the address cannot be had */
export async function openInboundListener(options: InboundOptions): Promise<InboundListener> {
  const { clock, log, metrics } = options
  let snapshot = options.snapshot
  const { config } = settingsOf(snapshot, options.index)
  const sidecar = snapshot.config
  const name = formatAddress(config.listen)
  let connections = 0
  /** Connections that have not shown yet whether they speak TLS. */
  let undecided = 0
  /** Monotonic ms of the last reload of the TLS context. */
  let contextSince = -Infinity
  const tls: TlsChoices = { ...sidecar.tls, ...(config.protocol === 'tcp' ? {} : { alpnProtocols: ALPN[config.protocol] }) }
  const tlsServer: TlsServer = createTlsServer({
    ...serverTlsOptions(snapshot.identity, snapshot.trust, tls),
    handshakeTimeout: config.timeouts.handshake,
  })
  const { limits } = config
  const penalties = createFloodPenalties(() => clock.monotonic())
  const queue = createAcceptQueue(
    {
      waiting: limits.connections,
      waitingPerSource: limits.connectionsPerPeer,
      inFlight: limits.handshakes,
      inFlightPerSource: limits.handshakesPerSource,
      perTurn: limits.handshakesPerTurn,
      restOf: (source) => penalties.restOf(plainAddress(source)),
    },
    (socket) => tlsServer.emit('connection', socket),
  )
  /** Undefined until every address is listened on: who comes before that is not served. */
  let serve: ((socket: Socket) => void) | undefined
  const make = (): Server =>
    createServer({ pauseOnConnect: true, noDelay: true }, (socket) => {
      socket.on('error', () => {})
      if (serve === undefined) socket.destroy()
      else serve(socket)
    })
  const servers = await listenOnEach(make, config.listen, 'inbound[].listen')
  const state: InboundListenerState = {
    ...options,
    name,
    port: config.port ?? boundPort(servers[0]),
    settings: settingsOf(snapshot, options.index),
    limiter: createRateLimiter(),
    appHost: config.app.kind === 'unix' ? 'localhost' : formatAddress(config.app),
    peers: createPeerUsage(),
    penalties,
    backlog: createBacklog(clock),
    connectionClosed({ peer }) {
      connections--
      metrics.connectionClosed()
      if (peer !== undefined) state.peers.connectionClosed(peer.id.uri)
    },
  }

  serve = (socket) => {
    // Before the handshake: a certificate that has ended is shown to nobody.
    const lapsed = lapsedLease(snapshot, clock.now())
    if (lapsed !== undefined) {
      refuseHandshake(socket, lapsed.reason, lapsed.detail)
      socket.destroy()
      return
    }
    if (connections + undecided + queue.waiting + queue.inFlight >= state.settings.config.limits.connections) return turnAway(socket)
    if (!state.settings.config.plaintext.allow) return begin(socket)
    undecided++
    tellApart(
      socket,
      config.timeouts.handshake,
      (what) => {
        undecided--
        if (what === 'tls') begin(socket)
        else admitPlaintext(socket, what)
      },
      () => {
        undecided--
        refuseHandshake(socket, 'ERR_TLS_HANDSHAKE_TIMEOUT', 'nothing came')
        socket.destroy()
      },
    )
  }

  function begin(socket: Socket): void {
    if (!queue.push(socket)) turnAway(socket)
  }

  function turnAway(socket: Socket): void {
    refuseHandshake(socket, 'ERR_LIMIT_CONNECTIONS', '')
    socket.destroy()
  }

  /** A caller without TLS, where the listener takes such: nobody that policy knows. */
  function admitPlaintext(socket: Socket, protocol: 'http1' | 'http2'): void {
    const spoken = config.protocol === 'http2' ? 'http2' : config.protocol === 'http1' ? 'http1' : protocol
    const sourceIp = plainAddress(socket.remoteAddress)
    const penalty = penalties.remaining('', sourceIp)
    if (penalty > 0) {
      refuseHandshake(socket, 'ERR_LIMIT_PEER_FLOODED', `for ${Math.ceil(penalty)} ms more`)
      socket.destroy()
      return
    }
    if (state.settings.config.plaintext.report) options.plaintext.note(name, sourceIp, clock.now())
    socket.allowHalfOpen = true
    connections++
    metrics.connectionOpened()
    const origin: ConnectionOrigin = { listener: name, direction: 'inbound', protocol: spoken, peer: undefined, sourceIp, tls: undefined }
    const peer = options.peerMetrics(undefined, undefined)
    const { uri } = snapshot.identity.id
    if (spoken === 'http2') serveHttp2(socket, state, origin, peer, uri, Infinity)
    else serveHttp1(socket, new InboundService(state, origin, peer, uri, Infinity))
    socket.resume()
  }

  for (const server of servers) {
    server.on('drop', () => metrics.handshake('refused', 'ERR_LIMIT_CONNECTIONS'))
    // Later errors are of single accepts, as when no file descriptor is left: the listener goes on.
    server.on('error', (error) => metrics.handshake('refused', error.message === '' ? 'ERR_TLS_HANDSHAKE' : 'ERR_LIMIT_CONNECTIONS'))
  }

  tlsServer.on('tlsClientError', (error: NodeJS.ErrnoException, socket) => {
    refuseHandshake(socket, handshakeReason(error), error.code ?? error.message)
    socket.destroy()
  })
  tlsServer.on('secureConnection', (socket) => {
    queue.release(socket)
    admit(socket)
  })

  function admit(socket: TLSSocket): void {
    const verdict = verifyPeerSocket(socket, snapshot.trust, clock.now(), {
      minVersion: sidecar.tls.minVersion,
      // A handshake that was begun under the roots before is judged without what they said.
      contextIsCurrent: clock.monotonic() - contextSince > config.timeouts.handshake,
    })
    if (!verdict.ok) {
      refuseHandshake(socket, verdict.reason, verdict.detail, verdict.presented)
      socket.destroy()
      return
    }
    // No ALPN means HTTP/1.1.
    const protocol = config.protocol === 'tcp' ? 'tcp' : socket.alpnProtocol === 'h2' ? 'http2' : 'http1'
    if (config.protocol !== 'both' && config.protocol !== protocol) {
      refuseHandshake(socket, 'ERR_TLS_ALPN', `the listener speaks ${config.protocol}`, presentedBy(verdict.value))
      socket.destroy()
      return
    }
    const sourceIp = plainAddress(socket.remoteAddress)
    const penalty = penalties.remaining(verdict.value.id.uri, sourceIp)
    if (penalty > 0) {
      refuseHandshake(socket, 'ERR_LIMIT_PEER_FLOODED', `for ${Math.ceil(penalty)} ms more`, presentedBy(verdict.value))
      socket.destroy()
      return
    }
    if (!state.peers.connectionOpened(verdict.value.id.uri, state.settings.config.limits.connectionsPerPeer)) {
      refuseHandshake(socket, 'ERR_LIMIT_PEER_CONNECTIONS', '', presentedBy(verdict.value))
      socket.destroy()
      return
    }
    // Not earlier: who leaves in the middle of a handshake would hold its place until the deadline.
    socket.allowHalfOpen = true
    connections++
    metrics.connectionOpened()
    metrics.handshake('accepted', undefined)
    const origin: ConnectionOrigin = {
      listener: name,
      direction: 'inbound',
      protocol,
      peer: verdict.value,
      sourceIp,
      tls: { version: socket.getProtocol() ?? '', group: keyExchangeGroup(socket) },
    }
    const { facts, id } = snapshot.identity
    const peer = options.peerMetrics(verdict.value.id.namespace, verdict.value.id.serviceAccount)
    const notAfter = Math.min(verdict.validUntil, facts.notAfter)
    if (protocol === 'tcp') serveTcp(socket, state, origin, peer, notAfter)
    else if (protocol === 'http2') serveHttp2(socket, state, origin, peer, id.uri, notAfter)
    else serveHttp1(socket, new InboundService(state, origin, peer, id.uri, notAfter))
  }

  function refuseHandshake(
    socket: Socket,
    reason: ReasonCode,
    detail: string,
    presented?: { readonly id: string; readonly serial: string; readonly notAfter: number },
  ): void {
    metrics.handshake('refused', reason)
    const time = clock.now()
    const id = createRequestId(time, options.randomHex)
    const event = { id, listener: name, time, sourceIp: plainAddress(socket.remoteAddress), reason, detail, presented }
    log.handshake(event)
    options.ring.addHandshake(event)
  }

  return {
    name,
    port: boundPort(servers[0]),
    apply(next) {
      if (next.identity !== snapshot.identity || next.trust !== snapshot.trust) {
        reloadServerContext(tlsServer, serverTlsOptions(next.identity, next.trust, tls))
        contextSince = clock.monotonic()
      }
      snapshot = next
      state.settings = settingsOf(next, options.index)
      state.limiter.keep(state.settings.policy.limits)
    },
    close() {
      queue.close()
      for (const server of servers) server.close()
    },
  }
}

function settingsOf({ config, policies, identity, tokens, lease }: Snapshot, index: number): InboundSettings {
  const inbound = config.inbound[index]
  const policy = policies[index]
  if (inbound === undefined || policy === undefined) throw new TypeError(`the snapshot has no inbound listener ${index}`)
  return {
    config: inbound,
    policy,
    tokens,
    drain: config.drain,
    headLimits: { bytes: inbound.limits.headBytes, headers: inbound.limits.headers },
    own: { identity, lease },
    forwarders: new Set(config.forwarders.map((id) => id.uri)),
  }
}

function presentedBy({ id, certificate }: Peer): { readonly id: string; readonly serial: string; readonly notAfter: number } {
  return { id: id.uri, serial: certificate.serial, notAfter: certificate.notAfter }
}

function handshakeReason(error: NodeJS.ErrnoException): ReasonCode {
  if (error.code === 'ERR_TLS_HANDSHAKE_TIMEOUT') return 'ERR_TLS_HANDSHAKE_TIMEOUT'
  return error.code === 'ERR_SSL_NO_APPLICATION_PROTOCOL' ? 'ERR_TLS_ALPN' : 'ERR_TLS_HANDSHAKE'
}
