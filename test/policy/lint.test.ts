import assert from 'node:assert/strict'
import { test } from 'node:test'
import { lintPolicies } from '#policy/lint'
import { NOON, policies } from '../support/policies.ts'

const KIND = 'apiVersion: postern.dev/v1\nkind: Policy\n'
const CART = 'spiffe_id: spiffe://example.org/ns/shop/sa/cart'

function lint(text: string): string[] {
  return lintPolicies(policies(text), NOON).map(
    ({ code, at, message, suggestion }) => `${code.slice('ERR_POLICY_'.length)} ${at.line}:${at.column} ${message} → ${suggestion ?? ''}`,
  )
}

const and = (...criteria: string[]): string => `- allow: { and: [{ ${[CART, ...criteria].join(' }, { ')} }] }`

/** What, the document, the one warning; undefined for none. */
const CASES: readonly (readonly [string, string, RegExp | undefined])[] = [
  ['a usual rule', and('http_method: GET', 'http_path: { starts_with: /a/ }'), undefined],
  // Never matches
  [
    'two methods under `and`',
    and('http_method: GET', 'http_method: POST'),
    /NEVER_MATCHES 1:12 This allow rule can never match: nothing that `http_method`/,
  ],
  ['two methods under `or`', '- deny: { or: [{ http_method: GET }, { http_method: POST }] }', undefined],
  ['a value and a prefix that it does not have', and('http_path: /a/b', 'http_path: { starts_with: /b/ }'), /NEVER_MATCHES/],
  ['a value and its own negation', and('http_path: { is: /a, not: /a }'), /NEVER_MATCHES/],
  ['a list that leaves something', and('http_path: { in: [/a, /b], not: /a }'), undefined],
  [
    'prefixes that exclude each other',
    and('http_path: { starts_with: /a/ }', 'http_path: { starts_with: /b/ }'),
    /nothing starts_with both/,
  ],
  ['prefixes that narrow each other', and('http_path: { starts_with: /a/ }', 'http_path: { starts_with: /a/b/ }'), undefined],
  ['suffixes that exclude each other', and('http_host: { ends_with: .a }', 'http_host: { ends_with: .b }'), /nothing ends_with both/],
  ['an id of another namespace', and('namespace: bank'), /NEVER_MATCHES/],
  ['an id of the same namespace', and('namespace: shop', 'service_account: cart', 'trust_domain: example.org'), undefined],
  ['an id without a namespace', '- allow: { and: [{ spiffe_id: spiffe://example.org/x }, { namespace: { not: bank } }] }', /NEVER_MATCHES/],
  ['ports without one in common', and('port: [1, 2]', 'port: 3'), /no port/],
  ['ports with one in common', and('port: [1, 2]', 'port: 2'), undefined],
  [
    'a port that the target does not have',
    `${KIND}spec: { target: { ports: [80] }, rules: [{ allow: { and: [{ ${CART} }, { port: 81 }] } }] }`,
    /`target.ports` has none/,
  ],
  ['networks without an address in common', and('source_ip: 10.0.0.0/8', 'source_ip: [192.0.2.0/24, 11.0.0.0/8]'), /no address/],
  ['networks one in the other', and('source_ip: 10.0.0.0/8', 'source_ip: 10.1.0.0/16'), undefined],
  [
    'dates that do not overlap',
    and('date: { before: "2027-01-01T00:00:00Z" }', 'date: { after: "2028-01-01T00:00:00Z" }'),
    /do not overlap/,
  ],
  ['a date that has passed', and('date: { before: "2026-01-01T00:00:00Z" }'), /has passed/],
  ['days without one in common', and('day_of_week: mon-wed', 'day_of_week: fri'), /no day/],
  ['days of two zones', and('day_of_week: mon', 'day_of_week: { days: tue, timezone: Pacific/Auckland }'), undefined],
  ['reject under `and`', and('reject: true'), /`reject` is never true/],
  ['accept under `not`', '- deny: { not: [{ accept: true }] }', /`accept` is always true/],
  ['an alternative that can match', '- deny: { or: [{ reject: true }, { http_method: GET }] }', undefined],
  [
    'an invalid certificate',
    '- deny: { or: [{ invalid_client_certificate: true }] }',
    /NEVER_MATCHES 1:18 `invalid_client_certificate` is never true/,
  ],
  // Overruled
  [
    'an allow rule under an unconditional deny',
    `${and()}\n- deny: { or: [{ accept: true }] }`,
    /OVERRULED 1:12 .*deny rule #2 \(policy.yaml:2\)/,
  ],
  ['an allow rule under a wider path', `${and('http_path: /a/b')}\n- deny: { and: [{ http_path: { starts_with: /a/ } }] }`, /OVERRULED/],
  [
    'an allow rule under a wider prefix',
    `${and('http_path: { starts_with: /a/b/ }')}\n- deny: { and: [{ http_path: { starts_with: /a/ } }] }`,
    /OVERRULED/,
  ],
  ['an allow rule under its own namespace', `${and()}\n- deny: { and: [{ namespace: shop }] }`, /OVERRULED/],
  ['an allow rule under the same criterion', `${and('claim/role: x')}\n- deny: { or: [{ claim/role: x }] }`, /OVERRULED/],
  [
    'an allow rule of which one alternative is left',
    `- allow: { or: [{ ${CART} }, { namespace: bank }] }\n- deny: { and: [{ namespace: shop }] }`,
    undefined,
  ],
  ['a deny rule that is narrower', `${and('http_path: { starts_with: /a/ }')}\n- deny: { and: [{ http_path: /a/b }] }`, undefined],
  ['a deny rule of another method', `${and('http_method: GET')}\n- deny: { and: [{ http_method: POST }] }`, undefined],
  ['a deny rule that negates', `${and('http_method: GET')}\n- deny: { not: [{ http_method: POST }] }`, /OVERRULED/],
  [
    'a deny rule in shadow mode',
    `${and()}\n---\n${KIND}metadata: { name: other }\nspec: { mode: shadow, rules: [{ deny: { or: [{ accept: true }] } }] }`,
    undefined,
  ],
  [
    'a deny rule of another service',
    `${and()}\n---\n${KIND}metadata: { name: other }\nspec: { target: { service: x }, rules: [{ deny: { or: [{ accept: true }] } }] }`,
    undefined,
  ],
  // Open
  ['an allow rule without caller', '- allow: { and: [{ http_path: /a }] }', /OPEN 1:12/],
  ['an allow rule for everything', '- allow: { or: [{ accept: true }] }', /OPEN/],
  ['an alternative without caller', `- allow: { or: [{ ${CART} }, { http_path: /a }] }`, /OPEN/],
  ['an allow rule that names who not', '- allow: { and: [{ namespace: { not: bank } }] }', /OPEN/],
  ['an allow rule for any certificate', '- allow: { and: [{ client_certificate: {} }] }', /OPEN/],
  ['an allow rule for users', '- allow: { and: [{ authenticated_user: true }] }', undefined],
  ['an allow rule for a trust domain', '- allow: { and: [{ trust_domain: example.org }] }', undefined],
  // Near misses
  [
    'two letters swapped',
    '- allow: { and: [{ service_account: cart }] }\n- allow: { and: [{ service_account: crat }] }',
    /NEAR_MISS 2:20 `crat` is here, and `cart` elsewhere. → cart/,
  ],
  ['a letter too few, against an id', `${and()}\n- deny: { and: [{ namespace: shp }, { service_account: carts }] }`, undefined],
  ['a letter too few', '- deny: { or: [{ namespace: payments }, { namespace: payment-s }] }', /NEAR_MISS/],
  [
    'an id with a slip',
    `${and()}\n- allow: { and: [{ spiffe_id: spiffe://example.org/ns/shop/sa/cxrt }] }`,
    /NEAR_MISS 2:20 .* → spiffe:\/\/example.org\/ns\/shop\/sa\/cart/,
  ],
  ['a path with a slip', '- deny: { or: [{ http_path: /catalog }, { http_path: /catlog }] }', /NEAR_MISS 1:43/],
  ['names that differ by number', '- deny: { or: [{ namespace: team1 }, { namespace: team2 }, { namespace: team12 }] }', undefined],
  ['names that differ by a word of one letter', '- deny: { or: [{ namespace: zone-a }, { namespace: zone-b }] }', undefined],
  ['a plural', '- deny: { or: [{ http_path: /order }, { http_path: /orders }] }', undefined],
  ['a slash at the end', '- deny: { or: [{ http_path: /order }, { http_path: /order/ }] }', undefined],
  ['a method in lower case', '- deny: { or: [{ http_method: get }] }', /NEAR_MISS 1:18 Methods are case-sensitive.*→ GET/],
  ['a method with a slip', '- deny: { or: [{ http_method: { in: [GET, DELTE] } }] }', /NEAR_MISS .* → DELETE/],
  ['a method of an extension', '- deny: { or: [{ http_method: PROPFIND }] }', undefined],
  // Affixes
  ['a prefix without slash', and('http_path: { starts_with: /admin }'), /LOOSE_AFFIX 1:\d+ .*`\/adminx` too. → \/admin\//],
  ['a prefix without slash inside `not`', and('http_path: { starts_with: /a/, not: { starts_with: /a/b } }'), /LOOSE_AFFIX/],
  ['an id prefix without slash', '- allow: { and: [{ spiffe_id: { starts_with: spiffe://example.org/ns/shop } }] }', /LOOSE_AFFIX/],
  ['a suffix of hosts without dot', and('http_host: { ends_with: shop }'), /LOOSE_AFFIX .* → .shop/],
  ['a suffix of emails without at', '- allow: { and: [{ email: { ends_with: example.org } }] }', /LOOSE_AFFIX .* → @example.org/],
  ['a suffix of emails with at', '- allow: { and: [{ email: { ends_with: "@example.org" } }] }', undefined],
]

for (const [what, text, expected] of CASES) {
  test(`${expected === undefined ? 'no warning' : 'a warning'} for ${what}`, () => {
    const found = lint(text)
    const others = found.filter((line) => expected === undefined || !expected.test(line))
    // Deny rules alone, and rules for everything, warn for reasons of their own only where the case is about them.
    assert.deepEqual(others, [], found.join('\n'))
    assert.equal(found.length, expected === undefined ? 0 : 1)
  })
}

test('two policies of one name are a warning', () => {
  const one = `${KIND}metadata: { name: a }\nspec: { rules: [{ allow: { and: [{ ${CART} }] } }] }`
  assert.match(lint(`${one}\n---\n${one}`).join(), /NAME_TWICE .*both named `a`/)
})

const dead = (tests: string): string =>
  `${KIND}metadata: { name: a }\nspec: { target: { service: catalog, ports: [80, 81] }, rules: [{ name: r, allow: { and: [{ ${CART} }] } }] }\ntests: [${tests}]`

const TESTS: readonly (readonly [string, string, RegExp | undefined])[] = [
  ['a usual test', '{ request: { path: /a }, expect: deny }, { request: { path: /b }, expect: allow, because: r }', undefined],
  [
    'a test of a path that is refused anyway',
    '{ request: { path: /a/../b }, expect: deny }',
    /DEAD_TEST .*never reaches policy \(ERR_PATH_DOT_SEGMENT\)/,
  ],
  ['a test that says so', '{ request: { path: /a/../b }, expect: deny, because: ERR_PATH_DOT_SEGMENT }', undefined],
  [
    'a test that asks for a rule that is not there',
    '{ request: { path: /a }, expect: allow, because: x }',
    /DEAD_TEST .*No rule in this file is named `x`/,
  ],
  [
    'a test that is there twice',
    '{ request: { path: /a }, expect: deny }, { request: { path: /a }, expect: deny }',
    /DEAD_TEST .*earlier one/,
  ],
  ['a test of another service', '{ request: { path: /a, service: cart }, expect: deny }', /DEAD_TEST .*does not apply/],
  ['a test of another port', '{ request: { path: /a, port: 82 }, expect: deny }', /DEAD_TEST .*does not apply/],
]

for (const [what, tests, expected] of TESTS) {
  test(`${expected === undefined ? 'no warning' : 'a warning'} for ${what}`, () => {
    const found = lint(dead(tests))
    assert.equal(found.length, expected === undefined ? 0 : 1, found.join('\n'))
    if (expected !== undefined) assert.match(found[0] ?? '', expected)
  })
}

test('ten thousand generated rules are linted, and their numbered names are no near misses', () => {
  const rules = Array.from(
    { length: 10_000 },
    (_, index) =>
      `- allow: { and: [{ spiffe_id: spiffe://example.org/ns/team${index % 97}/sa/service${index} }, { http_path: { starts_with: /v1/things${index}/ } }] }`,
  )
  assert.deepEqual(lint(rules.join('\n')), [])
})

test('many near misses are counted after the first twenty', () => {
  const letters = 'abcdefghijklmnopqrstuvwxyz'.split('')
  const names = letters.map((letter) => `{ namespace: prefix${letter}suffix }`).join(', ')
  const found = lint(`- deny: { or: [${names}] }`)
  assert.equal(found.length, 21)
  assert.match(found.at(-1) ?? '', /There are \d+ more/)
})
