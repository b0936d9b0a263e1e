/** Sets large enough that the index splits its buckets by path: it must yield every rule that the walk over documents finds. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { decide } from '#policy/decide'
import { explain } from '#policy/explain'
import { readPolicyDocument } from '#policy/read-document'
import { compile, located, peer, request, SCOPE } from '../support/policies.ts'

const RUNS = Number(process.env['POSTERN_PROPERTY_RUNS'] ?? 300)

const ID = { domain: ['example.org', 'partner.example'], namespace: ['shop', 'bank'], account: ['cart', 'web', 'pay'] } as const
const METHODS = Array.from({ length: 40 }, (_, index) => `M${index}`)

const segment = fc.constantFrom('a', 'b', 'ab', 'abc', 'x%2Fy')
const path = fc
  .tuple(fc.array(segment, { maxLength: 5 }), fc.boolean())
  .map(([segments, slash]) => `/${segments.join('/')}${slash && segments.length > 0 ? '/' : ''}`)
const deep = fc.integer({ min: 28, max: 34 }).map((depth) => `/${'d/'.repeat(depth)}`)
const anyPath = fc.oneof({ weight: 9, arbitrary: path }, { weight: 1, arbitrary: deep })
const prefix = anyPath.chain((text) => fc.integer({ min: 1, max: text.length }).map((length) => text.slice(0, length).replace(/%.?$/, '')))
const pattern = fc
  .array(fc.oneof(segment, fc.constant('{x}')), { minLength: 1, maxLength: 4 })
  .chain((segments) => fc.constantFrom('', '/{**}', '/').map((end) => `/${segments.join('/')}${end}`))

const pathCriterion: fc.Arbitrary<Record<string, unknown>> = fc.oneof(
  anyPath.map((is) => ({ is })),
  fc.array(anyPath, { minLength: 1, maxLength: 4 }).map((texts) => ({ in: texts })),
  prefix.map((starts_with) => ({ starts_with })),
  fc.tuple(prefix, path).map(([starts_with, not]) => ({ starts_with, not })),
  pattern.map((matches) => ({ matches })),
  path.map((not) => ({ not })),
)
const id = fc
  .tuple(fc.constantFrom(...ID.domain), fc.constantFrom(...ID.namespace), fc.constantFrom(...ID.account))
  .map(([domain, namespace, account]) => `spiffe://${domain}/ns/${namespace}/sa/${account}`)
const principal: fc.Arbitrary<readonly Record<string, unknown>[]> = fc.oneof(
  fc.constant([]),
  id.map((spiffe_id) => [{ spiffe_id }]),
  fc.uniqueArray(id, { minLength: 1, maxLength: 3 }).map((ids) => [{ spiffe_id: { in: ids } }]),
  fc.constantFrom(...ID.namespace).map((namespace) => [{ namespace }]),
  fc.constantFrom(...ID.account).map((service_account) => [{ service_account }]),
  fc.constantFrom(...ID.account).map((service_account) => [{ namespace: { in: ['shop', 'bank'] } }, { service_account }]),
  fc.constantFrom(...ID.domain).map((trust_domain) => [{ trust_domain }]),
  fc.constantFrom(...ID.domain).map((trust_domain) => [{ trust_domain }, { namespace: { not: 'bank' } }]),
)
const method: fc.Arbitrary<readonly Record<string, unknown>[]> = fc.oneof(
  fc.constant([]),
  fc.uniqueArray(fc.constantFrom(...METHODS), { minLength: 1, maxLength: 4 }).map((names) => [{ http_method: { in: names } }]),
  fc.constantFrom(...METHODS).map((name) => [{ http_method: { not: name } }]),
)
const rule = fc
  .tuple(fc.constantFrom('allow', 'allow', 'allow', 'allow', 'deny'), principal, method, fc.option(pathCriterion, { freq: 8 }))
  .map(([action, who, how, what]) => ({ [action]: { and: [...who, ...how, ...(what === null ? [] : [{ http_path: what }])] } }))
  .filter((candidate) => Object.values(candidate).every(({ and }) => and.length > 1))

test('no rule is missed by the index', (t) => {
  let allowed = 0
  let denied = 0
  let none = 0
  fc.assert(
    fc.property(
      fc.array(rule, { minLength: 20, maxLength: 120 }),
      fc.array(fc.tuple(id, fc.constantFrom(...METHODS, 'OTHER'), anyPath), { minLength: 20, maxLength: 20 }),
      (rules, requests) => {
        const { document, problems } = readPolicyDocument(located(rules), { defaultName: 'large' })
        assert.ok(document !== undefined, JSON.stringify(problems))
        const policy = compile([document])
        for (const [uri, name, target] of requests) {
          const facts = request({ peer: peer(uri), method: name, path: target })
          const decision = decide(policy, facts, 0)
          assert.deepEqual({ ...explain([document], SCOPE, facts, 0).decision, generation: 7 }, decision)
          if (decision.allow) allowed++
          else if (decision.rule === '') none++
          else denied++
        }
      },
    ),
    { numRuns: RUNS },
  )
  t.diagnostic(`${allowed} allowed, ${denied} denied by a rule, ${none} allowed by none`)
  assert.ok(Math.min(allowed, denied, none) > RUNS)
})
