/** The one verdict of shadow policies is what is decided once they are enforced: implicit denial included, tcp too. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { decide } from '#policy/decide'
import { readPolicyDocument } from '#policy/read-document'
import { compile, located } from '../support/policies.ts'
import { documentValue, requestFacts, time } from '../support/policy-arbitraries.ts'

const RUNS = Number(process.env['POSTERN_PROPERTY_RUNS'] ?? 1500)

test('the shadow verdict equals what enforcement decides, and enforcement is not touched by it', (t) => {
  const seen = new Map<string, number>()
  const count = (what: string): void => void seen.set(what, (seen.get(what) ?? 0) + 1)
  fc.assert(
    fc.property(
      fc.array(documentValue, { minLength: 1, maxLength: 4 }),
      fc.array(requestFacts, { minLength: 1, maxLength: 6 }),
      time,
      (values, requests, now) => {
        const documents = values
          .map((value, index) => readPolicyDocument(located(value), { defaultName: `d${index}` }).document)
          .filter((document) => document !== undefined)
        const mixed = compile(documents)
        const enforced = compile(documents.map((document) => ({ ...document, mode: 'enforce' as const })))
        const without = compile(documents.filter(({ mode }) => mode === 'enforce'))
        for (const facts of requests) {
          const { shadow, ...decision } = decide(mixed, facts, now)
          const { shadow: _, ...alone } = decide(without, facts, now)
          assert.deepEqual({ ...decision, generation: 0 }, { ...alone, generation: 0 })
          if (shadow === undefined) continue
          const { allow, reason, policy, rule } = decide(enforced, facts, now)
          assert.deepEqual(shadow, { allow, reason, policy, rule })
          count(allow === decision.allow ? 'agrees' : allow ? 'would allow' : 'would refuse')
          if (reason === 'ERR_POLICY_NO_ALLOW') count('implicit denial')
        }
      },
    ),
    { numRuns: RUNS },
  )
  for (const [what, number] of seen) t.diagnostic(`${number} ${what}`)
  for (const what of ['agrees', 'would allow', 'would refuse', 'implicit denial']) assert.ok((seen.get(what) ?? 0) > RUNS / 100, what)
})
