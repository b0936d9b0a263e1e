import assert from 'node:assert/strict'
import { BlockList, isIP, isIPv6 } from 'node:net'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { contains, formatNetwork, networkOf, parseIp, parseNetwork } from '#policy/network'

test('what is an address is what node says', () => {
  const odd = [
    '1.2.3',
    '01.2.3.4',
    '1.2.3.256',
    '1.2.3.4.',
    '::',
    ':::',
    '1::2::3',
    '::1.2.3.4',
    '1.2.3.4::',
    '1:2:3:4:5:6:7:8',
    '1:2:3:4:5:6:7::',
    '1:2:3:4:5:6:7:8::',
    ':1:2:3:4:5:6:7',
    '::12345',
    '1:2:3:4:5:6:1.2.3.4',
    '1:2:3:4:5:6:7:1.2.3.4',
    '',
    ' ::1',
    '0x1.2.3.4',
    '1.2.3.-4',
    '::ffff:1.2.3.4',
    '::ffff:1.2.3.4%x',
  ]
  const mutated = fc
    .tuple(fc.oneof(fc.ipV4(), fc.ipV6(), fc.constantFrom(...odd)), fc.nat(20), fc.constantFrom('', ':', '.', '0', 'f', 'g', '::'))
    .map(([text, index, extra]) => text.slice(0, index) + extra + text.slice(index))
  fc.assert(
    fc.property(fc.oneof(mutated, fc.constantFrom(...odd)), (text) => {
      // IPv4 with a zone is nothing; node agrees.
      assert.equal(parseIp(text) !== undefined, isIP(text) !== 0, text)
    }),
    { numRuns: 5000 },
  )
})

test('an address lies in a network when node says so', () => {
  const ip = fc.oneof(fc.ipV4(), fc.ipV6(), fc.constantFrom('10.1.2.3', '10.1.2.255', '::ffff:10.1.2.3', '2001:db8::1', '2001:db8:ffff::'))
  fc.assert(
    fc.property(ip, ip, fc.nat(128), (address, base, length) => {
      const v6 = isIPv6(base)
      const prefix = v6 ? length : length % 33
      const network = parseNetwork(`${base}/${prefix}`)
      if (network === undefined) return assert.ok(parseIp(base)?.version === 4 && v6 && prefix < 96)
      const list = new BlockList()
      list.addSubnet(base, prefix, v6 ? 'ipv6' : 'ipv4')
      const parsed = parseIp(address)
      assert.ok(parsed !== undefined)
      // Node takes IPv4 for the IPv6 it is mapped to; here `::/0` says nothing of IPv4.
      const across = parsed.version !== network.address.version
      if (across || (v6 && parsed.version === 4))
        return assert.equal(contains(network, parsed), !across && contains(networkOf(network), parsed))
      assert.equal(contains(network, parsed), list.check(address, isIPv6(address) ? 'ipv6' : 'ipv4'), `${address} in ${base}/${prefix}`)
      return undefined
    }),
    { numRuns: 5000 },
  )
})

test('a network is written back as what it reads as', () => {
  for (const [text, expected] of [
    ['10.0.0.0/8', '10.0.0.0/8'],
    ['192.0.2.7', '192.0.2.7/32'],
    ['0.0.0.0/0', '0.0.0.0/0'],
    ['2001:DB8:0:0:0:0:0:0/32', '2001:db8::/32'],
    ['::', '::/128'],
    ['::/0', '::/0'],
    ['1:0:0:2:0:0:0:3', '1:0:0:2::3/128'],
    ['::ffff:10.0.0.0/104', '10.0.0.0/8'],
    ['::ffff:192.0.2.7', '192.0.2.7/32'],
  ] as const) {
    const network = parseNetwork(text)
    assert.ok(network !== undefined)
    assert.equal(formatNetwork(network), expected)
  }
  fc.assert(
    fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), fc.nat(128), (base, length) => {
      const network = parseNetwork(`${base}/${isIPv6(base) ? length : length % 33}`)
      if (network === undefined) return
      const clean = networkOf(network)
      assert.deepEqual(parseNetwork(formatNetwork(clean)), clean)
    }),
  )
})

test('what is no network is refused', () => {
  for (const text of [
    '',
    '/',
    '10.0.0.0/',
    '10.0.0.0/08',
    '10.0.0.0/33',
    '::/129',
    '10.0.0.0/8/8',
    '::1%eth0/64',
    '::ffff:10.0.0.0/90',
    'a/8',
  ]) {
    assert.equal(parseNetwork(text), undefined, text)
  }
})
