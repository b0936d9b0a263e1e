/**
 * The request path of an inbound listener, one stage a line: start reading here.
 *
 *   accept ─ handshake ─ peer             inbound-listener.ts: who is calling, before the first byte is read
 *   codec ─ head                          http1-connection.ts: one request at a time
 *   token                                 token-stage.ts: where issuers are configured; a new one may wait for its key
 *   decide ─ limit ─ rewrite ─ forward    below; every exit above `forward` is a refusal with a reason
 *   relay ─ record                        exchange.ts, inbound-service.ts
 */
import type { ConnectionOrigin } from '#audit/event'
import { type Refusal, refusal } from '#base/result'
import { normaliseHost } from '#http/authority'
import { type CanonicalPath, canonicalPath, decisionPath } from '#http/canonical-path'
import type { RandomHex } from '#http/random-hex'
import type { RequestHead } from '#http/request-head'
import { createRequestId, isRequestId } from '#http/request-id'
import { beginTraceparent, readTraceparent } from '#http/traceparent'
import type { TokenPrincipal } from '#identity/peer'
import { decide } from '#policy/decide'
import type { Decision } from '#policy/decision'
import type { RequestFacts } from '#policy/facts'
import { callerFields, fieldsText } from './caller-fields.ts'
import type { Exchange } from './exchange.ts'
import { lapsedLease } from './identity-lease.ts'
import type { InboundService } from './inbound-service.ts'
import type { InboundListenerState } from './inbound-state.ts'
import { issuePermit } from './permit.ts'
import { isTokenRefusal, recogniseToken, tokenFault, type TokenVerdict, untilTokenEnds } from './token-stage.ts'
import { type RequestNaming, takeReservedHeaders, writeRequest } from './rewrite.ts'

/** A request on its way to a decision, whichever HTTP version brought it. */
export interface Decidable extends RequestNaming {
  readonly request: RequestHead
  /** Ms since the epoch. */
  readonly startedAt: number
  host: string
  path: string
  token: TokenPrincipal | undefined
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
  const outcome = authorize(listener, origin, exchange, request.hopByHop, 'http')
  if (outcome instanceof Promise) void outcome.then((settled) => proceed(service, exchange, settled))
  else proceed(service, exchange, outcome)
}

function proceed(service: InboundService, exchange: Exchange, path: Outcome): void {
  // While it waited for a key, its caller may have left, or it was cut.
  if (exchange.done) return
  if (typeof path !== 'string') return exchange.refuse(path.reason, path.detail)
  const { listener, origin } = service
  const host = service.hostOf(exchange.request)
  const ours = service.identityFields.text(host, exchange.forwardedCertificates)
  const caller = callerFields(listener, origin, exchange, path)
  const head = writeRequest(exchange, path, host, caller === undefined ? ours : ours + fieldsText(caller))
  exchange.forward(issuePermit(exchange.decision, head))
}

/** The path to send on, byte for byte, or why there is none. */
export type Outcome = string | Refusal

/** All that stands above `forward`, for any version of HTTP. A promise where a token is new: others wait for nothing. */
export function authorize(
  listener: InboundListenerState,
  origin: ConnectionOrigin,
  exchange: Decidable,
  hopByHop: readonly string[] | undefined,
  protocol: 'http' | 'grpc',
): Outcome | Promise<Outcome> {
  const { request, startedAt } = exchange
  const { tokens, config } = listener.settings
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

  if (tokens === undefined) return admit(listener, origin, exchange, path, protocol, startedAt)
  const token = recogniseToken(tokens, config.unknownTokens === 'pass', origin.peer, request.headers, startedAt)
  const settle = (verdict: TokenVerdict, now: number): Outcome => {
    if (isTokenRefusal(verdict)) return verdict
    exchange.token = verdict
    return admit(listener, origin, exchange, path, protocol, now)
  }
  return token instanceof Promise ? token.then((verdict) => settle(verdict, listener.clock.now())) : settle(token, startedAt)
}

/** @param path canonical. @param now ms since the epoch */
function admit(
  listener: InboundListenerState,
  origin: ConnectionOrigin,
  exchange: Decidable,
  path: CanonicalPath | '*',
  protocol: 'http' | 'grpc',
  now: number,
): Outcome {
  const { request, token } = exchange
  const { policy, config, tokens } = listener.settings
  const facts: RequestFacts = {
    protocol,
    peer: origin.peer,
    token,
    method: request.method,
    path: path === '*' ? path : decisionPath(path, config.paths),
    query: request.query,
    host: exchange.host,
    headers: request.headers,
    sourceIp: origin.sourceIp,
    port: listener.port,
  }
  exchange.facts = facts

  const before = listener.clock.monotonic()
  const decision = untilTokenEnds(decide(policy, facts, now), tokens, token, now)
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

/**
 * Decides again on the facts that are held. A decision that still allows replaces the one before; one that does not is left to whoever cuts.
 * @returns why the exchange may no longer run, with what changed
 */
export function redecide(listener: InboundListenerState, exchange: Pick<Decidable, 'facts' | 'decision'>, now: number): Lapsed | undefined {
  const { facts, decision: before } = exchange
  if (facts === undefined) return undefined
  const { policy, tokens } = listener.settings
  const fault = tokenFault(tokens, facts.token, now)
  if (fault !== undefined) return refusal(fault, 'the token that admitted it is not good any more')
  const decision = untilTokenEnds(decide(policy, facts, now), tokens, facts.token, now)
  if (decision.allow) {
    exchange.decision = decision
    return undefined
  }
  const what = decision.generation === before?.generation ? 'time passed' : 'the policies changed'
  const by = before?.rule === undefined ? '' : `; it was allowed by ${before.rule} of ${before.policy}`
  return { ...refusal(decision.reason ?? 'ERR_POLICY_NO_ALLOW', `decided again: ${what}${by}`), decision }
}

/** Why an exchange may no longer run, and the decision that says so. */
export interface Lapsed extends Refusal {
  readonly decision?: Decision
}

/** Why whoever calls may no longer be connected at all. @param notAfter the first end of validity among the caller's path and our own SVID */
export function certificateEnded({ peer }: ConnectionOrigin, notAfter: number): Refusal {
  const isOurs = peer === undefined || notAfter < peer.certificate.notAfter
  const whose = isOurs ? "our own certificate, or an authority above the caller's" : 'the certificate of the caller'
  return refusal('ERR_CERTIFICATE_ENDED', `${whose} ended at ${new Date(notAfter).toISOString()}`)
}

/** Keeps a well-formed request id and traceparent, else makes new ones. @param now ms since the epoch */
export function nameRequest(exchange: RequestNaming, now: number, random: RandomHex): void {
  if (exchange.requestId === '' || !isRequestId(exchange.requestId)) exchange.requestId = createRequestId(now, random)
  if (exchange.traceparent === '' || readTraceparent(exchange.traceparent) === undefined) {
    exchange.traceparent = beginTraceparent(random)
  }
}
