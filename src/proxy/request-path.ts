/**
 * The request path of an inbound listener, one stage a line: start reading here.
 *
 *   accept ─ handshake ─ peer      inbound-listener.ts: who is calling, before the first byte is read
 *   codec ─ head                   http1-connection.ts: one request at a time
 *   decide ─ rewrite ─ forward     below; every exit above `forward` is a refusal with a reason
 *   relay ─ record                 exchange.ts, inbound-service.ts
 */
import { canonicalPath, decisionPath } from '#http/canonical-path'
import { normaliseHost } from '#http/authority'
import { createRequestId, isRequestId } from '#http/request-id'
import { beginTraceparent, readTraceparent, writeTraceparent } from '#http/traceparent'
import { decide } from '#policy/decide'
import type { Exchange } from './exchange.ts'
import type { InboundService } from './inbound-service.ts'
import { issuePermit } from './permit.ts'
import { takeReservedHeaders, writeRequest } from './rewrite.ts'

/** One request, from its head to its forwarding. Common requests pass through synchronously. */
export function onRequestHead(service: InboundService, exchange: Exchange): void {
  const { listener } = service
  const { request } = exchange
  const { policy, config } = listener.settings
  const { paths } = config
  takeReservedHeaders(exchange, paths.overrideHeaders)
  nameRequest(exchange, listener.randomHex)
  exchange.host = normaliseHost(request.authority)
  exchange.path = request.path

  if (listener.log.overloaded) return exchange.refuse('ERR_RECORDS_OVERLOADED', '')

  // `OPTIONS *` is about the server as a whole: it has no path to make canonical.
  const path = request.path === '*' ? '*' : canonicalPath(request.path, paths)
  if (typeof path !== 'string') return exchange.refuse(path.reason, path.detail)
  exchange.path = path

  const facts = {
    protocol: 'http' as const,
    peer: service.origin.peer,
    token: undefined,
    method: request.method,
    path: path === '*' ? path : decisionPath(path, paths),
    query: request.query,
    host: exchange.host,
    headers: request.headers,
    sourceIp: service.origin.sourceIp,
    port: listener.port,
  }
  exchange.facts = facts

  const before = service.monotonic()
  const decision = decide(policy, facts, exchange.startedAt)
  exchange.decideUs = (service.monotonic() - before) * 1000
  exchange.decision = decision
  if (!decision.allow) return exchange.refuse(decision.reason ?? 'ERR_POLICY_NO_ALLOW', '')

  exchange.forward(issuePermit(decision, writeRequest(exchange, path, service.hostOf(request), service.identityFields(exchange))))
}

/** Keeps a well-formed request id and traceparent, else makes new ones. */
export function nameRequest(exchange: Exchange, random: Parameters<typeof createRequestId>[1]): void {
  if (!isRequestId(exchange.requestId)) exchange.requestId = createRequestId(exchange.startedAt, random)
  if (exchange.traceparent === '' || readTraceparent(exchange.traceparent) === undefined) {
    exchange.traceparent = writeTraceparent(beginTraceparent(random))
  }
}
