/**
 * Who may do something, or what somebody may do: rules with all that is known settled, and what remains of them. Exact: a request that fits
 * what is known is allowed if and only if the conditions of one grant hold of it and those of none of its exceptions do.
 */
import type { Location } from '#base/located'
import { parseSpiffeId, type SpiffeId } from '#identity/spiffe-id'
import { contradiction } from './contradictions.ts'
import { type Action, appliesTo, type Criterion, locationIn, type PolicyDocument, type PolicyRule, type PolicyScope } from './document.ts'
import type { RuleLimit } from './document.ts'
import { conjunctionsOf, type Literal } from './entry.ts'
import { evaluate } from './evaluate.ts'
import type { RequestFacts } from './facts.ts'
import { covers } from './implications.ts'
import { valuesLeft } from './known-texts.ts'
import { isAboutHttp, isAboutTime, isPeerName } from './subjects.ts'

/** What is known of the requests that are asked about; undefined is anything. */
export interface Known {
  readonly protocol: RequestFacts['protocol']
  readonly peer: SpiffeId | undefined
  readonly method: string | undefined
  /** Canonical. */
  readonly path: string | undefined
  readonly host: string | undefined
  readonly port: number
  /** Ms since the epoch. Undefined: now and at any later time. */
  readonly at: number | undefined
}

/** A rule that has a say. */
export interface NamedPlace {
  readonly policy: string
  readonly rule: string
  readonly at: Location
}

export interface Grant extends NamedPlace {
  /** The one caller it is for, where the rule names callers one by one and none was asked about. */
  readonly caller: string | undefined
  /** All must hold; empty: nothing more is asked. */
  readonly conditions: readonly Literal[]
  /** Deny rules that overrule it where all of their conditions hold. */
  readonly exceptions: readonly (NamedPlace & { readonly conditions: readonly Literal[] })[]
  readonly limit: RuleLimit | undefined
}

/** A grant that a deny rule leaves nothing of. */
export interface OverruledGrant extends NamedPlace {
  readonly caller: string | undefined
  readonly conditions: readonly Literal[]
  readonly by: NamedPlace
}

export interface Reach {
  readonly grants: readonly Grant[]
  readonly overruled: readonly OverruledGrant[]
  /** No enforced document applies. */
  readonly none: boolean
}

interface Conjunction extends NamedPlace {
  readonly literals: readonly Literal[]
  readonly limit: RuleLimit | undefined
}

/** Pairs of grants and denials beyond which exceptions are listed without a look whether they can ever matter. */
const MAX_PAIRS = 100_000

/** @param now ms since the epoch: what can only hold before it is left out @param shadow count shadow documents as enforced */
export function reach(documents: readonly PolicyDocument[], scope: PolicyScope, known: Known, now: number, shadow = false): Reach {
  const applicable = documents.filter((document) => appliesTo(document, scope) && (shadow || document.mode === 'enforce'))
  const allows = conjunctions(applicable, 'allow', known).flatMap((allow) => perCaller(allow, known))
  const denies = conjunctions(applicable, 'deny', known)
  const isSmall = allows.length * denies.length <= MAX_PAIRS
  const grants: Grant[] = []
  const overruled: OverruledGrant[] = []
  const seen = new Set<string>()
  for (const { caller, allow } of allows) {
    const literals = settleAll(allow.literals, withCaller(known, caller))
    if (literals === undefined || contradiction(literals, now) !== undefined) continue
    const key = JSON.stringify([caller?.uri, allow.at, literals])
    if (seen.has(key)) continue
    seen.add(key)
    const base = { policy: allow.policy, rule: allow.rule, at: allow.at, caller: caller?.uri, conditions: literals }
    const against = exceptionsOf(literals, denies, withCaller(known, caller), isSmall ? now : undefined)
    const by = against.find(({ conditions }) => conditions.length === 0)
    if (by === undefined) grants.push({ ...base, exceptions: against, limit: allow.limit })
    else overruled.push({ ...base, by: { policy: by.policy, rule: by.rule, at: by.at } })
  }
  return { grants, overruled, none: applicable.length === 0 }
}

function withCaller(known: Known, caller: SpiffeId | undefined): Known {
  return caller === undefined ? known : { ...known, peer: caller }
}

/** Whether everything that a grant, or an exception, asks holds of a request. */
export function conditionsHold(conditions: readonly Literal[], facts: RequestFacts, now: number): boolean {
  return conditions.every(({ criterion, negated }) => evaluate(criterion, facts, now).holds !== negated)
}

/** What is left of the rules of one action, each a conjunction; those that cannot hold are left out. */
function conjunctions(documents: readonly PolicyDocument[], action: Action, known: Known): Conjunction[] {
  return documents.flatMap((document) =>
    document.rules.flatMap((rule) => {
      if (rule.action !== action) return []
      const named = { policy: document.name, rule: rule.name, at: locationIn(document, rule), limit: rule.limit }
      return leftOf(rule, known).map((literals) => ({ ...named, literals }))
    }),
  )
}

function leftOf(rule: PolicyRule, known: Known): (readonly Literal[])[] {
  // HTTP criteria cannot be asked of an opaque connection: such a rule never allows one, and refuses it if it is a deny rule.
  if (known.protocol === 'tcp' && rule.criteria.some(isAboutHttp)) return rule.action === 'deny' ? [[]] : []
  return conjunctionsOf(rule).flatMap((literals) => {
    const left = settleAll(literals, known)
    return left === undefined ? [] : [left]
  })
}

/** One for each caller that a conjunction names, if it names them at all. */
function perCaller(allow: Conjunction, known: Known): { readonly caller: SpiffeId | undefined; readonly allow: Conjunction }[] {
  const ids = known.peer === undefined ? valuesLeft(allow.literals, 'spiffe_id') : undefined
  if (ids === undefined) return [{ caller: undefined, allow }]
  return [...new Set(ids)].flatMap((uri) => {
    const id = parseSpiffeId(uri)
    return id.ok ? [{ caller: id.value, allow }] : []
  })
}

/** @param now undefined: what can never matter is kept, which is true but says more than it must */
function exceptionsOf(
  grant: readonly Literal[],
  denies: readonly Conjunction[],
  known: Known,
  now: number | undefined,
): (NamedPlace & { readonly conditions: readonly Literal[] })[] {
  return denies.flatMap(({ policy, rule, at, literals }) => {
    const left = settleAll(literals, known)
    if (left === undefined) return []
    if (now === undefined) return [{ policy, rule, at, conditions: left }]
    if (contradiction([...grant, ...left], now) !== undefined) return []
    return [{ policy, rule, at, conditions: left.filter((literal) => !covers([literal], grant)) }]
  })
}

/** Undefined where one literal cannot hold; those that surely hold are left out. */
function settleAll(literals: readonly Literal[], known: Known): readonly Literal[] | undefined {
  const left: Literal[] = []
  for (const literal of literals) {
    const settled = settle(literal, known)
    if (settled === false) return undefined
    if (settled === undefined) left.push(literal)
  }
  return left
}

function settle({ criterion, negated }: Literal, known: Known): boolean | undefined {
  return isSettled(criterion, known) ? evaluate(criterion, stub(known), known.at ?? 0).holds !== negated : undefined
}

function isSettled(criterion: Criterion, { protocol, peer, method, path, host, at }: Known): boolean {
  if (isAboutTime(criterion)) return at !== undefined
  switch (criterion.kind) {
    case 'flag':
      if (criterion.flag === 'cors_preflight') return method !== undefined && method !== 'OPTIONS'
      return criterion.flag !== 'authenticated_user' && criterion.flag !== 'token_is_peer'
    case 'port':
      return true
    case 'string':
      if (isPeerName(criterion.name)) return peer !== undefined
      if (criterion.fact === 'http_method') return method !== undefined
      if (criterion.fact === 'http_path') return path !== undefined
      if (criterion.fact === 'http_host') return host !== undefined
      return criterion.name.startsWith('grpc_') && (protocol !== 'grpc' || path !== undefined)
    default:
      return false
  }
}

/** As much of a request as is known: only criteria that this settles are asked of it. */
function stub({ protocol, peer, method, path, host, port }: Known): RequestFacts {
  const certificate = {
    fingerprint: '',
    spkiHash: '',
    serial: '',
    notBefore: 0,
    notAfter: Infinity,
    sanUris: [],
    sanDns: [],
    sanEmails: [],
  }
  return {
    protocol,
    peer: peer === undefined ? undefined : { id: peer, certificate, authorities: [] },
    token: undefined,
    method: method ?? '',
    path: path ?? '',
    query: undefined,
    host: host ?? '',
    headers: undefined,
    sourceIp: '',
    port,
  }
}
