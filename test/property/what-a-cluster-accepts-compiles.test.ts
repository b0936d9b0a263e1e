/** What the schemas of the custom resources and the validating webhook accept, sidecars compile; and what sidecars take, the schemas do not keep out. */
import assert from 'node:assert/strict'
import process from 'node:process'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { readYamlDocuments } from '#config/yaml'
import { customResources } from '#controller/crds'
import { reviewPolicy } from '#controller/policy-review'
import { type PolicyObject, snapshotFor } from '#controller/snapshot/snapshot'
import { readPolicyDocument } from '#policy/read-document'
import { compile, located, NOON } from '../support/policies.ts'
import { documentValue } from '../support/policy-arbitraries.ts'
import { faultsOf, pruned } from '../support/structural-schema.ts'

const RUNS = Number(process.env['POSTERN_PROPERTY_RUNS'] ?? 1500)

type Json = Readonly<Record<string, unknown>>
interface Definition {
  readonly spec: {
    readonly names: { readonly kind: string }
    readonly versions: readonly { readonly schema: { readonly openAPIV3Schema: Json } }[]
  }
}

/** Of the parts that are the resource's own; the API server checks the rest by itself. */
const SCHEMA = ((): Json => {
  const found = (customResources() as readonly Definition[]).find(({ spec }) => spec.names.kind === 'Policy')
  return found!.spec.versions[0]!.schema.openAPIV3Schema
})()

const META = { name: 'p', namespace: 'shop', uid: 'u', resourceVersion: '1' }

/** As it is stored: pruned, with defaults; undefined if it is refused. */
function stored(document: Json): PolicyObject | undefined {
  const { apiVersion: _, kind: __, metadata: ___, ...own } = document
  const kept = pruned(SCHEMA, own) as Json
  return faultsOf(SCHEMA, kept).length > 0 ? undefined : { apiVersion: 'postern.dev/v1', kind: 'Policy', metadata: META, ...kept }
}

/** What the language calls a document; the arbitrary makes bare PPL too, which is no object of a cluster. */
const document = documentValue.filter((value): value is Json => typeof value === 'object' && value !== null && !Array.isArray(value))

const strange: fc.Arbitrary<unknown> = fc.oneof(
  fc.constantFrom<unknown>(
    null,
    '',
    0,
    -1,
    1.5,
    true,
    [],
    {},
    'x'.repeat(300),
    '*',
    ' ',
    '{**}',
    65_536,
    ['a', 1],
    { is: 1 },
    { not: {} },
    'é\u0000',
    '&a',
  ),
  fc.string({ maxLength: 8, unit: 'grapheme' }),
)

interface Place {
  readonly holder: Record<string, unknown> | unknown[]
  readonly key: string | number
}

function placesIn(value: unknown): Place[] {
  if (typeof value !== 'object' || value === null) return []
  const keys = Array.isArray(value) ? [...value.keys()] : Object.keys(value)
  const holder = value as Record<string, unknown>
  return keys.flatMap((key) => [{ holder, key }, ...placesIn(holder[key])])
}

/** One to three things in it made wrong, or at least otherwise. */
const changed = fc
  .tuple(document, fc.array(fc.tuple(fc.nat(), fc.constantFrom('set', 'drop', 'rename', 'double'), strange), { maxLength: 3 }))
  .map(([value, changes]) => {
    const copy = JSON.parse(JSON.stringify(value)) as Record<string, unknown>
    for (const [at, what, other] of changes) {
      const places = placesIn({ spec: copy['spec'] })
      const { holder, key } = places[at % places.length] ?? { holder: copy, key: 'spec' }
      change(holder as Record<string, unknown>, key, what, other)
    }
    return copy
  })

function change(holder: Record<string, unknown>, key: string | number, what: string, other: unknown): void {
  if (Array.isArray(holder)) {
    if (what === 'drop') holder.splice(Number(key), 1)
    else if (what === 'double') holder.push(structuredClone(holder[Number(key)]))
    else holder[Number(key)] = other
  } else if (what === 'set') holder[key] = other
  else if (what === 'drop') delete holder[key]
  else if (what === 'rename') {
    holder[`${key}x`] = holder[key]
    delete holder[key]
  } else holder['extra'] = structuredClone(holder[key])
}

/** As a sidecar takes it from its snapshot. @returns what it has against it */
function takenBySidecar(policy: PolicyObject): readonly string[] {
  const [first] = snapshotFor('shop', { policies: [policy], clusterPolicies: [], trustDomains: [], services: [] }).policies
  const { documents, problems } = readYamlDocuments(first?.text ?? '', 'p.yaml')
  if (problems.length > 0) return problems.map(({ message }) => message)
  const reading = readPolicyDocument(documents[0]!, { defaultName: 'p' })
  const errors = reading.problems.filter(({ severity }) => severity === 'error').map(({ message }) => message)
  if (errors.length > 0 || reading.document === undefined) return errors.length > 0 ? errors : ['no document']
  compile([reading.document])
  return []
}

test('what schema and webhook accept, a sidecar reads and compiles', (t) => {
  const seen = { 'refused by the schema': 0, 'refused by the webhook': 0, compiled: 0 }
  fc.assert(
    fc.property(changed, (value) => {
      const policy = stored(value)
      if (policy === undefined) seen['refused by the schema']++
      else if (reviewPolicy(policy, NOON).errors.length > 0) seen['refused by the webhook']++
      else {
        seen.compiled++
        assert.deepEqual(takenBySidecar(policy), [])
      }
    }),
    { numRuns: RUNS },
  )
  for (const [what, count] of Object.entries(seen)) {
    t.diagnostic(`${count} ${what}`)
    assert.ok(count > RUNS / 20, `${what}: ${count} of ${RUNS}`)
  }
})

test('what the webhook refuses, a sidecar refuses: nothing good is kept out', () => {
  fc.assert(
    fc.property(changed, (value) => {
      const policy = stored(value)
      if (policy === undefined || reviewPolicy(policy, NOON).errors.length === 0) return
      assert.notDeepEqual(takenBySidecar(policy), [])
    }),
    { numRuns: RUNS },
  )
})

test('what the language takes, the schema takes, and stores whole', (t) => {
  let taken = 0
  fc.assert(
    fc.property(document, (value) => {
      const { problems } = readPolicyDocument(located(value), { defaultName: 'p' })
      if (problems.some(({ severity }) => severity === 'error')) return
      taken++
      const spec = JSON.parse(JSON.stringify({ spec: value['spec'] })) as { readonly spec: Json }
      assert.deepEqual(faultsOf(SCHEMA, spec), [])
      const { mode: _, ...kept } = (pruned(SCHEMA, spec) as { spec: Json }).spec
      const { mode: __, ...given } = spec.spec
      assert.deepEqual(kept, given)
    }),
    { numRuns: RUNS },
  )
  t.diagnostic(`${taken} of ${RUNS}`)
  assert.ok(taken > RUNS / 4)
})
