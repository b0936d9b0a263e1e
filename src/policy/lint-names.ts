/** Lint of names: those that nearly agree with others of the set, and methods that no client sends. */
import type { Location } from '#base/located'
import { editDistance } from '#base/suggest'
import { parseSpiffeId } from '#identity/spiffe-id'
import { type Complaints, warn } from './complaints.ts'
import { type Criterion, locationIn, type PolicyDocument, type StringFact, type StringMatcher } from './document.ts'
import { nearMisses, type NamePool, noteName } from './near-misses.ts'

/** RFC 9110 §9.3, and PATCH (RFC 5789). */
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH']

/** Facts whose names are compared with one another. */
const COMPARED: ReadonlySet<StringFact> = new Set([
  'spiffe_id',
  'trust_domain',
  'namespace',
  'service_account',
  'http_host',
  'http_path',
  'grpc_service',
  'grpc_method',
])

/** Beyond so many, slips are not what the differences are. */
const MAX_REPORTED = 20

export function lintNames(documents: readonly PolicyDocument[], complaints: Complaints): void {
  const pools = new Map<StringFact, NamePool>([...COMPARED].map((fact) => [fact, { names: new Map() }]))
  for (const document of documents) {
    for (const criterion of document.rules.flatMap(({ criteria }) => criteria)) {
      if (criterion.kind !== 'string') continue
      const at = locationIn(document, criterion)
      if (criterion.fact === 'http_method') lintMethods(criterion, at, complaints)
      const pool = pools.get(criterion.fact)
      if (pool !== undefined) for (const name of namesIn(criterion.matcher)) note(pools, criterion.fact, pool, name, at)
    }
  }
  const misses = [...pools.values()].flatMap(nearMisses)
  for (const { name, meant, at } of misses.slice(0, MAX_REPORTED)) {
    warn(complaints, 'ERR_POLICY_NEAR_MISS', at, `\`${name}\` is here, and \`${meant}\` elsewhere.`, meant)
  }
  const rest = misses.length - MAX_REPORTED
  const last = misses.at(-1)
  if (rest > 0 && last !== undefined)
    warn(complaints, 'ERR_POLICY_NEAR_MISS', last.at, `There are ${rest} more names that nearly agree with others.`)
}

function note(pools: ReadonlyMap<StringFact, NamePool>, fact: StringFact, pool: NamePool, name: string, at: Location): void {
  noteName(pool, name, at)
  const id = fact === 'spiffe_id' ? parseSpiffeId(name) : undefined
  if (id?.ok !== true) return
  const parts = { trust_domain: id.value.trustDomain, namespace: id.value.namespace, service_account: id.value.serviceAccount }
  for (const [part, value] of Object.entries(parts)) {
    const other = pools.get(part as StringFact)
    if (other !== undefined && value !== undefined) noteName(other, value, undefined)
  }
}

function namesIn(matcher: StringMatcher): string[] {
  return matcher.flatMap((test) => {
    if (test.test === 'is' || test.test === 'starts_with') return [test.text]
    if (test.test === 'in' || test.test === 'not_in') return [...test.texts]
    return test.test === 'not' ? namesIn(test.matcher) : []
  })
}

function lintMethods(criterion: Extract<Criterion, { kind: 'string' }>, at: Location, complaints: Complaints): void {
  for (const name of namesIn(criterion.matcher)) {
    if (METHODS.includes(name)) continue
    const meant = METHODS.find((method) => editDistance(method, name.toUpperCase(), 1) <= 1)
    if (meant !== undefined)
      warn(complaints, 'ERR_POLICY_NEAR_MISS', at, `Methods are case-sensitive, and \`${name}\` is none that clients send.`, meant)
  }
}
