/** Requests and answers of the API without their transport, and what refusals look like on the wire (RFC 9457). */
import type { ReasonCode } from '#base/reasons'
import { REASONS } from '#base/reasons'
import type { Refusal } from '#base/result'
import type { HeaderList } from '#http/header-list'
import { reasonPhrase } from '#http/reason-phrases'
import type { Peer } from '#identity/peer'

/** Who holds the other end of the connection, by its certificate. */
export type Caller =
  | { readonly kind: 'nobody' }
  /** It showed a certificate that is not taken. */
  | { readonly kind: 'refused'; readonly refusal: Refusal; readonly id: string }
  | { readonly kind: 'peer'; readonly peer: Peer }

export interface ApiRequest {
  readonly method: string
  readonly path: string
  readonly headers: HeaderList
  readonly body: Buffer
  readonly caller: Caller
  /** IP address. */
  readonly source: string
  readonly requestId: string
}

export interface ApiAnswer {
  readonly status: number
  readonly contentType: string
  /** Names in lower case. */
  readonly headers: readonly (readonly [name: string, value: string])[]
  readonly body: string
}

export function jsonAnswer(body: string): ApiAnswer {
  return { status: 200, contentType: 'application/json', headers: NO_STORE, body }
}

const NO_STORE = [['cache-control', 'no-store']] as const

export interface RefusedAnswer {
  readonly refusal: Refusal
  readonly requestId: string
  /** Worked out from the reason unless said. */
  readonly status?: number
  /** Whole seconds. */
  readonly retryAfter?: number
  readonly headers?: ApiAnswer['headers']
}

export function refusedAnswer({
  refusal,
  requestId,
  status = statusOf(refusal.reason),
  retryAfter,
  headers = [],
}: RefusedAnswer): ApiAnswer {
  const detail = `${REASONS[refusal.reason].what}${isForCaller(refusal.reason) && refusal.detail !== '' ? ` (${refusal.detail})` : ''}`
  return {
    status,
    contentType: 'application/problem+json',
    headers: [...NO_STORE, ...headers, ...(retryAfter === undefined ? [] : [['retry-after', String(retryAfter)] as const])],
    body: JSON.stringify({ title: reasonPhrase(status), status, code: refusal.reason, detail, request_id: requestId }),
  }
}

/**
 * Whether the detail goes to the caller too. What is wrong with its own request it may know, what the issuers of tokens, the store
 * and the configuration say is for the log alone.
 */
function isForCaller(reason: ReasonCode): boolean {
  return /^ERR_(?:CSR|JOIN_TOKEN|KEY|SVID|TLS|CA_(?:REQUEST|ATTESTATION_TYPE|ATTESTED_ID|VOUCHER|CLIENT_CERTIFICATE|CLOCK_SKEW|CALLER_LIMIT))/.test(
    reason,
  )
}

const STATUSES: Readonly<Partial<Record<ReasonCode, number>>> = {
  ERR_CA_REQUEST: 400,
  ERR_CA_ATTESTATION_TYPE: 400,
  ERR_CA_ATTESTED_ID: 403,
  ERR_CA_VOUCHER: 403,
  ERR_SVID_REVOKED: 403,
  ERR_CA_NO_CERTIFICATE: 401,
  ERR_CA_CLIENT_CERTIFICATE: 401,
  ERR_CA_CLOCK_SKEW: 409,
  ERR_CA_CALLER_LIMIT: 429,
  ERR_CA_OVERLOADED: 503,
  ERR_CA_NO_AUTHORITY: 503,
  ERR_CA_DRAINING: 503,
  ERR_CA_INTERNAL: 500,
  ERR_CA_TOKEN_REVIEW: 401,
  ERR_CSR_UNREADABLE: 400,
  ERR_CSR_SIGNATURE: 400,
  ERR_KEY_WEAK: 400,
  ERR_CSR_NAME: 403,
  ERR_CSR_AUTHORITY: 403,
  ERR_CSR_EXTENSION: 403,
  ERR_SPIFFE_ID_MALFORMED: 403,
  ERR_TOKEN_KEYS_UNAVAILABLE: 503,
  ERR_TOKEN_BUSY: 503,
}

export function statusOf(reason: ReasonCode): number {
  const known = STATUSES[reason]
  if (known !== undefined) return known
  if (reason.startsWith('ERR_CA_STORE') || reason.startsWith('ERR_KUBE') || reason.startsWith('ERR_JWKS')) return 503
  return 401
}
