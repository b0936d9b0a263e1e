import assert from 'node:assert/strict'
import { test } from 'node:test'
import { formatProblem } from '#base/located'
import { documentParts } from '#policy/document'
import { readPolicyDocument } from '#policy/read-document'
import { located, policies, readPolicies } from '../support/policies.ts'

const KIND = 'apiVersion: postern.dev/v1\nkind: Policy\n'

test('a document of kind Policy is read with its name, target, selector, mode, rules and tests', () => {
  const [document] = policies(`${KIND}
metadata: { name: readers, namespace: shop, labels: { a: b }, resourceVersion: "5" }
spec:
  target: { service: catalog, ports: [8080, 8081] }
  selector: { matchLabels: { app: catalog } }
  mode: shadow
  rules:
    - name: first
      allow: { and: [{ accept: true }] }
tests:
  - { name: t, request: { path: /x }, expect: allow, because: first }
status: { whatever: true }
`)
  assert.equal(document?.name, 'shop/readers')
  assert.deepEqual(document.target, { service: 'catalog', ports: [8080, 8081] })
  assert.deepEqual(document.selector, { app: 'catalog' })
  assert.equal(document.mode, 'shadow')
  assert.deepEqual(
    document.rules.map(({ name, action, operator }) => [name, action, operator]),
    [['first', 'allow', 'and']],
  )
  assert.equal(document.tests[0]?.because, 'first')
  assert.equal(JSON.stringify(structuredClone(document)), JSON.stringify(document))
})

test('bare PPL is one rule or a list, named by the file and by position', () => {
  const [one] = policies('allow: { or: [{ accept: true }] }')
  assert.equal(one?.name, 'policy')
  assert.deepEqual(
    one.rules.map(({ name }) => name),
    ['#1'],
  )
  const [list] = policies(
    '- allow: { or: [{ accept: true }] }\n- deny: { or: [{ reject: true }] }\n- { name: x, deny: { or: [{ reject: true }] } }',
  )
  assert.deepEqual(
    list?.rules.map(({ name }) => name),
    ['#1', '#2', 'x'],
  )
})

test('several operators and several actions of one rule are as if written as separate rules', () => {
  const [document] = policies('name: n\nallow: { and: [{ accept: true }], or: [{ http_method: GET }] }\ndeny: { nor: [{ accept: true }] }')
  assert.deepEqual(
    document?.rules.map(({ name, action, operator }) => `${name} ${action} ${operator}`),
    ['n allow and', 'n allow or', 'n deny nor'],
  )
})

test('several documents of a file are read, and a document is cut into parts in order', () => {
  const documents = policies(
    'allow: { or: [{ accept: true }] }\n---\n- deny: { or: [{ accept: true }] }\n- deny: { or: [{ http_method: PUT }] }',
  )
  assert.equal(documents.length, 2)
  const parts = documentParts(documents[1]!, 1)
  assert.deepEqual(
    parts.flatMap(({ rules }) => rules),
    documents[1]!.rules,
  )
  assert.deepEqual(
    parts.map(({ rules }) => rules.length),
    [1, 1],
  )
})

const allow = (criterion: string): string => `allow: { and: [{ accept: true }, { ${criterion} }] }`
const rule = (text: string): string => `- ${text}`
const spec = (text: string): string => `${KIND}metadata: { name: p }\nspec: { ${text}, rules: [{ allow: { and: [{ accept: true }] } }] }`
const aTest = (text: string): string => `${KIND}spec: { rules: [{ allow: { and: [{ accept: true }] } }] }\ntests: [${text}]`

/** What is wrong, the document, the code, what the message or suggestion holds. */
const REFUSED: readonly (readonly [string, string, string, RegExp])[] = [
  ['an unknown key of a document', `${KIND}metadata: { name: p }\nspecs: {}\nspec: { rules: [] }`, 'UNKNOWN', /mean `spec`/],
  [
    'an unknown key of metadata',
    `${KIND}metadata: { nmae: p }\nspec: { rules: [{ allow: { and: [{ accept: true }] } }] }`,
    'UNKNOWN',
    /mean `name`/,
  ],
  ['an unknown key of spec', spec('taget: {}'), 'UNKNOWN', /mean `target`/],
  ['another kind', 'apiVersion: postern.dev/v1\nkind: Polcy\nspec: { rules: [] }', 'VALUE', /mean `Policy`/],
  ['another version', 'apiVersion: postern.dev/v2\nkind: Policy\nspec: { rules: [] }', 'VALUE', /mean `postern.dev\/v1`/],
  ['no version', 'kind: Policy\nspec: { rules: [] }', 'SHAPE', /apiVersion/],
  ['no spec', KIND, 'EMPTY', /no `spec`/],
  ['no rules', `${KIND}spec: { mode: enforce }`, 'EMPTY', /needs `rules`/],
  ['an empty list of rules', `${KIND}spec: { rules: [] }`, 'EMPTY', /`rules` must not be empty/],
  ['an empty document', '{}', 'EMPTY', /empty/],
  ['an empty list as document', '[]', 'EMPTY', /must not be empty/],
  ['a scalar as document', 'allow', 'SHAPE', /must be a list/],
  ['an unknown word at the top', 'alow: { and: [{ accept: true }] }', 'UNKNOWN', /mean `allow`/],
  ['an unknown action', rule('permit: { and: [{ accept: true }] }'), 'UNKNOWN', /`permit`/],
  [
    'an unknown action beside a known one',
    rule('allow: { and: [{ accept: true }] }\n  dney: { and: [{ accept: true }] }'),
    'UNKNOWN',
    /mean `deny`/,
  ],
  ['a rule with only a name', rule('name: x'), 'EMPTY', /needs `allow`/],
  ['an action with no operator', rule('allow: {}'), 'EMPTY', /needs an operator/],
  ['an action with nothing', rule('allow:'), 'EMPTY', /needs an operator/],
  ['an action with a list', rule('allow: [{ accept: true }]'), 'SHAPE', /must be a map/],
  ['an unknown operator', rule('allow: { nand: [{ accept: true }] }'), 'UNKNOWN', /mean `and`/],
  ['an operator with an empty list', rule('allow: { and: [] }'), 'EMPTY', /must not be empty/],
  ['an operator with nothing', rule('deny: { not: }'), 'SHAPE', /must be a list/],
  ['an operator with a map where dashes are missing', rule('allow: { and: { http_method: GET } }'), 'SHAPE', /dash/],
  [
    'a criterion with two keys, a dash being missing',
    rule('allow: { and: [{ http_method: GET, http_path: /a }] }'),
    'SHAPE',
    /mean `- http_path: …`/,
  ],
  ['a criterion without a key', rule('allow: { and: [{}] }'), 'EMPTY', /must have a name/],
  ['a criterion as a word', rule('allow: { and: [accept] }'), 'SHAPE', /mean `accept: true`/],
  ['an operator inside an operator', rule('allow: { and: [{ or: [{ accept: true }] }] }'), 'SHAPE', /do not nest/],
  ['an unknown criterion', allow('http_pth: /a'), 'UNKNOWN', /mean `http_path`/],
  ["another language's word", allow('principal: x'), 'UNKNOWN', /mean `spiffe_id`/],
  ['an unknown prefix', allow('claims/role: x'), 'UNKNOWN', /mean `claim\/role`/],
  ['a prefix without name', allow('claim: x'), 'UNKNOWN', /mean `claim\/NAME`/],
  ['an inherited property as criterion', allow('constructor: x'), 'UNKNOWN', /no criterion/],
  ['a prototype as criterion', allow('__proto__: x'), 'UNKNOWN', /no criterion/],
  ['the criterion device', allow('device: { is: x }'), 'UNSUPPORTED', /device.*posture/],
  ['the criterion ssh_publickey', allow('ssh_publickey: x'), 'UNSUPPORTED', /no SSH/],
  ['the criterion ssh_username_matches_claim', allow('ssh_username_matches_claim: x'), 'UNSUPPORTED', /no SSH/],
  ['any criterion of SSH', allow('ssh_new_one: x'), 'UNSUPPORTED', /no SSH/],
  ['the criterion mcp_tool', allow('mcp_tool: x'), 'UNSUPPORTED', /body/],
  ['the criterion pomerium_routes', allow('pomerium_routes: x'), 'UNSUPPORTED', /Pomerium/],
  ['accept: false', rule('allow: { and: [{ accept: false }] }'), 'VALUE', /`reject: true`/],
  ['reject: false', rule('deny: { and: [{ reject: false }] }'), 'VALUE', /`accept: true`/],
  ['authenticated_user: false', allow('authenticated_user: false'), 'VALUE', /takes `true`/],
  ['cors_preflight: false', allow('cors_preflight: false'), 'VALUE', /takes `true`/],
  ['invalid_client_certificate: false', allow('invalid_client_certificate: false'), 'VALUE', /takes `true`/],
  ['a flag as a string', allow('accept: "true"'), 'VALUE', /takes `true`/],
  ['an unknown matcher', allow('http_host: { iss: a }'), 'UNKNOWN', /mean `is`/],
  ['a regular expression', allow('http_path: { regex: /a.* }'), 'UNKNOWN', /no key `regex`/],
  ['`matches` on what is no path', allow('http_host: { matches: "{x}" }'), 'UNKNOWN', /no key `matches`/],
  ['an empty matcher', allow('http_host: {}'), 'EMPTY', /matcher/],
  ['a list where one string is taken', allow('http_method: [GET, HEAD]'), 'SHAPE', /in: /],
  ['a number where a string is compared', allow('header/x-a: 1234'), 'VALUE', /mean `"1234"`/],
  ['a boolean where a string is compared', allow('header/x-a: { is: true }'), 'VALUE', /quote it/],
  ['nothing where a string is compared', allow('spiffe_id:'), 'VALUE', /must be a string/],
  ['an empty `in`', allow('http_method: { in: [] }'), 'EMPTY', /must not be empty/],
  ['an empty `not_in`', allow('http_method: { not_in: [] }'), 'EMPTY', /must not be empty/],
  ['`in` with a string', allow('http_method: { in: GET }'), 'SHAPE', /must be a list/],
  ['a prefix of nothing', allow('spiffe_id: { starts_with: "" }'), 'EMPTY', /true of every string/],
  ['a part of nothing', allow('header/x: { contains: "" }'), 'EMPTY', /true of every string/],
  ['a `not` of nothing', allow('header/x: { not: {} }'), 'EMPTY', /matcher/],
  ['an unknown matcher inside `not`', allow('header/x: { not: { strats_with: a } }'), 'UNKNOWN', /mean `starts_with`/],
  [
    'an id that no peer can have',
    allow('spiffe_id: spiffe://Example.org/ns/a/sa/b'),
    'VALUE',
    /mean `spiffe:\/\/example.org\/ns\/a\/sa\/b`/,
  ],
  [
    'an id with a slash at its end',
    allow('spiffe_id: spiffe://example.org/ns/a/sa/b/'),
    'VALUE',
    /mean `spiffe:\/\/example.org\/ns\/a\/sa\/b`/,
  ],
  ['a trust domain written as an id', allow('trust_domain: spiffe://example.org'), 'VALUE', /mean `example.org`/],
  ['a path without its slash', allow('http_path: a/b'), 'PATH', /mean `\/a\/b`/],
  ['a prefix of paths without its slash', allow('http_path: { starts_with: a }'), 'PATH', /mean `\/a`/],
  ['a path with an escape that is decoded', allow('http_path: /a/%7euser'), 'PATH', /mean `\/a\/~user`/],
  ['a path with an escape in lower case', allow('http_path: /a%2fb'), 'PATH', /mean `\/a%2Fb`/],
  ['a path with a plain space', allow('http_path: "/a b"'), 'PATH', /mean `\/a%20b`/],
  ['a path with a letter beyond ASCII', allow('http_path: /é'), 'PATH', /mean `\/%C3%A9`/],
  ['a path with a dot segment', allow('http_path: /a/../b'), 'PATH', /ERR_POLICY_PATH/],
  ['a path with a query', allow('http_path: "/a?b=1"'), 'PATH', /ERR_POLICY_PATH/],
  ['a path with a backslash', allow("http_path: '/a\\b'"), 'PATH', /ERR_POLICY_PATH/],
  ['a wrong path in `not_in`', allow('http_path: { not_in: [/a, b] }'), 'PATH', /mean `\/b`/],
  ['a wrong path in a nested `not`', allow('http_path: { starts_with: /a/, not: { starts_with: a } }'), 'PATH', /mean `\/a`/],
  ['a wrong escape in `contains`', allow('http_path: { contains: "%7e" }'), 'PATH', /mean `~`/],
  ['a pattern with `{**}` in its middle', allow('http_path: { matches: "/a/{**}/b" }'), 'VALUE', /last/],
  ['a pattern in a part of a segment', allow('http_path: { matches: "/a/x{id}" }'), 'VALUE', /parts of a segment/],
  ['a pattern with a star', allow('http_path: { matches: /a/* }'), 'VALUE', /mean `\/a\/{\*\*}`/],
  ['a pattern without its slash', allow('http_path: { matches: "{id}" }'), 'VALUE', /begins with/],
  ['a pattern with a literal that is not canonical', allow('http_path: { matches: "/%7ea/{id}" }'), 'PATH', /ERR_POLICY_PATH/],
  ['a pattern with a variable without name', allow('http_path: { matches: "/a/{}" }'), 'VALUE', /names are letters/],
  ['a host in upper case', allow('http_host: Catalog.shop'), 'VALUE', /mean `catalog.shop`/],
  ['a host with port and dot', allow('http_host: catalog.shop.:8080'), 'VALUE', /mean `catalog.shop`/],
  ['a suffix of hosts in upper case', allow('http_host: { ends_with: .Shop }'), 'VALUE', /mean `.shop`/],
  ['a list matcher with several values', allow('groups: [a, b]'), 'SHAPE', /under `or`/],
  ['a list matcher with an unknown key', allow('groups: { in: [a] }'), 'UNKNOWN', /no key `in`/],
  ['an empty list matcher', allow('groups: {}'), 'EMPTY', /matcher/],
  ['a list matcher with nothing', allow('claim/role:'), 'VALUE', /nothing/],
  ['a claim without name', allow('claim/: x'), 'VALUE', /mean `claim\/role`/],
  ['a header that has no such name', allow('"header/a b": x'), 'VALUE', /RFC 9110/],
  ['a query parameter without name', allow('query/: x'), 'VALUE', /query\/page/],
  ['`present` with something else', allow('header/x: { present: 1 }'), 'VALUE', /`true` or `false`/],
  ['`present: false` with a value', allow('header/x: { present: false, is: a }'), 'VALUE', /alone/],
  ['a network with host bits', allow('source_ip: 10.1.2.3/8'), 'VALUE', /mean `10.0.0.0\/8`/],
  ['a network of IPv6 with host bits', allow('source_ip: "2001:db8::1/32"'), 'VALUE', /mean `2001:db8::\/32`/],
  ['no network', allow('source_ip: 10.0.0'), 'VALUE', /no address or network/],
  ['a prefix that is too long', allow('source_ip: 10.0.0.0/33'), 'VALUE', /no address or network/],
  ['an empty list of networks', allow('source_ip: []'), 'EMPTY', /must not be empty/],
  ['a port as a string', allow('port: "80"'), 'VALUE', /mean `80`/],
  ['port 0', allow('port: 0'), 'VALUE', /1 to 65535/],
  ['a list of ports with a wrong one', allow('port: [80, 65536]'), 'VALUE', /1 to 65535/],
  ['a certificate as a word', allow('client_certificate: true'), 'SHAPE', /takes a map/],
  ['an unknown key of a certificate', allow('client_certificate: { san_ip: x }'), 'UNKNOWN', /mean `san_/],
  [
    'a fingerprint in upper case',
    allow(`client_certificate: { fingerprint: ${'AB'.repeat(32)} }`),
    'VALUE',
    new RegExp(`mean \`${'ab'.repeat(32)}`),
  ],
  ['a short fingerprint', allow('client_certificate: { fingerprint: abcd }'), 'VALUE', /SHA-256/],
  ['a wrong SPKI hash', allow('client_certificate: { spki_hash: abcd }'), 'VALUE', /base64/],
  ['an SPKI hash with spare bits set', allow(`client_certificate: { spki_hash: ${'A'.repeat(42)}B= }`), 'VALUE', /base64/],
  ['a date without offset', allow('date: { after: "2026-01-02T16:20:00" }'), 'VALUE', /mean `2026-01-02T16:20:00Z`/],
  ['a date without time', allow('date: { before: "2026-01-02" }'), 'VALUE', /mean `2026-01-02T00:00:00Z`/],
  ['a day that does not exist', allow('date: { after: "2026-02-29T00:00:00Z" }'), 'VALUE', /RFC 3339/],
  ['a date that never comes', allow('date: { after: "2027-01-01T00:00:00Z", before: "2026-01-01T00:00:00Z" }'), 'VALUE', /never comes/],
  ['an empty date', allow('date: {}'), 'EMPTY', /`after`, `before`/],
  ['an unknown day', allow('day_of_week: mo'), 'VALUE', /mean `mon`/],
  ['a day as a number', allow('day_of_week: 1'), 'VALUE', /must be a string/],
  ['a range of three days', allow('day_of_week: mon-tue-wed'), 'VALUE', /no day or range/],
  ['days in an object without days', allow('day_of_week: { timezone: UTC }'), 'SHAPE', /needs `days`/],
  ['an unknown time zone', allow('day_of_week: { days: mon, timezone: Europe/Berln }'), 'UNKNOWN', /mean `Europe\/Berlin`/],
  ['a time of day without zone', allow('time_of_day: { after: 9:00 }'), 'VALUE', /needs `timezone`/],
  ['a time of day without times', allow('time_of_day: { timezone: UTC }'), 'EMPTY', /`after`, `before`/],
  ['a time of twelve hours', allow('time_of_day: { timezone: UTC, before: 4:30PM }'), 'VALUE', /mean `16:30`/],
  ['an hour that does not exist', allow('time_of_day: { timezone: UTC, before: 24:00 }'), 'VALUE', /0:00 to 23:59:59/],
  ['an empty span of time', allow('time_of_day: { timezone: UTC, after: 9:00, before: 9:00 }'), 'VALUE', /empty/],
  ['an unknown mode', spec('mode: shadwo'), 'UNKNOWN', /mean `shadow`/],
  ['an empty target', spec('target: {}'), 'EMPTY', /`service`, `ports`/],
  ['an empty list of target ports', spec('target: { ports: [] }'), 'EMPTY', /must not be empty/],
  ['an empty selector', spec('selector: {}'), 'EMPTY', /label/],
  ['a selector by expressions', spec('selector: { matchExpressions: [] }'), 'UNKNOWN', /matchExpressions/],
  ['a label that is no string', spec('selector: { app: 1 }'), 'VALUE', /must be a string/],
  ['a rule name that looks like a position', rule('name: "#1"\n  allow: { and: [{ accept: true }] }'), 'VALUE', /begin with `#`/],
  ['a rule name with a control', rule('name: "a\\u001bb"\n  allow: { and: [{ accept: true }] }'), 'VALUE', /controls/],
  ['a policy name with a slash', `${KIND}metadata: { name: a/b }\nspec: { rules: [] }`, 'VALUE', /`name` must be/],
  ['a test without request', aTest('{ expect: allow }'), 'EMPTY', /needs a `request`/],
  ['a test that expects something else', aTest('{ request: { path: / }, expect: maybe }'), 'VALUE', /expect: allow/],
  ['a test with an unknown key of a request', aTest('{ request: { pth: / }, expect: allow }'), 'VALUE', /mean `path`/],
  ['a test with a wrong peer', aTest('{ request: { peer: cart }, expect: allow }'), 'VALUE', /SPIFFE ID/],
  ['an unknown key of a test', aTest('{ request: { path: / }, expects: allow, expect: allow }'), 'UNKNOWN', /mean `expect`/],
  ['not, of a claim', rule('allow: { not: [{ claim/role: guest }] }'), 'NEGATION_ONLY', /authenticated_user/],
  ['nor, of a claim', rule('allow: { nor: [{ claim/role: guest }, { http_method: GET }] }'), 'NEGATION_ONLY', /claim\/role/],
  ['exclude, of groups', rule('allow: { and: [{ groups: { exclude: guests } }] }'), 'NEGATION_ONLY', /groups/],
  [
    'not, of a user',
    rule('allow: { and: [{ user: { not: bob } }, { spiffe_id: { starts_with: spiffe://a/ } }] }'),
    'NEGATION_ONLY',
    /user/,
  ],
  ['not_in, of an issuer', rule('allow: { or: [{ token/issuer: { not_in: [a] } }] }'), 'NEGATION_ONLY', /token\/issuer/],
  ['not, of having a token', rule('allow: { not: [{ authenticated_user: true }] }'), 'NEGATION_ONLY', /authenticated_user/],
  ['not, of a negation', rule('allow: { not: [{ claim/role: { exclude: guest } }] }'), 'NEGATION_ONLY', /claim\/role/],
  ['not, of token_is_peer', rule('allow: { not: [{ token_is_peer: true }] }'), 'NEGATION_ONLY', /token_is_peer/],
]

for (const [what, text, code, message] of REFUSED) {
  test(`refused: ${what}`, () => {
    const { documents, problems } = readPolicies(text)
    assert.deepEqual(documents, [])
    const formatted = problems.map(formatProblem)
    assert.ok(
      problems.some((problem, index) => problem.code === `ERR_POLICY_${code}` && message.test(formatted[index] ?? '')),
      formatted.join('\n'),
    )
    for (const line of formatted) assert.match(line, /^policy\.yaml:\d+:\d+: /)
  })
}

const TAKEN: readonly (readonly [string, string])[] = [
  ['flags with nothing', 'allow: { and: [{ accept: }, { cors_preflight: }] }'],
  [
    'a negation about a token beside a positive criterion',
    'allow: { and: [{ claim/role: { exclude: guest } }, { authenticated_user: true }] }',
  ],
  ['a negation about a token with a positive key in the same matcher', 'allow: { and: [{ groups: { has: a, exclude: b } }] }'],
  ['a negation about a token under deny', 'deny: { not: [{ claim/role: guest }] }'],
  [
    'negations about peer, path, method and header',
    'allow: { not: [{ http_method: GET }, { http_path: /a }, { header/x: a }, { namespace: a }] }',
  ],
  ['a claim named by a URL', 'allow: { and: [{ claim/https://example.org/a/b/c/d/roles: x }] }'],
  ['a word that YAML 1.1 takes for a boolean', 'allow: { and: [{ header/x: on }] }'],
  ['a dot segment that is only a beginning', 'allow: { and: [{ http_path: { starts_with: /.well } }] }'],
  ['an encoded slash, for listeners that opt in', 'allow: { and: [{ http_path: /a%2Fb }] }'],
  ['the target of OPTIONS', 'allow: { and: [{ http_path: "*" }] }'],
  ['any certificate', 'allow: { and: [{ client_certificate: {} }] }'],
  ['full names of days, lists and wrapping ranges', 'allow: { and: [{ day_of_week: "monday,wed-fri,sat-sun" }] }'],
  ['a mapped network', 'allow: { and: [{ source_ip: "::ffff:10.0.0.0/104" }] }'],
]

for (const [what, text] of TAKEN) {
  test(`taken: ${what}`, () => {
    assert.equal(policies(text).length, 1)
  })
}

test('every problem of a document is told, each at its own place', () => {
  const { problems } = readPolicies(`- allow:
    and:
      - http_pth: /a
      - http_method: 5
  deny:
    xor: []
`)
  assert.deepEqual(
    problems.map(({ at, code }) => [at.line, at.column, code]),
    [
      [3, 9, 'ERR_POLICY_UNKNOWN'],
      [4, 22, 'ERR_POLICY_VALUE'],
      [6, 5, 'ERR_POLICY_UNKNOWN'],
    ],
  )
})

test('values that YAML cannot hold are refused too', () => {
  const read = (value: unknown): string[] => readPolicyDocument(located(value), { defaultName: 'x' }).problems.map(({ code }) => code)
  assert.deepEqual(read({ allow: { and: [{ 'claim/x': 2 ** 53 }] } }), ['ERR_POLICY_VALUE'])
  assert.deepEqual(read({ allow: { and: [{ 'claim/x': NaN }] } }), ['ERR_POLICY_VALUE'])
  assert.deepEqual(read({ allow: { and: [{ 'header/x': '\ud800' }] } }), ['ERR_POLICY_VALUE'])
  let deep: unknown = 'a'
  for (let level = 0; level < 1000; level++) deep = { not: deep }
  assert.deepEqual(read({ allow: { and: [{ 'header/x': deep }] } }), ['ERR_POLICY_SHAPE'])
  const twice = {
    kind: 'map',
    entries: [located({ allow: 1 }), located({ allow: 1 })].flatMap((map) => (map.kind === 'map' ? map.entries : [])),
    at: located(1).at,
  } as const
  assert.ok(readPolicyDocument(twice, { defaultName: 'x' }).problems.some(({ message }) => message.includes('twice')))
})

test('two rules of one name are a warning', () => {
  const { documents, problems } = readPolicies(
    '- { name: a, allow: { and: [{ accept: true }] } }\n- { name: a, deny: { and: [{ reject: true }] } }',
  )
  assert.equal(documents.length, 1)
  assert.deepEqual(
    problems.map(({ code, severity }) => [code, severity]),
    [['ERR_POLICY_NAME_TWICE', 'warning']],
  )
})
