/** Criteria as closures over the facts of a request. A fact that is absent makes every criterion about it false. */
import { asBytes, parseQuery, type QueryParameters } from './bytes.ts'
import { claimElements, type ClaimPath, domainOf, emailOf, parseClaimPath } from './claims.ts'
import { compileList, compileText, compileTexts } from './compile-matcher.ts'
import type { CertificateMatcher, FactCriterion, Flag, ListFact, StringFact, StringMatcher, TimeCriterion } from './document.ts'
import type { RequestFacts } from './facts.ts'
import { contains, type IpAddress, parseIp, parseNetwork } from './network.ts'
import { createZone, daysCondition, hoursCondition, inZone, type TimeCondition, type Zone } from './zone.ts'

/** What several criteria of one decision have to work out, kept from one to the next. */
export interface Memo {
  ipText: string
  ip: IpAddress | undefined
  queryText: string | undefined
  query: QueryParameters
}

export function createMemo(): Memo {
  return { ipText: '', ip: undefined, queryText: undefined, query: { names: [], values: [] } }
}

export type Check = (facts: RequestFacts, memo: Memo) => boolean

/** A criterion that does not depend on time. */
export function compileCheck(criterion: FactCriterion): Check {
  switch (criterion.kind) {
    case 'flag':
      return FLAGS[criterion.flag]
    case 'string':
      return compileString(criterion.fact, criterion.matcher)
    case 'list':
      return compileElements(LIST_FACTS[criterion.fact], compileList(criterion.matcher))
    case 'claim': {
      const path = parseClaimPath(criterion.path)
      return compileElements(claimAt(path), compileList(criterion.matcher))
    }
    case 'values':
      return compileValues(criterion.source, criterion.key, criterion.present, criterion.matcher)
    case 'source_ip':
      return compileSourceIp(criterion.networks)
    case 'port': {
      const { ports } = criterion
      return ({ port }) => ports.includes(port)
    }
    default:
      return compileCertificate(criterion.certificate)
  }
}

const FLAGS: Readonly<Record<Flag, Check>> = {
  accept: () => true,
  reject: () => false,
  invalid_client_certificate: () => false,
  authenticated_user: ({ token }) => token !== undefined && token.subject !== '',
  token_is_peer: ({ token, peer }) =>
    token?.namespace !== undefined &&
    token.serviceAccount !== undefined &&
    token.namespace === peer?.id.namespace &&
    token.serviceAccount === peer.id.serviceAccount &&
    // Namespaces of two trust domains may have equal names.
    (token.trustDomain === undefined || token.trustDomain === peer.id.trustDomain),
  cors_preflight: ({ method, headers }) =>
    method === 'OPTIONS' &&
    headers !== undefined &&
    headers.names.includes('access-control-request-method') &&
    headers.names.includes('origin'),
}

type StringOf = (facts: RequestFacts) => string | undefined

/** Undefined and `''` are absent. */
const STRING_FACTS: Readonly<Record<StringFact, StringOf>> = {
  spiffe_id: ({ peer }) => peer?.id.uri,
  trust_domain: ({ peer }) => peer?.id.trustDomain,
  namespace: ({ peer }) => peer?.id.namespace,
  service_account: ({ peer }) => peer?.id.serviceAccount,
  'token/issuer': ({ token }) => token?.issuer,
  'token/subject': ({ token }) => token?.subject,
  'token/namespace': ({ token }) => token?.namespace,
  'token/service_account': ({ token }) => token?.serviceAccount,
  user: ({ token }) => token?.subject,
  email: ({ token }) => (token === undefined ? undefined : emailOf(token)),
  domain: ({ token }) => (token === undefined ? undefined : domainOf(token)),
  http_method: ({ method }) => method,
  http_path: ({ path }) => path,
  http_host: ({ host }) => host,
  grpc_service: (facts) => grpcPart(facts, 'service'),
  grpc_method: (facts) => grpcPart(facts, 'method'),
}

function grpcPart({ protocol, path }: RequestFacts, part: 'service' | 'method'): string | undefined {
  if (protocol !== 'grpc' || path.charCodeAt(0) !== 0x2f) return undefined
  const slash = path.indexOf('/', 1)
  if (slash <= 1 || slash === path.length - 1 || path.includes('/', slash + 1)) return undefined
  return part === 'service' ? path.slice(1, slash) : path.slice(slash + 1)
}

function compileString(fact: StringFact, matcher: StringMatcher): Check {
  const read = STRING_FACTS[fact]
  const test = compileText(matcher)
  return (facts) => {
    const text = read(facts)
    return text !== undefined && text !== '' && test(text)
  }
}

type ElementsOf = (facts: RequestFacts) => readonly unknown[] | undefined

const LIST_FACTS: Readonly<Record<ListFact, ElementsOf>> = {
  'token/audience': ({ token }) => (token === undefined || token.audiences.length === 0 ? undefined : token.audiences),
  groups: claimAt(parseClaimPath('groups')),
}

function claimAt(path: ClaimPath): ElementsOf {
  return ({ token }) => (token === undefined ? undefined : claimElements(token, path))
}

function compileElements(read: ElementsOf, test: (elements: readonly unknown[]) => boolean): Check {
  return (facts) => {
    const elements = read(facts)
    return elements !== undefined && test(elements)
  }
}

function compileValues(source: 'header' | 'query', key: string, present: boolean | undefined, matcher: StringMatcher): Check {
  const name = asBytes(key)
  if (matcher.length === 0) return (facts, memo) => valuesOf(source, name, facts, memo).length > 0 === present
  const test = compileTexts(matcher, asBytes)
  return (facts, memo) => {
    const values = valuesOf(source, name, facts, memo)
    return values.length > 0 && test(values)
  }
}

const NO_VALUES: readonly string[] = []

function valuesOf(source: 'header' | 'query', name: string, facts: RequestFacts, memo: Memo): readonly string[] {
  const list = source === 'header' ? facts.headers : queryOf(facts, memo)
  if (list === undefined || !list.names.includes(name)) return NO_VALUES
  return list.values.filter((_, index) => list.names[index] === name)
}

function queryOf({ query }: RequestFacts, memo: Memo): QueryParameters | undefined {
  if (query === undefined) return undefined
  if (memo.queryText !== query) {
    memo.query = parseQuery(query)
    memo.queryText = query
  }
  return memo.query
}

function compileSourceIp(texts: readonly string[]): Check {
  const networks = texts.map(parseNetwork).filter((network) => network !== undefined)
  return ({ sourceIp }, memo) => {
    if (memo.ipText !== sourceIp) {
      memo.ip = parseIp(sourceIp)
      memo.ipText = sourceIp
    }
    const { ip } = memo
    return ip !== undefined && networks.some((network) => contains(network, ip))
  }
}

function compileCertificate({ fingerprints, spkiHashes, sanUri, sanDns, sanEmail }: CertificateMatcher): Check {
  const uris = compileSan(sanUri)
  const dns = compileSan(sanDns)
  const emails = compileSan(sanEmail)
  return ({ peer }) => {
    if (peer === undefined) return false
    const { certificate } = peer
    return (
      (fingerprints === undefined || fingerprints.includes(certificate.fingerprint)) &&
      (spkiHashes === undefined || spkiHashes.includes(certificate.spkiHash)) &&
      uris(certificate.sanUris) &&
      dns(certificate.sanDns) &&
      emails(certificate.sanEmails)
    )
  }
}

function compileSan(matcher: StringMatcher | undefined): (names: readonly string[]) => boolean {
  if (matcher === undefined) return () => true
  const test = compileTexts(matcher)
  return (names) => names.length > 0 && test(names)
}

/** A criterion that depends on time alone. @param zones shared by the criteria of one policy */
export function compileTime(criterion: TimeCriterion, zones: Map<string, Zone>): TimeCondition {
  switch (criterion.kind) {
    case 'date': {
      const { after = -Infinity, before = Infinity } = criterion
      return {
        holds: (now) => now >= after && now < before,
        changesAt: (now) => (now < after ? after : now < before ? before : Infinity),
      }
    }
    case 'day_of_week':
      return inZone(zoneFor(criterion.timezone, zones), daysCondition(criterion.days), criterion.days.length === 7)
    default: {
      const { after, before } = criterion
      return inZone(zoneFor(criterion.timezone, zones), hoursCondition(after, before), after === 0 && before === 86_400)
    }
  }
}

function zoneFor(name: string, zones: Map<string, Zone>): Zone {
  const known = zones.get(name)
  if (known !== undefined) return known
  const zone = createZone(name)
  zones.set(name, zone)
  return zone
}
