/** Whether one conjunction holds wherever another does. For lint: a "no" may be wrong, a "yes" is not. */
import type { Criterion, StringTest } from './document.ts'
import type { Literal } from './entry.ts'
import { textHolds } from './evaluate.ts'
import { testsOf, valuesLeft } from './known-texts.ts'

/** Every literal of `wider` follows from `narrower`. */
export function covers(wider: readonly Literal[], narrower: readonly Literal[]): boolean {
  return wider.every((literal) => follows(literal, narrower))
}

function follows({ criterion, negated }: Literal, from: readonly Literal[]): boolean {
  if (criterion.kind === 'flag' && criterion.flag === 'accept') return !negated
  if (from.some((other) => other.negated === negated && sameCriterion(other.criterion, criterion))) return true
  if (criterion.kind !== 'string') return false
  const values = valuesLeft(from, criterion.fact)
  if (values !== undefined && values.length > 0) {
    return values.every((value) => criterion.matcher.every((test) => textHolds(test, value)) !== negated)
  }
  const known = testsOf(from, criterion.fact)
  return !negated && criterion.matcher.every((test) => known.some((other) => testFollows(test, other)))
}

function testFollows(test: StringTest, from: StringTest): boolean {
  if (test.test === 'starts_with') {
    const start = from.test === 'starts_with' ? from.text : from.test === 'matches' ? from.pattern.replace(/\{.*$/, '') : ''
    return start.startsWith(test.text)
  }
  if (test.test === 'ends_with') return from.test === 'ends_with' && from.text.endsWith(test.text)
  if (test.test === 'contains') return 'text' in from && from.text.includes(test.text)
  if (test.test === 'matches' && test.pattern === '/{**}') return true
  return JSON.stringify(test) === JSON.stringify(from)
}

function sameCriterion(a: Criterion, b: Criterion): boolean {
  return a.name === b.name && JSON.stringify({ ...a, line: 0, column: 0 }) === JSON.stringify({ ...b, line: 0, column: 0 })
}
