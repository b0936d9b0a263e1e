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
import { evaluate } from './evaluate.ts'
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
  const applicable = documents.filter((document) => appliesTo(document, scope))
  const rules = applicable.flatMap((document) => document.rules.map((rule) => judge(document, rule, facts, now)))
  const enforced = rules.filter(({ document }) => document.mode === 'enforce')
  const { allow, deciding } = conclude(enforced)
  const none = !applicable.some(({ mode }) => mode === 'enforce')
  const decision: Decision = {
    allow,
    reason: allow ? undefined : deciding !== undefined ? 'ERR_POLICY_DENIED' : none ? 'ERR_POLICY_NONE' : 'ERR_POLICY_NO_ALLOW',
    policy: deciding?.document.name ?? '',
    rule: deciding?.rule.name ?? '',
    validUntil: stableUntil(applicable, facts, now, allow),
    generation: 0,
    shadow: applicable.some(({ mode }) => mode === 'shadow') ? concludeShadow(rules) : undefined,
    limit: deciding === undefined ? undefined : compileLimit(deciding.document.name, deciding.rule),
  }
  const allowing = allow ? [] : enforced.filter(({ rule }) => rule.action === 'allow')
  const considered = deciding === undefined ? allowing.toSorted(byNearness) : allowing.filter(({ matches }) => matches)
  const inapplicable = documents.filter((document) => !applicable.includes(document)).map(({ name }) => name)
  return {
    decision,
    deciding: deciding === undefined ? undefined : describe(deciding, facts, now),
    considered: considered.slice(0, limit).map((judged) => describe(judged, facts, now)),
    consideredTotal: considered.length,
    inapplicable: [...new Set(inapplicable)],
  }
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

function judge(document: PolicyDocument, rule: PolicyRule, facts: RequestFacts, now: number): Judged {
  const { action, operator, criteria } = rule
  const holds = criteria.map((criterion) => evaluate(criterion, facts, now).holds)
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

function describe({ document, rule, matches, failing, distance }: Judged, facts: RequestFacts, now: number): RuleVerdict {
  const criteria = rule.criteria.map((criterion) => describeVerdict(document, criterion, facts, now))
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

function describeVerdict(document: PolicyDocument, criterion: Criterion, facts: RequestFacts, now: number): CriterionVerdict {
  const { holds, actual } = evaluate(criterion, facts, now)
  const hint = holds ? undefined : nearMiss(criterion, actual)
  return { name: criterion.name, expected: describeCriterion(criterion), actual, holds, at: locationIn(document, criterion), hint }
}

/** Fewer criteria to change first; then those that are about this peer, then those that fit in more. */
function byNearness(a: Judged, b: Judged): number {
  return a.distance - b.distance || b.weight - a.weight
}

function weigh(criteria: readonly Criterion[], holds: readonly boolean[]): number {
  let sum = 0
  for (const [index, { name }] of criteria.entries()) {
    if (holds[index] === true) sum += isPeerName(name) ? 4 : name === 'http_path' ? 2 : 1
  }
  return sum
}

/** Instants that are tried before the answer is merely "at least until then". */
const MAX_INSTANTS = 100

/** The first instant after `now` at which the answer differs: tries each at which a criterion of time changes. */
function stableUntil(documents: readonly PolicyDocument[], facts: RequestFacts, now: number, allow: boolean): number {
  const rules = documents.filter(({ mode }) => mode === 'enforce').flatMap((document) => document.rules)
  const { timed = [], timeless = [] } = Object.groupBy(rules, (rule) => (hangsOnTime(rule, facts, now) ? 'timed' : 'timeless'))
  const fits = (some: readonly PolicyRule[], action: Action, at: number): boolean =>
    some.some((rule) => rule.action === action && ruleMatches(rule, facts, at))
  if (timed.length === 0 || fits(timeless, 'deny', now)) return Infinity
  const always = fits(timeless, 'allow', now)
  const open = always ? timed.filter(({ action }) => action === 'deny') : timed
  const conditions = timeConditions(open)
  let at = now
  for (let instant = 0; instant < MAX_INSTANTS; instant++) {
    at = Math.min(...conditions.map((condition) => condition.changesAt(at)))
    if (at === Infinity) return Infinity
    if ((!fits(open, 'deny', at) && (always || fits(open, 'allow', at))) !== allow) return at
  }
  return at
}

/** Whether a rule has criteria of time, and those that are not leave the matter open. */
function hangsOnTime({ operator, criteria }: PolicyRule, facts: RequestFacts, now: number): boolean {
  if (!criteria.some(isAboutTime) || (facts.protocol === 'tcp' && criteria.some(isAboutHttp))) return false
  const settles = operator === 'or' || operator === 'not'
  return criteria.every((criterion) => isAboutTime(criterion) || evaluate(criterion, facts, now).holds !== settles)
}

function timeConditions(rules: readonly PolicyRule[]): TimeCondition[] {
  const zones = new Map()
  return rules.flatMap(({ criteria }) => criteria.filter(isAboutTime).map((criterion) => compileTime(criterion, zones)))
}

function ruleMatches({ action, operator, criteria }: PolicyRule, facts: RequestFacts, now: number): boolean {
  if (facts.protocol === 'tcp' && criteria.some(isAboutHttp)) return action === 'deny'
  const holds = criteria.map((criterion) => evaluate(criterion, facts, now).holds)
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
