/** Decides uncompiled, rule by rule, and says why. Always agrees with `decide`. */
import type { Location } from '#base/located'
import { compileTime } from './compile-criterion.ts'
import type { Decision, ShadowVerdict } from './decision.ts'
import { describeCriterion, nearMiss } from './describe-criterion.ts'
import {
  type Action,
  appliesTo,
  type Criterion,
  locationIn,
  type Operator,
  type PolicyDocument,
  type PolicyMode,
  type PolicyRule,
  type PolicyScope,
  type RuleLimit,
} from './document.ts'
import { evaluate, type WallClocks } from './evaluate.ts'
import type { RequestFacts } from './facts.ts'
import { compileLimit } from './limit.ts'
import { isAboutHttp, isAboutTime, isPeerName } from './subjects.ts'
import type { TimeCondition } from './zone.ts'

/** A criterion and the fact it was about. */
export interface CriterionVerdict {
  /** `http_method` */
  readonly name: string
  /** What it asks, as text: `in [GET, HEAD]`. */
  readonly expected: string
  /** What the request had, as text; undefined where the fact is absent. */
  readonly actual: string | undefined
  readonly holds: boolean
  readonly at: Location
  /** A near miss, in words. */
  readonly hint: string | undefined
}

export interface RuleVerdict {
  readonly policy: string
  readonly rule: string
  readonly action: Action
  readonly operator: Operator
  readonly mode: PolicyMode
  readonly matches: boolean
  /** For a rule that does not match, the first criterion that keeps it from matching. */
  readonly failing: CriterionVerdict | undefined
  /** How many criteria would have to come out otherwise for the rule to match; 0 if it does. */
  readonly distance: number
  readonly at: Location
  readonly limit: RuleLimit | undefined
  readonly criteria: readonly CriterionVerdict[]
}

/** Plain data. */
export interface Explanation {
  /** What `decide` says, with generation 0; `validUntil` is the exact instant here, or where that is far off, one until which nothing changes. */
  readonly decision: Decision
  /** The rule that decided; undefined where none did. */
  readonly deciding: RuleVerdict | undefined
  /** For a refusal without deny rule: every enforced allow rule, nearest first. For a denial: the allow rules that it overruled. */
  readonly considered: readonly RuleVerdict[]
  /** How many there are, described or not. */
  readonly consideredTotal: number
  /** Names of documents that do not apply to this service, port or labels. */
  readonly inapplicable: readonly string[]
}

/**
 * @param now ms since the epoch
 * @param limit how many of the rules considered are described; all by default. Describing is what costs.
 */
export function explain(
  documents: readonly PolicyDocument[],
  scope: PolicyScope,
  facts: RequestFacts,
  now: number,
  limit = Infinity,
): Explanation {
  const steps = explainInSteps(documents, scope, facts, now, limit)
  for (;;) {
    const step = steps.next()
    if (step.done === true) return step.value
  }
}

/** Rules looked at between two steps: less than a millisecond. */
const STEP = 32

/** The same for a thread that has other things to do: it yields often, so that whoever runs it can let others have their turn. */
export function* explainInSteps(
  documents: readonly PolicyDocument[],
  scope: PolicyScope,
  facts: RequestFacts,
  now: number,
  limit = Infinity,
): Generator<void, Explanation> {
  const clocks: WallClocks = new Map()
  const applicable = documents.filter((document) => appliesTo(document, scope))
  const rules = yield* judgeAll(applicable, facts, now, clocks)
  const enforced = rules.filter(({ document }) => document.mode === 'enforce')
  yield
  const { allow, deciding } = conclude(enforced)
  const none = !applicable.some(({ mode }) => mode === 'enforce')
  const decision: Decision = {
    allow,
    reason: allow ? undefined : deciding !== undefined ? 'ERR_POLICY_DENIED' : none ? 'ERR_POLICY_NONE' : 'ERR_POLICY_NO_ALLOW',
    policy: deciding?.document.name ?? '',
    rule: deciding?.rule.name ?? '',
    validUntil: yield* stableUntil(enforced, facts, now, allow, clocks),
    generation: 0,
    shadow: applicable.some(({ mode }) => mode === 'shadow') ? concludeShadow(rules) : undefined,
    limit: deciding === undefined ? undefined : compileLimit(deciding.document.name, deciding.rule),
  }
  yield
  const allowing = allow ? [] : enforced.filter(({ rule }) => rule.action === 'allow')
  const considered = deciding === undefined ? yield* nearestFirst(allowing, limit) : allowing.filter(({ matches }) => matches)
  const inapplicable = documents.filter((document) => !applicable.includes(document)).map(({ name }) => name)
  const described: RuleVerdict[] = []
  for (const judged of considered.slice(0, limit)) {
    described.push(describe(judged, facts, now, clocks))
    yield
  }
  return {
    decision,
    deciding: deciding === undefined ? undefined : describe(deciding, facts, now, clocks),
    considered: described,
    consideredTotal: deciding === undefined ? allowing.length : considered.length,
    inapplicable: [...new Set(inapplicable)],
  }
}

function* judgeAll(documents: readonly PolicyDocument[], facts: RequestFacts, now: number, clocks: WallClocks): Generator<void, Judged[]> {
  const judged: Judged[] = []
  for (const document of documents) {
    for (const rule of document.rules) {
      judged.push(judge(document, rule, facts, now, clocks))
      if (judged.length % STEP === 0) yield
    }
  }
  return judged
}

/** By distance apart, so that no sort is longer than it must be; what is beyond `limit` comes in no order. */
function* nearestFirst(rules: readonly Judged[], limit: number): Generator<void, Judged[]> {
  const byDistance = new Map<number, Judged[]>()
  for (const judged of rules) {
    const group = byDistance.get(judged.distance)
    if (group === undefined) byDistance.set(judged.distance, [judged])
    else group.push(judged)
  }
  yield
  const sorted: Judged[] = []
  for (const [, group] of [...byDistance].toSorted(([a], [b]) => a - b)) {
    if (sorted.length >= limit) break
    for (const judged of group.toSorted(byWeight)) sorted.push(judged)
    yield
  }
  return sorted
}

/** A rule and how it came out, not yet in words. */
interface Judged {
  readonly document: PolicyDocument
  readonly rule: PolicyRule
  readonly matches: boolean
  /** Index of the first criterion that keeps the rule from matching; -1 if none does. */
  readonly failing: number
  readonly distance: number
  readonly weight: number
}

interface Conclusion {
  readonly allow: boolean
  readonly deciding: Judged | undefined
}

function conclude(rules: readonly Judged[]): Conclusion {
  const denying = rules.find(({ rule, matches }) => rule.action === 'deny' && matches)
  if (denying !== undefined) return { allow: false, deciding: denying }
  const allowing = rules.find(({ rule, matches }) => rule.action === 'allow' && matches)
  return { allow: allowing !== undefined, deciding: allowing }
}

function concludeShadow(rules: readonly Judged[]): ShadowVerdict {
  const { allow, deciding } = conclude(rules)
  const reason = allow ? undefined : deciding === undefined ? 'ERR_POLICY_NO_ALLOW' : 'ERR_POLICY_DENIED'
  return { allow, reason, policy: deciding?.document.name ?? '', rule: deciding?.rule.name ?? '' }
}

function judge(document: PolicyDocument, rule: PolicyRule, facts: RequestFacts, now: number, clocks: WallClocks): Judged {
  const { action, operator, criteria } = rule
  const holds = criteria.map((criterion) => evaluate(criterion, facts, now, clocks).holds)
  const unaskable = facts.protocol === 'tcp' ? criteria.findIndex(isAboutHttp) : -1
  const unwanted = operator === 'not' || operator === 'nor'
  const against = holds.filter((value) => value === unwanted).length
  const all = operator === 'and' || operator === 'not'
  // An HTTP criterion cannot be asked of an opaque connection: such a rule never allows one, and refuses it if it is a deny rule.
  const matches = unaskable !== -1 ? action === 'deny' : all ? against === 0 : against < criteria.length
  const failing = matches ? -1 : unaskable === -1 ? holds.indexOf(unwanted) : unaskable
  const distance = matches ? 0 : all ? Math.max(1, against) : 1
  return { document, rule, matches, failing, distance, weight: weigh(criteria, holds) }
}

function describe(
  { document, rule, matches, failing, distance }: Judged,
  facts: RequestFacts,
  now: number,
  clocks: WallClocks,
): RuleVerdict {
  const criteria = rule.criteria.map((criterion) => describeVerdict(document, criterion, facts, now, clocks))
  return {
    policy: document.name,
    rule: rule.name,
    action: rule.action,
    operator: rule.operator,
    mode: document.mode,
    matches,
    failing: criteria[failing],
    distance,
    at: locationIn(document, rule),
    limit: rule.limit,
    criteria,
  }
}

function describeVerdict(
  document: PolicyDocument,
  criterion: Criterion,
  facts: RequestFacts,
  now: number,
  clocks: WallClocks,
): CriterionVerdict {
  const { holds, actual } = evaluate(criterion, facts, now, clocks)
  const hint = holds ? undefined : nearMiss(criterion, actual)
  return { name: criterion.name, expected: describeCriterion(criterion), actual, holds, at: locationIn(document, criterion), hint }
}

/** Those that are about this peer first, then those that fit in more. */
function byWeight(a: Judged, b: Judged): number {
  return b.weight - a.weight
}

function weigh(criteria: readonly Criterion[], holds: readonly boolean[]): number {
  let sum = 0
  for (const [index, { name }] of criteria.entries()) {
    if (holds[index] === true) sum += isPeerName(name) ? 4 : name === 'http_path' ? 2 : 1
  }
  return sum
}

/** Instants that are tried before the answer is merely "at least until then", and rules that are asked about them in all. */
const MAX_INSTANTS = 100
const MAX_ASKED = 100_000

/** The first instant after `now` at which the answer differs: tries each at which a criterion of time changes. */
function* stableUntil(
  rules: readonly Judged[],
  facts: RequestFacts,
  now: number,
  allow: boolean,
  clocks: WallClocks,
): Generator<void, number> {
  const timed: PolicyRule[] = []
  let [always, never] = [false, false]
  for (const [index, { rule, matches }] of rules.entries()) {
    if (index % STEP === 0) yield
    if (hangsOnTime(rule, facts, now, clocks)) timed.push(rule)
    else if (matches && rule.action === 'deny') never = true
    else if (matches) always = true
  }
  if (timed.length === 0 || never) return Infinity
  const open = always ? timed.filter(({ action }) => action === 'deny') : timed
  const conditions = yield* timeConditions(open)
  let reached = now
  for (let instant = 0; instant < MAX_INSTANTS && instant * open.length < MAX_ASKED; instant++) {
    let at = Infinity
    for (const [index, condition] of conditions.entries()) {
      at = Math.min(at, condition.changesAt(reached))
      if (index % STEP === 0) yield
    }
    if (at === Infinity) return Infinity
    const denied = yield* fits(open, 'deny', facts, at, clocks)
    const allowed = always || (yield* fits(open, 'allow', facts, at, clocks))
    if ((!denied && allowed) !== allow) return at
    reached = at
  }
  return reached
}

function* fits(
  rules: readonly PolicyRule[],
  action: Action,
  facts: RequestFacts,
  at: number,
  clocks: WallClocks,
): Generator<void, boolean> {
  for (const [index, rule] of rules.entries()) {
    if (index % STEP === 0) yield
    if (rule.action === action && ruleMatches(rule, facts, at, clocks)) return true
  }
  return false
}

/** Whether a rule has criteria of time, and those that are not leave the matter open. */
function hangsOnTime({ operator, criteria }: PolicyRule, facts: RequestFacts, now: number, clocks: WallClocks): boolean {
  if (!criteria.some(isAboutTime) || (facts.protocol === 'tcp' && criteria.some(isAboutHttp))) return false
  const settles = operator === 'or' || operator === 'not'
  return criteria.every((criterion) => isAboutTime(criterion) || evaluate(criterion, facts, now, clocks).holds !== settles)
}

/** One for each of the different criteria of time. */
function* timeConditions(rules: readonly PolicyRule[]): Generator<void, TimeCondition[]> {
  const zones = new Map()
  const conditions = new Map<string, TimeCondition>()
  for (const [index, { criteria }] of rules.entries()) {
    if (index % STEP === 0) yield
    for (const criterion of criteria.filter(isAboutTime)) {
      const key = JSON.stringify({ ...criterion, line: 0, column: 0 })
      if (!conditions.has(key)) conditions.set(key, compileTime(criterion, zones))
    }
  }
  return [...conditions.values()]
}

function ruleMatches({ action, operator, criteria }: PolicyRule, facts: RequestFacts, now: number, clocks: WallClocks): boolean {
  if (facts.protocol === 'tcp' && criteria.some(isAboutHttp)) return action === 'deny'
  const holds = criteria.map((criterion) => evaluate(criterion, facts, now, clocks).holds)
  switch (operator) {
    case 'and':
      return holds.every((value) => value)
    case 'or':
      return holds.some((value) => value)
    case 'not':
      return !holds.some((value) => value)
    default:
      return !holds.every((value) => value)
  }
}
