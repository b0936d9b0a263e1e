/** SPIFFE-ID.md, requirement by requirement; the numbers are those of docs/spiffe.md. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isTrustDomain, parseSpiffeId } from '#identity/spiffe-id'

const LONGEST = 'a'.repeat(255)

/** Title → IDs that must parse. */
const GOOD: Readonly<Record<string, readonly string[]>> = {
  'ID-1, ID-2: scheme spiffe and a trust domain name make an ID': ['spiffe://example.org', 'spiffe://example.org/workload'],
  'ID-8: a trust domain may have lower-case letters, digits, dots, dashes and underscores': [
    'spiffe://a-b_c.9/x',
    'spiffe://-/x',
    'spiffe://_/x',
  ],
  'ID-10: a trust domain that looks like an IPv4 address is a name like any other': [
    'spiffe://1.2.3.4/x',
    'spiffe://256.0.0.1/x',
    'spiffe://1/x',
  ],
  'ID-12: three dots are a segment like any other': ['spiffe://td/...', 'spiffe://td/.hidden', 'spiffe://td/a..b/..c'],
  'ID-14: a segment may have letters of both cases, digits, dots, dashes and underscores': ['spiffe://td/aZ0.-_/B'],
  'ID-15: IDs up to 2,048 bytes are supported': [`spiffe://td/${'a'.repeat(2036)}`, `spiffe://${LONGEST}/x`],
}

/** Title → IDs that must be refused, each with a word of the detail. */
const BAD: Readonly<Record<string, readonly (readonly [string, RegExp])[]>> = {
  'ID-1: any other scheme is refused': [
    ['', /scheme/],
    ['https://td/x', /scheme/],
    ['spiffe:/td/x', /scheme/],
    ['spiffe:td/x', /scheme/],
    [' spiffe://td/x', /scheme/],
    ['//td/x', /scheme/],
  ],
  'ID-2: an empty trust domain is refused': [
    ['spiffe://', /empty/],
    ['spiffe:///path', /empty/],
  ],
  'ID-3: a query is refused': [
    ['spiffe://td?', /query/],
    ['spiffe://td/x?a=b', /query/],
    ['spiffe://td/x/?', /query/],
  ],
  'ID-4: a fragment is refused': [
    ['spiffe://td#', /fragment/],
    ['spiffe://td/x#f', /fragment/],
  ],
  'ID-5: user information is refused, even if empty': [
    ['spiffe://user@td/x', /user information/],
    ['spiffe://user:pw@td/x', /user information/],
    ['spiffe://@td/x', /user information/],
  ],
  'ID-6: a port is refused, even if empty': [
    ['spiffe://td:443/x', /port/],
    ['spiffe://td:/x', /port/],
  ],
  'ID-7: upper case in the trust domain is refused': [
    ['spiffe://Example.org/x', /upper-case/],
    ['spiffe://tD', /upper-case/],
  ],
  'ID-8: other characters in the trust domain are refused': [
    ['spiffe://t d/x', /characters/],
    ['spiffe://td\u0000/x', /characters/],
    ['spiffe://tд/x', /characters/],
    ['spiffe://td\\x', /characters/],
    ['spiffe://td,td2/x', /characters/],
    ['spiffe://td\n', /characters/],
  ],
  'ID-9: percent-encoding in the trust domain is refused': [['spiffe://t%64/x', /percent/]],
  'ID-10: an IPv6 address is refused': [['spiffe://[::1]/x', /IPv6/]],
  'ID-11: percent-encoding in the path is refused': [
    ['spiffe://td/%61', /percent/],
    ['spiffe://td/a%2Fb', /percent/],
  ],
  'ID-12: empty and dot segments are refused': [
    ['spiffe://td//x', /empty segment/],
    ['spiffe://td/a//b', /empty segment/],
    ['spiffe://td/.', /dot segment/],
    ['spiffe://td/./x', /dot segment/],
    ['spiffe://td/a/../b', /dot segment/],
    ['spiffe://td/..', /dot segment/],
  ],
  'ID-13: a trailing slash is refused': [
    ['spiffe://td/', /ends with a slash/],
    ['spiffe://td/x/', /ends with a slash/],
  ],
  'ID-14: other characters in the path are refused': [
    ['spiffe://td/a b', /characters/],
    ['spiffe://td/a\u0000b', /characters/],
    ['spiffe://td/ä', /characters/],
    ['spiffe://td/a:b', /characters/],
    ['spiffe://td/a\\b', /characters/],
    ['spiffe://td/a,b', /characters/],
    ['spiffe://td/x\n', /characters/],
  ],
  'ID-16: nothing longer than 2,048 bytes, or with a trust domain longer than 255, is taken': [
    [`spiffe://td/${'a'.repeat(2037)}`, /2048/],
    [`spiffe://${LONGEST}a/x`, /255/],
  ],
  'ID-17: an ID in another case is refused rather than thought equal': [
    ['SPIFFE://td/x', /scheme/],
    ['Spiffe://td/x', /scheme/],
    ['spiffe://TD/x', /upper-case/],
  ],
}

for (const [title, ids] of Object.entries(GOOD)) {
  test(title, () => {
    for (const id of ids) {
      const parsed = parseSpiffeId(id)
      assert.ok(parsed.ok, `${id}: ${JSON.stringify(parsed)}`)
      assert.equal(parsed.value.uri, id)
    }
  })
}

for (const [title, ids] of Object.entries(BAD)) {
  test(title, () => {
    for (const [id, detail] of ids) {
      const parsed = parseSpiffeId(id)
      assert.ok(!parsed.ok, id)
      assert.equal(parsed.reason, 'ERR_SPIFFE_ID_MALFORMED')
      assert.match(parsed.detail, detail)
    }
  })
}

test('ID-17: paths that differ by case are different IDs', () => {
  const lower = parseSpiffeId('spiffe://td/a')
  const upper = parseSpiffeId('spiffe://td/A')
  assert.ok(lower.ok && upper.ok)
  assert.notEqual(lower.value.uri, upper.value.uri)
})

test('an ID falls into trust domain and path, and the path of a trust domain is empty', () => {
  const parsed = parseSpiffeId('spiffe://example.org/a/b')
  assert.ok(parsed.ok)
  assert.deepEqual(
    { ...parsed.value },
    { uri: 'spiffe://example.org/a/b', trustDomain: 'example.org', path: '/a/b', namespace: undefined, serviceAccount: undefined },
  )
  const root = parseSpiffeId('spiffe://example.org')
  assert.ok(root.ok && root.value.path === '')
})

test('namespace and service account are there for exactly the path /ns/<ns>/sa/<sa>', () => {
  const named = parseSpiffeId('spiffe://td/ns/shop/sa/cart')
  assert.ok(named.ok)
  assert.deepEqual([named.value.namespace, named.value.serviceAccount], ['shop', 'cart'])
  for (const path of [
    '/ns/shop/sa',
    '/ns/shop/sa/cart/x',
    '/x/ns/shop/sa/cart',
    '/NS/shop/SA/cart',
    '/sa/cart/ns/shop',
    '/ns/shop/as/cart',
    '',
  ]) {
    const other = parseSpiffeId(`spiffe://td${path}`)
    assert.ok(other.ok, path)
    assert.deepEqual([other.value.namespace, other.value.serviceAccount], [undefined, undefined], path)
  }
})

test('an ID cannot be changed after it was parsed', () => {
  const parsed = parseSpiffeId('spiffe://td/x')
  assert.ok(parsed.ok && Object.isFrozen(parsed.value))
})

test('a trust domain name is told from what is none', () => {
  for (const name of ['example.org', 'a', '1.2.3.4', 'a_b-c', LONGEST]) assert.ok(isTrustDomain(name), name)
  for (const name of ['', 'Example.org', 'a/b', 'a:1', 'a@b', '%61', 'ä', 'a b', `${LONGEST}a`, 'spiffe://a', 'a\n'])
    assert.ok(!isTrustDomain(name), name)
})
