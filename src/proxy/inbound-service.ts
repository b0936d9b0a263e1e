/** What one caller's connection is to an inbound listener: its peer, its own socket to the app, its identity headers, its records. */
import type { ConnectionOrigin } from '#audit/event'
import type { ReasonCode } from '#base/reasons'
import type { Snapshot } from '#config/snapshot'
import type { RequestHead } from '#http/request-head'
import { lostTrust } from '#pki/still-trusted'
import type { PeerMetrics } from '#telemetry/metrics'
import type { HeadLimits } from '#wire/http1/limits'
import { connectApp } from './app-socket.ts'
import type { Exchange } from './exchange.ts'
import type { Http1Service, Http1Timeouts } from './http1-service.ts'
import { Http1Upstream } from './http1-upstream.ts'
import { createIdentityFields, type IdentityFields } from './identity-fields.ts'
import type { InboundListenerState } from './inbound-state.ts'
import { recordInbound, recordMalformed } from './record.ts'
import type { Registry } from './registry.ts'
import { type Lapse, lapse } from './lapse.ts'
import { certificateEnded, type Lapsed, onRequestHead, redecide } from './request-path.ts'

/** Share of what remains of the certificates at admission, after which the caller is asked to connect anew. */
const DRAIN_AFTER = 0.8
/** The app's socket is closed after so long without a request, ms. */
const APP_IDLE_MS = 2000

export class InboundService implements Http1Service {
  readonly origin: ConnectionOrigin
  readonly listener: InboundListenerState
  readonly registry: Registry
  readonly notAfter: number
  readonly drainAt: number
  readonly #peerMetrics: PeerMetrics
  readonly identityFields: IdentityFields
  #app: Http1Upstream | undefined
  #appIdleSince = 0

  /** @param notAfter the first end of validity among the peer's path and our own SVID, ms since the epoch */
  constructor(listener: InboundListenerState, origin: ConnectionOrigin, peerMetrics: PeerMetrics, ownId: string, notAfter: number) {
    this.listener = listener
    this.#peerMetrics = peerMetrics
    this.origin = origin
    this.registry = listener.registry
    const now = listener.clock.now()
    const peer = origin.peer
    this.notAfter = notAfter
    this.drainAt = now + DRAIN_AFTER * (notAfter - now)
    this.identityFields = createIdentityFields(origin, ownId, peer !== undefined && listener.settings.forwarders.has(peer.id.uri))
  }

  get headLimits(): HeadLimits {
    return this.listener.settings.headLimits
  }

  get timeouts(): Http1Timeouts {
    return this.listener.settings.config.timeouts
  }

  get bodyRate(): number {
    return this.listener.settings.config.limits.bodyRate
  }

  onRequestHead(exchange: Exchange): void {
    onRequestHead(this, exchange)
  }

  /** The Host that the app is given; HTTP/1.0 callers may have none. */
  hostOf(request: RequestHead): string {
    return request.authority === '' ? this.listener.appHost : request.authority
  }

  acquire(exchange: Exchange, fresh: boolean): void {
    if (this.#app?.usable !== true || fresh) {
      this.#app?.destroy()
      const { app, timeouts } = this.listener.settings.config
      const upstream: Http1Upstream = new Http1Upstream(
        (onread) => connectApp(app, timeouts.connect, onread),
        () => {
          if (this.#app === upstream) this.#app = undefined
        },
      )
      this.#app = upstream
    }
    exchange.attach(this.#app)
  }

  release(): void {
    this.#appIdleSince = this.registry.coarseNow
  }

  revalidate(exchange: Exchange | undefined, snapshot: Snapshot, now: number): Lapsed | undefined {
    const { peer } = this.origin
    const lost = peer === undefined ? undefined : lostTrust(snapshot.trust, peer)
    return lost ?? (exchange === undefined ? undefined : this.redecide(exchange, now))
  }

  redecide(exchange: Exchange, now: number): Lapsed | undefined {
    return redecide(this.listener, exchange, now)
  }

  ended(): Lapsed {
    return certificateEnded(this.origin, this.notAfter)
  }

  lapse(why: Lapsed, now: number): Lapse {
    return lapse(this.listener, why, now)
  }

  later(goOn: () => void): void {
    this.listener.backlog.add(goOn)
  }

  tick(now: number): void {
    if (this.#app?.usable === true && now - this.#appIdleSince > APP_IDLE_MS) this.#app.destroy()
  }

  record(exchange: Exchange): void {
    recordInbound(this.listener, this.origin, this.#peerMetrics, exchange)
  }

  recordMalformed(reason: ReasonCode, detail: string, status: number): string {
    return recordMalformed(this.listener, this.origin, reason, detail, status)
  }

  now(): number {
    return this.listener.clock.now()
  }

  monotonic(): number {
    return this.listener.clock.monotonic()
  }

  closed(): void {
    this.#app?.destroy()
    this.listener.connectionClosed(this.origin)
  }
}
