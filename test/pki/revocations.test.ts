import assert from 'node:assert/strict'
import { test } from 'node:test'
import { PosternError } from '#base/errors'
import type { Peer } from '#identity/peer'
import { parseSpiffeId } from '#identity/spiffe-id'
import { createRevocations, NO_REVOCATIONS, type Revocation } from '#pki/revocations'

const id = parseSpiffeId('spiffe://td/a')
assert.ok(id.ok)
const ROOT = 'ab'.repeat(32)
const peer: Peer = {
  id: id.value,
  certificate: {
    fingerprint: '',
    spkiHash: '',
    serial: 'abc',
    notBefore: 0,
    notAfter: 0,
    sanUris: [],
    sanDns: [],
    sanEmails: [],
    issuerKeyId: '0a0b',
  },
  authorities: ['cd'.repeat(32), ROOT],
}

const CASES: readonly (readonly [string, Revocation, boolean])[] = [
  ['its ID', { kind: 'id', id: 'spiffe://td/a' }, true],
  ['another ID', { kind: 'id', id: 'spiffe://td/b' }, false],
  ['an ID that begins with it', { kind: 'id', id: 'spiffe://td/a/b' }, false],
  ['its issuer key and serial', { kind: 'certificate', issuerKeyId: '0a0b', serial: 'abc' }, true],
  ['the same with colons, upper case and leading zeros', { kind: 'certificate', issuerKeyId: '0A:0B', serial: '0A:BC' }, true],
  ['its serial at another issuer', { kind: 'certificate', issuerKeyId: '0a0c', serial: 'abc' }, false],
  ['another serial of its issuer', { kind: 'certificate', issuerKeyId: '0a0b', serial: 'abcd' }, false],
  ['the root it chains to', { kind: 'authority', fingerprint: ROOT }, true],
  ['the intermediate it chains to, written with colons', { kind: 'authority', fingerprint: Array<string>(32).fill('CD').join(':') }, true],
  ['the key of its issuer', { kind: 'issuer', keyId: '0A0B' }, true],
  ['the key of another issuer', { kind: 'issuer', keyId: '0a0c' }, false],
  ['another authority', { kind: 'authority', fingerprint: 'ef'.repeat(32) }, false],
]

for (const [what, revocation, revoked] of CASES) {
  test(`a peer is ${revoked ? '' : 'not '}revoked by ${what}`, () => assert.equal(createRevocations([revocation]).isRevoked(peer), revoked))
}

test('nobody is revoked by nothing, and a leaf whose issuer has no key identifier cannot be named by one', () => {
  assert.equal(NO_REVOCATIONS.isRevoked(peer), false)
  const { issuerKeyId: _none, ...certificate } = peer.certificate
  const some = createRevocations([{ kind: 'certificate', issuerKeyId: '0a0b', serial: 'abc' }])
  assert.equal(some.isRevoked({ ...peer, certificate }), false)
})

test('the same revocations have the same digest, however they are written', () => {
  const one = createRevocations([CASES[3]![1], CASES[0]![1]])
  const two = createRevocations([CASES[0]![1], CASES[4]![1], CASES[3]![1]])
  assert.equal(one.digest, two.digest)
  assert.equal(two.size, 2)
  assert.notEqual(one.digest, NO_REVOCATIONS.digest)
})

test('what is not hex, or is no fingerprint, is an error of the operator', () => {
  const bad: readonly Revocation[] = [
    { kind: 'certificate', issuerKeyId: 'xyz', serial: '1' },
    { kind: 'certificate', issuerKeyId: '0a', serial: '' },
    { kind: 'authority', fingerprint: 'ab' },
  ]
  for (const entry of bad)
    assert.throws(
      () => createRevocations([entry]),
      (error) => error instanceof PosternError && error.code === 'ERR_CONFIG_VALUE',
    )
})
