/** Facts of certificates from their DER, against node's own reading of the same certificates and against certificates made to deceive. */
import assert from 'node:assert/strict'
import { createHash, generateKeyPairSync, type KeyObject, sign, X509Certificate } from 'node:crypto'
import { test } from 'node:test'
import { type LeafFacts, readLeafFacts } from '#pki/leaf-facts'
import { createTestMesh, issueCertificate } from '../support/authority.ts'
import { der, extension, oid, sequence } from '../support/der-writer.ts'

const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const ECDSA = sequence(oid('1.2.840.10045.4.3.2'))
const NAME = sequence(der(0x31, sequence(oid('2.5.4.10'), der(0x0c, 'td'))))

interface Parts {
  readonly version?: Buffer
  readonly serial?: Buffer
  readonly algorithm?: Buffer
  readonly outerAlgorithm?: Buffer
  readonly validity?: Buffer
  readonly subject?: Buffer
  readonly spki?: Buffer
  readonly uniqueIds?: readonly Buffer[]
  readonly extensions?: readonly Buffer[]
  readonly signer?: KeyObject
}

const VALIDITY = sequence(der(0x17, '260101000000Z'), der(0x17, '360101000000Z'))
const SAN = '2.5.29.17'

/** A certificate from its parts, signed. */
function assemble(parts: Parts = {}): Buffer {
  const algorithm = parts.algorithm ?? ECDSA
  const signed = sequence(
    der(0xa0, parts.version ?? der(0x02, Buffer.of(2))),
    parts.serial ?? der(0x02, Buffer.of(0x01)),
    algorithm,
    NAME,
    parts.validity ?? VALIDITY,
    parts.subject ?? NAME,
    parts.spki ?? publicKey.export({ type: 'spki', format: 'der' }),
    ...(parts.uniqueIds ?? []),
    ...(parts.extensions === undefined ? [] : [der(0xa3, sequence(...parts.extensions))]),
  )
  const signature = sign('sha256', signed, parts.signer ?? privateKey)
  return sequence(signed, parts.outerAlgorithm ?? algorithm, der(0x03, Buffer.of(0), signature))
}

function names(...list: readonly Buffer[]): Buffer {
  return extension(SAN, sequence(...list))
}

function factsOf(certificate: Buffer): LeafFacts {
  const facts = readLeafFacts(certificate)
  assert.ok(facts.ok, JSON.stringify(facts))
  return facts.value
}

function reasonOf(certificate: Buffer): string {
  const facts = readLeafFacts(certificate)
  assert.ok(!facts.ok, JSON.stringify(facts))
  return facts.reason
}

test('fingerprint, serial, times and key are what OpenSSL reads in the same certificate', async () => {
  const mesh = await createTestMesh()
  for (const keyAlgorithm of ['P-256', 'P-384', 'RSA-2048'] as const) {
    const { certificate } = await mesh.issue('/ns/shop/sa/cart', { keyAlgorithm, dnsNames: ['cart.shop'] })
    const facts = factsOf(certificate)
    const x509 = new X509Certificate(certificate)
    assert.equal(facts.certificate.fingerprint, x509.fingerprint256.replaceAll(':', '').toLowerCase())
    assert.equal(facts.certificate.serial, x509.serialNumber.toLowerCase().replace(/^0+/, ''))
    assert.equal(facts.certificate.notBefore, x509.validFromDate.getTime())
    assert.equal(facts.certificate.notAfter, x509.validToDate.getTime())
    const spki = x509.publicKey.export({ type: 'spki', format: 'der' })
    assert.equal(facts.certificate.spkiHash, createHash('sha256').update(spki).digest('base64'))
    assert.equal(facts.key, keyAlgorithm)
    assert.equal(facts.signature, 'ECDSA-SHA256')
    assert.deepEqual(facts.certificate.sanUris, ['spiffe://example.org/ns/shop/sa/cart'])
    assert.deepEqual(facts.certificate.sanDns, ['cart.shop'])
  }
})

test('key usage, basic constraints, extended key usage and key identifiers are read bit by bit', async () => {
  const { root, issuer, issue } = await createTestMesh()
  const leaf = factsOf((await issue('/x')).certificate)
  assert.deepEqual(leaf.extensions.keyUsage, { critical: true, digitalSignature: true, keyCertSign: false, cRLSign: false })
  assert.equal(leaf.extensions.basicConstraints?.ca, false)
  assert.deepEqual(leaf.extensions.extendedKeyUsage, { serverAuth: true, clientAuth: true })
  assert.equal(leaf.extensions.authorityKeyId, issuer.keyId)
  assert.equal(leaf.extensions.unevaluated, undefined)
  const intermediate = factsOf(issuer.certificate)
  assert.deepEqual(intermediate.extensions.keyUsage, { critical: true, digitalSignature: false, keyCertSign: true, cRLSign: true })
  assert.deepEqual(intermediate.extensions.basicConstraints, { ca: true, pathLength: 0 })
  assert.equal(intermediate.extensions.subjectKeyId, issuer.keyId)
  assert.equal(intermediate.extensions.authorityKeyId, root.keyId)
  assert.ok(!intermediate.selfIssued)
  assert.ok(factsOf(root.certificate).selfIssued)
})

test('an empty subject, and whether the SAN extension is critical, are seen', async () => {
  const { issue } = await createTestMesh()
  const empty = factsOf((await issue('/x', { emptySubject: true })).certificate)
  assert.deepEqual([empty.subjectIsEmpty, empty.extensions.sanCritical], [true, true])
  const named = factsOf((await issue('/x')).certificate)
  assert.deepEqual([named.subjectIsEmpty, named.extensions.sanCritical], [false, false])
})

test('every SAN is read byte for byte in its order, whatever stands between them', () => {
  const injected = 'x, URI:spiffe://td/admin'
  const facts = factsOf(
    assemble({
      extensions: [
        names(
          der(0x82, injected),
          der(0x86, 'spiffe://td/a'),
          der(0x87, Buffer.of(127, 0, 0, 1)),
          der(0xa0, oid('1.2.3'), der(0xa0, der(0x0c, 'spiffe://td/other'))),
          der(0x81, 'a@td'),
          der(0x86, 'https://td/b'),
          der(0x88, Buffer.of(0x2a, 0x03)),
        ),
      ],
    }),
  )
  assert.deepEqual(facts.certificate.sanUris, ['spiffe://td/a', 'https://td/b'])
  assert.deepEqual(facts.certificate.sanDns, [injected])
  assert.deepEqual(facts.certificate.sanEmails, ['a@td'])
})

test('a NUL, a control or a non-ASCII byte in a name is refused by its own code', () => {
  for (const name of ['spiffe://td/a\0.evil', 'spiffe://td/a\n', 'spiffe://td/\xe4', '\x7f', '\0']) {
    for (const tag of [0x81, 0x82, 0x86]) {
      assert.equal(reasonOf(assemble({ extensions: [names(der(tag, name))] })), 'ERR_SVID_SAN_MALFORMED', JSON.stringify(name))
    }
  }
})

test('a NUL in an other name is not looked at, since other names say nothing here', () => {
  const facts = factsOf(
    assemble({ extensions: [names(der(0xa0, oid('1.2.3'), der(0xa0, der(0x0c, 'a\0b'))), der(0x86, 'spiffe://td/a'))] }),
  )
  assert.deepEqual(facts.certificate.sanUris, ['spiffe://td/a'])
})

test('what is critical and not understood, and name constraints in any case, are reported', () => {
  const oidOf = (list: readonly Buffer[]): string | undefined => factsOf(assemble({ extensions: list })).extensions.unevaluated
  assert.equal(oidOf([extension('1.2.3', der(0x05), true)]), '2a03')
  assert.equal(oidOf([extension('1.2.3', der(0x05))]), undefined)
  assert.equal(oidOf([extension('2.5.29.30', sequence(), false)]), '551d1e')
  assert.equal(oidOf([extension('2.5.29.32', sequence(), true)]), undefined)
})

/** What is wrong → the certificate that has it. */
const MALFORMED: Readonly<Record<string, () => Buffer>> = {
  'no bytes': () => Buffer.alloc(0),
  'bytes after its end': () => Buffer.concat([assemble(), Buffer.of(0)]),
  'version 1': () => assemble({ version: der(0x02, Buffer.of(0)) }),
  'a negative serial number': () => assemble({ serial: der(0x02, Buffer.of(0x80)) }),
  'a serial number of 21 octets': () => assemble({ serial: der(0x02, Buffer.alloc(21, 1)) }),
  'another algorithm outside the signed part than inside': () => assemble({ outerAlgorithm: sequence(oid('1.2.840.10045.4.3.3')) }),
  'the same extension twice': () => assemble({ extensions: [names(der(0x86, 'spiffe://td/a')), names(der(0x86, 'spiffe://td/b'))] }),
  'an extension whose value has bytes after its end': () =>
    assemble({ extensions: [extension('2.5.29.19', Buffer.concat([sequence(), Buffer.of(0, 0)]))] }),
  'a SAN that is no sequence': () => assemble({ extensions: [extension(SAN, der(0x86, 'spiffe://td/a'))] }),
  'a key usage with bits set among the unused': () =>
    assemble({ extensions: [extension('2.5.29.15', der(0x03, Buffer.of(7, 0xff)), true)] }),
  'a path length without octets': () => assemble({ extensions: [extension('2.5.29.19', sequence(der(0x01, Buffer.of(0xff)), der(0x02)))] }),
  'a path length cut off by the end of its certificate': () => {
    const whole = assemble({ extensions: [extension('2.5.29.19', sequence(der(0x01, Buffer.of(0xff)), der(0x02, Buffer.of(1))))] })
    const at = whole.indexOf(Buffer.from('0603551d13', 'hex'))
    return Buffer.concat([whole.subarray(0, at + 14), whole.subarray(at + 15)])
  },
  'a path length of two octets': () => assemble({ extensions: [extension('2.5.29.19', sequence(der(0x02, Buffer.of(1, 0))))] }),
  'a negative path length': () => assemble({ extensions: [extension('2.5.29.19', sequence(der(0x02, Buffer.of(0xff))))] }),
  'a time without seconds': () => assemble({ validity: sequence(der(0x17, '2601010000Z'), der(0x17, '360101000000Z')) }),
  'a time with an offset': () => assemble({ validity: sequence(der(0x17, '260101000000+0100'), der(0x17, '360101000000Z')) }),
  'a day that no month has': () => assemble({ validity: sequence(der(0x17, '260231000000Z'), der(0x17, '360101000000Z')) }),
  'a time that is no digits': () => assemble({ validity: sequence(der(0x17, '2601010000x0Z'), der(0x17, '360101000000Z')) }),
  'a year of five digits': () => assemble({ validity: sequence(der(0x17, '260101000000Z'), der(0x18, '120360101000000Z')) }),
  'extensions twice': () => {
    const list = der(0xa3, sequence(names(der(0x86, 'spiffe://td/a'))))
    return assemble({ uniqueIds: [list], extensions: [names(der(0x86, 'spiffe://td/b'))] })
  },
}

for (const [what, make] of Object.entries(MALFORMED)) {
  test(`a certificate with ${what} is malformed`, () => assert.equal(reasonOf(make()), 'ERR_SVID_MALFORMED'))
}

test('both forms of time are read, and two-digit years from 50 on are of the last century', () => {
  const times = (before: Buffer, after: Buffer): number[] => {
    const { notBefore, notAfter } = factsOf(assemble({ validity: sequence(before, after) })).certificate
    return [notBefore, notAfter]
  }
  assert.deepEqual(times(der(0x17, '500101000000Z'), der(0x18, '99991231235959Z')), [
    Date.UTC(1950, 0, 1),
    Date.UTC(9999, 11, 31, 23, 59, 59),
  ])
  assert.deepEqual(times(der(0x17, '240229123456Z'), der(0x17, '491231235959Z')), [
    Date.UTC(2024, 1, 29, 12, 34, 56),
    Date.UTC(2049, 11, 31, 23, 59, 59),
  ])
})

test('every day of the calendar is read, and none that is not in it', () => {
  for (const [day, isReal] of [
    ['20000229', true],
    ['19000229', false],
    ['21000229', false],
    ['20240229', true],
    ['20260430', true],
    ['20260431', false],
    ['20261231', true],
    ['20261232', false],
    ['20260100', false],
    ['20261301', false],
    ['20260001', false],
  ] as const) {
    const certificate = assemble({ validity: sequence(der(0x18, `${day}000000Z`), der(0x18, '99991231235959Z')) })
    assert.equal(readLeafFacts(certificate).ok, isReal, day)
  }
  for (const time of ['20260101240000Z', '20260101006000Z', '20260101000060Z']) {
    assert.equal(reasonOf(assemble({ validity: sequence(der(0x18, time), der(0x18, '99991231235959Z')) })), 'ERR_SVID_MALFORMED')
  }
})

test('unique identifiers of issuer and subject are passed over', () => {
  const certificate = assemble({
    uniqueIds: [der(0x81, Buffer.of(0, 1)), der(0x82, Buffer.of(0, 2))],
    extensions: [names(der(0x86, 'spiffe://td/a'))],
  })
  assert.deepEqual(factsOf(certificate).certificate.sanUris, ['spiffe://td/a'])
})

test('a certificate larger than 16 KiB is refused before it is parsed', () => {
  const large = assemble({ extensions: [extension('1.2.3', Buffer.alloc(16_384))] })
  assert.equal(reasonOf(large), 'ERR_SVID_TOO_LARGE')
  const fits = assemble({ extensions: [extension('1.2.3', Buffer.alloc(15_900))] })
  assert.ok(fits.length <= 16_384)
  factsOf(fits)
})

function rsaSpki(modulus: Buffer, exponent: Buffer): Buffer {
  const key = sequence(der(0x02, Buffer.of(0), modulus), der(0x02, exponent))
  return sequence(sequence(oid('1.2.840.113549.1.1.1'), der(0x05)), der(0x03, Buffer.of(0), key))
}

test('keys of other kinds, and RSA outside 2,048 to 4,096 bits or with an exponent that is even or huge, have no name', () => {
  const kinds: readonly (readonly [string | undefined, Buffer])[] = [
    ['RSA-2048', rsaSpki(Buffer.alloc(256, 0xff), Buffer.of(1, 0, 1))],
    ['RSA-4096', rsaSpki(Buffer.alloc(512, 0xff), Buffer.of(3))],
    [undefined, rsaSpki(Buffer.concat([Buffer.of(0x7f), Buffer.alloc(255, 0xff)]), Buffer.of(1, 0, 1))],
    [undefined, rsaSpki(Buffer.alloc(513, 0xff), Buffer.of(1, 0, 1))],
    [undefined, rsaSpki(Buffer.alloc(256, 0xff), Buffer.of(2))],
    [undefined, rsaSpki(Buffer.alloc(256, 0xff), Buffer.of(1))],
    [undefined, rsaSpki(Buffer.alloc(256, 0xff), Buffer.from('0101010101', 'hex'))],
    ['P-521', generateKeyPairSync('ec', { namedCurve: 'P-521' }).publicKey.export({ type: 'spki', format: 'der' })],
    [undefined, generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).publicKey.export({ type: 'spki', format: 'der' })],
    ['Ed25519', generateKeyPairSync('ed25519').publicKey.export({ type: 'spki', format: 'der' })],
    [undefined, generateKeyPairSync('ed448').publicKey.export({ type: 'spki', format: 'der' })],
    [undefined, generateKeyPairSync('dsa', { modulusLength: 2048, divisorLength: 256 }).publicKey.export({ type: 'spki', format: 'der' })],
  ]
  for (const [name, spki] of kinds) assert.equal(factsOf(assemble({ spki })).key, name)
})

test('signature algorithms with SHA-1 or MD5, and RSA-PSS that names no hash, have no name', () => {
  const pss = (hash: string): Buffer => sequence(oid('1.2.840.113549.1.1.10'), sequence(der(0xa0, sequence(oid(hash)))))
  const kinds: readonly (readonly [string | undefined, Buffer])[] = [
    ['RSA-SHA256', sequence(oid('1.2.840.113549.1.1.11'), der(0x05))],
    ['ECDSA-SHA512', sequence(oid('1.2.840.10045.4.3.4'))],
    ['Ed25519', sequence(oid('1.3.101.112'))],
    ['RSA-PSS-SHA384', pss('2.16.840.1.101.3.4.2.2')],
    [undefined, pss('1.3.14.3.2.26')],
    [undefined, sequence(oid('1.2.840.113549.1.1.10'), sequence())],
    [undefined, sequence(oid('1.2.840.113549.1.1.10'))],
    [undefined, sequence(oid('1.2.840.113549.1.1.5'), der(0x05))],
    [undefined, sequence(oid('1.2.840.113549.1.1.4'), der(0x05))],
    [undefined, sequence(oid('1.2.840.10045.4.1'))],
  ]
  for (const [name, algorithm] of kinds) assert.equal(factsOf(assemble({ algorithm })).signature, name)
})

test('a certificate without extensions is read as one that says nothing', () => {
  const { extensions } = factsOf(assemble())
  assert.deepEqual([extensions.keyUsage, extensions.basicConstraints, extensions.uris], [undefined, undefined, []])
})

test('no prefix of a certificate reads as a certificate', async () => {
  const { root } = await createTestMesh()
  const { certificate } = await issueCertificate({ authority: root })
  for (let length = 0; length < certificate.length; length++) {
    assert.ok(!readLeafFacts(certificate.subarray(0, length)).ok, `${length} octets`)
  }
})
