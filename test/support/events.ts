/** Events as the data plane makes them, to be changed where a test is about something. */
import type { ConnectionOrigin, ExchangeEvent, HandshakeEvent } from '#audit/event'
import type { TokenPrincipal } from '#identity/peer'
import type { Decision } from '#policy/decision'
import type { RequestFacts } from '#policy/facts'

export const TIME = Date.parse('2026-11-24T18:41:07.123Z')

export const origin: ConnectionOrigin = {
  listener: '0.0.0.0:7443',
  direction: 'inbound',
  protocol: 'http1',
  peer: {
    id: {
      uri: 'spiffe://example.org/ns/shop/sa/cart',
      trustDomain: 'example.org',
      path: '/ns/shop/sa/cart',
      namespace: 'shop',
      serviceAccount: 'cart',
    },
    certificate: {
      fingerprint: 'ab'.repeat(32),
      spkiHash: 'c3BraQ==',
      serial: '1f2e3d4c5b6a79880123456789abcdef',
      notBefore: TIME - 3_600_000,
      notAfter: Date.parse('2026-11-25T02:00:00Z'),
      sanUris: ['spiffe://example.org/ns/shop/sa/cart'],
      sanDns: [],
      sanEmails: [],
    },
    authorities: ['cd'.repeat(32)],
  },
  sourceIp: '10.1.2.3',
  tls: { version: 'TLSv1.3', group: 'X25519MLKEM768' },
}

export const allowed: Decision = {
  allow: true,
  reason: undefined,
  policy: 'shop/catalog-readers',
  rule: 'cart-reads',
  validUntil: Infinity,
  generation: 7,
  shadow: undefined,
}

export const denied: Decision = { ...allowed, allow: false, reason: 'ERR_POLICY_DENIED', rule: '#2' }

export const token: TokenPrincipal = {
  issuer: 'https://kubernetes.default.svc.cluster.local',
  subject: 'system:serviceaccount:shop:cart',
  audiences: ['catalog'],
  namespace: 'shop',
  serviceAccount: 'cart',
  claims: {},
  expiresAt: TIME + 60_000,
}

export function requestFacts(changes: Partial<RequestFacts> = {}): RequestFacts {
  return {
    protocol: 'http',
    peer: origin.peer,
    token: undefined,
    method: 'GET',
    path: '/catalog/items/4711',
    query: 'fields=name',
    host: 'catalog.shop',
    headers: { names: ['host', 'accept'], values: ['catalog.shop', '*/*'] },
    sourceIp: '10.1.2.3',
    port: 7443,
    ...changes,
  }
}

export function exchange(changes: Partial<ExchangeEvent> = {}): ExchangeEvent {
  return {
    origin,
    time: TIME,
    requestId: '01890a5d-ac96-774b-bcce-b302099a8057',
    method: 'GET',
    host: 'catalog.shop',
    path: '/catalog/items/4711',
    token: undefined,
    decision: allowed,
    reason: undefined,
    detail: '',
    status: 200,
    grpcStatus: undefined,
    bytesIn: 0,
    bytesOut: 1024,
    durationUs: 1234.56,
    decideUs: 0.8,
    traceId: '4bf92f3577b34da6a3ce929d0e0e4736',
    facts: requestFacts(),
    ...changes,
  }
}

/** One that policy refused. */
export function refusal(changes: Partial<ExchangeEvent> = {}): ExchangeEvent {
  return exchange({ decision: denied, reason: 'ERR_POLICY_DENIED', status: 403, bytesOut: 120, ...changes })
}

export function handshake(changes: Partial<HandshakeEvent> = {}): HandshakeEvent {
  return {
    id: '01890a5d-ac96-774b-bcce-b302099a8057',
    listener: '0.0.0.0:7443',
    time: TIME,
    sourceIp: '10.1.2.3',
    reason: 'ERR_TLS_HANDSHAKE',
    detail: 'no certificate',
    presented: { id: 'spiffe://other.example/ns/a/sa/b', serial: '0a', notAfter: TIME },
    ...changes,
  }
}
