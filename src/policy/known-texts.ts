/** What a conjunction says about texts: the only values it leaves open for a fact, and the tests that those must pass. For lint. */
import { parseSpiffeId } from '#identity/spiffe-id'
import type { StringFact, StringTest } from './document.ts'
import type { Literal } from './entry.ts'
import { textHolds } from './evaluate.ts'

/** Tests that hold of a fact wherever the literals do; negated literals say nothing here. */
export function testsOf(literals: readonly Literal[], fact: StringFact): StringTest[] {
  return literals.flatMap(({ criterion, negated }) =>
    !negated && criterion.kind === 'string' && criterion.fact === fact ? [...criterion.matcher] : [],
  )
}

/** The values of a fact that the literals leave open; undefined if there is no end to them. */
export function valuesLeft(literals: readonly Literal[], fact: StringFact): readonly string[] | undefined {
  const tests = testsOf(literals, fact)
  let values: readonly string[] | undefined
  for (const test of tests) {
    if (test.test === 'is') values ??= [test.text]
    if (test.test === 'in') values ??= test.texts
  }
  values ??= PARTS.has(fact) ? valuesLeft(literals, 'spiffe_id')?.flatMap((id) => partOf(id, fact) ?? []) : undefined
  return values?.filter((value) => tests.every((test) => textHolds(test, value)) && (fact !== 'spiffe_id' || fitsParts(value, literals)))
}

const PARTS: ReadonlySet<StringFact> = new Set(['trust_domain', 'namespace', 'service_account'])

function partOf(uri: string, fact: StringFact): string | undefined {
  const id = parseSpiffeId(uri)
  if (!id.ok) return undefined
  if (fact === 'trust_domain') return id.value.trustDomain
  return fact === 'namespace' ? id.value.namespace : id.value.serviceAccount
}

function fitsParts(uri: string, literals: readonly Literal[]): boolean {
  return [...PARTS].every((fact) => {
    const tests = testsOf(literals, fact)
    const part = partOf(uri, fact)
    return tests.length === 0 || (part !== undefined && tests.every((test) => textHolds(test, part)))
  })
}
