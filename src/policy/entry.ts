/** Rules in the one form that `decide` reads: conjunctions. An entry holds when all that it asks does; a rule when one of its entries does. */
import { type Check, compileCheck, compileTime, type Memo } from './compile-criterion.ts'
import type { Decision, RateLimit } from './decision.ts'
import type { Criterion, PolicyRule } from './document.ts'
import type { RequestFacts } from './facts.ts'
import { isAboutHttp, isAboutTime } from './subjects.ts'
import type { TimeCondition, Zone } from './zone.ts'

/** A rule of a document, as far as decisions name it. */
export interface NamedRule {
  /** Position among all rules, in document order. */
  readonly ordinal: number
  readonly policy: string
  readonly rule: string
  readonly limit: RateLimit | undefined
  /** The decision it gives where time plays no part; made when first needed. */
  decision: Decision | undefined
}

/** A literal: a criterion, or its negation. */
export interface Literal {
  readonly criterion: Criterion
  readonly negated: boolean
}

/** Beside what it asks itself, it stands in an index under a principal, which is then given. */
export interface Entry {
  readonly ordinal: number
  /** Bits of the methods it can hold of. */
  readonly methods: number
  /** The path, or its beginning; `''` if it does not matter. */
  readonly path: string
  /** `path` is the whole path. */
  readonly exact: boolean
  /** Its rule has criteria that an opaque connection cannot be asked about. */
  readonly http: boolean
  readonly checks: readonly Check[]
  readonly times: readonly TimedLiteral[]
  readonly rule: NamedRule
}

interface TimedLiteral {
  readonly condition: TimeCondition
  readonly negated: boolean
}

export const ANY_METHOD = -1

/** `and` and `not` are one conjunction; `or` and `nor` are one for each criterion. */
export function conjunctionsOf({ operator, criteria }: PolicyRule): Literal[][] {
  const literals = criteria.map((criterion) => ({ criterion, negated: operator === 'not' || operator === 'nor' }))
  return operator === 'and' || operator === 'not' ? [literals] : literals.map((literal) => [literal])
}

export function hasHttp({ criteria }: PolicyRule): boolean {
  return criteria.some(isAboutHttp)
}

/** Cheap criteria first: most entries fail, and the order changes nothing but the cost. */
const COST: Readonly<Record<Criterion['kind'], number>> = {
  flag: 0,
  port: 0,
  string: 1,
  list: 3,
  claim: 4,
  values: 3,
  source_ip: 2,
  client_certificate: 2,
  date: 5,
  day_of_week: 5,
  time_of_day: 5,
}

const NO_CHECKS: readonly Check[] = []
const NO_TIMES: readonly TimedLiteral[] = []

/** @param literals those that `asked` does not settle */
export function createEntry(
  rule: NamedRule,
  asked: Pick<Entry, 'methods' | 'path' | 'exact' | 'http'>,
  literals: readonly Literal[],
  zones: Map<string, Zone>,
): Entry {
  const checks: Check[] = []
  const times: TimedLiteral[] = []
  for (const { criterion, negated } of literals.toSorted((a, b) => COST[a.criterion.kind] - COST[b.criterion.kind])) {
    if (isAboutTime(criterion)) times.push({ condition: compileTime(criterion, zones), negated })
    else checks.push(negated ? negate(compileCheck(criterion)) : compileCheck(criterion))
  }
  return {
    ordinal: rule.ordinal,
    methods: asked.methods,
    path: asked.path,
    exact: asked.exact,
    http: asked.http,
    checks: checks.length === 0 ? NO_CHECKS : checks,
    times: times.length === 0 ? NO_TIMES : times,
    rule,
  }
}

function negate(check: Check): Check {
  return (facts, memo) => !check(facts, memo)
}

/** Whether everything but the time fits. @param method bit of the request's method, 0 if no rule names it */
export function holdsApartFromTime(entry: Entry, facts: RequestFacts, method: number, memo: Memo): boolean {
  const { methods, path, checks } = entry
  if (methods !== ANY_METHOD && (methods & method) === 0) return false
  if (path !== '' && !(entry.exact ? facts.path === path : facts.path.startsWith(path))) return false
  // Deny rules of this kind refuse every opaque connection; `decide` sees to it.
  if (entry.http && facts.protocol === 'tcp') return false
  for (let index = 0; index < checks.length; index++) {
    if (checks[index]?.(facts, memo) !== true) return false
  }
  return true
}

/** Whether the time fits. */
export function holdsAt({ times }: Entry, now: number): boolean {
  return times.every(({ condition, negated }) => condition.holds(now) !== negated)
}

/** Until when `holdsAt` surely keeps its value: a conjunction that holds fails with its first literal, one that fails holds with its last. */
export function changesAt({ times }: Entry, now: number, holds: boolean): number {
  let at = holds ? Infinity : now
  for (const { condition, negated } of times) {
    if (holds) at = Math.min(at, condition.changesAt(now))
    else if (condition.holds(now) === negated) at = Math.max(at, condition.changesAt(now))
  }
  return at
}
