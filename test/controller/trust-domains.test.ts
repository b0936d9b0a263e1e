import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { test } from 'node:test'
import { answerPolicyReview } from '#controller/policy-review'
import { nextStatus } from '#controller/policy-status'
import type { TrustDomainObject } from '#controller/snapshot/snapshot'
import { createTrustDomains } from '#controller/trust-domains'
import { createTestMesh } from '../support/authority.ts'

const partner = await createTestMesh('partner.example')
const certificate = new X509Certificate(partner.bundlePem)
const KEY = { ...certificate.publicKey.export({ format: 'jwk' }), use: 'x509-svid', x5c: [certificate.raw.toString('base64')] }

function object(bundle: unknown, name = 'partner.example'): TrustDomainObject & { readonly kind: string } {
  return { kind: 'TrustDomain', metadata: { name, uid: name, resourceVersion: '1', generation: 2 }, spec: { bundle } }
}

const good = (sequence: number): object => ({ spiffe_sequence: sequence, keys: [KEY] })

const WRONG: readonly (readonly [what: string, object: TrustDomainObject, why: RegExp])[] = [
  ['without keys', object({ keys: [] }), /holds no X\.509 authority/],
  ['no bundle', object(null), /cannot be read/],
  ['a bundle of something else', object({ keys: [{ ...KEY, x5c: ['AAAA'] }] }), /bundle/],
  ['our own', object(good(1), 'example.org'), /the mesh's own trust domain/],
  ['a name that is none', object(good(1), 'Partner.Example'), /not the name of a trust domain/],
]

test('a bundle that cannot be used is refused when it is written, with what is wrong', () => {
  for (const [what, wrong, why] of WRONG) {
    const review = answerPolicyReview({ request: { uid: 'u', object: { ...wrong, kind: 'TrustDomain' } } }, 0, 'example.org')
    assert.equal(review?.response.allowed, false, what)
    assert.match(review?.response.status?.message ?? '', why, what)
  }
  assert.equal(answerPolicyReview({ request: { uid: 'u', object: object(good(1)) } }, 0, 'example.org')?.response.allowed, true)
})

test('an older one is refused when it is written, unless what it replaces cannot be used itself', () => {
  const review = (next: object, before: object): boolean | undefined =>
    answerPolicyReview({ request: { uid: 'u', object: next, oldObject: before } }, 0, 'example.org')?.response.allowed
  assert.equal(review(object(good(4)), object(good(5))), false)
  assert.equal(review(object(good(5)), object(good(5))), true)
  assert.equal(review(object(good(4)), object({ keys: [] })), true)
})

test('one that slipped through changes nothing, and the status says why until it is mended', () => {
  const domains = createTrustDomains('example.org')
  const [first, older, broken, newer] = [object(good(5)), object(good(4)), object({ keys: [] }), object(good(6))]
  domains.take(first, undefined)
  assert.equal(domains.faultOf(first), undefined)
  for (const [bad, why] of [
    [older, /sequence 4, and 5 is in force/],
    [broken, /no X\.509 authority/],
  ] as const) {
    domains.take(bad, first)
    assert.equal(domains.inForce(bad), first)
    const fault = domains.faultOf(bad) ?? ''
    const status = nextStatus({
      policy: bad,
      replica: 'one',
      counted: { all: 2, running: 2 },
      verdict: { errors: [fault], warnings: [] },
      replicas: undefined,
      now: 0,
    })
    assert.equal(status?.conditions?.[0]?.status, 'False')
    assert.match(status?.conditions?.[0]?.message ?? '', why)
  }
  domains.take(newer, broken)
  assert.equal(domains.inForce(newer), newer)
  assert.equal(domains.faultOf(newer), undefined)
  domains.take(undefined, newer)
  domains.take(older, undefined)
  assert.equal(domains.faultOf(older), undefined, 'what is deleted is forgotten')
})

test('a controller that was started anew and finds a bad one gives it out as it is: sidecars keep what they have', () => {
  const domains = createTrustDomains('example.org')
  const broken = object({ keys: [] })
  domains.take(broken, undefined)
  assert.equal(domains.inForce(broken), broken)
  assert.match(domains.faultOf(broken) ?? '', /no X\.509 authority/)
})

test('one that is deleted and made anew begins anew, even where the deletion is heard of last', () => {
  const domains = createTrustDomains('example.org')
  const made = (uid: string, sequence: number): TrustDomainObject => {
    const { metadata, ...rest } = object(good(sequence))
    return { ...rest, metadata: { ...metadata, uid } }
  }
  const [first, second, broken] = [made('one', 5), made('two', 2), { ...made('two', 0), spec: { bundle: null } }]
  domains.take(first, undefined)
  domains.take(second, undefined)
  domains.take(undefined, first)
  assert.equal(domains.faultOf(second), undefined)
  domains.take(broken, second)
  assert.equal(domains.inForce(broken), second)
  assert.match(domains.faultOf(broken) ?? '', /cannot be read/)
})

test('who writes a new one is told which rules its callers can match', () => {
  const warnings = (oldObject?: object): readonly string[] | undefined =>
    answerPolicyReview({ request: { uid: 'u', object: object(good(1)), oldObject } }, 0, 'example.org')?.response.warnings
  assert.deepEqual(warnings(), [
    'callers of partner.example match rules that name no trust_domain: where your own are meant, say `trust_domain: example.org` beside service_account and namespace',
  ])
  assert.equal(warnings(object(good(1))), undefined)
})
