/** An explanation as text for a terminal. */
import { REASONS } from '#base/reasons'
import type { CriterionVerdict, Explanation, RuleVerdict } from './explain.ts'
import { limitText } from './limit.ts'

/** Rules that are shown in full; the others are counted. */
const SHOWN_RULES = 10
/** Characters of a fact that are shown. */
const SHOWN_CHARACTERS = 200

interface Paint {
  readonly good: (text: string) => string
  readonly bad: (text: string) => string
  readonly dim: (text: string) => string
  readonly bold: (text: string) => string
}

function paintWith(colour: boolean): Paint {
  const code = (number: number) => (text: string) => (colour ? `\u001b[${number}m${text}\u001b[0m` : text)
  return { good: code(32), bad: code(31), dim: code(2), bold: code(1) }
}

/** Several lines, each ended. */
export function formatExplanation(explanation: Explanation, colour: boolean): string {
  const paint = paintWith(colour)
  const lines = [...headline(explanation, paint), ...body(explanation, paint), ...footer(explanation, paint)]
  return `${lines.join('\n')}\n`
}

function headline({ decision, deciding }: Explanation, paint: Paint): string[] {
  const verdict = decision.allow ? paint.good('allowed') : paint.bad('refused')
  if (deciding !== undefined) return [`${verdict} by ${nameOf(deciding, paint)} ${paint.dim(placeOf(deciding))}`]
  const { reason } = decision
  return [`${verdict}: ${reason === undefined ? '' : `${REASONS[reason].what} (${reason})`}`]
}

function body(explanation: Explanation, paint: Paint): string[] {
  const { decision, deciding, considered, consideredTotal } = explanation
  if (deciding !== undefined) {
    const overruled = considered.map((rule) => `  it overrules ${nameOf(rule, paint)} ${paint.dim(placeOf(rule))}`)
    const limit = deciding.limit === undefined ? [] : [`  ${limitText(deciding.limit)}`]
    return [...criteriaOf(deciding, paint), ...limit, ...overruled.slice(0, SHOWN_RULES)]
  }
  if (decision.reason === 'ERR_POLICY_NONE') return []
  if (considered.length === 0) return ['  there is no allow rule']
  const shown = considered.slice(0, SHOWN_RULES).flatMap((rule, index) => refusedRule(rule, index === 0, paint))
  const rest = consideredTotal - Math.min(considered.length, SHOWN_RULES)
  return [...shown, ...(rest > 0 ? [paint.dim(`  and ${rest} more allow rules, further off`)] : [])]
}

function refusedRule(rule: RuleVerdict, nearest: boolean, paint: Paint): string[] {
  const heading = `  ${nameOf(rule, paint)} ${paint.dim(placeOf(rule))}${nearest ? ' — nearest' : ''}`
  if (nearest) return [heading, ...criteriaOf(rule, paint).map((line) => `  ${line}`)]
  return rule.failing === undefined ? [heading] : [heading, `    ${criterionLine(rule.failing, rule, paint)}`]
}

const OPERATOR_WORDS = { and: 'all of', or: 'any of', not: 'none of', nor: 'not all of' } as const

function criteriaOf(rule: RuleVerdict, paint: Paint): string[] {
  return [
    `  ${paint.dim(OPERATOR_WORDS[rule.operator])}`,
    ...rule.criteria.map((criterion) => `  ${criterionLine(criterion, rule, paint)}`),
  ]
}

function criterionLine(criterion: CriterionVerdict, { operator }: RuleVerdict, paint: Paint): string {
  const wanted = operator === 'and' || operator === 'or'
  const mark = criterion.holds === wanted ? paint.good('√') : paint.bad('×')
  const actual = criterion.actual === undefined ? 'absent' : clip(criterion.actual)
  const hint = criterion.hint === undefined ? '' : ` (${criterion.hint})`
  return `${mark} ${paint.bold(criterion.name)} ${clip(criterion.expected)} ${paint.dim('— it is')} ${actual}${hint}`
}

function footer({ decision, inapplicable }: Explanation, paint: Paint): string[] {
  const { validUntil, shadow } = decision
  const lines: string[] = []
  if (validUntil !== Infinity)
    lines.push(`  until ${new Date(validUntil).toISOString()}, when the time changes the answer or must be looked at again`)
  if (shadow !== undefined) {
    const by = shadow.rule === '' ? (shadow.reason ?? '') : `${shadow.policy} ${shadow.rule}`
    lines.push(`  with the shadow policies enforced: ${shadow.allow ? paint.good('allowed') : paint.bad('refused')} by ${clip(by)}`)
  }
  if (inapplicable.length > 0) {
    const names = inapplicable.slice(0, SHOWN_RULES).join(', ')
    const rest = inapplicable.length - SHOWN_RULES
    lines.push(paint.dim(`  not for this service, port or labels: ${names}${rest > 0 ? `, and ${rest} more` : ''}`))
  }
  return lines
}

function nameOf({ policy, rule, action, mode }: RuleVerdict, paint: Paint): string {
  return `${action} rule ${paint.bold(clip(rule))} of ${clip(policy)}${mode === 'shadow' ? ' (shadow)' : ''}`
}

function placeOf({ at }: RuleVerdict): string {
  return `(${at.file}:${at.line}:${at.column})`
}

/** Requests hold what attackers chose: no control characters reach the terminal. */
function clip(text: string): string {
  const shown = text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}…` : text
  return shown.replaceAll(/[\p{C}\u2028\u2029]/gu, (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`)
}

/** An explanation as JSON has it: times as RFC 3339 or null, `decision` as a word. */
export function explanationRecord(explanation: Explanation): Record<string, unknown> {
  const { decision, deciding, considered, consideredTotal, inapplicable } = explanation
  const { allow, reason, policy, rule, validUntil, shadow } = decision
  return {
    decision: allow ? 'allow' : 'deny',
    reason: reason ?? null,
    policy,
    rule,
    validUntil: Number.isFinite(validUntil) ? new Date(validUntil).toISOString() : null,
    shadow: shadow ?? null,
    deciding: deciding ?? null,
    considered,
    consideredTotal,
    inapplicable,
  }
}
