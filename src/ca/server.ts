/**
 * The CA's listener: paced TLS handshakes, a client certificate asked for and judged, then the API over HTTP/1.1. Certificate, roots and
 * revocations follow the publication without a connection lost; a caller that is revoked is nobody from its next request on.
 */
import { createServer, type Socket } from 'node:net'
import { createServer as createTlsServer, type TLSSocket } from 'node:tls'
import { createAcceptQueue } from '#base/accept-queue'
import type { Clock } from '#base/clock'
import { refusal, type Refusal } from '#base/result'
import { boundPort, listen, plainAddress } from '#base/sockets'
import type { TcpAddress } from '#base/units'
import type { RandomHex } from '#http/random-hex'
import type { PeerVerdict } from '#pki/path-verdict'
import { verifyPeerSocket } from '#pki/peer-from-socket'
import { isStillTrusted } from '#pki/still-trusted'
import { reloadServerContext, serverTlsOptions, type ServerTlsOptions } from '#pki/tls-options'
import type { TrustStore } from '#pki/trust-store'
import type { WorkloadIdentity } from '#pki/workload-identity'
import { type ApiConnection, serveApi } from './api-connection.ts'
import type { Api } from './api.ts'
import type { ApiRequest, Caller } from './api-message.ts'

export interface CaServer {
  readonly port: number
  readonly connections: number
  /** Takes over certificate and roots for handshakes to come; revocations for live connections too. */
  apply(identity: WorkloadIdentity, trust: TrustStore): void
  /** Accepts no more, lets requests in work end. Resolves when all connections are closed, at the latest after `limit` ms. */
  drain(limit: number): Promise<void>
}

export interface CaServerOptions {
  readonly listen: TcpAddress
  readonly identity: WorkloadIdentity
  readonly trust: TrustStore
  readonly api: Api
  /** Open connections. */
  readonly connections: number
  readonly clock: Clock
  readonly randomHex: RandomHex
  readonly onHandshakeRefused: (reason: string, source: string) => void
  readonly onMalformed: (requestId: string, fault: Refusal, source: string) => void
}

const HANDSHAKE_TIME = 5_000
/** Handshakes cost ten times what a request does: few at a time, so that those being served are not starved. */
const PACE = { inFlight: 64, perTurn: 2, inFlightPerSource: 64, waitingPerSource: 10_000 }
const TICK = 1_000

/** @throws PosternError ERR_LISTEN */
export async function openCaServer(options: CaServerOptions): Promise<CaServer> {
  const { api, clock, onHandshakeRefused } = options
  let { identity, trust } = options
  let draining = false
  let date = { second: -1, text: '' }
  /** Monotonic ms of the last change of the TLS context. */
  let contextSince = -Infinity
  const connections = new Set<ApiConnection>()
  const emptied = Promise.withResolvers<void>()
  const tlsServer = createTlsServer({ ...tlsOptions(), handshakeTimeout: HANDSHAKE_TIME })
  const queue = createAcceptQueue({ ...PACE, waiting: options.connections }, (socket) => tlsServer.emit('connection', socket))
  const server = createServer({ pauseOnConnect: true, noDelay: true })

  function tlsOptions(): ServerTlsOptions {
    return serverTlsOptions(identity, trust, { alpnProtocols: ['http/1.1'] })
  }

  server.on('connection', (socket: Socket) => {
    socket.on('error', () => {})
    if (draining || connections.size + queue.waiting + queue.inFlight >= options.connections || !queue.push(socket)) {
      if (!draining) onHandshakeRefused('ERR_LIMIT_CONNECTIONS', plainAddress(socket.remoteAddress))
      socket.destroy()
    }
  })
  // Of single accepts, as when no file descriptor is left: the listener goes on.
  server.on('error', (error: NodeJS.ErrnoException) => onHandshakeRefused(error.code ?? 'accept', ''))
  tlsServer.on('tlsClientError', (_error, socket) => {
    queue.release(socket)
    onHandshakeRefused('ERR_TLS_HANDSHAKE', plainAddress(socket.remoteAddress))
    socket.destroy()
  })
  tlsServer.on('secureConnection', (socket) => {
    queue.release(socket)
    admit(socket)
  })

  function admit(socket: TLSSocket): void {
    const source = plainAddress(socket.remoteAddress)
    const judge = callerOf(socket)
    socket.allowHalfOpen = true
    const connection = serveApi(socket, {
      caller: judge,
      source,
      answer: (request: ApiRequest) => api.answer(request),
      malformed: options.onMalformed,
      randomHex: options.randomHex,
      now: () => clock.now(),
      date: currentDate,
      draining: () => draining,
      closed() {
        connections.delete(connection)
        if (draining && connections.size === 0) emptied.resolve()
      },
    })
    connections.add(connection)
    if (draining) connection.drain()
  }

  /** The verdict on a certificate is made once; whether it still holds is asked for each request. */
  function callerOf(socket: TLSSocket): () => Caller {
    const contextIsCurrent = clock.monotonic() - contextSince > HANDSHAKE_TIME
    let judgedBy = trust
    let verdict = verifyPeerSocket(socket, trust, clock.now(), { contextIsCurrent })
    // To ask the socket itself would parse what it sent once more.
    if (!verdict.ok && verdict.reason === 'ERR_TLS_NO_CERTIFICATE') return () => ({ kind: 'nobody' })
    return () => {
      const now = clock.now()
      if (!verdict.ok) {
        // A root that came since, or a clock that was set, may have changed it.
        if (judgedBy !== trust) verdict = verifyPeerSocket(socket, (judgedBy = trust), now)
        if (!verdict.ok) return refusedCaller(verdict, now)
      }
      if (now > verdict.validUntil || now < verdict.validFrom) {
        const { serial, notBefore, notAfter } = verdict.value.certificate
        const times = `serial ${serial} is valid from ${iso(notBefore)} to ${iso(notAfter)}`
        const fault = refusal(now > verdict.validUntil ? 'ERR_SVID_EXPIRED' : 'ERR_SVID_NOT_YET_VALID', times)
        return refusedCaller({ ...fault, presented: { id: verdict.value.id.uri, serial, notAfter } }, now)
      }
      if (!isStillTrusted(trust, verdict.value)) {
        return { kind: 'refused', refusal: refusal('ERR_SVID_REVOKED', verdict.value.id.uri), id: verdict.value.id.uri }
      }
      return { kind: 'peer', peer: verdict.value }
    }
  }

  function currentDate(): string {
    const second = Math.floor(clock.now() / 1000)
    if (second !== date.second) date = { second, text: new Date(second * 1000).toUTCString() }
    return date.text
  }

  await listen(server, options.listen, 'spec.listen')
  const timer = setInterval(() => {
    const now = clock.now()
    for (const connection of connections) connection.tick(now)
  }, TICK).unref()

  return {
    port: boundPort(server),
    get connections() {
      return connections.size
    },
    apply(nextIdentity, nextTrust) {
      if (nextIdentity === identity && nextTrust === trust) return
      identity = nextIdentity
      trust = nextTrust
      contextSince = clock.monotonic()
      reloadServerContext(tlsServer, tlsOptions())
    },
    async drain(limit) {
      draining = true
      server.close()
      queue.close()
      for (const connection of connections) connection.drain()
      if (connections.size === 0) emptied.resolve()
      const late = setTimeout(() => emptied.resolve(), limit)
      await emptied.promise
      clearTimeout(late)
      clearInterval(timer)
      for (const connection of connections) connection.destroy()
    },
  }
}

/** Where time is the reason, both clocks are told: that of the certificate, and ours. */
function refusedCaller(verdict: Exclude<PeerVerdict, { ok: true }>, now: number): Caller {
  const isTime = /_(?:EXPIRED|NOT_YET_VALID)$/.test(verdict.reason)
  const detail = isTime ? `${verdict.detail}; by the clock of the authority it is ${iso(now)}` : verdict.detail
  return { kind: 'refused', refusal: { ...verdict, detail }, id: verdict.presented?.id ?? '' }
}

function iso(time: number): string {
  return new Date(time).toISOString()
}
