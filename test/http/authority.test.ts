/** Authorities: which are valid, and the one spelling of a host (facts/attacks row 7). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isValidAuthority, normaliseHost } from '#http/authority'

test('an authority is a host with an optional port', () => {
  for (const text of [
    'a',
    'catalog',
    'catalog.shop.svc.cluster.local:8080',
    'CATALOG.shop.',
    'a_b-c.d',
    'a:1',
    'a:65535',
    'a:0',
    'a:',
    'a:00080',
    '127.0.0.1',
    '127.0.0.1:80',
    '[::1]',
    '[::1]:443',
    '[2001:db8::1]',
    '[2001:DB8:0:0:0:0:0:1]',
    '[::ffff:127.0.0.1]',
    '[::]',
    '[1::]',
    '[1:2:3:4:5:6:7::]',
    "a!$&'()*+,;=b",
    'a'.repeat(255),
  ]) {
    assert.equal(isValidAuthority(text), true, text)
  }
})

test('anything else is no authority', () => {
  for (const text of [
    'a..',
    'a..:80',
    'a..b',
    '.a',
    '.',
    '..',
    '',
    ':80',
    'user@host',
    'user:pass@host',
    'a/b',
    'a?b',
    'a#b',
    'a b',
    'a\tb',
    'a\\b',
    'a:b',
    'a:80:80',
    'a:65536',
    'a:999999',
    'a:-1',
    'a:+1',
    'a:8 0',
    'a%41',
    'caf\xe9',
    'a"b',
    'a<b',
    '[::1',
    '::1',
    '[::1]a',
    '[::1]:x',
    '[]',
    '[:]',
    '[:::]',
    '[1:2]',
    '[1:2:3:4:5:6:7:8:9]',
    '[1::2::3]',
    '[1:2:3:4:5:6:7::8]',
    '[12345::]',
    '[g::]',
    '[::1%25eth0]',
    '[fe80::1%eth0]',
    '[::127.0.0.1.1]',
    '[::256.0.0.1]',
    '[127.0.0.1::]',
    '[1:2:3:4:5:6:7:127.0.0.1]',
    '[v1.a]',
    'a'.repeat(300),
  ]) {
    assert.equal(isValidAuthority(text), false, text)
  }
})

test('policy sees a host in lower case, without port and without one trailing dot', () => {
  for (const [authority, host] of [
    ['catalog', 'catalog'],
    ['Catalog.Shop', 'catalog.shop'],
    ['catalog:8080', 'catalog'],
    ['catalog.', 'catalog'],
    ['CATALOG.:80', 'catalog'],
    ['catalog..', 'catalog.'],
    ['catalog:', 'catalog'],
    ['127.0.0.1:80', '127.0.0.1'],
    ['[::1]', '[::1]'],
    ['[::1]:443', '[::1]'],
    ['[2001:DB8::A]:1', '[2001:db8::a]'],
    ['', ''],
    ['.', ''],
  ] as const) {
    assert.equal(normaliseHost(authority), host, authority)
  }
})
