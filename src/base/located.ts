/** A document's value together with where it stands, so that every complaint about it has a file, a line and a column. */
import type { ReasonCode } from './reasons.ts'

/** `line` and `column` count from 1. */
export interface Location {
  readonly file: string
  readonly line: number
  readonly column: number
}

export interface LocatedScalar {
  readonly kind: 'scalar'
  readonly value: string | number | boolean | null
  readonly at: Location
}

export interface LocatedList {
  readonly kind: 'list'
  readonly items: readonly LocatedValue[]
  readonly at: Location
}

export interface LocatedEntry {
  readonly key: string
  readonly keyAt: Location
  readonly value: LocatedValue
}

export interface LocatedMap {
  readonly kind: 'map'
  readonly entries: readonly LocatedEntry[]
  readonly at: Location
}

export type LocatedValue = LocatedScalar | LocatedList | LocatedMap

/** One complaint about a document. `message` says what is wrong and what to do; `suggestion` is what was probably meant, verbatim. */
export interface Problem {
  readonly severity: 'error' | 'warning'
  readonly code: ReasonCode
  readonly message: string
  readonly at: Location
  readonly suggestion?: string
}

/** The value of a map's key, or undefined. */
export function entryOf(map: LocatedMap, key: string): LocatedEntry | undefined {
  return map.entries.find((entry) => entry.key === key)
}

/** The plain value under a located one. Maps become objects without a prototype. */
export function plainValue(value: LocatedValue): unknown {
  if (value.kind === 'scalar') return value.value
  if (value.kind === 'list') return value.items.map(plainValue)
  const object = Object.create(null) as Record<string, unknown>
  for (const entry of value.entries) object[entry.key] = plainValue(entry.value)
  return object
}

/** `file:line:column: message`, one line, as compilers print it. */
export function formatProblem(problem: Problem): string {
  const { file, line, column } = problem.at
  const hint = problem.suggestion === undefined ? '' : ` Did you mean \`${problem.suggestion}\`?`
  const label = problem.severity === 'warning' ? 'warning: ' : ''
  return `${file}:${line}:${column}: ${label}${problem.message}${hint} (${problem.code})`
}
