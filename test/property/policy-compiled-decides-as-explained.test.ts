/** The compiled policy and the walk over documents are written apart; here they are held against each other. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { decide } from '#policy/decide'
import type { PolicyDocument } from '#policy/document'
import { explain } from '#policy/explain'
import { readPolicyDocument } from '#policy/read-document'
import { compile, located, SCOPE } from '../support/policies.ts'
import { documentValue, requestFacts, time } from '../support/policy-arbitraries.ts'

const RUNS = Number(process.env['POSTERN_PROPERTY_RUNS'] ?? 1500)

/** Random documents are now and then refused, by the rule on negations above all. */
function read(values: readonly unknown[]): PolicyDocument[] {
  return values
    .map((value, index) => readPolicyDocument(located(value), { defaultName: `d${index}` }).document)
    .filter((document) => document !== undefined)
}

test('a compiled policy decides as the documents explain', (t) => {
  const seen = new Map<string, number>()
  const count = (what: string): void => void seen.set(what, (seen.get(what) ?? 0) + 1)
  fc.assert(
    fc.property(
      fc.array(documentValue, { minLength: 1, maxLength: 3 }),
      fc.array(requestFacts, { minLength: 1, maxLength: 6 }),
      time,
      (values, requests, now) => {
        const documents = read(values)
        const policy = compile(documents)
        for (const facts of requests) {
          const decision = decide(policy, facts, now)
          const explained = explain(documents, SCOPE, facts, now)
          assert.deepEqual({ ...decision, validUntil: 0, generation: 0 }, { ...explained.decision, validUntil: 0 })
          assert.ok(decision.validUntil > now, 'an answer is valid at the instant it is given')
          const { validUntil } = explained.decision
          // The walk gives up looking for the instant at some point; until then it may not find one that is too early.
          if (validUntil < decision.validUntil) assert.equal(explain(documents, SCOPE, facts, validUntil).decision.allow, decision.allow)
          assert.equal(explained.deciding?.rule ?? '', decision.rule)
          count(decision.allow ? `allowed (${facts.protocol})` : `${decision.reason ?? ''} (${facts.protocol})`)
          if (decision.validUntil !== Infinity) count('bounded in time')
          if (decision.shadow !== undefined) count(decision.shadow.allow === decision.allow ? 'shadow agrees' : 'shadow differs')
        }
      },
    ),
    { numRuns: RUNS },
  )
  for (const [what, number] of [...seen].toSorted(([a], [b]) => (a < b ? -1 : 1))) t.diagnostic(`${number} ${what}`)
  const total = [...seen].reduce((sum, [, number]) => sum + number, 0)
  for (const what of [
    'allowed (http)',
    'ERR_POLICY_DENIED (http)',
    'ERR_POLICY_NO_ALLOW (http)',
    'bounded in time',
    'shadow differs',
    'allowed (tcp)',
  ]) {
    assert.ok((seen.get(what) ?? 0) > total / 1000, `${what} occurred ${seen.get(what) ?? 0} times of ${total}`)
  }
})

test('until validUntil, time alone does not change the answer', () => {
  fc.assert(
    fc.property(
      fc.array(documentValue, { minLength: 1, maxLength: 2 }),
      requestFacts,
      time,
      fc.double({ min: 0, max: 1, noNaN: true }),
      (values, facts, now, part) => {
        const documents = read(values)
        const policy = compile(documents)
        const { allow, validUntil } = decide(policy, facts, now)
        const end = Math.min(validUntil, now + 400 * 86_400_000)
        for (const at of [Math.min(end - 1, Math.floor(now + (end - now) * part)), end - 1]) {
          assert.equal(explain(documents, SCOPE, facts, at).decision.allow, allow, new Date(at).toISOString())
        }
      },
    ),
    { numRuns: RUNS },
  )
})

test('the answer does not depend on the order of rules or documents', () => {
  fc.assert(
    fc.property(fc.array(documentValue, { minLength: 2, maxLength: 3 }), requestFacts, time, (values, facts, now) => {
      const documents = read(values)
      const turned = documents.toReversed().map((document) => ({ ...document, rules: document.rules.toReversed() }))
      const [one, other] = [decide(compile(documents), facts, now), decide(compile(turned), facts, now)]
      assert.equal(one.allow, other.allow)
      assert.equal(one.reason, other.reason)
      assert.equal(one.validUntil, other.validUntil)
    }),
    { numRuns: RUNS / 2 },
  )
})
