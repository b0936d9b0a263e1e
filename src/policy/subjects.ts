/** What criteria are about: the token, the peer, HTTP. */
import type { Criterion, TimeCriterion } from './document.ts'

const TOKEN_FACTS: ReadonlySet<string> = new Set([
  'token/issuer',
  'token/subject',
  'token/namespace',
  'token/service_account',
  'token/audience',
  'groups',
  'user',
  'email',
  'domain',
  'authenticated_user',
  'token_is_peer',
])

const PEER_NAMES: ReadonlySet<string> = new Set(['spiffe_id', 'trust_domain', 'namespace', 'service_account', 'client_certificate'])

export function isAboutToken(criterion: Criterion): boolean {
  return criterion.kind === 'claim' || TOKEN_FACTS.has(criterion.name)
}

/** The name of a criterion about the peer's certificate. */
export function isPeerName(name: string): boolean {
  return PEER_NAMES.has(name)
}

/** An opaque connection has a peer, an address, a port and a time; all else comes with a request, the token too. */
export function isAboutHttp(criterion: Criterion): boolean {
  switch (criterion.kind) {
    case 'flag':
      return criterion.flag === 'cors_preflight' || isAboutToken(criterion)
    case 'string':
      return !isPeerName(criterion.name)
    case 'list':
    case 'claim':
    case 'values':
      return true
    default:
      return false
  }
}

/** Depends on the instant of the decision. */
export function isAboutTime(criterion: Criterion): criterion is TimeCriterion {
  return criterion.kind === 'date' || criterion.kind === 'day_of_week' || criterion.kind === 'time_of_day'
}
