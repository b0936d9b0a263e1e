/** The end of an exchange, as records, metrics and the ring for `explain` want it. */
import type { ConnectionOrigin, ExchangeEvent } from '#audit/event'
import type { TokenPrincipal } from '#identity/peer'
import type { Decision } from '#policy/decision'
import type { RequestFacts } from '#policy/facts'
import type { ListenerMetrics, PeerMetrics } from '#telemetry/metrics'
import type { ReasonCode } from '#base/reasons'
import { createRequestId } from '#http/request-id'
import type { Surroundings } from './inbound-state.ts'

type Destination = Surroundings & { readonly metrics: ListenerMetrics }

/** What an exchange of any protocol tells at its end. */
export interface RecordedExchange {
  readonly request: { readonly method: string }
  readonly startedAt: number
  readonly startedMono: number
  readonly requestId: string
  readonly traceparent: string
  readonly host: string
  readonly path: string
  readonly token: TokenPrincipal | undefined
  readonly facts: RequestFacts | undefined
  readonly decision: Decision | undefined
  readonly decideUs: number
  readonly reason: ReasonCode | undefined
  readonly detail: string
  readonly status: number
  /** -1 where there is none. */
  readonly grpcStatus: number
  readonly bytesIn: number
  readonly bytesOut: number
}

/** What a connection of opaque bytes tells at its end. */
export interface RecordedTunnel
  extends
    Pick<RecordedExchange, 'startedAt' | 'startedMono' | 'requestId' | 'host' | 'decision' | 'reason' | 'detail' | 'bytesIn' | 'bytesOut'>,
    Partial<Pick<RecordedExchange, 'facts' | 'decideUs'>> {}

const NO_REQUEST = { method: '' }

/** As an exchange, of which it has no head and no answer. */
export function exchangeOf(tunnel: RecordedTunnel): RecordedExchange {
  const { startedAt, startedMono, requestId, host, facts, decision, decideUs = 0, reason, detail, bytesIn, bytesOut } = tunnel
  return {
    request: NO_REQUEST,
    startedAt,
    startedMono,
    requestId,
    traceparent: '',
    host,
    path: '',
    token: undefined,
    facts,
    decision,
    decideUs,
    reason,
    detail,
    status: 0,
    grpcStatus: -1,
    bytesIn,
    bytesOut,
  }
}

/** With what is counted per peer and of shadow policies. */
export function recordInbound(to: Destination, origin: ConnectionOrigin, peer: PeerMetrics, exchange: RecordedExchange): void {
  recordExchange(to, origin, exchange)
  peer.request(exchange.decision?.allow === true ? 'allow' : 'deny')
  const shadow = exchange.decision?.shadow
  if (shadow !== undefined) to.metrics.shadow(shadow.allow ? 'allow' : 'deny', shadow.policy, shadow.rule)
}

export function recordExchange(to: Destination, origin: ConnectionOrigin, exchange: RecordedExchange): void {
  const milliseconds = to.clock.monotonic() - exchange.startedMono
  const event: ExchangeEvent = {
    origin,
    time: exchange.startedAt,
    requestId: exchange.requestId,
    method: exchange.request.method,
    host: exchange.host,
    path: exchange.path,
    token: exchange.token,
    decision: exchange.decision,
    reason: exchange.reason,
    detail: exchange.detail,
    status: exchange.status,
    grpcStatus: exchange.grpcStatus === -1 ? undefined : exchange.grpcStatus,
    bytesIn: exchange.bytesIn,
    bytesOut: exchange.bytesOut,
    durationUs: milliseconds * 1000,
    decideUs: exchange.decideUs,
    traceId: exchange.traceparent.slice(3, 35),
    facts: exchange.facts,
  }
  to.log.exchange(event)
  to.ring.add(event)
  to.metrics.request(exchange.decision?.allow === true ? 'allow' : 'deny', exchange.reason, milliseconds / 1000, exchange.decideUs / 1e6)
}

/** A request whose head could not be read. @returns the request id it is recorded under */
export function recordMalformed(to: Destination, origin: ConnectionOrigin, reason: ReasonCode, detail: string, status: number): string {
  const time = to.clock.now()
  const requestId = createRequestId(time, to.randomHex)
  const event: ExchangeEvent = {
    origin,
    time,
    requestId,
    method: '',
    host: '',
    path: '',
    token: undefined,
    decision: undefined,
    reason,
    detail,
    status,
    grpcStatus: undefined,
    bytesIn: 0,
    bytesOut: 0,
    durationUs: 0,
    decideUs: 0,
    traceId: '',
    facts: undefined,
  }
  to.log.exchange(event)
  to.ring.add(event)
  to.metrics.request('deny', reason, 0, 0)
  return requestId
}
