/** The one profile of certificate request: what proves a key, and what asks for more (attacks 63 and 64). */
import 'reflect-metadata'
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import * as x509 from '@peculiar/x509'
import { createCsr } from '#pki/csr'
import { generatePrivateKey, KEY_ALGORITHMS, privateKeyPem, spkiOf } from '#pki/keys'
import { formatPem } from '#pki/pem'
import { requestSvid } from '#pki/request-svid'
import { decodeRequest, LARGEST_REQUEST, readSvidRequest } from '#pki/svid-request'
import { extensionRequest, rawCsr, wishfulCsr } from '../support/csr.ts'
import { der, extension, oid, sequence } from '../support/der-writer.ts'
import { hasProgram, temporaryFolder } from '../support/openssl.ts'

const ID = 'spiffe://example.org/ns/shop/sa/cart'

async function key(): Promise<KeyObject> {
  return generatePrivateKey('P-256')
}

function uri(value: string, critical = false): x509.Extension {
  return new x509.SubjectAlternativeNameExtension([{ type: 'url', value }], critical)
}

for (const algorithm of KEY_ALGORITHMS) {
  test(`a request for a ${algorithm} key proves it`, async () => {
    const privateKey = await generatePrivateKey(algorithm)
    for (const pem of [await createCsr({ privateKey }), await createCsr({ privateKey, id: ID })]) {
      const decoded = decodeRequest(pem)
      assert.ok(decoded.ok)
      const spki = readSvidRequest(decoded.value, ID)
      assert.ok(spki.ok, JSON.stringify(spki))
      assert.deepEqual(spki.value, spkiOf(privateKey))
    }
  })
}

test('what a sidecar sends is read, as PEM and as base64 of DER', async () => {
  const privateKey = await key()
  const pem = requestSvid(privateKey)
  const base64 = pem.replaceAll(/-----[A-Z ]+-----|\n/g, '')
  for (const text of [pem, base64]) {
    const decoded = decodeRequest(text)
    assert.ok(decoded.ok)
    assert.ok(readSvidRequest(decoded.value, ID).ok)
  }
})

test('requests that openssl makes are read, with names and usages that an SVID has', { skip: !hasProgram('openssl', 'version') }, (t) => {
  const dir = temporaryFolder(t)
  const keyFile = join(dir, 'key.pem')
  writeFileSync(keyFile, privateKeyPem(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey))
  const run = (...more: string[]): Buffer =>
    execFileSync('openssl', ['req', '-new', '-key', keyFile, '-subj', '/CN=cart', '-outform', 'DER', ...more], {
      stdio: ['ignore', 'pipe', 'ignore'],
    })
  const wishes = [
    '-addext',
    `subjectAltName=URI:${ID}`,
    '-addext',
    'keyUsage=critical,digitalSignature',
    '-addext',
    'basicConstraints=CA:FALSE',
    '-addext',
    'extendedKeyUsage=serverAuth,clientAuth',
  ]
  for (const request of [run(), run(...wishes)]) assert.ok(readSvidRequest(request, ID).ok)
})

const ATTRIBUTE_NAME = '1.2.840.113549.1.9.7'

const REFUSED: readonly (readonly [what: string, code: string, make: (key: KeyObject) => Promise<Buffer> | Buffer])[] = [
  ['another ID', 'ERR_CSR_NAME', (k) => wishfulCsr(k, { extensions: [uri('spiffe://example.org/ns/shop/sa/admin')] })],
  ['an ID of another trust domain', 'ERR_CSR_NAME', (k) => wishfulCsr(k, { extensions: [uri('spiffe://other.example/ns/shop/sa/cart')] })],
  ['its own ID in other letters', 'ERR_CSR_NAME', (k) => wishfulCsr(k, { extensions: [uri(ID.toUpperCase())] })],
  [
    'its own ID with a dot segment',
    'ERR_CSR_NAME',
    (k) => wishfulCsr(k, { extensions: [uri('spiffe://example.org/ns/shop/sa/x/../cart')] }),
  ],
  ['a URI that is no SPIFFE ID', 'ERR_CSR_NAME', (k) => wishfulCsr(k, { extensions: [uri('https://example.org/')] })],
  [
    'its own ID twice over',
    'ERR_CSR_NAME',
    (k) =>
      wishfulCsr(k, {
        extensions: [
          new x509.SubjectAlternativeNameExtension([
            { type: 'url', value: ID },
            { type: 'url', value: `${ID}2` },
          ]),
        ],
      }),
  ],
  [
    'a DNS name beside its ID',
    'ERR_CSR_NAME',
    (k) =>
      wishfulCsr(k, {
        extensions: [
          new x509.SubjectAlternativeNameExtension([
            { type: 'url', value: ID },
            { type: 'dns', value: 'cart.shop' },
          ]),
        ],
      }),
  ],
  [
    'a wildcard',
    'ERR_CSR_NAME',
    (k) => wishfulCsr(k, { extensions: [new x509.SubjectAlternativeNameExtension([{ type: 'dns', value: '*.example.org' }])] }),
  ],
  [
    'an IP address',
    'ERR_CSR_NAME',
    (k) => wishfulCsr(k, { extensions: [new x509.SubjectAlternativeNameExtension([{ type: 'ip', value: '10.0.0.1' }])] }),
  ],
  [
    'an email address',
    'ERR_CSR_NAME',
    (k) => wishfulCsr(k, { extensions: [new x509.SubjectAlternativeNameExtension([{ type: 'email', value: 'a@example.org' }])] }),
  ],
  [
    'a directory name',
    'ERR_CSR_NAME',
    (k) => rawCsr(k, { attributes: extensionRequest(extension('2.5.29.17', sequence(der(0xa4, sequence())))) }),
  ],
  [
    'its own ID followed by a NUL',
    'ERR_CSR_NAME',
    (k) => rawCsr(k, { attributes: extensionRequest(extension('2.5.29.17', sequence(der(0x86, `${ID}\0.evil`)))) }),
  ],
  [
    'to be an authority',
    'ERR_CSR_AUTHORITY',
    (k) => wishfulCsr(k, { extensions: [new x509.BasicConstraintsExtension(true, undefined, true)] }),
  ],
  [
    'to be an authority, not critically',
    'ERR_CSR_AUTHORITY',
    (k) => wishfulCsr(k, { extensions: [uri(ID), new x509.BasicConstraintsExtension(true)] }),
  ],
  [
    'keyCertSign',
    'ERR_CSR_AUTHORITY',
    (k) =>
      wishfulCsr(k, { extensions: [new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.digitalSignature)] }),
  ],
  ['cRLSign', 'ERR_CSR_AUTHORITY', (k) => wishfulCsr(k, { extensions: [new x509.KeyUsagesExtension(x509.KeyUsageFlags.cRLSign)] })],
  [
    'to sign code',
    'ERR_CSR_EXTENSION',
    (k) => wishfulCsr(k, { extensions: [new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.codeSigning])] }),
  ],
  ['name constraints', 'ERR_CSR_EXTENSION', (k) => rawCsr(k, { attributes: extensionRequest(extension('2.5.29.30', sequence())) })],
  ['a certificate policy', 'ERR_CSR_EXTENSION', (k) => wishfulCsr(k, { extensions: [new x509.CertificatePolicyExtension(['1.2.3.4'])] })],
  [
    'an attribute other than extensions',
    'ERR_CSR_EXTENSION',
    (k) => rawCsr(k, { attributes: sequence(oid(ATTRIBUTE_NAME), der(0x31, der(0x0c, 'secret'))) }),
  ],
  [
    'the same extension twice',
    'ERR_CSR_UNREADABLE',
    (k) => rawCsr(k, { attributes: extensionRequest(extension('2.5.29.19', sequence()), extension('2.5.29.19', sequence())) }),
  ],
  [
    'two lists of extensions',
    'ERR_CSR_UNREADABLE',
    (k) => rawCsr(k, { attributes: Buffer.concat([extensionRequest(), extensionRequest()]) }),
  ],
  ['a version that does not exist', 'ERR_CSR_UNREADABLE', (k) => rawCsr(k, { version: 1 })],
  ['octets after its end', 'ERR_CSR_UNREADABLE', (k) => Buffer.concat([rawCsr(k), Buffer.of(0)])],
  [
    'a length of its own choosing',
    'ERR_CSR_UNREADABLE',
    (k) => Buffer.concat([Buffer.from([0x30, 0x80]), rawCsr(k).subarray(3), Buffer.of(0, 0)]),
  ],
  ['nothing', 'ERR_CSR_UNREADABLE', () => Buffer.alloc(0)],
  ['more than it may be long', 'ERR_CSR_UNREADABLE', () => Buffer.alloc(LARGEST_REQUEST + 1, 0x30)],
  ['a signature by another key', 'ERR_CSR_SIGNATURE', async (k) => rawCsr(k, { spki: spkiOf(await key()) })],
  ['a signature over something else', 'ERR_CSR_SIGNATURE', (k) => rawCsr(k, { signature: sign('sha256', Buffer.from('x'), k) })],
  ['an RSA key of 1,024 bits', 'ERR_KEY_WEAK', () => rawCsr(generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey)],
  ['a key on secp256k1', 'ERR_KEY_WEAK', () => rawCsr(generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).privateKey)],
  ['a compressed point', 'ERR_KEY_WEAK', (k) => rawCsr(k, { spki: compressed(k) })],
  ['a point that is not on its curve', 'ERR_CSR_UNREADABLE', (k) => rawCsr(k, { spki: offCurve(k) })],
]

function compressed(privateKey: KeyObject): Buffer {
  const point = spkiOf(privateKey).subarray(-64)
  const bits = Buffer.concat([Buffer.of(2 + ((point[63] ?? 0) & 1)), point.subarray(0, 32)])
  const spki = sequence(sequence(oid('1.2.840.10045.2.1'), oid('1.2.840.10045.3.1.7')), der(0x03, Buffer.of(0), bits))
  assert.ok(createPublicKey({ key: spki, format: 'der', type: 'spki' }), 'OpenSSL takes it: it is a real key in the other form')
  return spki
}

function offCurve(privateKey: KeyObject): Buffer {
  const spki = Buffer.from(spkiOf(privateKey))
  spki[spki.length - 1] = (spki[spki.length - 1] ?? 0) ^ 1
  return spki
}

for (const [what, code, make] of REFUSED) {
  test(`a request that holds or asks for ${what} is refused with ${code}`, async () => {
    const outcome = readSvidRequest(await make(await key()), ID)
    assert.ok(!outcome.ok)
    assert.equal(outcome.reason, code)
  })
}

test('a subject is a wish that nobody reads, whatever stands in it', async () => {
  for (const subject of ['CN=*.example.org', 'CN=spiffe://example.org/ns/shop/sa/admin, O=other.example']) {
    assert.ok(readSvidRequest(await wishfulCsr(await key(), { subject }), ID).ok)
  }
})

test('texts that are no one request are refused', async () => {
  const pem = requestSvid(await key())
  for (const text of ['', 'nonsense!', pem + pem, formatPem('CERTIFICATE', Buffer.from('x')), 'A'.repeat(3 * LARGEST_REQUEST)]) {
    const outcome = decodeRequest(text)
    assert.equal(outcome.ok ? '' : outcome.reason, 'ERR_CSR_UNREADABLE')
  }
})

test('no change of one octet makes another request of it, and none throws', async () => {
  const privateKey = await key()
  const request = await wishfulCsr(privateKey, { extensions: [uri(ID)] })
  for (let at = 0; at < request.length; at++) {
    const changed = Buffer.from(request)
    changed[at] = (changed[at] ?? 0) ^ 0x41
    assert.equal(readSvidRequest(changed, ID).ok, false, `octet ${at}`)
  }
})
