/** What `who-can` and `what-can` list is held against the walk of `explain`, request by request. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import type { PolicyDocument } from '#policy/document'
import { explain } from '#policy/explain'
import type { RequestFacts } from '#policy/facts'
import { conditionsHold, type Known, reach, type Reach } from '#policy/reach'
import { readPolicyDocument } from '#policy/read-document'
import { located, SCOPE } from '../support/policies.ts'
import { documentValue, requestFacts, time } from '../support/policy-arbitraries.ts'

const RUNS = Number(process.env['POSTERN_PROPERTY_RUNS'] ?? 1500)

function read(values: readonly unknown[]): PolicyDocument[] {
  return values
    .map((value, index) => readPolicyDocument(located(value), { defaultName: `d${index}` }).document)
    .filter((document) => document !== undefined)
}

/** As a reader of the list would judge. */
function listed({ grants }: Reach, facts: RequestFacts, now: number): boolean {
  return grants.some(
    ({ caller, conditions, exceptions }) =>
      (caller === undefined || caller === facts.peer?.id.uri) &&
      conditionsHold(conditions, facts, now) &&
      !exceptions.some((exception) => conditionsHold(exception.conditions, facts, now)),
  )
}

function knowing(facts: RequestFacts, what: Partial<Known>): Known {
  const { protocol, port } = facts
  return { protocol, port, peer: undefined, method: undefined, path: undefined, host: undefined, at: undefined, ...what }
}

test('whoever is listed for a request is allowed it, and nobody else', (t) => {
  const seen = new Map<string, number>()
  const count = (what: string): void => void seen.set(what, (seen.get(what) ?? 0) + 1)
  fc.assert(
    fc.property(
      fc.array(documentValue, { minLength: 1, maxLength: 3 }),
      fc.array(requestFacts, { minLength: 1, maxLength: 6 }),
      time,
      (values, requests, now) => {
        const documents = read(values)
        for (const facts of requests) {
          const { allow } = explain(documents, SCOPE, facts, now).decision
          const { method, path, host } = facts
          const request = facts.protocol === 'tcp' ? {} : { method, path }
          const questions: [string, Known][] = [
            ['who', knowing(facts, request)],
            ['who, at a time, of a host', knowing(facts, { ...request, at: now, ...(host === '' ? {} : { host }) })],
            ...(facts.peer === undefined ? [] : ([['what', knowing(facts, { peer: facts.peer.id })]] satisfies [string, Known][])),
          ]
          for (const [question, known] of questions) {
            const found = reach(documents, SCOPE, known, now)
            assert.equal(listed(found, facts, now), allow, `${question}: ${JSON.stringify(found)}`)
            count(`${question}: ${allow ? 'allowed' : 'refused'}`)
            if (found.grants.some(({ caller }) => caller !== undefined)) count(`${question}: callers by name`)
            if (found.grants.some(({ conditions, exceptions }) => conditions.length + exceptions.length === 0))
              count(`${question}: no condition`)
            if (found.grants.some(({ exceptions }) => exceptions.length > 0)) count(`${question}: with exceptions`)
            if (found.overruled.length > 0) count(`${question}: overruled`)
          }
        }
      },
    ),
    { numRuns: RUNS },
  )
  for (const [what, number] of [...seen].toSorted(([a], [b]) => (a < b ? -1 : 1))) t.diagnostic(`${number} ${what}`)
  for (const what of ['who: allowed', 'who: refused', 'who: callers by name', 'who: with exceptions', 'who: overruled', 'what: allowed']) {
    assert.ok((seen.get(what) ?? 0) > RUNS / 100, `${what} occurred ${seen.get(what) ?? 0} times`)
  }
})

test('shadow documents count as enforced where that is asked for', () => {
  fc.assert(
    fc.property(fc.array(documentValue, { minLength: 1, maxLength: 3 }), requestFacts, time, (values, facts, now) => {
      const documents = read(values)
      const enforced = documents.map((document) => ({ ...document, mode: 'enforce' as const }))
      const known = knowing(facts, facts.protocol === 'tcp' ? {} : { method: facts.method, path: facts.path })
      assert.deepEqual(reach(documents, SCOPE, known, now, true), reach(enforced, SCOPE, known, now))
    }),
    { numRuns: RUNS / 5 },
  )
})
