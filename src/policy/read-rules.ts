/** Reads rules: actions, operators and the lists of criteria under them. */
import type { LocatedEntry, LocatedMap, LocatedValue } from '#base/located'
import { asList, asMap, asString, complain, type Complaints, entriesOf, unknownWord, warn } from './complaints.ts'
import type { Action, Criterion, Operator, PolicyRule, RuleLimit, StringTest } from './document.ts'
import { readCriterion } from './read-criterion.ts'
import { readRuleLimit } from './read-limit.ts'
import { isAboutToken } from './subjects.ts'

const ACTIONS: readonly Action[] = ['allow', 'deny']
const RULE_KEYS: readonly string[] = ['name', ...ACTIONS, 'limit']
const OPERATORS: readonly Operator[] = ['and', 'or', 'not', 'nor']

/**
 * One rule or a list of them. Each action and operator becomes a rule of its own, in the order written.
 * @param limit of allow rules that do not say their own
 */
export function readRules(value: LocatedValue, what: string, complaints: Complaints, limit?: RuleLimit): PolicyRule[] {
  if (value.kind === 'map') return readRule(value, 1, complaints, limit)
  const list = asList(value, what, complaints)
  const names = new Set<string>()
  return (list?.items ?? []).flatMap((item, index) => {
    const map = asMap(item, 'A rule', complaints)
    if (map === undefined) return []
    const rules = readRule(map, index + 1, complaints, limit)
    const name = rules[0]?.name
    if (name === undefined) return []
    if (names.has(name)) warn(complaints, 'ERR_POLICY_NAME_TWICE', map.at, `Another rule of this policy is named \`${name}\` too.`)
    names.add(name)
    return rules
  })
}

function readRule(map: LocatedMap, position: number, complaints: Complaints, fallback: RuleLimit | undefined): PolicyRule[] {
  const entries = entriesOf(map, 'a rule', RULE_KEYS, complaints)
  const name = readName(entries.get('name'), complaints) ?? `#${position}`
  const actions = [...entries.values()].filter(({ key }) => key === 'allow' || key === 'deny')
  if (actions.length === 0 && map.entries.every(({ key }) => RULE_KEYS.includes(key))) {
    return complain(complaints, 'ERR_POLICY_EMPTY', map.at, 'A rule needs `allow`, `deny` or both.') ?? []
  }
  const own = entries.get('limit')
  const limit = readRuleLimit(own, fallback, complaints)
  if (own !== undefined && actions.length > 0 && !entries.has('allow')) {
    complain(
      complaints,
      'ERR_POLICY_SHAPE',
      own.keyAt,
      'A `limit` stands beside `allow`: what a deny rule matches is refused, however seldom.',
    )
  }
  return actions.flatMap((entry) => readAction(entry, name, entry.key === 'allow' ? limit : undefined, complaints))
}

/** Names end up in records and on terminals. */
function readName(entry: LocatedEntry | undefined, complaints: Complaints): string | undefined {
  if (entry === undefined) return undefined
  const name = asString(entry.value, '`name` of a rule', complaints)
  if (name === undefined || /^[^#\p{C}\p{Z}][^\p{C}]{0,127}$/u.test(name)) return name
  const message = 'The name of a rule is 1 to 128 characters without controls, and does not begin with `#` or a space.'
  return complain(complaints, 'ERR_POLICY_VALUE', entry.value.at, message)
}

function readAction(action: LocatedEntry, name: string, limit: RuleLimit | undefined, complaints: Complaints): PolicyRule[] {
  if (action.value.kind === 'scalar' && action.value.value === null) {
    return (
      complain(complaints, 'ERR_POLICY_EMPTY', action.keyAt, `\`${action.key}\` needs an operator: \`and\`, \`or\`, \`not\` or \`nor\`.`) ??
      []
    )
  }
  const map = asMap(action.value, `\`${action.key}\``, complaints)
  if (map === undefined) return []
  if (map.entries.length === 0) {
    return (
      complain(complaints, 'ERR_POLICY_EMPTY', action.keyAt, `\`${action.key}\` needs an operator: \`and\`, \`or\`, \`not\` or \`nor\`.`) ??
      []
    )
  }
  const entries = entriesOf(map, `\`${action.key}\``, OPERATORS, complaints)
  return [...entries.values()].flatMap((entry) => {
    const criteria = readCriteria(entry, complaints)
    const place = { line: entry.keyAt.line, column: entry.keyAt.column }
    const rule: PolicyRule = { name, action: action.key as Action, operator: entry.key as Operator, criteria, limit, ...place }
    checkNegationOnly(rule, entry, complaints)
    return criteria.length === 0 ? [] : [rule]
  })
}

function readCriteria(operator: LocatedEntry, complaints: Complaints): Criterion[] {
  if (operator.value.kind === 'map' && operator.value.entries.length > 0) {
    const first = operator.value.entries[0]?.key ?? ''
    const message = `\`${operator.key}\` takes a list of criteria: begin each with a dash.`
    return complain(complaints, 'ERR_POLICY_SHAPE', operator.value.at, message, `- ${first}: …`) ?? []
  }
  const list = asList(operator.value, `\`${operator.key}\``, complaints)
  return (list?.items ?? []).flatMap((item) => {
    if (item.kind === 'scalar' && typeof item.value === 'string') {
      return complain(complaints, 'ERR_POLICY_SHAPE', item.at, 'A criterion is a map of one key.', `${item.value}: true`) ?? []
    }
    const map = asMap(item, 'A criterion', complaints)
    const [entry, second] = map?.entries ?? []
    if (map === undefined) return []
    if (entry === undefined) return complain(complaints, 'ERR_POLICY_EMPTY', item.at, 'A criterion must have a name.') ?? []
    if (second !== undefined) {
      const message = `A criterion is a map of one key, and here are \`${entry.key}\` and \`${second.key}\`: begin each with a dash.`
      return complain(complaints, 'ERR_POLICY_SHAPE', second.keyAt, message, `- ${second.key}: …`) ?? []
    }
    if ((OPERATORS as readonly string[]).includes(entry.key)) {
      const message = `Operators do not nest: \`${entry.key}\` stands under an action. Use \`not\` in a matcher, or a rule of its own.`
      return complain(complaints, 'ERR_POLICY_SHAPE', entry.keyAt, message) ?? []
    }
    const criterion = readCriterion(entry.key, entry.keyAt, entry.value, complaints)
    return criterion === undefined ? [] : [criterion]
  })
}

/** What a token must not be is true of having none: such a rule would admit whoever brings no token. */
function checkNegationOnly(rule: PolicyRule, operator: LocatedEntry, complaints: Complaints): void {
  if (rule.action !== 'allow') return
  const about = rule.criteria.filter(isAboutToken)
  const negated = rule.operator === 'not' || rule.operator === 'nor'
  if (about.length === 0 || !about.every((criterion) => negated || isNegative(criterion))) return
  const names = [...new Set(about.map(({ name }) => `\`${name}\``))].join(', ')
  const message = `This rule says of the token only what it must not be (${names}), which is true of callers without any. Require one: put \`authenticated_user: true\` beside it under \`and\`.`
  complain(complaints, 'ERR_POLICY_NEGATION_ONLY', operator.keyAt, message)
}

/** Every test in its matcher is negative. */
function isNegative(criterion: Criterion): boolean {
  if (criterion.kind === 'list' || criterion.kind === 'claim') return criterion.matcher.every(({ test }) => test === 'exclude')
  return criterion.kind === 'string' && criterion.matcher.every(isNegativeTest)
}

function isNegativeTest({ test }: StringTest): boolean {
  return test === 'not' || test === 'not_in'
}

/** For the reader of a document, which finds one of several shapes. */
export function unknownShape(map: LocatedMap, complaints: Complaints): undefined {
  const entry = map.entries[0]
  if (entry === undefined) return complain(complaints, 'ERR_POLICY_EMPTY', map.at, 'The document is empty.')
  return unknownWord(complaints, entry.keyAt, `There is no key \`${entry.key}\` in a policy`, entry.key, [...RULE_KEYS, 'kind'])
}
