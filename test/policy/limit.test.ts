import assert from 'node:assert/strict'
import { test } from 'node:test'
import { formatProblem } from '#base/located'
import { decide } from '#policy/decide'
import { explain } from '#policy/explain'
import { explanationRecord, formatExplanation } from '#policy/format-explanation'
import { limitText, parseRate } from '#policy/limit'
import { compile, decideBothWays, NOON, peer, policies, readPolicies, request, SCOPE } from '../support/policies.ts'

const KIND = 'apiVersion: postern.dev/v1\nkind: Policy\nmetadata: { name: p }\n'
const limited = (limit: string): string => `- { name: r, allow: { and: [accept: true] }, limit: ${limit} }`

const READ: readonly (readonly [string, unknown])[] = [
  ['{ requests: 100/s, burst: 200, per: namespace }', { requests: '100/s', burst: 200, per: 'namespace' }],
  ['{ requests: 100/s }', { requests: '100/s', burst: 100, per: 'peer' }],
  ['{ requests: 1/s }', { requests: '1/s', burst: 1, per: 'peer' }],
  ['{ requests: 60/m }', { requests: '60/m', burst: 1, per: 'peer' }],
  ['{ requests: 61/m }', { requests: '61/m', burst: 2, per: 'peer' }],
  ['{ requests: 7200/h }', { requests: '7200/h', burst: 2, per: 'peer' }],
  ['{ requests: 1/h, per: all }', { requests: '1/h', burst: 1, per: 'all' }],
  ['{ requests: 1000000/s, burst: 1000000 }', { requests: '1000000/s', burst: 1_000_000, per: 'peer' }],
  ['none', undefined],
]

for (const [text, limit] of READ) {
  test(`${text} is read with its defaults`, () => {
    const [document] = policies(limited(text))
    assert.deepEqual(document?.rules[0]?.limit, limit)
    assert.deepEqual(structuredClone(document), document)
  })
}

/** What is wrong, the document, where, the code, what the message or suggestion holds. */
const REFUSED: readonly (readonly [string, string, string, string, RegExp])[] = [
  ['an unknown key', limited('{ requests: 1/s, brust: 2 }'), '1:70', 'UNKNOWN', /`brust`.*mean `burst`/],
  ['a key that stands twice', '- allow: { and: [accept: true] }\n  limit: { requests: 1/s }\n  limit: { requests: 2/s }', '3:3', '', /./],
  ['an unknown key beside `allow`', '- allow: { and: [accept: true] }\n  limits: { requests: 1/s }', '2:3', 'UNKNOWN', /mean `limit`/],
  ['an unknown group', limited('{ requests: 1/s, per: service-account }'), '1:75', 'UNKNOWN', /mean `service_account`/],
  ['a group with nothing near', limited('{ requests: 1/s, per: token }'), '1:75', 'UNKNOWN', /takes `peer`, .*`all`/],
  ['a group that is no word', limited('{ requests: 1/s, per: 5 }'), '1:75', 'VALUE', /must be a string/],
  ['no rate', limited('{ burst: 5 }'), '1:53', 'EMPTY', /needs `requests`/],
  ['an empty map', limited('{}'), '1:53', 'EMPTY', /needs `requests`/],
  ['nothing', '- allow: { and: [accept: true] }\n  limit:', '2:9', 'SHAPE', /must be a map/],
  ['a rate without its map', limited('100/s'), '1:53', 'SHAPE', /mean `\{ requests: 100\/s \}`/],
  ['another word', limited('off'), '1:53', 'SHAPE', /must be a map/],
  ['a rate without unit', limited('{ requests: 100 }'), '1:65', 'VALUE', /mean `100\/s`/],
  ['a unit in full', limited('{ requests: 5/min }'), '1:65', 'VALUE', /mean `5\/m`/],
  ['a rate in words', limited('{ requests: 5 per Hour }'), '1:65', 'VALUE', /mean `5\/h`/],
  ['a unit that is none', limited('{ requests: 5/d }'), '1:65', 'VALUE', /a second, minute or hour/],
  ['nobody at all', limited('{ requests: 0/s }'), '1:65', 'VALUE', /from 1 to 1,000,000/],
  ['too many', limited('{ requests: 1000001/s }'), '1:65', 'VALUE', /from 1 to 1,000,000/],
  ['a part of a request', limited('{ requests: 0.5/s }'), '1:65', 'VALUE', /whole number/],
  ['a negative rate', limited('{ requests: -5/s }'), '1:65', 'VALUE', /whole number/],
  ['a rate with a leading zero', limited('{ requests: 010/s }'), '1:65', 'VALUE', /whole number/],
  ['a list of rates', limited('{ requests: [1/s, 5/m] }'), '1:65', 'VALUE', /a list/],
  ['no burst at all', limited('{ requests: 1/s, burst: 0 }'), '1:77', 'VALUE', /from 1 to 1,000,000/],
  ['a burst that is no number', limited('{ requests: 1/s, burst: "20" }'), '1:77', 'VALUE', /mean `20`/],
  ['a part of a burst', limited('{ requests: 1/s, burst: 1.5 }'), '1:77', 'VALUE', /whole number/],
  ['a burst too large', limited('{ requests: 1/s, burst: 1e9 }'), '1:77', 'VALUE', /from 1 to 1,000,000/],
  ['a limit on a deny rule', '- deny: { and: [accept: true] }\n  limit: { requests: 1/s }', '2:3', 'SHAPE', /beside `allow`/],
  ['a limit without rule', 'limit: { requests: 1/s }', '1:1', 'EMPTY', /needs `allow`/],
  [
    'the limit of a policy that only denies',
    `${KIND}spec:\n  limit: { requests: 1/s }\n  rules: [deny: { and: [accept: true] }]`,
    '5:3',
    'SHAPE',
    /allow rules/,
  ],
  [
    'a wrong limit of a policy',
    `${KIND}spec:\n  limit: { requests: 1 }\n  rules: [allow: { and: [accept: true] }]`,
    '5:22',
    'VALUE',
    /mean `1\/s`/,
  ],
  ['`none` for a policy', `${KIND}spec:\n  limit: none\n  rules: [allow: { and: [accept: true] }]`, '5:10', 'SHAPE', /must be a map/],
]

for (const [what, text, place, code, message] of REFUSED) {
  test(`refused: ${what}`, () => {
    const { documents, problems } = readPolicies(text)
    assert.deepEqual(documents, [])
    const [problem = '', ...others] = problems.map(formatProblem)
    assert.deepEqual(others, [])
    assert.ok(problem.startsWith(`policy.yaml:${place}: `), problem)
    if (code !== '') assert.ok(problem.endsWith(`(ERR_POLICY_${code})`), problem)
    assert.match(problem, message)
  })
}

test('the limit of a policy is that of every allow rule that does not say its own or `none`', () => {
  const [document] = policies(`${KIND}spec:
  limit: { requests: 5/s }
  rules:
    - { name: default, allow: { and: [accept: true], or: [accept: true] } }
    - { name: own, allow: { and: [accept: true] }, limit: { requests: 1/m } }
    - { name: free, allow: { and: [accept: true] }, limit: none }
    - { name: both, allow: { and: [accept: true] }, deny: { and: [reject: true] } }
`)
  assert.deepEqual(
    document?.rules.map(({ name, action, limit }) => `${name} ${action} ${limit?.requests ?? '-'}`),
    ['default allow 5/s', 'default allow 5/s', 'own allow 1/m', 'free allow -', 'both allow 5/s', 'both deny -'],
  )
})

test('a decision names the limit of the allow rule that decided, and no other', () => {
  const documents = policies(`
- { name: a, allow: { and: [http_path: /a] }, limit: { requests: 10/s, burst: 20 } }
- { name: b, allow: { and: [http_path: { in: [/a, /b, /d] }] } }
- { name: c, deny: { and: [http_path: /d] } }
`)
  const limit = decideBothWays(documents, request({ path: '/a' })).limit
  assert.deepEqual(limit, {
    key: '["policy","a","10/s",20,"peer"]',
    interval: 100,
    burst: 20,
    per: 'peer',
    text: 'at most 10 requests/s per peer, burst 20',
  })
  for (const path of ['/b', '/d', '/x']) assert.equal(decideBothWays(documents, request({ path })).limit, undefined, path)
})

test('a decision is made once and its limit frozen, and one bounded in time has the limit too', () => {
  const plain = compile(policies(limited('{ requests: 1/s }')))
  const { limit } = decide(plain, request(), NOON)
  assert.equal(decide(plain, request(), NOON).limit, limit)
  assert.ok(Object.isFrozen(limit))
  assert.deepEqual([...plain.limits], [limit?.key])
  const timed = policies('- { allow: { and: [date: { before: "2027-01-01T00:00:00Z" }] }, limit: { requests: 1/s } }')
  assert.equal(decideBothWays(timed, request()).limit?.interval, 1000)
})

test('several operators of one rule have one key, and any change of the limit another', () => {
  const keys = (text: string): readonly string[] => [...compile(policies(text)).limits]
  assert.equal(keys('- { allow: { and: [accept: true], or: [http_path: /] }, limit: { requests: 1/s } }').length, 1)
  const [first] = keys(limited('{ requests: 1/s }'))
  assert.deepEqual(keys(limited('{ requests: 1/s, burst: 1, per: peer }')), [first])
  for (const other of ['{ requests: 2/s, burst: 1 }', '{ requests: 1/s, burst: 2 }', '{ requests: 1/s, per: all }'])
    assert.notDeepEqual(keys(limited(other)), [first])
})

test('shadow policies limit nothing', () => {
  const documents = policies(`${KIND}spec:
  mode: shadow
  limit: { requests: 1/s }
  rules: [allow: { and: [accept: true] }]
---
- { name: enforced, allow: { and: [http_path: /a] } }
`)
  assert.equal(decideBothWays(documents, request({ path: '/a' })).limit, undefined)
  assert.deepEqual(decideBothWays(documents, request({ path: '/b' })), {
    ...decideBothWays(documents, request({ path: '/b' })),
    allow: false,
    limit: undefined,
  })
  assert.equal(compile(documents).limits.size, 0)
})

test('the explanation of an allowed request shows the limit of its rule, as text and as a record', () => {
  const documents = policies('- { name: r, allow: { and: [namespace: shop] }, limit: { requests: 100/s, burst: 200 } }')
  const allowed = explain(documents, SCOPE, request(), NOON)
  assert.equal(
    formatExplanation(allowed, false),
    'allowed by allow rule r of policy (policy.yaml:1:23)\n  all of\n  √ namespace is shop — it is shop\n  at most 100 requests/s per peer, burst 200\n',
  )
  const { deciding } = explanationRecord(allowed) as { deciding: { limit: unknown } }
  assert.deepEqual(deciding.limit, { requests: '100/s', burst: 200, per: 'peer' })
  const refused = explain(documents, SCOPE, request({ peer: peer('spiffe://example.org/ns/bank/sa/x') }), NOON)
  assert.doesNotMatch(formatExplanation(refused, false), /at most/)
})

test('limits are put into words', () => {
  assert.equal(limitText({ requests: '1/m', burst: 1, per: 'all' }), 'at most 1 request/m in all, burst 1')
  assert.equal(limitText({ requests: '20/h', burst: 5, per: 'source_ip' }), 'at most 20 requests/h per source_ip, burst 5')
})

test('a rate is a count and a window in ms', () => {
  assert.deepEqual(parseRate('3/m'), { count: 3, window: 60_000 })
  for (const text of ['', '3', '/s', '3/', '3/S', ' 3/s', '3/s\n', '1e3/s', '٣/s']) assert.equal(parseRate(text), undefined, text)
})
