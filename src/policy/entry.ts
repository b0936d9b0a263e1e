/** Rules in the one form that `decide` reads: conjunctions. An entry holds when all its conditions do; a rule when one of its entries does. */
import type { Decision } from './decision.ts'
import { type Check, compileCheck, compileTime, type Memo } from './compile-criterion.ts'
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
  /** It has criteria that an opaque connection cannot be asked about. */
  readonly http: boolean
  /** The decision it gives where time plays no part; made when first needed. */
  decision: Decision | undefined
}

/** A literal: a criterion, or its negation. */
export interface Literal {
  readonly criterion: Criterion
  readonly negated: boolean
}

export interface Entry {
  readonly rule: NamedRule
  readonly ordinal: number
  readonly checks: readonly Check[]
  readonly times: readonly TimedLiteral[]
  /** Bits of the methods it can hold of; see `methodBit`. */
  readonly methods: number
}

interface TimedLiteral {
  readonly condition: TimeCondition
  readonly negated: boolean
}

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

export function createEntry(rule: NamedRule, literals: readonly Literal[], methods: number, zones: Map<string, Zone>): Entry {
  const checks: Check[] = []
  const times: TimedLiteral[] = []
  for (const { criterion, negated } of literals.toSorted((a, b) => COST[a.criterion.kind] - COST[b.criterion.kind])) {
    if (isAboutTime(criterion)) times.push({ condition: compileTime(criterion, zones), negated })
    else checks.push(negated ? negate(compileCheck(criterion)) : compileCheck(criterion))
  }
  return { rule, ordinal: rule.ordinal, checks, times, methods }
}

function negate(check: Check): Check {
  return (facts, memo) => !check(facts, memo)
}

/** Whether everything but the time fits. */
export function holdsApartFromTime(entry: Entry, facts: RequestFacts, memo: Memo): boolean {
  // Deny rules of this kind refuse every opaque connection; `decide` sees to it.
  if (entry.rule.http && facts.protocol === 'tcp') return false
  const { checks } = entry
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
