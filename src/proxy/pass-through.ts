/** A redirected connection to somewhere outside of the mesh: goes where it was going, untouched, and is recorded as such. */
import { connect, type Socket } from 'node:net'
import type { ConnectionOrigin } from '#audit/event'
import { plainAddress } from '#base/sockets'
import type { ReasonCode } from '#base/reasons'
import { createRequestId } from '#http/request-id'
import type { Surroundings } from './inbound-state.ts'
import type { OriginalDestination } from './original-destination.ts'
import { ALLOWED } from './outbound-service.ts'
import { exchangeOf, recordExchange, type RecordedTunnel } from './record.ts'
import type { ConnectionDescription, LiveConnection } from './registry.ts'
import { splice, type Splice } from './splice.ts'
import type { ListenerMetrics } from '#telemetry/metrics'

const CONNECT_MS = 10_000

export interface PassThroughOptions {
  readonly surroundings: Surroundings & { readonly metrics: ListenerMetrics }
  readonly listener: string
  readonly to: OriginalDestination
  /** Ms without a byte on a connection that one side has closed. */
  readonly halfClosed: number
  readonly onClosed: () => void
}

export class PassThrough implements LiveConnection, RecordedTunnel {
  readonly startedAt: number
  readonly startedMono: number
  readonly requestId: string
  readonly host: string
  readonly decision = ALLOWED
  reason: ReasonCode | undefined
  detail = 'outside of the mesh: passed through'
  readonly #options: PassThroughOptions
  readonly #origin: ConnectionOrigin
  readonly #splice: Splice

  /** @param app must be paused */
  constructor(app: Socket, options: PassThroughOptions) {
    const { surroundings, listener, to } = options
    this.#options = options
    this.startedAt = surroundings.clock.now()
    this.startedMono = surroundings.clock.monotonic()
    this.requestId = createRequestId(this.startedAt, surroundings.randomHex)
    this.host = to.host.includes(':') ? `[${to.host}]:${to.port}` : `${to.host}:${to.port}`
    this.#origin = {
      listener,
      direction: 'outbound',
      protocol: 'tcp',
      peer: undefined,
      sourceIp: plainAddress(app.remoteAddress),
      tls: undefined,
    }
    const server = connect({ host: to.host, port: to.port, allowHalfOpen: true, noDelay: true })
    const timer = setTimeout(() => {
      this.reason ??= 'ERR_UPSTREAM_CONNECT_TIMEOUT'
      server.destroy()
    }, CONNECT_MS)
    server.once('connect', () => clearTimeout(timer))
    this.#splice = splice(
      app,
      server,
      () => surroundings.registry.coarseNow,
      (fault) => {
        clearTimeout(timer)
        this.#end(fault)
      },
    )
    app.resume()
  }

  get bytesIn(): number {
    return this.#splice.bytesIn
  }

  get bytesOut(): number {
    return this.#splice.bytesOut
  }

  tick(now: number): void {
    if (!this.#splice.halfClosed || now - this.#splice.touched <= this.#options.halfClosed) return
    this.reason ??= 'ERR_TUNNEL_IDLE'
    this.#splice.destroy()
  }

  revalidate(): void {}

  drain(): void {}

  cutAtDrainEnd(): void {
    this.reason ??= 'ERR_DRAINED'
    this.#splice.destroy()
  }

  describe(): ConnectionDescription {
    return {
      listener: this.#options.listener,
      direction: 'outbound',
      protocol: 'tcp',
      peer: undefined,
      sourceIp: this.#origin.sourceIp,
      openedAt: this.startedAt,
      notAfter: undefined,
      exchange: undefined,
    }
  }

  #end(fault: NodeJS.ErrnoException | undefined): void {
    const { surroundings } = this.#options
    if (fault !== undefined && this.reason === undefined) {
      this.reason = fault.syscall === 'connect' ? 'ERR_UPSTREAM_UNREACHABLE' : 'ERR_UPSTREAM_CLOSED'
      this.detail = fault.code ?? fault.message
    }
    recordExchange(surroundings, this.#origin, exchangeOf(this))
    surroundings.registry.remove(this)
    this.#options.onClosed()
  }
}
