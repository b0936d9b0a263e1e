import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createPolicyCompiler } from '#policy/compile'
import { decide } from '#policy/decide'
import type { PolicyScope } from '#policy/document'
import { compile, decideBothWays, NOON, policies, request, SCOPE, token } from '../support/policies.ts'

const KIND = 'apiVersion: postern.dev/v1\nkind: Policy\n'
const ALLOW = '- { name: yes, allow: { and: [{ http_path: { starts_with: /a } }] } }'

test('no policy means deny', () => {
  const { allow, reason, policy, rule } = decideBothWays([], request())
  assert.deepEqual({ allow, reason, policy, rule }, { allow: false, reason: 'ERR_POLICY_NONE', policy: '', rule: '' })
})

test('a policy of which no rule matches denies', () => {
  const { allow, reason, rule } = decideBothWays(policies(ALLOW), request({ path: '/b' }))
  assert.deepEqual({ allow, reason, rule }, { allow: false, reason: 'ERR_POLICY_NO_ALLOW', rule: '' })
})

test('deny wins over every allow, wherever it stands', () => {
  const deny = '- { name: no, deny: { or: [{ http_path: /a/secret }] } }'
  for (const text of [`${ALLOW}\n${deny}`, `${deny}\n${ALLOW}`, `${ALLOW}\n---\n${deny}`]) {
    const { allow, reason, rule } = decideBothWays(policies(text), request({ path: '/a/secret' }))
    assert.deepEqual({ allow, reason, rule }, { allow: false, reason: 'ERR_POLICY_DENIED', rule: 'no' })
    assert.equal(decideBothWays(policies(text), request({ path: '/a/b' })).allow, true)
  }
})

const OPERATORS: readonly (readonly [string, string, boolean])[] = [
  // Which of two criteria hold: both, the first, none.
  ['and', 'both', true],
  ['and', 'one', false],
  ['and', 'none', false],
  ['or', 'both', true],
  ['or', 'one', true],
  ['or', 'none', false],
  ['not', 'both', false],
  ['not', 'one', false],
  ['not', 'none', true],
  ['nor', 'both', false],
  ['nor', 'one', true],
  ['nor', 'none', true],
]

for (const [operator, which, expected] of OPERATORS) {
  test(`${operator} is ${String(expected)} when ${which} of its criteria ${which === 'both' ? 'hold' : 'holds'}`, () => {
    const documents = policies(`allow: { ${operator}: [{ http_method: GET }, { http_path: /a }] }`)
    const facts = { both: { path: '/a' }, one: {}, none: { method: 'PUT' } }[which]
    assert.equal(decideBothWays(documents, request(facts)).allow, expected)
  })
}

test('several operators under one action are alternatives, and several actions in one object are rules', () => {
  const documents = policies(
    'allow: { and: [{ http_path: /a }], or: [{ http_path: /b }, { http_path: /c }] }\ndeny: { and: [{ http_method: PUT }] }',
  )
  for (const path of ['/a', '/b', '/c']) {
    assert.equal(decideBothWays(documents, request({ path })).allow, true)
    assert.equal(decideBothWays(documents, request({ path, method: 'PUT' })).allow, false)
  }
  assert.equal(decideBothWays(documents, request({ path: '/d' })).allow, false)
})

test('the rule that is named is the first that matches in document order, whichever part of the index it is in', () => {
  const rules = [
    '{ name: other, allow: { and: [{ http_path: /z }] } }',
    '{ name: by-prefix, allow: { and: [{ http_path: { starts_with: / } }] } }',
    '{ name: by-namespace, allow: { and: [{ namespace: shop }] } }',
    '{ name: by-id, allow: { and: [{ spiffe_id: spiffe://example.org/ns/shop/sa/cart }] } }',
    '{ name: by-path, allow: { and: [{ http_path: /a }] } }',
    ...Array.from({ length: 20 }, (_, index) => `{ allow: { and: [{ http_path: /filler/${index} }] } }`),
  ]
  for (let first = 1; first <= 4; first++) {
    const turned = [rules[0]!, ...rules.slice(first, 5), ...rules.slice(1, first), ...rules.slice(5)]
    const { policy, rule } = decideBothWays(policies(turned.map((text) => `- ${text}`).join('\n')), request({ path: '/a' }))
    assert.equal(rule, /name: ([\w-]+)/.exec(rules[first]!)?.[1])
    assert.equal(policy, 'policy')
  }
})

test('a decision names the document with its namespace, and rules without name by position', () => {
  const documents = policies(
    `${KIND}metadata: { name: p, namespace: shop }\nspec: { rules: [{ deny: { or: [{ reject: true }] } }, { allow: { or: [{ accept: true }] } }] }`,
  )
  const { policy, rule } = decideBothWays(documents, request())
  assert.deepEqual([policy, rule], ['shop/p', '#2'])
})

const document = (spec: string, rules = '[{ allow: { or: [{ accept: true }] } }]'): string => `${KIND}spec: { ${spec}, rules: ${rules} }`
const APPLIES: readonly (readonly [string, Partial<PolicyScope>, boolean])[] = [
  ['target: { service: catalog }', {}, true],
  ['target: { service: catalog }', { service: 'cart' }, false],
  ['target: { service: catalog }', { service: undefined }, false],
  ['target: { ports: [80, 8080] }', {}, true],
  ['target: { ports: [80] }', {}, false],
  ['target: { ports: [80] }', { ports: [7443, 80] }, true],
  ['target: { service: catalog, ports: [80] }', {}, false],
  ['selector: { app: catalog }', {}, true],
  ['selector: { app: catalog, tier: back }', {}, true],
  ['selector: { app: catalog, tier: front }', {}, false],
  ['selector: { zone: a }', {}, false],
  ['selector: { constructor: a }', {}, false],
  ['target: { service: catalog }, selector: { app: cart }', {}, false],
  ['mode: enforce', { service: undefined, labels: {}, ports: [] }, true],
]

for (const [spec, part, expected] of APPLIES) {
  test(`a document with ${spec} ${expected ? 'applies' : 'does not apply'} to ${JSON.stringify({ ...SCOPE, ...part })}`, () => {
    const decision = decideBothWays(policies(document(spec)), request(), NOON, { ...SCOPE, ...part })
    assert.equal(decision.allow, expected)
    assert.equal(decision.reason, expected ? undefined : 'ERR_POLICY_NONE')
  })
}

test('a deny rule of a document that does not apply denies nothing', () => {
  const documents = policies(`${ALLOW}\n---\n${document('target: { service: cart }', '[{ deny: { or: [{ accept: true }] } }]')}`)
  assert.equal(decideBothWays(documents, request({ path: '/a' })).allow, true)
})

const DENY_ALL = '[{ name: d, deny: { or: [{ accept: true }] } }]'
const ALLOW_A = '[{ name: a, allow: { or: [{ http_path: /a }] } }]'
/** Enforced rules, shadow rules, path; the enforced answer, the shadow answer and its rule. */
const SHADOWS: readonly (readonly [string, string | undefined, string | undefined, string, boolean, string])[] = [
  ['a shadow deny does not deny', ALLOW_A, DENY_ALL, '/a', true, 'deny d'],
  ['a shadow allow does not allow', undefined, ALLOW_A, '/a', false, 'allow a'],
  ['a shadow allow widens what is enforced', '[{ allow: { or: [{ http_path: /b }] } }]', ALLOW_A, '/a', false, 'allow a'],
  ['implicit denial is shadowed too', undefined, ALLOW_A, '/b', false, 'deny '],
  ['an enforced deny stays', DENY_ALL, ALLOW_A, '/a', false, 'deny d'],
  ['what is allowed already is named', ALLOW_A, '[{ allow: { or: [{ http_path: /c }] } }]', '/a', true, 'allow a'],
]

for (const [title, enforced, shadow, path, allow, verdict] of SHADOWS) {
  test(`in shadow mode: ${title}`, () => {
    const texts = [
      enforced === undefined ? [] : [document('mode: enforce', enforced)],
      shadow === undefined ? [] : [document('mode: shadow', shadow)],
    ].flat()
    const decision = decideBothWays(policies(texts.join('\n---\n')), request({ path }))
    assert.equal(decision.allow, allow)
    assert.equal(`${decision.shadow?.allow === true ? 'allow' : 'deny'} ${decision.shadow?.rule ?? ''}`, verdict)
    if (enforced === undefined) assert.equal(decision.reason, 'ERR_POLICY_NONE')
  })
}

test('without shadow documents there is no shadow verdict, and a decision is made once and reused', () => {
  const policy = compile(policies(ALLOW))
  const decision = decide(policy, request({ path: '/a' }), NOON)
  assert.equal(decision.shadow, undefined)
  assert.equal(decision.generation, 7)
  assert.ok(Object.isFrozen(decision))
  assert.equal(decide(policy, request({ path: '/a/b' }), NOON), decision)
  assert.equal(decide(policy, request({ path: '/b' }), NOON), decide(policy, request({ path: '/c' }), NOON))
})

test('absent facts never match, whatever the matcher; only operators negate them', () => {
  const noToken = request()
  assert.equal(decideBothWays(policies('allow: { and: [{ authenticated_user: true }, { groups: { exclude: x } }] }'), noToken).allow, false)
  assert.equal(
    decideBothWays(policies('- allow: { and: [{ accept: true }] }\n- deny: { and: [{ groups: { exclude: x } }] }'), noToken).allow,
    true,
  )
  assert.equal(decideBothWays(policies('- allow: { and: [{ accept: true }] }\n- deny: { not: [{ groups: x }] }'), noToken).allow, false)
  assert.equal(
    decideBothWays(
      policies('- allow: { and: [{ accept: true }] }\n- deny: { not: [{ groups: x }] }'),
      request({ token: token({ groups: 'x' }) }),
    ).allow,
    true,
  )
})

test('repeated headers: one bad value is enough to deny, one good value is not enough to pass a negation', () => {
  const documents = policies(
    '- allow: { and: [{ header/x-tenant: { in: [a, b], not: evil } }] }\n- deny: { or: [{ header/x-role: guest }] }',
  )
  const decides = (...headers: [string, string][]): boolean => decideBothWays(documents, request({ headers })).allow
  assert.equal(decides(['x-tenant', 'a']), true)
  assert.equal(decides(['x-tenant', 'a'], ['x-tenant', 'evil']), false)
  assert.equal(decides(['x-tenant', 'evil'], ['x-tenant', 'a']), false)
  assert.equal(decides(['x-tenant', 'a'], ['x-role', 'admin'], ['x-role', 'guest']), false)
  assert.equal(decides(['x-tenant', 'a'], ['x-role', 'guest'], ['x-role', 'admin']), false)
})

test('an opaque connection is decided by peer, address, port and time', () => {
  const tcp = request({ protocol: 'tcp', method: '', path: '', host: '' })
  const documents = policies(
    'allow: { and: [{ namespace: shop }, { port: 8080 }, { source_ip: 10.0.0.0/8 }, { date: { after: "2026-01-01T00:00:00Z" } }] }',
  )
  assert.equal(decideBothWays(documents, tcp).allow, true)
  assert.equal(decideBothWays(documents, { ...tcp, sourceIp: '192.0.2.1' }).allow, false)
})

test('HTTP rules that reached an opaque connection all the same close it: allow rules never match there, deny rules always', () => {
  const tcp = request({ protocol: 'tcp', method: '', path: '', host: '', headers: [] })
  for (const rule of [
    'allow: { not: [{ http_method: GET }] }',
    'allow: { or: [{ accept: true }, { http_path: /a }] }',
    'allow: { and: [{ header/x: { present: false } }] }',
  ]) {
    assert.equal(decideBothWays(policies(rule), tcp).allow, false, rule)
  }
  const documents = policies(
    '- allow: { and: [{ accept: true }] }\n- { name: d, deny: { and: [{ spiffe_id: spiffe://other.example/x }, { http_path: /never }] } }',
  )
  assert.equal(decideBothWays(documents, tcp).rule, 'd')
  assert.equal(decideBothWays(documents, request()).allow, true)
})

test('a compiler works in slices: each advance does no more than it is asked for', () => {
  const rules = Array.from(
    { length: 500 },
    (_, index) => `- allow: { and: [{ http_path: { in: [/a${index}, /b${index}, /c${index}] } }] }`,
  ).join('\n')
  const compiler = createPolicyCompiler(SCOPE)
  for (const parsed of policies(rules)) compiler.add(parsed)
  let slices = 0
  while (compiler.advance(50)) slices++
  // 500 rules of three paths each, so at least 2,000 steps.
  assert.ok(slices >= 40, String(slices))
  const policy = compiler.finish(3)
  assert.equal(policy.rules, 500)
  assert.equal(decide(policy, request({ path: '/c499' }), 0).allow, true)
  assert.equal(decide(policy, request({ path: '/c500' }), 0).allow, false)
})

test('more methods than bits are told apart all the same', () => {
  const documents = policies(
    Array.from({ length: 50 }, (_, index) => `- { name: m${index}, allow: { and: [{ http_method: M${index} }] } }`).join('\n'),
  )
  for (const index of [0, 30, 31, 32, 49]) assert.equal(decideBothWays(documents, request({ method: `M${index}` })).rule, `m${index}`)
  assert.equal(decideBothWays(documents, request({ method: 'M50' })).allow, false)
})

test('more callers than are remembered are decided alike', () => {
  const policy = compile(
    policies('- allow: { and: [{ namespace: { starts_with: team-1 } }] }\n- allow: { and: [{ service_account: web }] }'),
  )
  const decides = (team: number): boolean => {
    const namespace = `team-${team}`
    const uri = `spiffe://example.org/ns/${namespace}/sa/app`
    const id = { uri, trustDomain: 'example.org', path: `/ns/${namespace}/sa/app`, namespace, serviceAccount: 'app' }
    return decide(policy, request({ peer: { id, certificate: request().peer!.certificate, authorities: [] } }), 0).allow
  }
  for (let round = 0; round < 2; round++)
    for (let team = 0; team < 10_000; team++) assert.equal(decides(team), String(team).startsWith('1'))
})
