/** Collects what is wrong with a document while it is read, and words the commonest complaints. */
import type { LocatedEntry, LocatedList, LocatedMap, LocatedValue, Location, Problem } from '#base/located'
import type { ReasonCode } from '#base/reasons'
import { nearest } from '#base/suggest'

/** The problems found so far. */
export interface Complaints {
  readonly problems: Problem[]
}

/** Adds an error. Returns undefined, so that a reader can return what it says. */
export function complain(complaints: Complaints, code: ReasonCode, at: Location, message: string, suggestion?: string): undefined {
  complaints.problems.push({ severity: 'error', code, message, at, ...(suggestion === undefined ? {} : { suggestion }) })
  return undefined
}

export function warn(complaints: Complaints, code: ReasonCode, at: Location, message: string, suggestion?: string): void {
  complaints.problems.push({ severity: 'warning', code, message, at, ...(suggestion === undefined ? {} : { suggestion }) })
}

/** A value in words: `the number 5`, `a list`. */
export function inWords(value: LocatedValue): string {
  if (value.kind !== 'scalar') return value.kind === 'list' ? 'a list' : 'a map'
  const scalar = value.value
  if (scalar === null) return 'nothing'
  if (typeof scalar === 'string') return `the string "${scalar.length > 60 ? `${scalar.slice(0, 60)}…` : scalar}"`
  return `the ${typeof scalar} ${String(scalar)}`
}

export function asMap(value: LocatedValue, what: string, complaints: Complaints): LocatedMap | undefined {
  if (value.kind === 'map') return value
  return complain(complaints, 'ERR_POLICY_SHAPE', value.at, `${what} must be a map, and here is ${inWords(value)}.`)
}

/** A list with at least one item. */
export function asList(value: LocatedValue, what: string, complaints: Complaints): LocatedList | undefined {
  if (value.kind !== 'list') {
    return complain(complaints, 'ERR_POLICY_SHAPE', value.at, `${what} must be a list, and here is ${inWords(value)}.`)
  }
  return value.items.length > 0 ? value : complain(complaints, 'ERR_POLICY_EMPTY', value.at, `${what} must not be empty.`)
}

/** A string without unpaired surrogates: those have no UTF-8 form that a request could carry. */
export function asString(value: LocatedValue, what: string, complaints: Complaints): string | undefined {
  if (value.kind === 'scalar' && typeof value.value === 'string') {
    if (value.value.isWellFormed()) return value.value
    return complain(complaints, 'ERR_POLICY_VALUE', value.at, `${what} holds an unpaired surrogate, which no text has.`)
  }
  const quoted = value.kind === 'scalar' && value.value !== null ? JSON.stringify(String(value.value)) : undefined
  const hint = quoted === undefined ? '' : ' Types count: quote it if the string is meant.'
  return complain(complaints, 'ERR_POLICY_VALUE', value.at, `${what} must be a string, and here is ${inWords(value)}.${hint}`, quoted)
}

/** The entries of a map by key, once each, after a complaint about every key that is not in `known`. */
export function entriesOf(map: LocatedMap, what: string, known: readonly string[], complaints: Complaints): Map<string, LocatedEntry> {
  const entries = new Map<string, LocatedEntry>()
  for (const entry of map.entries) {
    if (entries.has(entry.key)) complain(complaints, 'ERR_POLICY_SHAPE', entry.keyAt, `\`${entry.key}\` stands twice in ${what}.`)
    else if (known.includes(entry.key)) entries.set(entry.key, entry)
    else unknownWord(complaints, entry.keyAt, `There is no key \`${entry.key}\` in ${what}`, entry.key, known)
  }
  return entries
}

/** Complains about a word that is not one of `known`; lists them where nothing is near and they are few. */
export function unknownWord(complaints: Complaints, at: Location, message: string, word: string, known: readonly string[]): undefined {
  const meant = nearest(word, known)
  const list = meant === undefined && known.length <= 12 ? `; it takes ${known.map((name) => `\`${name}\``).join(', ')}` : ''
  return complain(complaints, 'ERR_POLICY_UNKNOWN', at, `${message}${list}.`, meant)
}
