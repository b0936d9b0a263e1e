/** One caller's connection to a `tcp` listener: decided by peer, port and time, then joined to the app; decided again for as long as it lives. */
import { connect, type Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { ConnectionOrigin } from '#audit/event'
import type { ReasonCode } from '#base/reasons'
import { connectTarget, isConnectFault } from '#base/sockets'
import type { Snapshot } from '#config/snapshot'
import { createRequestId } from '#http/request-id'
import { lostTrust } from '#pki/still-trusted'
import { decide } from '#policy/decide'
import type { Decision } from '#policy/decision'
import type { RequestFacts } from '#policy/facts'
import type { PeerMetrics } from '#telemetry/metrics'
import type { InboundListenerState } from './inbound-state.ts'
import { type Lapse, lapse, lapseNote } from './lapse.ts'
import { exchangeOf, recordInbound, type RecordedTunnel } from './record.ts'
import { type ConnectionDescription, type LiveConnection, describeConnection } from './registry.ts'
import { certificateEnded, type Lapsed, overLimit, redecide } from './request-path.ts'
import { splice, type Splice } from './splice.ts'

export class TcpInbound implements LiveConnection, RecordedTunnel {
  readonly startedAt: number
  readonly startedMono: number
  readonly requestId: string
  readonly host = ''
  readonly facts: RequestFacts
  decision: Decision
  decideUs: number
  /** There is no answer to say it in. */
  retryAfter = 0
  reason: ReasonCode | undefined
  detail = ''
  readonly #listener: InboundListenerState
  readonly #origin: ConnectionOrigin
  readonly #peerMetrics: PeerMetrics
  readonly #caller: TLSSocket
  readonly #notAfter: number
  #splice: Splice | undefined
  #lapse: Lapse | undefined

  /** @param notAfter the first end of validity among the peer's path and our own SVID, ms since the epoch */
  constructor(caller: TLSSocket, listener: InboundListenerState, origin: ConnectionOrigin, peerMetrics: PeerMetrics, notAfter: number) {
    const { clock, settings } = listener
    this.#caller = caller
    this.#listener = listener
    this.#origin = origin
    this.#peerMetrics = peerMetrics
    this.#notAfter = notAfter
    this.startedAt = clock.now()
    this.startedMono = clock.monotonic()
    this.requestId = createRequestId(this.startedAt, listener.randomHex)
    this.facts = {
      protocol: 'tcp',
      peer: origin.peer,
      token: undefined,
      method: '',
      path: '',
      query: undefined,
      host: '',
      headers: undefined,
      sourceIp: origin.sourceIp,
      port: listener.port,
    }
    this.decision = decide(settings.policy, this.facts, this.startedAt)
    this.decideUs = (clock.monotonic() - this.startedMono) * 1000
  }

  /** Joins the caller to the app if policy allows. */
  begin(): void {
    const { log, registry } = this.#listener
    if (log.overloaded) return this.#refuse('ERR_RECORDS_OVERLOADED')
    if (!this.decision.allow) return this.#refuse(this.decision.reason ?? 'ERR_POLICY_NO_ALLOW')
    const over = overLimit(this.#listener, this, this.decision, this.facts, this.startedMono)
    if (over !== undefined) {
      this.detail = over.detail
      return this.#refuse(over.reason)
    }
    this.#splice = splice(
      this.#caller,
      this.#connectApp(),
      () => registry.coarseNow,
      (fault) => this.#onEnd(fault),
    )
  }

  get bytesIn(): number {
    return this.#splice?.bytesIn ?? 0
  }

  get bytesOut(): number {
    return this.#splice?.bytesOut ?? 0
  }

  tick(now: number): void {
    const joined = this.#splice
    if (joined === undefined) return
    if (this.#lapse !== undefined && now >= this.#lapse.until) return this.#cutLapsed(this.#lapse.why)
    if (this.#lapse === undefined && now >= this.#notAfter) return this.#expire(certificateEnded(this.#origin, this.#notAfter), now)
    if (this.#lapse === undefined && now >= this.decision.validUntil) this.#redecide(now)
    const { halfClosed } = this.#listener.settings.config.timeouts
    if (joined.halfClosed && now - joined.touched > halfClosed) this.#cut('ERR_TUNNEL_IDLE')
  }

  revalidate(snapshot: Snapshot, now: number): void {
    const { peer } = this.#origin
    const lost = peer === undefined ? undefined : lostTrust(snapshot.trust, peer)
    if (lost !== undefined) return this.#expire(lost, now)
    if (this.#lapse === undefined) this.#redecide(now)
  }

  /** An opaque connection cannot be asked to end: it has until the end of the drain. */
  drain(): void {}

  cutAtDrainEnd(): void {
    this.#cut('ERR_DRAINED')
  }

  describe(): ConnectionDescription {
    return describeConnection(this.#origin, this.startedAt, this.#notAfter, undefined)
  }

  #connectApp(): Socket {
    const { app, timeouts } = this.#listener.settings.config
    const socket = connect({ ...connectTarget(app), noDelay: true, allowHalfOpen: true })
    const timer = setTimeout(() => {
      this.reason ??= 'ERR_UPSTREAM_CONNECT_TIMEOUT'
      socket.destroy()
      this.#caller.destroy()
    }, timeouts.connect)
    socket.once('connect', () => clearTimeout(timer))
    socket.once('close', () => clearTimeout(timer))
    return socket
  }

  #redecide(now: number): void {
    const why = redecide(this.#listener, this, now)
    if (why !== undefined) this.#expire(why, now)
  }

  /** An opaque connection cannot be asked to end: where the listener drains, it has that time and then is cut. */
  #expire(why: Lapsed, now: number): void {
    const next = lapse(this.#listener, why, now)
    if (next.until <= now) return this.#cutLapsed(why)
    if (this.#lapse !== undefined) return
    this.#lapse = next
    this.detail = lapseNote(why)
  }

  #cutLapsed({ reason, detail, decision }: Lapsed): void {
    if (this.reason === undefined) {
      this.decision = decision ?? this.decision
      this.detail = detail
    }
    this.#cut(reason)
  }

  #refuse(reason: ReasonCode): void {
    this.reason = reason
    this.#caller.destroy()
    this.#record()
  }

  #cut(reason: ReasonCode): void {
    this.reason ??= reason
    this.#splice?.destroy()
  }

  #onEnd(fault: NodeJS.ErrnoException | undefined): void {
    if (fault !== undefined && this.reason === undefined) {
      this.reason = isConnectFault(fault) ? 'ERR_UPSTREAM_UNREACHABLE' : 'ERR_UPSTREAM_CLOSED'
      this.detail = fault.code ?? fault.message
    }
    this.#record()
  }

  #record(): void {
    recordInbound(this.#listener, this.#origin, this.#peerMetrics, exchangeOf(this))
    this.#listener.registry.remove(this)
    this.#listener.connectionClosed(this.#origin)
  }
}

/** Serves a caller until its connection ends. */
export function serveTcp(...args: ConstructorParameters<typeof TcpInbound>): void {
  const [, listener] = args
  const connection = new TcpInbound(...args)
  listener.registry.add(connection)
  connection.begin()
}
