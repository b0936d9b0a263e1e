/** One of the app's opaque connections: joined to a server that has proved who it is. Nothing of the app's is sent before. */
import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { ConnectionOrigin } from '#audit/event'
import type { ReasonCode } from '#base/reasons'
import type { Snapshot } from '#config/snapshot'
import { createRequestId } from '#http/request-id'
import type { Peer } from '#identity/peer'
import { lostTrust } from '#pki/still-trusted'
import type { Endpoint } from './endpoints.ts'
import type { OutboundDialer } from './outbound-dial.ts'
import { ALLOWED, type OutboundListenerState } from './outbound-service.ts'
import { exchangeOf, recordExchange, type RecordedTunnel } from './record.ts'
import { type ConnectionDescription, type LiveConnection, describeConnection } from './registry.ts'
import { splice, type Splice } from './splice.ts'

const ATTEMPTS = 3

export class TcpOutbound implements LiveConnection, RecordedTunnel {
  readonly startedAt: number
  readonly startedMono: number
  readonly requestId: string
  readonly host = ''
  readonly decision = ALLOWED
  reason: ReasonCode | undefined
  detail = ''
  readonly #app: Socket
  readonly #listener: OutboundListenerState
  readonly #dialer: OutboundDialer
  readonly #sourceIp: string
  #peer: Peer | undefined
  #notAfter = Infinity
  #server: TLSSocket | undefined
  #splice: Splice | undefined
  #ended = false

  /** @param app must be paused: it is read once there is a server */
  constructor(app: Socket, listener: OutboundListenerState, dialer: OutboundDialer, sourceIp: string) {
    this.#app = app
    this.#listener = listener
    this.#dialer = dialer
    this.#sourceIp = sourceIp
    this.startedAt = listener.clock.now()
    this.startedMono = listener.clock.monotonic()
    this.requestId = createRequestId(this.startedAt, listener.randomHex)
    app.on('error', () => {})
    app.once('close', () => {
      if (this.#splice !== undefined) return
      this.#server?.destroy()
      this.#end('ERR_DOWNSTREAM_ABORTED', '')
    })
    dialer.endpoints.refresh(this.startedAt).then(
      () => this.#dial([]),
      (error: unknown) => this.#fail('ERR_UPSTREAM_RESOLVE', (error as NodeJS.ErrnoException).code ?? String(error)),
    )
  }

  get bytesIn(): number {
    return this.#splice?.bytesIn ?? 0
  }

  get bytesOut(): number {
    return this.#splice?.bytesOut ?? 0
  }

  tick(now: number): void {
    if (now >= this.#notAfter) return this.#cut('ERR_CERTIFICATE_ENDED')
    const joined = this.#splice
    if (joined?.halfClosed === true && now - joined.touched > this.#listener.timeouts.halfClosed) this.#cut('ERR_TUNNEL_IDLE')
  }

  revalidate(snapshot: Snapshot): void {
    const lost = this.#peer === undefined ? undefined : lostTrust(snapshot.trust, this.#peer)
    if (lost === undefined) return
    if (this.reason === undefined) this.detail = lost.detail
    this.#cut(lost.reason)
  }

  drain(): void {}

  cutAtDrainEnd(): void {
    this.#cut('ERR_DRAINED')
  }

  describe(): ConnectionDescription {
    return describeConnection(this.#origin, this.startedAt, this.#notAfter, undefined)
  }

  get #origin(): ConnectionOrigin {
    const { name } = this.#listener
    return { listener: name, direction: 'outbound', protocol: 'tcp', peer: this.#peer, sourceIp: this.#sourceIp, tls: undefined }
  }

  #dial(tried: Endpoint[]): void {
    if (this.#ended) return
    const endpoint = this.#dialer.endpoints.pick(tried, this.#listener.clock.now())
    if (endpoint === undefined) return this.#fail('ERR_UPSTREAM_UNREACHABLE', 'no address is left to try')
    tried.push(endpoint)
    endpoint.inFlight++
    const server = this.#dialer.dial(endpoint, undefined, {
      verified: (peer, notAfter) => {
        this.#peer = peer
        this.#notAfter = notAfter
        this.#join(server)
      },
      failed: (reason, detail) => {
        if (tried.length < Math.min(ATTEMPTS, this.#dialer.endpoints.all.length)) this.#dial(tried)
        else this.#fail(reason, detail)
      },
    })
    server.once('close', () => endpoint.inFlight--)
    this.#server = server
  }

  #join(server: TLSSocket): void {
    if (this.#ended) return void server.destroy()
    this.#splice = splice(
      this.#app,
      server,
      () => this.#listener.registry.coarseNow,
      (fault) => this.#end(fault === undefined ? undefined : 'ERR_UPSTREAM_CLOSED', fault?.code ?? ''),
    )
    this.#app.resume()
  }

  #cut(reason: ReasonCode): void {
    this.reason ??= reason
    if (this.#splice === undefined) this.#app.destroy()
    else this.#splice.destroy()
  }

  #fail(reason: ReasonCode, detail: string): void {
    this.#end(reason, detail)
    this.#app.destroy()
  }

  #end(reason: ReasonCode | undefined, detail: string): void {
    if (this.#ended) return
    this.#ended = true
    if (reason !== undefined && this.reason === undefined) {
      this.reason = reason
      this.detail = detail
    }
    recordExchange(this.#listener, this.#origin, exchangeOf(this))
    this.#listener.registry.remove(this)
    this.#listener.connectionClosed()
  }
}
