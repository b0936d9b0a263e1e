import assert from 'node:assert/strict'
import { test } from 'node:test'
import { explain } from '#policy/explain'
import { explanationRecord, formatExplanation } from '#policy/format-explanation'
import { NOON, peer, policies, request, SCOPE, token } from '../support/policies.ts'

const POLICY = `
- name: web-reads
  allow:
    and:
      - spiffe_id: spiffe://example.org/ns/shop/sa/web
      - http_method: { in: [GET, HEAD] }
      - http_path: { starts_with: /catalog/ }
- name: cart-reads
  allow:
    and:
      - spiffe_id: spiffe://example.org/ns/shop/sa/cart
      - http_method: { in: [GET, HEAD] }
      - http_path: { starts_with: /catalog/ }
- name: admins
  allow:
    and:
      - groups: admins
      - header/x-reason: { present: true }
      - http_path: /admin
- name: no-internals
  deny:
    or:
      - http_path: { starts_with: /catalog/internal/ }
`

const explained = (facts: Parameters<typeof request>[0]) => explain(policies(POLICY, 'shop.yaml'), SCOPE, request(facts), NOON)

test('an allowed request is explained by its rule, with each criterion and the fact it met', () => {
  const { decision, deciding, considered } = explained({ path: '/catalog/1' })
  assert.equal(decision.allow, true)
  assert.equal(deciding?.rule, 'cart-reads')
  assert.deepEqual(
    deciding.criteria.map(({ name, expected, actual, holds }) => [name, expected, actual, holds]),
    [
      ['spiffe_id', 'is spiffe://example.org/ns/shop/sa/cart', 'spiffe://example.org/ns/shop/sa/cart', true],
      ['http_method', 'in [GET, HEAD]', 'GET', true],
      ['http_path', 'starts_with /catalog/', '/catalog/1', true],
    ],
  )
  assert.deepEqual(deciding.at, { file: 'shop.yaml', line: 10, column: 5 })
  assert.deepEqual(considered, [])
})

test('a refusal lists every allow rule with its first failing criterion, nearest first', () => {
  const { deciding, considered } = explained({ path: '/catalog/1', method: 'POST' })
  assert.equal(deciding, undefined)
  assert.deepEqual(
    considered.map(({ rule, distance, failing }) => [rule, distance, failing?.name, failing?.actual]),
    [
      ['cart-reads', 1, 'http_method', 'POST'],
      ['web-reads', 2, 'spiffe_id', 'spiffe://example.org/ns/shop/sa/cart'],
      ['admins', 3, 'groups', undefined],
    ],
  )
})

test('of rules equally far, the one about this caller is nearest', () => {
  const text =
    '- { name: path, allow: { and: [{ namespace: bank }, { http_path: / }, { http_method: GET }] } }\n- { name: peer, allow: { and: [{ namespace: shop }, { http_path: /x }, { http_method: GET }] } }'
  const { considered } = explain(policies(text), SCOPE, request(), NOON)
  assert.deepEqual(
    considered.map(({ rule }) => rule),
    ['peer', 'path'],
  )
})

test('a denial is explained by the deny rule and the allow rules it overrules', () => {
  const { decision, deciding, considered } = explained({ path: '/catalog/internal/x' })
  assert.equal(decision.reason, 'ERR_POLICY_DENIED')
  assert.equal(deciding?.rule, 'no-internals')
  assert.deepEqual(
    considered.map(({ rule }) => rule),
    ['cart-reads'],
  )
})

const FAILING: readonly (readonly [string, string, number])[] = [
  ['and: [{ http_method: PUT }, { http_path: / }, { http_host: x }]', 'http_method', 2],
  ['or: [{ http_method: PUT }, { http_host: x }]', 'http_method', 1],
  ['not: [{ http_method: PUT }, { http_path: / }, { http_host: catalog.shop }]', 'http_path', 2],
  ['nor: [{ http_method: GET }, { http_path: / }]', 'http_method', 1],
]

for (const [operator, name, distance] of FAILING) {
  test(`the first failing criterion of ${operator} is ${name}`, () => {
    const { considered } = explain(policies(`allow: { ${operator} }`), SCOPE, request(), NOON)
    assert.equal(considered[0]?.failing?.name, name)
    assert.equal(considered[0].distance, distance)
  })
}

const HINTS: readonly (readonly [string, Parameters<typeof request>[0], RegExp | undefined])[] = [
  ['service_account: crat', {}, /is nearly `crat`/],
  ['http_method: get', {}, /only in case/],
  ['http_path: /a/', { path: '/a' }, /slash at its end/],
  ['http_path: { in: [/b, /a] }', { path: '/a/' }, /slash at its end/],
  ['groups: a', {}, /needs a verified token/],
  ['authenticated_user: true', {}, /needs a verified token/],
  ['namespace: shop', { peer: peer('spiffe://example.org/x') }, /needs a peer whose path/],
  ['grpc_service: a.B', {}, /needs a gRPC request/],
  ['http_path: /something', { path: '/else' }, undefined],
]

for (const [criterion, facts, hint] of HINTS) {
  test(`the hint for ${criterion} is ${String(hint)}`, () => {
    const { considered } = explain(policies(`allow: { and: [{ ${criterion} }] }`), SCOPE, request(facts), NOON)
    if (hint === undefined) assert.equal(considered[0]?.failing?.hint, undefined)
    else assert.match(considered[0]?.failing?.hint ?? '', hint)
  })
}

test('secrets in headers are counted, not shown', () => {
  const text = 'allow: { or: [{ header/authorization: x }, { header/cookie: y }, { header/x-a: z }] }'
  const headers = [
    ['authorization', 'Bearer secret'],
    ['cookie', 'a=secret'],
    ['cookie', 'b'],
    ['x-a', 'shown'],
  ] as const
  const record = JSON.stringify(explain(policies(text), SCOPE, request({ headers }), NOON))
  assert.doesNotMatch(record, /secret/)
  assert.match(record, /hidden \(13 bytes\).*hidden \(8 bytes, 1 bytes\).*shown/)
})

test('documents that do not apply are named', () => {
  const text =
    'apiVersion: postern.dev/v1\nkind: Policy\nmetadata: { name: p, namespace: n }\nspec: { target: { service: cart }, rules: [{ allow: { or: [{ accept: true }] } }] }'
  const explanation = explain(policies(text), SCOPE, request(), NOON)
  assert.deepEqual(explanation.inapplicable, ['n/p'])
  assert.match(formatExplanation(explanation, false), /no policy means deny.*\n.*not for this service, port or labels: n\/p/)
})

test('the text says verdict, rule, place, criteria and hints', () => {
  const text = formatExplanation(explained({ path: '/catalog/1', method: 'get' }), false)
  assert.equal(
    text,
    `refused: No allow rule matched the request. (ERR_POLICY_NO_ALLOW)
  allow rule cart-reads of policy (shop.yaml:10:5) — nearest
    all of
    √ spiffe_id is spiffe://example.org/ns/shop/sa/cart — it is spiffe://example.org/ns/shop/sa/cart
    × http_method in [GET, HEAD] — it is get (differs from \`GET\` only in case)
    √ http_path starts_with /catalog/ — it is /catalog/1
  allow rule web-reads of policy (shop.yaml:4:5)
    × spiffe_id is spiffe://example.org/ns/shop/sa/web — it is spiffe://example.org/ns/shop/sa/cart
  allow rule admins of policy (shop.yaml:16:5)
    × groups has "admins" — it is absent (needs a verified token that has it)
`,
  )
  const coloured = formatExplanation(explained({ path: '/catalog/1', method: 'get' }), true)
  assert.match(coloured, /\u001b\[31mrefused/)
  assert.equal(coloured.replaceAll(/\u001b\[\d+m/g, ''), text)
})

test('the text of an answer bounded in time and of a shadow verdict says so', () => {
  const documents = policies(`- allow: { and: [{ date: { before: "2026-07-01T00:00:00Z" } }] }
---
apiVersion: postern.dev/v1
kind: Policy
metadata: { name: trial }
spec: { mode: shadow, rules: [{ name: strict, deny: { or: [{ http_method: GET }] } }] }`)
  const text = formatExplanation(explain(documents, SCOPE, request(), NOON), false)
  assert.match(text, /^allowed by allow rule #1 of policy/)
  assert.match(text, /until 2026-07-01T00:00:00.000Z/)
  assert.match(text, /with the shadow policies enforced: refused by trial strict/)
})

test('nothing from a request reaches the terminal as a control character', () => {
  const documents = policies('allow: { and: [{ header/x-a: v }, { claim/role: admin }] }')
  const facts = request({ headers: [['x-a', '\u001b[2J\u009b\r\n']], token: token({ role: '\u001b]0;x\u0007\u202e' }) })
  const text = formatExplanation(explain(documents, SCOPE, facts, NOON), false)
  assert.doesNotMatch(text.replaceAll('\n', ''), /\p{C}/u)
})

test('a hundred rules are counted after the first ten', () => {
  const text = Array.from({ length: 100 }, (_, index) => `- allow: { and: [{ http_path: /p${index} }] }`).join('\n')
  const explanation = explain(policies(text), SCOPE, request(), NOON)
  assert.match(formatExplanation(explanation, false), /and 90 more allow rules/)
  assert.equal(explanation.considered.length, 100)
  const few = explain(policies(text), SCOPE, request(), NOON, 3)
  assert.deepEqual(few.considered, explanation.considered.slice(0, 3))
  assert.equal(few.consideredTotal, 100)
  assert.match(formatExplanation(few, false), /and 97 more allow rules/)
})

test('the record is plain JSON with times as text', () => {
  const documents = policies('allow: { and: [{ date: { before: "2026-07-01T00:00:00Z" } }] }')
  const record = explanationRecord(explain(documents, SCOPE, request(), NOON))
  assert.deepEqual(JSON.parse(JSON.stringify(record)).validUntil, '2026-07-01T00:00:00.000Z')
  assert.equal(record['decision'], 'allow')
  assert.equal(explanationRecord(explain([], SCOPE, request(), NOON))['validUntil'], null)
})

const DESCRIBED: readonly (readonly [string, string])[] = [
  ['http_path: { starts_with: /a/, not: { starts_with: /a/b } }', 'starts_with /a/ and not starts_with /a/b'],
  ['http_path: { not: { starts_with: /a, ends_with: b } }', 'not (starts_with /a and ends_with b)'],
  ['http_path: { not: /a }', 'not /a'],
  ['http_path: { matches: "/{x}" }', 'matches /{x}'],
  ['header/x: { present: false }', 'absent'],
  ['header/x: { present: true, is: "" }', 'present and is ""'],
  ['port: [1, 2, 3, 4, 5, 6, 7]', 'in [1, 2, 3, 4, 5, and 2 more]'],
  ['source_ip: 10.0.0.0/8', 'in [10.0.0.0/8]'],
  ['groups: { has: a, exclude: 1 }', 'has "a" and exclude 1'],
  ['client_certificate: {}', 'any certificate'],
  ['client_certificate: { san_dns: { ends_with: .a } }', 'san_dns ends_with .a'],
  ['day_of_week: mon-sun', 'in [sun, mon, tue, wed, thu, fri, sat] (UTC)'],
  ['time_of_day: { timezone: UTC, after: 9:05 }', 'after 09:05:00 (UTC)'],
  ['time_of_day: { timezone: UTC, after: 0:00 }', 'any time (UTC)'],
  [
    'date: { after: "2026-01-01T00:00:00Z", before: "2027-01-01T00:00:00Z" }',
    'after 2026-01-01T00:00:00.000Z and before 2027-01-01T00:00:00.000Z',
  ],
  ['accept: true', 'true'],
]

test('criteria are described in their own words', () => {
  for (const [criterion, expected] of DESCRIBED) {
    const { deciding, considered } = explain(policies(`allow: { or: [{ ${criterion} }] }`), SCOPE, request(), NOON)
    assert.equal((deciding ?? considered[0])?.criteria[0]?.expected, expected)
  }
})
