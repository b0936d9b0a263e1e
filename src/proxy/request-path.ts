/**
 * The request path of an inbound listener, one stage a line: start reading here.
 *
 *   accept ─ handshake ─ peer             inbound-listener.ts: who is calling, before the first byte is read
 *   codec ─ head                          http1-connection.ts: one request at a time
 *   decide ─ limit ─ rewrite ─ forward    below; every exit above `forward` is a refusal with a reason
 *   relay ─ record                        exchange.ts, inbound-service.ts
 */
import type { ConnectionOrigin } from '#audit/event'
import type { ReasonCode } from '#base/reasons'
import { type Refusal, refusal } from '#base/result'
import { normaliseHost } from '#http/authority'
import { canonicalPath, decisionPath } from '#http/canonical-path'
import type { RandomHex } from '#http/random-hex'
import type { RequestHead } from '#http/request-head'
import { createRequestId, isRequestId } from '#http/request-id'
import { beginTraceparent, readTraceparent, writeTraceparent } from '#http/traceparent'
import { decide } from '#policy/decide'
import type { Decision } from '#policy/decision'
import type { RequestFacts } from '#policy/facts'
import type { Exchange } from './exchange.ts'
import { lapsedLease } from './identity-lease.ts'
import type { InboundService } from './inbound-service.ts'
import type { InboundListenerState } from './inbound-state.ts'
import { issuePermit } from './permit.ts'
import { type RequestNaming, takeReservedHeaders, writeRequest } from './rewrite.ts'

/** A request on its way to a decision, whichever HTTP version brought it. */
export interface Decidable extends RequestNaming {
  readonly request: RequestHead
  /** Ms since the epoch. */
  readonly startedAt: number
  host: string
  path: string
  facts: RequestFacts | undefined
  decision: Decision | undefined
  decideUs: number
  /** Seconds after which it may be tried again; 0 if nothing is known of that. */
  retryAfter: number
}

/** One HTTP/1.1 request, from its head to its forwarding. Common requests pass through synchronously. */
export function onRequestHead(service: InboundService, exchange: Exchange): void {
  const { listener, origin } = service
  const { request } = exchange
  const path = authorize(listener, origin, exchange, request.hopByHop, 'http')
  if (typeof path !== 'string') return exchange.refuse(path.reason, path.detail)
  const host = service.hostOf(request)
  const head = writeRequest(exchange, path, host, service.identityFields.text(host, exchange.forwardedCertificates))
  exchange.forward(issuePermit(exchange.decision, head))
}

/** All that stands above `forward`, for any version of HTTP. @returns the path to send on, byte for byte, or why there is none */
export function authorize(
  listener: InboundListenerState,
  origin: ConnectionOrigin,
  exchange: Decidable,
  hopByHop: readonly string[] | undefined,
  protocol: 'http' | 'grpc',
): string | Refusal {
  const { request } = exchange
  const { policy, config } = listener.settings
  const { paths } = config
  takeReservedHeaders(exchange, request.headers, hopByHop, paths.overrideHeaders)
  nameRequest(exchange, exchange.startedAt, listener.randomHex)
  exchange.host = normaliseHost(request.authority)
  exchange.path = request.path

  if (listener.log.overloaded) return refusal('ERR_RECORDS_OVERLOADED')
  const lapsed = lapsedLease(listener.settings.own, exchange.startedAt)
  if (lapsed !== undefined) return lapsed

  // `OPTIONS *` is about the server as a whole: it has no path to make canonical.
  const path = request.path === '*' ? '*' : canonicalPath(request.path, paths)
  if (typeof path !== 'string') return path
  exchange.path = path

  const facts: RequestFacts = {
    protocol,
    peer: origin.peer,
    token: undefined,
    method: request.method,
    path: path === '*' ? path : decisionPath(path, paths),
    query: request.query,
    host: exchange.host,
    headers: request.headers,
    sourceIp: origin.sourceIp,
    port: listener.port,
  }
  exchange.facts = facts

  const before = listener.clock.monotonic()
  const decision = decide(policy, facts, exchange.startedAt)
  exchange.decideUs = (listener.clock.monotonic() - before) * 1000
  exchange.decision = decision
  if (!decision.allow) return refusal(decision.reason ?? 'ERR_POLICY_NO_ALLOW')
  return overLimit(listener, exchange, decision, facts, before) ?? path
}

/** Counts what is allowed against the limit of its rule; once, when it begins. @param now monotonic ms @returns why it must wait */
export function overLimit(
  listener: InboundListenerState,
  exchange: Pick<Decidable, 'decision' | 'retryAfter'>,
  decision: Decision,
  facts: RequestFacts,
  now: number,
): Refusal | undefined {
  const { limit } = decision
  if (limit === undefined) return undefined
  const wait = listener.limiter.take(limit, facts, now)
  if (wait === 0) return undefined
  exchange.retryAfter = Math.max(1, Math.ceil(wait / 1000))
  // Whoever reads the record, and whoever would issue a permit, must see a refusal.
  exchange.decision = { ...decision, allow: false, reason: 'ERR_RATE_LIMITED' }
  return refusal('ERR_RATE_LIMITED', limit.text)
}

/** Decides again on the facts that are held. @returns why the exchange may no longer run */
export function redecide(listener: InboundListenerState, exchange: Decidable, now: number): ReasonCode | undefined {
  const { facts } = exchange
  if (facts === undefined) return undefined
  const decision = decide(listener.settings.policy, facts, now)
  exchange.decision = decision
  return decision.allow ? undefined : (decision.reason ?? 'ERR_POLICY_NO_ALLOW')
}

/** Keeps a well-formed request id and traceparent, else makes new ones. @param now ms since the epoch */
export function nameRequest(exchange: RequestNaming, now: number, random: RandomHex): void {
  if (!isRequestId(exchange.requestId)) exchange.requestId = createRequestId(now, random)
  if (exchange.traceparent === '' || readTraceparent(exchange.traceparent) === undefined) {
    exchange.traceparent = writeTraceparent(beginTraceparent(random))
  }
}
