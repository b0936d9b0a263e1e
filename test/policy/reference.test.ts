/** Runs every example of docs/policy.md, and holds that none of the language's words lacks one. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import type { PolicyDocument } from '#policy/document'
import { CRITERION_NAMES } from '#policy/read-criterion'
import { runPolicyTests } from '#policy/run-tests'
import { explain } from '#policy/explain'
import { readRequest } from '#policy/request'
import { assumeScope } from '#policy/scope'
import { NOON, policies } from '../support/policies.ts'

const PAGE = readFileSync(join(import.meta.dirname, '..', '..', 'docs', 'policy.md'), 'utf8')
const EXAMPLES = [...PAGE.matchAll(/```yaml\n([^`]*)```\n(?:```json\n([^`]*)```)?/g)].map(([, yaml = '', cases = '']) => ({ yaml, cases }))

/** Words that an example must use, beside the names of criteria. */
const WORDS =
  'and or not nor is in not_in starts_with ends_with contains matches present has exclude claim/[^:]+ header/[^:]+ query/[^:]+ limit requests burst per'.split(
    ' ',
  )

function check(documents: readonly PolicyDocument[], line: string): void {
  const { expect, because, ...told } = JSON.parse(line) as Record<string, unknown>
  const described = { peer: 'spiffe://example.org/ns/shop/sa/cart', ...told }
  const { request, faults } = readRequest(described, NOON)
  assert.ok(request !== undefined, faults.join(' '))
  const { scope, port, missing } = assumeScope(documents, request)
  assert.deepEqual(missing, [])
  const { allow, rule, reason } = explain(documents, scope, { ...request.facts, port }, request.at ?? NOON).decision
  const answer = request.refused === undefined ? (allow ? 'allow' : 'deny') : 'deny'
  assert.equal(answer, expect, line)
  if (because !== undefined)
    assert.ok([rule, reason, request.refused?.reason].includes(because as string), `${line}: ${rule} ${reason ?? ''}`)
}

for (const [index, { yaml, cases }] of EXAMPLES.entries()) {
  test(`example ${index + 1} of docs/policy.md decides its cases as it says`, () => {
    const documents = policies(yaml, 'docs/policy.md')
    const lines = cases.trim().split('\n')
    assert.ok(lines.length > 0 && cases !== '')
    for (const line of lines) check(documents, line)
    for (const { passed, outcome } of runPolicyTests(documents, NOON)) assert.ok(passed, outcome)
  })
}

test('every operator, matcher and criterion has an example', () => {
  const examples = EXAMPLES.map(({ yaml }) => yaml).join('\n')
  for (const word of [...WORDS, ...CRITERION_NAMES]) assert.match(examples, new RegExp(`[{ -]${word}:`), word)
  assert.ok(EXAMPLES.length >= 8)
})

test('every criterion is described in a table or in words', () => {
  for (const name of CRITERION_NAMES) assert.ok(PAGE.includes(`\`${name}\``), name)
})
