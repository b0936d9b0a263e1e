/**
 * A policy document after reading: plain data that can be cloned between threads, with the place of everything that can be
 * complained about or explained. `read-document.ts` makes it, `compile.ts` and `explain.ts` give it meaning.
 */
import type { Location } from '#base/located'

/** Where in the document's file; both count from 1. */
export interface Place {
  readonly line: number
  readonly column: number
}

/** `enforce`: decided. `shadow`: decided and counted, not enforced. */
export type PolicyMode = 'enforce' | 'shadow'

export interface PolicyDocument {
  /** `namespace/name`, or the bare name where the document has no namespace. */
  readonly name: string
  readonly namespace: string | undefined
  /** What locations call the file. */
  readonly file: string
  readonly mode: PolicyMode
  /** Undefined: every service, every port. */
  readonly target: PolicyTarget | undefined
  /** Labels of which all must be there; undefined: any. */
  readonly selector: Readonly<Record<string, string>> | undefined
  readonly rules: readonly PolicyRule[]
  readonly tests: readonly PolicyTest[]
}

export interface PolicyTarget {
  readonly service: string | undefined
  readonly ports: readonly number[] | undefined
}

export type Action = 'allow' | 'deny'

/** `and` all · `or` any · `not` none · `nor` not all. */
export type Operator = 'and' | 'or' | 'not' | 'nor'

/** One operator under one action. What was written as one rule with several of them becomes several with the same name. */
export interface PolicyRule extends Place {
  /** As written, or `#2` for the second rule of the document. */
  readonly name: string
  readonly action: Action
  readonly operator: Operator
  /** Never empty. */
  readonly criteria: readonly Criterion[]
  /** Its own or the document's; only allow rules have one. */
  readonly limit: RuleLimit | undefined
}

/** How often callers may make use of an allow rule. */
export interface RuleLimit {
  /** `100/s`, `100/m` or `100/h` */
  readonly requests: string
  /** Requests that may come at once; at least 1. */
  readonly burst: number
  readonly per: LimitGroup
}

/** Who is counted together. */
export type LimitGroup = 'peer' | 'service_account' | 'namespace' | 'trust_domain' | 'source_ip' | 'all'

/** One criterion. `name` is as written: `http_path`, `claim/role`. */
export type Criterion = Place & { readonly name: string } & (
    | { readonly kind: 'flag'; readonly flag: Flag }
    | { readonly kind: 'string'; readonly fact: StringFact; readonly matcher: StringMatcher }
    | { readonly kind: 'list'; readonly fact: ListFact; readonly matcher: ListMatcher }
    | { readonly kind: 'claim'; readonly path: string; readonly matcher: ListMatcher }
    | {
        readonly kind: 'values'
        readonly source: 'header' | 'query'
        /** Lower-case for headers. */
        readonly key: string
        /** `true`: at least one value; `false`: none, and then the matcher is empty. */
        readonly present: boolean | undefined
        readonly matcher: StringMatcher
      }
    | { readonly kind: 'source_ip'; readonly networks: readonly string[] }
    | { readonly kind: 'port'; readonly ports: readonly number[] }
    | { readonly kind: 'client_certificate'; readonly certificate: CertificateMatcher }
    /** Ms since the epoch; `after` inclusive, `before` exclusive. */
    | { readonly kind: 'date'; readonly after: number | undefined; readonly before: number | undefined }
    /** 0 is Sunday. */
    | { readonly kind: 'day_of_week'; readonly days: readonly number[]; readonly timezone: string }
    /** Seconds of the local day; `after` inclusive, `before` exclusive, never equal; `after` > `before` wraps over midnight. */
    | { readonly kind: 'time_of_day'; readonly after: number; readonly before: number; readonly timezone: string }
  )

/** Depends on the instant of the decision alone. */
export type TimeCriterion = Extract<Criterion, { kind: 'date' | 'day_of_week' | 'time_of_day' }>
/** Depends on the facts of the request alone. */
export type FactCriterion = Exclude<Criterion, TimeCriterion>

export type Flag = 'accept' | 'reject' | 'authenticated_user' | 'cors_preflight' | 'invalid_client_certificate' | 'token_is_peer'

export type StringFact =
  | 'spiffe_id'
  | 'trust_domain'
  | 'namespace'
  | 'service_account'
  | 'token/issuer'
  | 'token/subject'
  | 'token/namespace'
  | 'token/service_account'
  | 'user'
  | 'email'
  | 'domain'
  | 'http_method'
  | 'http_path'
  | 'http_host'
  | 'grpc_service'
  | 'grpc_method'

export type ListFact = 'token/audience' | 'groups'

/** ANDed. Empty only beside `present`. */
export type StringMatcher = readonly StringTest[]

export type StringTest =
  | { readonly test: 'is' | 'starts_with' | 'ends_with' | 'contains'; readonly text: string }
  | { readonly test: 'in' | 'not_in'; readonly texts: readonly string[] }
  | { readonly test: 'not'; readonly matcher: StringMatcher }
  | { readonly test: 'matches'; readonly pattern: string }

/** ANDed, never empty. */
export type ListMatcher = readonly ListTest[]

export interface ListTest {
  /** `has`: one element equals · `is`: exactly one element, and it equals · `exclude`: no element equals. */
  readonly test: 'has' | 'is' | 'exclude'
  readonly value: string | number | boolean
}

/** ANDed; all undefined: any certificate. */
export interface CertificateMatcher {
  /** 64 lower-case hex digits each. */
  readonly fingerprints: readonly string[] | undefined
  readonly spkiHashes: readonly string[] | undefined
  readonly sanUri: StringMatcher | undefined
  readonly sanDns: StringMatcher | undefined
  readonly sanEmail: StringMatcher | undefined
}

/** One entry of `tests`. */
export interface PolicyTest extends Place {
  readonly name: string | undefined
  /** As written, for `request.ts` to read. */
  readonly request: Readonly<Record<string, unknown>>
  readonly expect: Action
  /** Name of the rule that must decide. */
  readonly because: string | undefined
}

/** Which documents apply: what is being governed. */
export interface PolicyScope {
  /** Undefined: unknown, so that documents with `target.service` do not apply. */
  readonly service: string | undefined
  readonly labels: Readonly<Record<string, string>>
  /** Every number by which the one listener is known. */
  readonly ports: readonly number[]
}

/** A document that does not apply is as if absent. `metadata.namespace` limits nothing here. */
export function appliesTo(document: PolicyDocument, scope: PolicyScope): boolean {
  const { target, selector } = document
  if (target?.service !== undefined && target.service !== scope.service) return false
  if (target?.ports !== undefined && !target.ports.some((port) => scope.ports.includes(port))) return false
  if (selector === undefined) return true
  return Object.entries(selector).every(([label, value]) => Object.hasOwn(scope.labels, label) && scope.labels[label] === value)
}

/** The document in pieces of at most `rules` rules, in order: what is posted between threads a piece at a time blocks neither. */
export function documentParts(document: PolicyDocument, rules: number): PolicyDocument[] {
  const parts: PolicyDocument[] = []
  for (let start = 0; start === 0 || start < document.rules.length; start += rules) {
    parts.push({ ...document, rules: document.rules.slice(start, start + rules), tests: start === 0 ? document.tests : [] })
  }
  return parts
}

export function locationIn(document: PolicyDocument, place: Place): Location {
  return { file: document.file, line: place.line, column: place.column }
}
