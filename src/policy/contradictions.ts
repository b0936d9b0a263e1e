/** Finds conjunctions that can never hold. For lint: what is not found is not thereby possible. */
import type { Criterion, StringFact } from './document.ts'
import type { Literal } from './entry.ts'
import { testsOf, valuesLeft } from './known-texts.ts'
import { contains, parseNetwork } from './network.ts'

/** Why the literals can never hold together, in words; undefined if nothing is found. @param now ms since the epoch */
export function contradiction(literals: readonly Literal[], now: number): string | undefined {
  return neverHolds(literals) ?? textContradiction(literals) ?? numberContradiction(literals) ?? timeContradiction(literals, now)
}

function neverHolds(literals: readonly Literal[]): string | undefined {
  for (const { criterion, negated } of literals) {
    if (criterion.kind !== 'flag') continue
    if (criterion.flag === 'reject' && !negated) return '`reject` is never true'
    if (criterion.flag === 'accept' && negated) return '`accept` is always true'
  }
  return undefined
}

function textContradiction(literals: readonly Literal[]): string | undefined {
  // What is only negated holds as well of a caller that has no such name at all.
  const facts = new Set(literals.flatMap(({ criterion, negated }) => (criterion.kind === 'string' && !negated ? [criterion.fact] : [])))
  for (const fact of facts) {
    if (valuesLeft(literals, fact)?.length === 0) return `nothing that \`${fact}\` can be passes all that is asked of it`
    const affixes = conflictingAffixes(literals, fact)
    if (affixes !== undefined) return affixes
  }
  return undefined
}

function conflictingAffixes(literals: readonly Literal[], fact: StringFact): string | undefined {
  const texts = (name: 'starts_with' | 'ends_with'): string[] =>
    testsOf(literals, fact).flatMap((test) => (test.test === name ? [test.text] : []))
  for (const name of ['starts_with', 'ends_with'] as const) {
    const [longest = '', ...others] = texts(name).toSorted((a, b) => b.length - a.length)
    const other = others.find((text) => !(name === 'starts_with' ? longest.startsWith(text) : longest.endsWith(text)))
    if (other !== undefined) return `nothing ${name} both \`${longest}\` and \`${other}\``
  }
  return undefined
}

function ofKind<K extends Criterion['kind']>(literals: readonly Literal[], kind: K): Extract<Criterion, { kind: K }>[] {
  return literals.flatMap(({ criterion, negated }) =>
    criterion.kind === kind && !negated ? [criterion as Extract<Criterion, { kind: K }>] : [],
  )
}

function numberContradiction(literals: readonly Literal[]): string | undefined {
  const [first, ...rest] = ofKind(literals, 'port')
  if (first !== undefined && !first.ports.some((port) => rest.every(({ ports }) => ports.includes(port))))
    return 'no port is in all of the lists'
  const [network, ...others] = ofKind(literals, 'source_ip')
  const disjoint = others.find(({ networks }) => !network?.networks.some((a) => networks.some((b) => overlap(a, b))))
  return disjoint === undefined ? undefined : 'no address is in all of the networks'
}

/** Of two networks that have an address in common, one lies in the other. */
function overlap(a: string, b: string): boolean {
  const [one, other] = [parseNetwork(a), parseNetwork(b)]
  if (one === undefined || other === undefined) return true
  return contains(one.prefix < other.prefix ? one : other, (one.prefix < other.prefix ? other : one).address)
}

function timeContradiction(literals: readonly Literal[], now: number): string | undefined {
  const dates = ofKind(literals, 'date')
  const after = Math.max(...dates.map((date) => date.after ?? -Infinity))
  const before = Math.min(...dates.map((date) => date.before ?? Infinity))
  if (dates.length > 0 && after >= before) return 'the dates do not overlap'
  if (before <= now) return `the date has passed (${new Date(before).toISOString()})`
  const [first, ...rest] = ofKind(literals, 'day_of_week')
  const days = first?.days.filter((day) => rest.every((other) => other.timezone !== first.timezone || other.days.includes(day)))
  return days?.length === 0 ? 'no day is in all of the lists' : undefined
}
