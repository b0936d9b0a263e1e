/** Random policies and requests over one small vocabulary, so that rules match often enough to matter. */
import * as fc from 'fast-check'
import type { TokenPrincipal } from '#identity/peer'
import type { RequestFacts } from '#policy/facts'
import { peer, request, token } from './policies.ts'

const IDS = [
  'spiffe://example.org/ns/shop/sa/cart',
  'spiffe://example.org/ns/shop/sa/web',
  'spiffe://example.org/ns/bank/sa/cart',
  'spiffe://partner.example/ns/shop/sa/cart',
  'spiffe://example.org/legacy/batch',
]
const PATHS = ['/', '/a', '/a/', '/a/b', '/a/b/', '/a/b/c', '/ab', '/a/bc', '/b', '/a/%2Fb', '/a//b', '/pkg.Svc/Get', '/pkg.Svc/Put', '*']
const METHODS = ['GET', 'HEAD', 'POST', 'OPTIONS', 'get']
const HOSTS = ['catalog.shop', 'catalog', '[::1]', 'shop']
const WORDS = ['a', 'b', 'ab', 'é', 'a b', '']
const ELEMENTS: readonly (string | number | boolean)[] = ['a', 'b', '1', 1, true, 'true']
const IPS = ['10.1.2.3', '10.1.0.1', '192.0.2.7', '2001:db8::1', '2001:db8:1::1', '::ffff:10.1.2.3', '']
const NETWORKS = ['10.1.2.0/24', '10.0.0.0/8', '10.1.2.3', '0.0.0.0/0', '2001:db8::/32', '::/0', '2001:db8::1', '::ffff:192.0.2.0/120']
const ZONES = ['UTC', 'Europe/Berlin', 'America/New_York', 'Pacific/Auckland', 'Asia/Kolkata']
const FINGERPRINTS = ['ab'.repeat(32), 'cd'.repeat(32)]

const pick = <T>(...values: readonly T[]): fc.Arbitrary<T> => fc.constantFrom(...values)

function stringMatcher(words: readonly string[], literal: (word: string, test: string) => boolean = () => true): fc.Arbitrary<unknown> {
  const one = (test: string): fc.Arbitrary<string> =>
    pick(...words.filter((word) => literal(word, test) && (word !== '' || test === 'is' || test === 'in')))
  const several = fc.array(one('in'), { minLength: 1, maxLength: 12 })
  const { matcher } = fc.letrec<{ matcher: unknown }>((tie) => ({
    matcher: fc.oneof(
      { maxDepth: 2 },
      { weight: 3, arbitrary: one('is') },
      {
        weight: 4,
        arbitrary: fc
          .record(
            {
              is: one('is'),
              in: several,
              not_in: several,
              starts_with: one('starts_with'),
              ends_with: one('ends_with'),
              contains: one('contains'),
              not: fc.oneof(one('is'), tie('matcher')),
            },
            { requiredKeys: [] },
          )
          .chain((full) => keepSome(full)),
      },
    ),
  }))
  return matcher
}

/** One to three keys of a map. */
function keepSome(full: Readonly<Record<string, unknown>>): fc.Arbitrary<Record<string, unknown>> {
  const keys = Object.keys(full).length === 0 ? [] : Object.keys(full)
  return fc
    .subarray(keys, { minLength: Math.min(1, keys.length), maxLength: Math.min(3, keys.length) })
    .map((kept) => (kept.length === 0 ? { is: 'a' } : Object.fromEntries(kept.map((key) => [key, full[key]]))))
}

const listMatcher = fc.oneof(
  pick(...ELEMENTS),
  fc
    .subarray(['has', 'is', 'exclude'], { minLength: 1, maxLength: 2 })
    .chain((tests) =>
      fc
        .tuple(...tests.map(() => pick(...ELEMENTS)))
        .map((values) => Object.fromEntries(tests.map((test, index) => [test, values[index]]))),
    ),
)

const pathMatcher = fc.oneof(
  { weight: 4, arbitrary: stringMatcher(PATHS.map((path) => (path === '*' ? '/' : path))) },
  {
    weight: 2,
    arbitrary: pick('/{x}', '/a/{x}', '/a/{**}', '/{**}', '/{x}/b', '/{x}/b/{y}', '/a/', '/{x}/').map((matches) => ({ matches })),
  },
  { weight: 1, arbitrary: pick('/a/', '/ab', '/').map((starts_with) => ({ starts_with, not: { starts_with: '/a/b' } })) },
)

const clock = fc.tuple(fc.nat(23), pick('00', '30', '59')).map(([hour, minute]) => `${hour}:${minute}`)
const instant = fc.integer({ min: Date.UTC(2026, 0), max: Date.UTC(2027, 0) })
const iso = (ms: number): string => new Date(ms).toISOString()

const timeOfDay = fc
  .record({ timezone: pick(...ZONES), after: clock, before: clock })
  .chain((full) =>
    fc
      .subarray(['after', 'before'], { minLength: 1 })
      .map((kept) => ({ timezone: full.timezone, ...Object.fromEntries(kept.map((key) => [key, full[key as 'after']])) })),
  )
const dayOfWeek = fc.oneof(
  pick('*', 'mon', 'mon-fri', 'sat,sun', 'fri-mon', 'mon-sun'),
  fc.record({ days: pick('mon-fri', 'sun', 'wed-tue'), timezone: pick(...ZONES) }),
)
const date = fc
  .tuple(instant, instant)
  .chain(([a, b]) => pick({ after: iso(a) }, { before: iso(a) }, { after: iso(Math.min(a, b)), before: iso(Math.max(a, b) + 1) }))

const sanMatcher = stringMatcher(['a.example', 'b.example', ...IDS.slice(0, 2)])
const certificate = fc.oneof(
  pick<unknown>({}),
  fc
    .record({ fingerprint: pick<unknown>(FINGERPRINTS[0], FINGERPRINTS), san_uri: sanMatcher, san_dns: sanMatcher }, { requiredKeys: [] })
    .map((value) => value as Record<string, unknown>),
)

const flags = ['accept', 'reject', 'authenticated_user', 'cors_preflight', 'invalid_client_certificate', 'token_is_peer']

const named = (name: string, value: fc.Arbitrary<unknown>): fc.Arbitrary<Record<string, unknown>> => value.map((data) => ({ [name]: data }))

const criterion: fc.Arbitrary<Record<string, unknown>> = fc.oneof(
  { weight: 5, arbitrary: named('spiffe_id', stringMatcher(IDS)) },
  { weight: 2, arbitrary: named('trust_domain', stringMatcher(['example.org', 'partner.example'])) },
  { weight: 3, arbitrary: named('namespace', stringMatcher(['shop', 'bank'])) },
  { weight: 3, arbitrary: named('service_account', stringMatcher(['cart', 'web'])) },
  { weight: 6, arbitrary: named('http_path', pathMatcher) },
  { weight: 4, arbitrary: named('http_method', stringMatcher(METHODS)) },
  { weight: 2, arbitrary: named('http_host', stringMatcher(HOSTS)) },
  { weight: 2, arbitrary: pick('header/x-a', 'header/X-B').chain((name) => named(name, stringMatcher(WORDS))) },
  { weight: 1, arbitrary: pick('header/x-a', 'query/q').chain((name) => named(name, fc.record({ present: fc.boolean() }))) },
  { weight: 2, arbitrary: pick('query/q', 'query/Q').chain((name) => named(name, stringMatcher(WORDS))) },
  { weight: 2, arbitrary: named('grpc_service', stringMatcher(['pkg.Svc', 'a'])) },
  { weight: 1, arbitrary: named('grpc_method', stringMatcher(['Get', 'Put', 'b'])) },
  {
    weight: 1,
    arbitrary: fc
      .oneof(pick(...NETWORKS), fc.array(pick(...NETWORKS), { minLength: 1, maxLength: 3 }))
      .map((value) => ({ source_ip: value })),
  },
  { weight: 1, arbitrary: named('port', fc.oneof(pick(8080, 9090), pick([8080, 9090], [9090]))) },
  { weight: 1, arbitrary: named('client_certificate', certificate) },
  {
    weight: 2,
    arbitrary: pick('claim/role', 'claim/a/b', 'claim/a.b', 'claim/scope', 'groups', 'token/audience').chain((name) =>
      named(name, listMatcher),
    ),
  },
  { weight: 1, arbitrary: pick('user', 'token/subject').chain((name) => named(name, stringMatcher(['alice', 'bob']))) },
  { weight: 1, arbitrary: named('email', stringMatcher(['alice@a.example', 'bob@b.example'])) },
  { weight: 1, arbitrary: named('domain', stringMatcher(['a.example', 'b.example'])) },
  { weight: 1, arbitrary: pick('token/namespace', 'token/service_account').chain((name) => named(name, stringMatcher(['shop', 'cart']))) },
  { weight: 3, arbitrary: pick(...flags).map((flag) => ({ [flag]: true })) },
  { weight: 2, arbitrary: named('time_of_day', timeOfDay) },
  { weight: 2, arbitrary: named('day_of_week', dayOfWeek) },
  { weight: 2, arbitrary: named('date', date) },
)

const action = pick('and', 'and', 'and', 'or', 'or', 'not', 'nor').chain((operator) =>
  fc.array(criterion, { minLength: 1, maxLength: 3 }).map((criteria) => ({ [operator]: criteria })),
)
const limit = fc.record(
  { requests: pick('1/s', '100/s', '7/m', '1000/h'), burst: pick(1, 200), per: pick('peer', 'namespace', 'all') },
  { requiredKeys: ['requests'] },
)
const rule = fc
  .tuple(
    pick('allow', 'allow', 'allow', 'deny'),
    action,
    fc.option(pick('r1', 'r2', 'r3'), { nil: undefined }),
    fc.option(fc.oneof(limit, pick('none')), { nil: undefined, freq: 3 }),
  )
  .map(([name, body, label, limited]) => ({
    ...(label === undefined ? {} : { name: label }),
    [name]: body,
    ...(limited === undefined || name === 'deny' ? {} : { limit: limited }),
  }))

/** Documents as plain values, bare PPL and kind Policy. */
export const documentValue: fc.Arbitrary<unknown> = fc.oneof(
  fc.array(rule, { minLength: 1, maxLength: 14 }),
  fc
    .record({
      rules: fc.array(rule, { minLength: 1, maxLength: 6 }),
      mode: pick('enforce', 'enforce', 'shadow'),
      limit: fc.option(limit, { nil: undefined }),
      target: pick<unknown>(
        undefined,
        undefined,
        { service: 'catalog' },
        { service: 'cart' },
        { ports: [8080] },
        { service: 'catalog', ports: [1] },
      ),
      selector: pick<unknown>(undefined, undefined, { app: 'catalog' }, { app: 'cart' }),
    })
    .map((spec) => ({
      apiVersion: 'postern.dev/v1',
      kind: 'Policy',
      metadata: { name: 'p', namespace: 'shop' },
      spec: Object.fromEntries(Object.entries(spec).filter(([, value]) => value !== undefined)),
    })),
)

const claims = fc.record(
  {
    role: fc.oneof(pick<unknown>(...ELEMENTS, null, {}), fc.array(pick<unknown>(...ELEMENTS, null), { maxLength: 3 })),
    a: pick<unknown>({ b: 'a' }, { b: ['a', 1] }, 'a'),
    'a/b': pick<unknown>('b', ['a']),
    scope: pick('a b', 'a', 'ab  b'),
    groups: fc.array(pick(...ELEMENTS), { maxLength: 3 }),
    email: pick<unknown>('alice@a.example', '"bob@a.example"@b.example', 'nobody', 5),
    email_verified: pick<unknown>(true, false, 'true'),
    sub: pick('alice', 'bob', ''),
  },
  { requiredKeys: [] },
)
const principal: fc.Arbitrary<TokenPrincipal | undefined> = fc.option(
  fc
    .tuple(
      claims,
      pick(['a'], ['a', 'b'], []),
      pick(['shop', 'cart'], ['bank', 'cart'], [undefined, undefined]),
      pick(undefined, 'example.org', 'other.org'),
    )
    .map(([values, audiences, [namespace, serviceAccount], trustDomain]) =>
      token(values, { audiences, namespace, serviceAccount, trustDomain }),
    ),
  { nil: undefined },
)

const header = fc.tuple(pick('x-a', 'x-b', 'origin', 'access-control-request-method'), pick('a', 'b', 'ab', '\u00c3\u00a9', '\u00e9', ''))
const query = pick(undefined, '', 'q=a', 'q=b&q=a', 'Q=a', 'q', '%71=a%20b', 'q=%C3%A9&q=', 'q=%zz&&=x')

export const requestFacts: fc.Arbitrary<RequestFacts> = fc
  .record({
    protocol: pick<RequestFacts['protocol']>('http', 'http', 'http', 'grpc', 'tcp'),
    peer: fc.option(
      fc
        .tuple(pick(...IDS), pick(...FINGERPRINTS), pick([], ['a.example'], ['a.example', 'b.example']))
        .map(([id, fingerprint, sanDns]) => peer(id, { fingerprint, sanDns })),
      { nil: undefined, freq: 12 },
    ),
    token: principal,
    method: pick(...METHODS),
    path: pick(...PATHS),
    query,
    host: pick(...HOSTS, ''),
    headers: fc.array(header, { maxLength: 4 }),
    sourceIp: pick(...IPS),
    port: pick(8080, 9090),
  })
  .map((facts) =>
    facts.protocol === 'tcp'
      ? request({ ...facts, method: '', path: '', host: '', query: undefined, token: undefined, headers: [] })
      : request(facts),
  )

export const time: fc.Arbitrary<number> = fc.oneof(
  instant,
  // Around the shifts of Berlin and New York.
  fc
    .integer({ min: -7_200_000, max: 7_200_000 })
    .chain((offset) =>
      pick(Date.UTC(2026, 2, 29, 1), Date.UTC(2026, 9, 25, 1), Date.UTC(2026, 2, 8, 7), Date.UTC(2026, 10, 1, 6)).map(
        (shift) => shift + offset,
      ),
    ),
)
