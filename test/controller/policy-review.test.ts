import assert from 'node:assert/strict'
import { test } from 'node:test'
import { answerPolicyReview, reviewPolicy } from '#controller/policy-review'

const NOW = Date.UTC(2026, 10, 24)

function policy(spec: object, kind = 'Policy'): object {
  return {
    apiVersion: 'postern.dev/v1',
    kind,
    metadata: { name: 'p', ...(kind === 'Policy' && { namespace: 'shop' }), uid: 'x', managedFields: [] },
    spec,
  }
}

const CART = { spiffe_id: { is: 'spiffe://example.org/ns/shop/sa/cart' } }
const GOOD = { rules: [{ name: 'cart', allow: { and: [CART] } }] }

test('a policy that sidecars take is allowed, in both kinds, with the status that a cluster adds', () => {
  assert.deepEqual(reviewPolicy({ ...policy(GOOD), status: { sidecars: '1 of 2' } }, NOW), { errors: [], warnings: [] })
  assert.deepEqual(reviewPolicy(policy(GOOD, 'ClusterPolicy'), NOW), { errors: [], warnings: [] })
})

const WRONG: readonly (readonly [object, RegExp])[] = [
  [
    { rules: [{ allow: { and: [{ http_pth: '/x' }] } }] },
    /^spec\.rules\[0\]\.allow\.and\[0\]\.http_pth: There is no criterion `http_pth`\. Did you mean `http_path`\?$/,
  ],
  [{ rules: [{ allow: { and: [{ 'claim/': 'x' }] } }] }, /^spec\.rules\[0\]\.allow\.and\[0\]\['claim\/'\]: /],
  [{ rules: [{ alow: { and: [CART] } }] }, /^spec\.rules\[0\]\.alow: /],
  [{ ...GOOD, mod: 'shadow' }, /^spec\.mod: .*`mode`/],
  [{}, /^spec: .*`rules`/],
]

test('what a sidecar would refuse is refused with its place and what was meant', () => {
  for (const [spec, expected] of WRONG) assert.match(reviewPolicy(policy(spec), NOW).errors[0] ?? '', expected)
})

test('what is suspicious is a warning, and cut to what the API server passes on', () => {
  const open = answerPolicyReview({ request: { uid: '1', object: policy({ rules: [{ allow: { and: [{ http_path: '/x' }] } }] }) } }, NOW)
  assert.equal(open?.response.allowed, true)
  assert.match(open.response.warnings?.[0] ?? '', /names no caller/)
  assert.ok((open.response.warnings ?? []).every((warning) => warning.length <= 256))
})

test('a deletion has no object and is allowed; what is no review has no answer', () => {
  assert.equal(answerPolicyReview({ request: { uid: '1', object: null } }, NOW)?.response.allowed, true)
  for (const given of [null, [], {}, { request: {} }, 'x']) assert.equal(answerPolicyReview(given, NOW), undefined)
})

test('whatever is sent gets an answer, never an exception', () => {
  for (const object of [1, 'x', [], {}, policy({ rules: 7 }), policy({ rules: [null] }), policy({ rules: [[]] })]) {
    const answer = answerPolicyReview({ request: { uid: '1', object } }, NOW)
    assert.equal(answer?.response.allowed, false)
    assert.notEqual(answer.response.status?.message, '')
  }
})
