/** Who may do something, or what somebody may do, as text for a terminal and as JSON. */
import type { Location } from '#base/located'
import { describeCriterion } from './describe-criterion.ts'
import type { Literal } from './entry.ts'
import { limitText } from './limit.ts'
import type { Grant, NamedPlace, OverruledGrant, Reach } from './reach.ts'
import { isPeerName } from './subjects.ts'

/** `who`: callers are listed. `what`: requests are. */
export type ReachQuestion = 'who' | 'what'

interface Parts {
  /** What is asked for, in words: the callers, or the requests. */
  readonly subject: string
  /** What else must be so. */
  readonly conditions: readonly string[]
}

/** @param asked `GET /catalog/1`, or a SPIFFE ID */
export function formatReach({ grants, overruled, none }: Reach, question: ReachQuestion, asked: string): string {
  const verb = question === 'who' ? 'is allowed to' : 'may do'
  const lines: string[] = []
  if (grants.length > 0) lines.push(`${asked} ${verb}`, ...grants.flatMap((grant) => grantLines(grant, question)))
  else lines.push(question === 'who' ? `${asked} is allowed to nobody` : `${asked} may do nothing`)
  if (none) lines.push('  no policy applies, and no policy means deny')
  if (overruled.length > 0) lines.push('overruled by deny rules', ...overruled.map((grant) => overruledLine(grant, question)))
  return `${lines.join('\n')}\n`
}

function grantLines(grant: Grant, question: ReachQuestion): string[] {
  const { subject, conditions } = partsOf(grant, question)
  const limit = grant.limit === undefined ? '' : `, ${limitText(grant.limit)}`
  return [
    `  ${subject}${ifText(conditions)} — ${ruleText(grant)}${limit}`,
    ...grant.exceptions.map(
      (exception) => `    unless ${exception.conditions.map(literalText).join(' and ')} — deny ${ruleText(exception)}`,
    ),
  ]
}

function overruledLine(grant: OverruledGrant, question: ReachQuestion): string {
  const { subject, conditions } = partsOf(grant, question)
  return `  ${subject}${ifText(conditions)} — ${ruleText(grant)}, by deny ${ruleText(grant.by)}`
}

function ifText(conditions: readonly string[]): string {
  return conditions.length === 0 ? '' : ` if ${conditions.join(' and ')}`
}

function ruleText({ rule, policy, at }: NamedPlace): string {
  return `rule ${rule} of ${policy} (${placeText(at)})`
}

function placeText({ file, line, column }: Location): string {
  return `${file}:${line}:${column}`
}

function partsOf({ caller, conditions }: Pick<Grant, 'caller' | 'conditions'>, question: ReachQuestion): Parts {
  const isSubject = ({ criterion }: Literal): boolean =>
    question === 'who' ? isPeerName(criterion.name) : REQUEST_NAMES.has(criterion.name)
  const about = conditions.filter(isSubject).map(literalText)
  const rest = conditions.filter((literal) => !isSubject(literal)).map(literalText)
  if (caller !== undefined) return { subject: caller, conditions: conditions.map(literalText) }
  const anything = question === 'who' ? 'any caller' : 'any request'
  return { subject: about.length === 0 ? anything : `${anything} with ${about.join(' and ')}`, conditions: rest }
}

const REQUEST_NAMES: ReadonlySet<string> = new Set(['http_method', 'http_path', 'http_host', 'grpc_service', 'grpc_method'])

/** `http_method in [GET, HEAD]`, `not (header/x is a)`. */
function literalText({ criterion, negated }: Literal): string {
  const text = criterion.kind === 'flag' ? criterion.name : `${criterion.name} ${describeCriterion(criterion)}`
  return negated ? `not (${text})` : text
}

/** For `--output json`. `caller` is null where the rule names none. */
export function reachRecord({ grants, overruled, none }: Reach): Record<string, unknown> {
  const place = ({ policy, rule, at }: NamedPlace): object => ({ policy, rule, at })
  return {
    allowed: grants.length > 0,
    policies: !none,
    grants: grants.map((grant) => ({
      caller: grant.caller ?? null,
      if: grant.conditions.map(literalText),
      unless: grant.exceptions.map((exception) => ({ if: exception.conditions.map(literalText), ...place(exception) })),
      ...place(grant),
      limit: grant.limit ?? null,
    })),
    overruled: overruled.map((grant) => ({
      caller: grant.caller ?? null,
      if: grant.conditions.map(literalText),
      ...place(grant),
      by: place(grant.by),
    })),
  }
}
