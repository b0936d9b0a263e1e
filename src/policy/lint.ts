/** Warnings about policies that are well-formed and yet probably not meant: what `postern policy check` says beyond errors. */
import type { Location, Problem } from '#base/located'
import { type Complaints, warn } from './complaints.ts'
import { contradiction } from './contradictions.ts'
import { type Criterion, locationIn, type PolicyDocument, type PolicyRule, type StringFact, type StringMatcher } from './document.ts'
import { conjunctionsOf, type Literal } from './entry.ts'
import { covers } from './implications.ts'
import { lintNames } from './lint-names.ts'
import { lintTests } from './lint-tests.ts'
import { isAboutToken, isPeerName } from './subjects.ts'

/** Pairs of allow and deny conjunctions that are compared; beyond it, sets are generated and not read by people. */
const MAX_PAIRS = 2_000_000

/** @param now ms since the epoch: dates that have passed never come again */
export function lintPolicies(documents: readonly PolicyDocument[], now: number): Problem[] {
  const complaints: Complaints = { problems: [] }
  lintDocumentNames(documents, complaints)
  for (const document of documents) {
    for (const rule of document.rules) lintRule(document, rule, now, complaints)
    lintTests(document, documents, now, complaints)
  }
  lintOverruled(documents, complaints)
  lintNames(documents, complaints)
  return [...new Map(complaints.problems.map((problem) => [JSON.stringify(problem), problem])).values()]
}

function lintDocumentNames(documents: readonly PolicyDocument[], complaints: Complaints): void {
  const seen = new Map<string, PolicyDocument>()
  for (const document of documents) {
    const first = seen.get(document.name)
    const [rule] = document.rules
    if (first === undefined) seen.set(document.name, document)
    else if (rule !== undefined) {
      const message = `This policy and one in ${first.file} are both named \`${document.name}\`.`
      warn(complaints, 'ERR_POLICY_NAME_TWICE', locationIn(document, rule), message)
    }
  }
}

function lintRule(document: PolicyDocument, rule: PolicyRule, now: number, complaints: Complaints): void {
  const at = locationIn(document, rule)
  const conjunctions = conjunctionsOf(rule)
  const reasons = conjunctions.map((literals) => contradiction(literals, now) ?? portsMissed(document, literals))
  if (!reasons.includes(undefined)) {
    warn(complaints, 'ERR_POLICY_NEVER_MATCHES', at, `This ${rule.action} rule can never match: ${reasons[0] ?? ''}.`)
  }
  if (rule.action === 'allow' && conjunctions.some((literals, index) => reasons[index] === undefined && isOpen(literals))) {
    warn(
      complaints,
      'ERR_POLICY_OPEN',
      at,
      'This allow rule names no caller: it is open to every peer with a certificate of a trusted domain.',
    )
  }
  for (const criterion of rule.criteria) lintCriterion(criterion, locationIn(document, criterion), complaints)
}

/** `port` asks for ports that the document does not govern. */
function portsMissed({ target }: PolicyDocument, literals: readonly Literal[]): string | undefined {
  const governed = target?.ports
  const missed = literals.some(
    ({ criterion, negated }) =>
      criterion.kind === 'port' && !negated && governed !== undefined && !criterion.ports.some((port) => governed.includes(port)),
  )
  return missed ? '`target.ports` has none of the ports' : undefined
}

/** No literal says who the caller is; who it is not, leaves everyone else. */
function isOpen(literals: readonly Literal[]): boolean {
  return !literals.some(
    ({ criterion, negated }) => !negated && (isPeerName(criterion.name) || isAboutToken(criterion)) && isPositive(criterion),
  )
}

function isPositive(criterion: Criterion): boolean {
  if (criterion.kind === 'string') return criterion.matcher.some(({ test }) => test !== 'not' && test !== 'not_in')
  if (criterion.kind === 'list' || criterion.kind === 'claim') return criterion.matcher.some(({ test }) => test !== 'exclude')
  return criterion.kind !== 'client_certificate' || Object.values(criterion.certificate).some((part) => part !== undefined)
}

function lintCriterion(criterion: Criterion, at: Location, complaints: Complaints): void {
  if (criterion.kind === 'flag' && criterion.flag === 'invalid_client_certificate') {
    const message = '`invalid_client_certificate` is never true here: a connection without a valid certificate ends before policy is asked.'
    warn(complaints, 'ERR_POLICY_NEVER_MATCHES', at, message)
  }
  if (criterion.kind === 'string') lintAffixes(criterion.name, criterion.fact, criterion.matcher, at, complaints)
}

/** Fact → what a prefix should end with. */
const PREFIX_ENDS: Partial<Record<StringFact, string>> = { http_path: '/', spiffe_id: '/' }
/** Fact → what a suffix should begin with, the first being suggested. */
const SUFFIX_STARTS: Partial<Record<StringFact, string>> = { http_host: '.', domain: '.', trust_domain: '.', email: '@.', spiffe_id: '/' }

function lintAffixes(name: string, fact: StringFact, matcher: StringMatcher, at: Location, complaints: Complaints): void {
  const end = PREFIX_ENDS[fact]
  const starts = SUFFIX_STARTS[fact]
  for (const test of matcher) {
    if (test.test === 'not') lintAffixes(name, fact, test.matcher, at, complaints)
    if (test.test === 'starts_with' && end !== undefined && !test.text.endsWith(end)) {
      const message = `\`${name}\` that starts with \`${test.text}\` takes \`${test.text}x\` too.`
      warn(complaints, 'ERR_POLICY_LOOSE_AFFIX', at, message, `${test.text}${end}`)
    }
    if (test.test === 'ends_with' && starts !== undefined && !starts.includes(test.text.charAt(0))) {
      const message = `\`${name}\` that ends with \`${test.text}\` takes \`x${test.text}\` too.`
      warn(complaints, 'ERR_POLICY_LOOSE_AFFIX', at, message, `${starts.charAt(0)}${test.text}`)
    }
  }
}

interface Placed {
  readonly document: PolicyDocument
  readonly rule: PolicyRule
  readonly literals: readonly Literal[]
}

function lintOverruled(documents: readonly PolicyDocument[], complaints: Complaints): void {
  const denies: Placed[] = []
  const allows: { document: PolicyDocument; rule: PolicyRule }[] = []
  for (const document of documents) {
    for (const rule of document.rules) {
      if (rule.action === 'allow') allows.push({ document, rule })
      else if (document.mode === 'enforce') denies.push(...conjunctionsOf(rule).map((literals) => ({ document, rule, literals })))
    }
  }
  if (denies.length * allows.length > MAX_PAIRS) return
  for (const { document, rule } of allows) {
    const covering = conjunctionsOf(rule).map((literals) =>
      denies.find((deny) => governs(deny.document, document) && covers(deny.literals, literals)),
    )
    const [first] = covering
    if (first === undefined || covering.includes(undefined)) continue
    const place = locationIn(first.document, first.rule)
    const message = `This allow rule never takes effect: the deny rule ${first.rule.name} (${place.file}:${place.line}) matches whenever it does.`
    warn(complaints, 'ERR_POLICY_OVERRULED', locationIn(document, rule), message)
  }
}

/** The wider document applies wherever the other does. */
function governs(wider: PolicyDocument, other: PolicyDocument): boolean {
  const { service, ports } = wider.target ?? { service: undefined, ports: undefined }
  if (service !== undefined && service !== other.target?.service) return false
  if (ports !== undefined && other.target?.ports?.every((port) => ports.includes(port)) !== true) return false
  return Object.entries(wider.selector ?? {}).every(([label, value]) => other.selector?.[label] === value)
}
