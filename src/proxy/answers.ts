/** What a refused caller is told: a status and a request id, never why (SURFACE §4). */
import type { ReasonCode } from '#base/reasons'
import { reasonPhrase } from '#http/reason-phrases'
import { httpStatusOf } from '#http/refusal-status'

const STATUS: Partial<Record<ReasonCode, number>> = {
  ERR_POLICY_DENIED: 403,
  ERR_POLICY_NO_ALLOW: 403,
  ERR_POLICY_NONE: 403,
  ERR_RATE_LIMITED: 429,
  ERR_CERTIFICATE_ENDED: 403,
  ERR_TRUST_WITHDRAWN: 403,
  ERR_SVID_REVOKED: 403,
  ERR_HEAD_TIMEOUT: 408,
  ERR_BODY_TIMEOUT: 408,
  ERR_BODY_RATE: 408,
  ERR_LIMIT_PEER_STREAMS: 503,
  ERR_UPSTREAM_CONNECT_TIMEOUT: 504,
  ERR_UPSTREAM_UNREACHABLE: 502,
  ERR_UPSTREAM_CLOSED: 502,
  ERR_UPSTREAM_TRUNCATED: 502,
  ERR_UPSTREAM_RESPONSE: 502,
  ERR_UPSTREAM_IDENTITY: 502,
  ERR_UPSTREAM_TLS: 502,
  ERR_UPSTREAM_RESOLVE: 502,
  ERR_HTTP2_STREAM_LIMIT: 503,
  ERR_HTTP2_UPSTREAM_RESET: 502,
  ERR_HTTP2_UPSTREAM_GOAWAY: 502,
  ERR_HTTP2_UPSTREAM_PROTOCOL: 502,
  ERR_UPGRADE_UNASKED: 502,
  ERR_UPGRADE_EARLY_DATA: 400,
  ERR_OUTBOUND_NO_ROUTE: 404,
  ERR_RECORDS_OVERLOADED: 503,
  ERR_IDENTITY_ENDED: 503,
  ERR_TRUST_STALE: 503,
  ERR_DRAINED: 503,
  ERR_GRPC_DEADLINE: 504,
  // Whatever else is wrong with a token is 401.
  ERR_TOKEN_REPEATED: 400,
  ERR_TOKEN_BUSY: 503,
  ERR_TOKEN_REVIEW_UNAVAILABLE: 503,
  ERR_INTERNAL: 500,
}

/** The status that a caller is given for a reason. */
export function statusOf(reason: ReasonCode): number {
  return STATUS[reason] ?? httpStatusOf(reason) ?? (reason.startsWith('ERR_TOKEN_') ? 401 : 500)
}

/** The problem document. @param requestId well-formed: needs no escaping */
export function problemBody(status: number, requestId: string): string {
  return `{"title":"${reasonPhrase(status)}","status":${status},"request_id":"${requestId}"}`
}

/** RFC 6750 §3. It says no more: why a token is not good is for the record. */
export const CHALLENGE = 'Bearer error="invalid_token"'

/** Seconds that a caller is told to wait; 0 if it is told nothing. @param known as far as the reason for its refusal says */
export function retryAfterOf(status: number, known: number): number {
  return status === 503 ? Math.max(1, known) : known
}

/**
 * A whole HTTP/1.1 response.
 * @param body a problem document
 * @param headRequest the body is only announced
 * @param retryAfter seconds, as far as they are known
 */
export function problemResponse(
  status: number,
  requestId: string,
  body: string,
  close: boolean,
  headRequest: boolean,
  retryAfter = 0,
): string {
  const seconds = retryAfterOf(status, retryAfter)
  return (
    `HTTP/1.1 ${status} ${reasonPhrase(status)}\r\ncontent-type: application/problem+json\r\ncontent-length: ${body.length}\r\n` +
    `${seconds > 0 ? `retry-after: ${seconds}\r\n` : ''}${status === 401 ? `www-authenticate: ${CHALLENGE}\r\n` : ''}x-request-id: ${requestId}\r\n${close ? 'connection: close\r\n' : ''}\r\n${headRequest ? '' : body}`
  )
}
