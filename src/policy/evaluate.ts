/**
 * Criteria evaluated one by one, as POLICY reads them: first the values of the fact, then the matcher over those values. Written apart
 * from the compiler, and held against it by property tests.
 */
import { asBytes, asText, parseQuery } from './bytes.ts'
import { claimElements, domainOf, emailOf, parseClaimPath } from './claims.ts'
import type { CertificateMatcher, Criterion, Flag, ListMatcher, StringFact, StringMatcher, StringTest } from './document.ts'
import type { RequestFacts } from './facts.ts'
import { contains, parseIp, parseNetwork } from './network.ts'

/** How a criterion came out, and the fact behind it as text; undefined where the fact is absent. */
export interface Evaluation {
  readonly holds: boolean
  readonly actual: string | undefined
}

const ABSENT: Evaluation = { holds: false, actual: undefined }

/** Readings of wall clocks, so that thousands of rules need not each ask for the same one: that is what costs. */
export type WallClocks = Map<string, WallClock>

export function evaluate(criterion: Criterion, facts: RequestFacts, now: number, clocks: WallClocks = new Map()): Evaluation {
  switch (criterion.kind) {
    case 'flag':
      return evaluateFlag(criterion.flag, facts)
    case 'string': {
      const text = stringFact(criterion.fact, facts)
      return text === undefined || text === '' ? ABSENT : { holds: textsHold(criterion.matcher, [text]), actual: text }
    }
    case 'list': {
      const audiences = facts.token?.audiences ?? []
      if (criterion.fact === 'groups') return evaluateClaim('groups', criterion.matcher, facts)
      return audiences.length === 0 ? ABSENT : { holds: elementsHold(criterion.matcher, audiences), actual: show(audiences) }
    }
    case 'claim':
      return evaluateClaim(criterion.path, criterion.matcher, facts)
    case 'values': {
      const values = valuesOf(criterion.source, criterion.key, facts)
      const actual = values.length === 0 ? undefined : showValues(criterion.source, criterion.key, values)
      if (criterion.present === false) return { holds: values.length === 0, actual }
      return values.length === 0 ? ABSENT : { holds: textsHold(criterion.matcher.map(inBytes), values), actual }
    }
    case 'source_ip': {
      const ip = parseIp(facts.sourceIp)
      if (ip === undefined) return ABSENT
      const networks = criterion.networks.map(parseNetwork)
      return { holds: networks.some((network) => network !== undefined && contains(network, ip)), actual: facts.sourceIp }
    }
    case 'port':
      return { holds: criterion.ports.includes(facts.port), actual: String(facts.port) }
    case 'client_certificate':
      return evaluateCertificate(criterion.certificate, facts)
    case 'date': {
      const { after, before } = criterion
      const holds = (after === undefined || now >= after) && (before === undefined || now < before)
      return { holds, actual: new Date(now).toISOString() }
    }
    case 'day_of_week': {
      const { day } = readClock(now, criterion.timezone, clocks)
      return { holds: criterion.days.includes(day), actual: WEEKDAYS[day] }
    }
    default: {
      const { after, before, timezone } = criterion
      const { second, text } = readClock(now, timezone, clocks)
      const holds = after < before ? second >= after && second < before : second >= after || second < before
      return { holds, actual: `${text} ${timezone}` }
    }
  }
}

function evaluateFlag(flag: Flag, { token, peer, method, headers }: RequestFacts): Evaluation {
  switch (flag) {
    case 'accept':
      return { holds: true, actual: 'true' }
    case 'reject':
      return { holds: false, actual: 'false' }
    case 'invalid_client_certificate':
      return { holds: false, actual: 'certificates are verified before policy is asked' }
    case 'authenticated_user':
      return token === undefined || token.subject === '' ? ABSENT : { holds: true, actual: token.subject }
    case 'token_is_peer': {
      if (token?.namespace === undefined || token.serviceAccount === undefined) return ABSENT
      const { namespace, serviceAccount, trustDomain } = token
      const actual = `token of ${namespace}/${serviceAccount}${trustDomain === undefined ? '' : ` in ${trustDomain}`}`
      const id = peer?.id
      const isSame = id !== undefined && id.namespace === namespace && id.serviceAccount === serviceAccount
      return { holds: isSame && (trustDomain === undefined || id.trustDomain === trustDomain), actual }
    }
    default: {
      const asks = (name: string): boolean => headers?.names.includes(name) === true
      if (method !== 'OPTIONS') return { holds: false, actual: method === '' ? undefined : `method ${method}` }
      return { holds: asks('origin') && asks('access-control-request-method'), actual: 'method OPTIONS' }
    }
  }
}

function stringFact(fact: StringFact, { peer, token, protocol, method, path, host }: RequestFacts): string | undefined {
  switch (fact) {
    case 'spiffe_id':
      return peer?.id.uri
    case 'trust_domain':
      return peer?.id.trustDomain
    case 'namespace':
      return peer?.id.namespace
    case 'service_account':
      return peer?.id.serviceAccount
    case 'token/issuer':
      return token?.issuer
    case 'token/subject':
    case 'user':
      return token?.subject
    case 'token/namespace':
      return token?.namespace
    case 'token/service_account':
      return token?.serviceAccount
    case 'email':
      return token === undefined ? undefined : emailOf(token)
    case 'domain':
      return token === undefined ? undefined : domainOf(token)
    case 'http_method':
      return method
    case 'http_path':
      return path
    case 'http_host':
      return host
    default: {
      const [empty, service, rpc, ...more] = path.split('/')
      const grpc = protocol === 'grpc' && empty === '' && service !== '' && rpc !== '' && more.length === 0
      if (!grpc || rpc === undefined) return undefined
      return fact === 'grpc_service' ? service : rpc
    }
  }
}

function evaluateClaim(path: string, matcher: ListMatcher, { token }: RequestFacts): Evaluation {
  const elements = token === undefined ? undefined : claimElements(token, parseClaimPath(path))
  return elements === undefined ? ABSENT : { holds: elementsHold(matcher, elements), actual: show(elements) }
}

function elementsHold(matcher: ListMatcher, elements: readonly unknown[]): boolean {
  return matcher.every(({ test, value }) => {
    if (test === 'exclude') return elements.every((element) => element !== value)
    if (test === 'is') return elements.length === 1 && elements[0] === value
    return elements.some((element) => element === value)
  })
}

function isNegative({ test }: StringTest): boolean {
  return test === 'not' || test === 'not_in'
}

/** Positive tests: one value passes them all. Negative tests: all values pass. */
function textsHold(matcher: StringMatcher, values: readonly string[]): boolean {
  const positive = matcher.filter((test) => !isNegative(test))
  const negative = matcher.filter(isNegative)
  const found = positive.length === 0 || values.some((value) => positive.every((test) => textHolds(test, value)))
  return found && values.every((value) => negative.every((test) => textHolds(test, value)))
}

/** One test of one value. */
export function textHolds(test: StringTest, value: string): boolean {
  switch (test.test) {
    case 'is':
      return value === test.text
    case 'starts_with':
      return value.slice(0, test.text.length) === test.text
    case 'ends_with':
      return value.length >= test.text.length && value.slice(value.length - test.text.length) === test.text
    case 'contains':
      return value.split(test.text).length > 1
    case 'in':
      return test.texts.some((text) => text === value)
    case 'not_in':
      return test.texts.every((text) => text !== value)
    case 'not':
      return !test.matcher.every((inner) => textHolds(inner, value))
    default:
      return patternHolds(test.pattern.split('/'), value.split('/'))
  }
}

function patternHolds(pattern: readonly string[], path: readonly string[]): boolean {
  const open = pattern.at(-1) === '{**}'
  const fixed = open ? pattern.slice(0, -1) : pattern
  if (open ? path.length <= fixed.length : path.length !== fixed.length) return false
  return fixed.every((segment, index) => (segment.startsWith('{') ? path[index] !== '' : path[index] === segment))
}

/** Literals as the bytes that headers and queries carry. */
function inBytes(test: StringTest): StringTest {
  switch (test.test) {
    case 'in':
    case 'not_in':
      return { test: test.test, texts: test.texts.map(asBytes) }
    case 'not':
      return { test: 'not', matcher: test.matcher.map(inBytes) }
    case 'matches':
      return test
    default:
      return { test: test.test, text: asBytes(test.text) }
  }
}

function valuesOf(source: 'header' | 'query', key: string, { headers, query }: RequestFacts): readonly string[] {
  const list = source === 'header' ? headers : query === undefined ? undefined : parseQuery(query)
  return (list?.values ?? []).filter((_, index) => list?.names[index] === asBytes(key))
}

/** Headers whose values are secrets. */
const SECRET_HEADERS: ReadonlySet<string> = new Set(['authorization', 'cookie', 'proxy-authorization', 'x-api-key'])

function showValues(source: 'header' | 'query', key: string, values: readonly string[]): string {
  if (source === 'header' && SECRET_HEADERS.has(key)) return `hidden (${values.map((value) => `${value.length} bytes`).join(', ')})`
  return show(values.map(asText))
}

function show(values: readonly unknown[]): string {
  return values.length === 1 && typeof values[0] === 'string' ? values[0] : JSON.stringify(values)
}

function evaluateCertificate(matcher: CertificateMatcher, { peer }: RequestFacts): Evaluation {
  if (peer === undefined) return ABSENT
  const { fingerprint, spkiHash, sanUris, sanDns, sanEmails } = peer.certificate
  const names = (test: StringMatcher | undefined, values: readonly string[]): boolean =>
    test === undefined || (values.length > 0 && textsHold(test, values))
  const holds =
    matcher.fingerprints?.includes(fingerprint) !== false &&
    matcher.spkiHashes?.includes(spkiHash) !== false &&
    names(matcher.sanUri, sanUris) &&
    names(matcher.sanDns, sanDns) &&
    names(matcher.sanEmail, sanEmails)
  const sans = [...sanUris, ...sanDns, ...sanEmails].join(', ')
  return { holds, actual: `fingerprint ${fingerprint}, spki_hash ${spkiHash}${sans === '' ? '' : `, names ${sans}`}` }
}

export const WEEKDAYS = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'] as const

interface WallClock {
  /** 0 is Sunday. */
  readonly day: number
  /** Of the day. */
  readonly second: number
  readonly text: string
}

/** What the clock on the wall of a time zone reads. */
function readClock(now: number, timezone: string, clocks: WallClocks): WallClock {
  const key = `${now} ${timezone}`
  const known = clocks.get(key)
  if (known !== undefined) return known
  const read = wallClock(now, timezone)
  clocks.set(key, read)
  return read
}

function wallClock(now: number, timeZone: string): WallClock {
  const format = new Intl.DateTimeFormat('en-US', {
    timeZone,
    hourCycle: 'h23',
    weekday: 'short',
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
  })
  const parts = new Map(format.formatToParts(now).map(({ type, value }) => [type, value]))
  const [hour = '0', minute = '0', second = '0'] = [parts.get('hour'), parts.get('minute'), parts.get('second')]
  const day = (WEEKDAYS as readonly string[]).indexOf((parts.get('weekday') ?? '').toLowerCase())
  return { day, second: Number(hour) * 3600 + Number(minute) * 60 + Number(second), text: `${hour}:${minute}:${second}` }
}
