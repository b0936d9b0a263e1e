/** Every criterion and matcher against requests that it holds of and requests that it does not; compiled and explained alike. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { RequestFacts } from '#policy/facts'
import { CART, decideBothWays, type FactsOf, peer, policies, request, token } from '../support/policies.ts'

/** The criterion as YAML, requests of which it is true, requests of which it is false. */
type Row = readonly [string, readonly FactsOf[], readonly FactsOf[]]

const withClaims = (claims: Record<string, unknown>): FactsOf => ({ token: token(claims) })
const headers = (...values: readonly string[]): FactsOf => ({ headers: values.map((value) => ['x-a', value] as const) })
const grpc = (path: string): FactsOf => ({ protocol: 'grpc', path, method: 'POST' })
const path = (value: string): FactsOf => ({ path: value })
const NO_PEER: FactsOf = { peer: undefined }
const NO_TOKEN: FactsOf = {}
const LEGACY: FactsOf = { peer: peer('spiffe://example.org/legacy/batch') }
const FINGERPRINT = 'ab'.repeat(32)
const SPKI = `${'A'.repeat(43)}=`

const ROWS: readonly Row[] = [
  // The peer
  ['spiffe_id: spiffe://example.org/ns/shop/sa/cart', [{}], [LEGACY, NO_PEER]],
  ['spiffe_id: { starts_with: spiffe://example.org/ns/shop/ }', [{}], [LEGACY, { peer: peer('spiffe://example.org/ns/shopping/sa/cart') }]],
  ['spiffe_id: { ends_with: /sa/cart, not: { contains: /ns/bank/ } }', [{}], [{ peer: peer('spiffe://example.org/ns/bank/sa/cart') }]],
  ['spiffe_id: { not_in: [spiffe://example.org/legacy/batch] }', [{}], [LEGACY, NO_PEER]],
  ['trust_domain: example.org', [{}, LEGACY], [{ peer: peer('spiffe://partner.example/ns/shop/sa/cart') }, NO_PEER]],
  ['namespace: shop', [{}], [LEGACY, { peer: peer('spiffe://example.org/ns/bank/sa/cart') }, NO_PEER]],
  ['namespace: { not: bank }', [{}], [LEGACY]],
  ['service_account: { in: [cart, web] }', [{}], [LEGACY, { peer: peer('spiffe://example.org/ns/shop/sa/cart/x') }]],
  [`client_certificate: { fingerprint: ${FINGERPRINT} }`, [{}], [{ peer: peer(CART.id.uri, { fingerprint: 'cd'.repeat(32) }) }, NO_PEER]],
  [`client_certificate: { fingerprint: [${'cd'.repeat(32)}, "${'AB:'.repeat(31)}AB"] }`, [{}], [NO_PEER]],
  [`client_certificate: { spki_hash: ${SPKI} }`, [{}], [{ peer: peer(CART.id.uri, { spkiHash: 'x' }) }]],
  [`client_certificate: { fingerprint: ${FINGERPRINT}, spki_hash: ${SPKI.replace('A', 'B')} }`, [], [{}]],
  [
    'client_certificate: { san_dns: { ends_with: .shop } }',
    [{ peer: peer(CART.id.uri, { sanDns: ['cart.bank', 'cart.shop'] }) }],
    [{}, { peer: peer(CART.id.uri, { sanDns: ['cart.bank'] }) }],
  ],
  [
    'client_certificate: { san_dns: { not: a } }',
    [{ peer: peer(CART.id.uri, { sanDns: ['b'] }) }],
    [{}, { peer: peer(CART.id.uri, { sanDns: ['b', 'a'] }) }],
  ],
  ['client_certificate: { san_email: [a@b.c] }', [{ peer: peer(CART.id.uri, { sanEmails: ['a@b.c'] }) }], [{}]],
  ['client_certificate: { san_uri: { contains: /ns/shop/ } }', [{}], [LEGACY]],
  ['client_certificate: {}', [{}], [NO_PEER]],
  ['invalid_client_certificate: true', [], [{}, NO_PEER]],
  // Always and never
  ['accept: true', [{}, NO_PEER], []],
  ['reject: true', [], [{}, NO_PEER]],
  // The request
  ['http_method: GET', [{}], [{ method: 'get' }, { method: 'HEAD' }]],
  ['http_method: { not: GET }', [{ method: 'PUT' }], [{}]],
  ['http_path: /a/b', [path('/a/b')], [path('/a/b/'), path('/A/b'), path('/a/b/c'), path('/a%2Fb')]],
  ['http_path: { starts_with: /a/ }', [path('/a/'), path('/a/b')], [path('/a'), path('/ab/')]],
  [
    'http_path: { starts_with: /a/, not: { starts_with: /a/b/ } }',
    [path('/a/b'), path('/a/c')],
    [path('/a/b/'), path('/a/b/c'), path('/c')],
  ],
  ['http_path: { in: [/a, /b, /c, /d, /e, /f, /g, /h, /i] }', [path('/a'), path('/i')], [path('/j'), path('/')]],
  ['http_path: { not_in: [/a, /b] }', [path('/c')], [path('/a'), path('/b')]],
  ['http_path: { ends_with: .json }', [path('/a.json')], [path('/a.json/')]],
  ['http_path: { contains: /b/ }', [path('/a/b/c')], [path('/a/b')]],
  [
    'http_path: { matches: "/users/{id}/orders" }',
    [path('/users/7/orders'), path('/users/%2F/orders')],
    [path('/users//orders'), path('/users/7/orders/'), path('/users/7/8/orders'), path('/users/7')],
  ],
  ['http_path: { matches: "/a/{**}" }', [path('/a/'), path('/a/b/c'), path('/a//')], [path('/a'), path('/b/a/')]],
  ['http_path: { matches: "/{**}" }', [path('/'), path('/a')], [path('*')]],
  ['http_path: { matches: "/{x}/{**}" }', [path('/a/'), path('/a/b')], [path('/a'), path('//b')]],
  ['http_path: { matches: /a/ }', [path('/a/')], [path('/a'), path('/a/b')]],
  ['http_path: "*"', [{ path: '*', method: 'OPTIONS' }], [path('/')]],
  ['http_host: catalog.shop', [{}], [{ host: 'catalog.shop.evil' }, { host: '' }]],
  ['http_host: { not: a }', [{}], [{ host: '' }, { host: 'a' }]],
  ['http_host: "[::1]"', [{ host: '[::1]' }], [{}]],
  ['port: 8080', [{}], [{ port: 80 }]],
  ['port: [80, 8080]', [{}, { port: 80 }], [{ port: 81 }]],
  ['source_ip: 10.1.2.3', [{}, { sourceIp: '::ffff:10.1.2.3' }], [{ sourceIp: '10.1.2.4' }, { sourceIp: '' }]],
  ['source_ip: 10.0.0.0/8', [{}], [{ sourceIp: '11.0.0.1' }, { sourceIp: '::a01:203' }]],
  [
    'source_ip: [192.0.2.0/24, "2001:db8::/33"]',
    [{ sourceIp: '192.0.2.255' }, { sourceIp: '2001:db8:7fff::1' }],
    [{}, { sourceIp: '2001:db8:8000::1' }],
  ],
  ['source_ip: 0.0.0.0/0', [{}], [{ sourceIp: '2001:db8::1' }]],
  ['source_ip: "::/0"', [{ sourceIp: 'fe80::1%eth0' }], [{}]],
  ['source_ip: "::ffff:10.0.0.0/104"', [{}], [{ sourceIp: '::1' }]],
  // Headers and query
  ['header/x-a: v', [headers('v')], [{}, headers('V'), headers('v '), { headers: [['x-b', 'v']] }]],
  ['header/X-A: { is: "" }', [headers('')], [{}, headers('a')]],
  ['header/x-a: v ', [headers('w', 'v'), headers('v', 'v')], [headers('w', 'vv')]],
  ['header/x-a: { not: v }', [headers('w'), headers('w', 'x')], [{}, headers('v'), headers('w', 'v'), headers('v', 'w')]],
  ['header/x-a: { not_in: [v, w] }', [headers('x')], [{}, headers('x', 'w')]],
  ['header/x-a: { starts_with: a, ends_with: z }', [headers('q', 'az')], [headers('ab', 'cz')]],
  ['header/x-a: { starts_with: a, not: { contains: x } }', [headers('ab', 'c')], [headers('ab', 'x'), headers('ax')]],
  ['header/x-a: { not: { starts_with: a, ends_with: z } }', [headers('ab', 'cz')], [headers('b', 'az'), {}]],
  ['header/x-a: { present: true }', [headers(''), headers('v')], [{}]],
  ['header/x-a: { present: false }', [{}, { headers: [['x-b', 'v']] }], [headers(''), headers('v')]],
  ['header/x-a: { present: true, not: v }', [headers('w')], [{}, headers('v')]],
  ['header/x-a: é', [headers('\u00c3\u00a9')], [headers('\u00e9'), headers('e\u0301')]],
  ['header/x-a: on', [headers('on')], [headers('true')]],
  [
    'query/q: a b',
    [{ query: 'q=a%20b' }, { query: 'x=1&q=c&q=a%20b' }],
    [{}, { query: 'q=a+b' }, { query: 'Q=a%20b' }, { query: 'q=a%2520b' }],
  ],
  ['query/q: é', [{ query: 'q=%C3%A9' }, { query: '%71=%c3%a9' }], [{ query: 'q=%E9' }]],
  ['query/q: { not: a }', [{ query: 'q=b' }, { query: 'q' }], [{ query: 'q=b&q=a' }, { query: '' }, {}]],
  ['query/q: { present: true }', [{ query: 'q' }, { query: 'a&q=' }], [{ query: 'qq' }, {}]],
  ['query/q: { present: false }', [{}, { query: '' }, { query: 'a=q' }], [{ query: 'q' }]],
  ['query/q: 100%', [{ query: 'q=100%' }, { query: 'q=100%25' }], [{ query: 'q=100' }]],
  [
    'cors_preflight: true',
    [
      {
        method: 'OPTIONS',
        headers: [
          ['origin', 'a'],
          ['access-control-request-method', 'PUT'],
        ],
      },
    ],
    [
      { method: 'OPTIONS', headers: [['origin', 'a']] },
      {
        headers: [
          ['origin', 'a'],
          ['access-control-request-method', 'PUT'],
        ],
      },
    ],
  ],
  // gRPC
  [
    'grpc_service: shop.Catalog',
    [grpc('/shop.Catalog/Get')],
    [path('/shop.Catalog/Get'), grpc('/shop.Catalog/'), grpc('/shop.Catalog'), grpc('/shop.Catalog/Get/x')],
  ],
  ['grpc_method: { in: [Get, List] }', [grpc('/shop.Catalog/Get')], [grpc('/shop.Catalog/Put'), grpc('//Get'), path('/shop.Catalog/Get')]],
  ['grpc_method: { not: Put }', [grpc('/a/Get')], [grpc('/a/Put'), path('/a/Get')]],
  // The token
  ['authenticated_user: true', [withClaims({})], [NO_TOKEN, withClaims({ sub: '' })]],
  ['token/issuer: https://issuer.example', [withClaims({})], [NO_TOKEN]],
  ['token/subject: alice', [withClaims({})], [NO_TOKEN, withClaims({ sub: 'bob' })]],
  ['user: { in: [alice] }', [withClaims({})], [NO_TOKEN, withClaims({ sub: '' })]],
  [
    'token/namespace: shop',
    [{ token: token({}, { namespace: 'shop', serviceAccount: 'cart' }) }],
    [withClaims({ namespace: 'shop' }), NO_TOKEN],
  ],
  ['token/service_account: cart', [{ token: token({}, { namespace: 'shop', serviceAccount: 'cart' }) }], [withClaims({})]],
  ['token/audience: a', [{ token: token({}, { audiences: ['b', 'a'] }) }], [{ token: token({}, { audiences: ['b'] }) }, NO_TOKEN]],
  ['token/audience: { is: a }', [{ token: token({}, { audiences: ['a'] }) }], [{ token: token({}, { audiences: ['a', 'b'] }) }]],
  [
    'token/audience: { has: b, exclude: a }',
    [{ token: token({}, { audiences: ['b'] }) }],
    [{ token: token({}, { audiences: ['a', 'b'] }) }, NO_TOKEN],
  ],
  [
    'token_is_peer: true',
    [
      { token: token({}, { namespace: 'shop', serviceAccount: 'cart' }) },
      { token: token({}, { namespace: 'shop', serviceAccount: 'cart', trustDomain: 'example.org' }) },
    ],
    [
      { token: token({}, { namespace: 'shop', serviceAccount: 'cart', trustDomain: 'partner.example' }) },
      { token: token({}, { namespace: 'shop', serviceAccount: 'web' }) },
      { token: token({}, { namespace: 'bank', serviceAccount: 'cart' }) },
      withClaims({}),
      NO_TOKEN,
      { ...LEGACY, token: token() },
      { ...NO_PEER, token: token({}, { namespace: 'shop', serviceAccount: 'cart' }) },
    ],
  ],
  [
    'groups: admins',
    [withClaims({ groups: ['x', 'admins'] }), withClaims({ groups: 'admins' })],
    [withClaims({ groups: ['admin'] }), withClaims({}), NO_TOKEN],
  ],
  ['groups: { is: admins }', [withClaims({ groups: ['admins'] })], [withClaims({ groups: ['admins', 'x'] }), withClaims({ groups: [] })]],
  ['groups: { has: a, exclude: b }', [withClaims({ groups: ['a'] })], [withClaims({ groups: ['a', 'b'] }), withClaims({ groups: [] })]],
  [
    'claim/role: admin',
    [withClaims({ role: 'admin' }), withClaims({ role: ['x', 'admin'] })],
    [withClaims({ role: 'Admin' }), withClaims({ role: { admin: true } }), withClaims({ role: null }), NO_TOKEN],
  ],
  ['claim/level: 1234', [withClaims({ level: 1234 })], [withClaims({ level: '1234' })]],
  ['claim/level: "1234"', [withClaims({ level: '1234' })], [withClaims({ level: 1234 })]],
  ['claim/ok: true', [withClaims({ ok: true })], [withClaims({ ok: 'true' }), withClaims({ ok: 1 })]],
  [
    'claim/a/b: x',
    [withClaims({ 'a/b': 'x', a: { b: 'y' } }), withClaims({ a: { b: ['x'] } })],
    [withClaims({ 'a/b': 'y', a: { b: 'x' } }), withClaims({ a: 'x' })],
  ],
  ['claim/a.b: x', [withClaims({ a: { b: 'x' } }), withClaims({ 'a.b': 'x' })], [withClaims({ a: { c: 'x' } })]],
  ['claim/a/b/c/d/e: x', [withClaims({ a: { b: { c: { d: { e: 'x' } } } } })], [withClaims({})]],
  ['claim/a/b/c/d/e/f: x', [withClaims({ 'a/b/c/d/e/f': 'x' })], [withClaims({ a: { b: { c: { d: { e: { f: 'x' } } } } } })]],
  ['claim/a/0: x', [], [withClaims({ a: ['x'] })]],
  ['claim/constructor: x', [withClaims({ constructor: 'x' })], [withClaims({})]],
  ['claim/a/constructor/name: Object', [], [withClaims({ a: {} })]],
  ['claim/scope: read', [withClaims({ scope: 'write read' }), withClaims({ scope: ['read'] })], [withClaims({ scope: 'reader' })]],
  ['claim/permission: { is: read }', [withClaims({ permission: ' read ' })], [withClaims({ permission: 'read write' })]],
  ['claim/scopes: read', [], [withClaims({ scopes: 'write read' })]],
  [
    'email: a@b.example',
    [withClaims({ email: 'a@b.example' }), withClaims({ email: 'a@b.example', email_verified: true })],
    [
      withClaims({ email: 'a@b.example', email_verified: false }),
      withClaims({ email: 'a@b.example', email_verified: 'true' }),
      withClaims({ email: ['a@b.example'] }),
      NO_TOKEN,
    ],
  ],
  [
    'domain: b.example',
    [withClaims({ email: 'a@b.example' }), withClaims({ email: '"a@evil"@b.example' })],
    [
      withClaims({ email: 'b.example' }),
      withClaims({ email: 'a@b.example@evil' }),
      withClaims({ email: 'a@' }),
      withClaims({ email: 'a@b.example', email_verified: null }),
    ],
  ],
]

function holds(criterion: string, operator: string, facts: RequestFacts): boolean {
  // Under `deny`, because an allow rule of negations alone may be refused; `accept` lets all else through.
  const documents = policies(`- allow: { and: [{ accept: true }] }\n- deny: { ${operator}: [{ ${criterion} }] }`)
  return !decideBothWays(documents, facts).allow
}

for (const [criterion, yes, no] of ROWS) {
  test(criterion, () => {
    for (const [expected, rows] of [
      [true, yes],
      [false, no],
    ] as const) {
      for (const facts of rows.map(request)) {
        const what = JSON.stringify({ ...facts, peer: facts.peer?.id.uri, expected })
        assert.equal(holds(criterion, 'and', facts), expected, what)
        assert.equal(holds(criterion, 'or', facts), expected, what)
        assert.equal(holds(criterion, 'not', facts), !expected, what)
        assert.equal(holds(criterion, 'nor', facts), !expected, what)
      }
    }
  })
}

test('no literal is ever a pattern: characters that mean something elsewhere mean themselves', () => {
  for (const [criterion, facts] of [
    ['service_account: { in: ["c.rt", "c*", ".*", "c+art"] }', {}],
    ['http_path: { starts_with: "/a.b/" }', path('/axb/')],
    ['header/x-a: "v*"', headers('vv')],
    ['http_host: "*.shop"', {}],
  ] as const) {
    assert.equal(holds(criterion, 'and', request(facts)), false, criterion)
  }
})

test('a path of 64 KiB is matched by every matcher, without pattern engines that could run away', () => {
  const long = `/${'a'.repeat(65_534)}/`
  for (const matcher of [
    `{ starts_with: /${'a'.repeat(900)} }`,
    '{ ends_with: a/ }',
    `{ contains: ${'a'.repeat(900)} }`,
    '{ matches: "/{x}/{**}" }',
    '{ not: /b }',
  ]) {
    assert.equal(holds(`http_path: ${matcher}`, 'and', request(path(long))), true, matcher)
  }
})
