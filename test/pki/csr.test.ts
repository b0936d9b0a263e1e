/** Certificate requests: what OpenSSL makes is read, what we make OpenSSL verifies, and what proves nothing is refused. */
import assert from 'node:assert/strict'
import { createPublicKey, generateKeyPairSync } from 'node:crypto'
import { join } from 'node:path'
import { writeFileSync } from 'node:fs'
import { test } from 'node:test'
import { createCsr, readCsr } from '#pki/csr'
import { parsePem } from '#pki/pem'
import { openssl, temporaryFolder } from '../support/openssl.ts'

const KEYS = {
  'P-256': ['ec', '-pkeyopt', 'ec_paramgen_curve:P-256'],
  'P-384': ['ec', '-pkeyopt', 'ec_paramgen_curve:P-384'],
  'P-521': ['ec', '-pkeyopt', 'ec_paramgen_curve:P-521'],
  'RSA-2048': ['rsa:2048'],
  Ed25519: ['ed25519'],
} as const

for (const [kind, args] of Object.entries(KEYS)) {
  test(`a request that OpenSSL made with a ${kind} key is read, as PEM and as DER`, async (t) => {
    const dir = temporaryFolder(t)
    const key = join(dir, 'key.pem')
    const wishes = ['-addext', 'subjectAltName=URI:spiffe://example.org/a,DNS:cart.shop', '-addext', 'keyUsage=digitalSignature']
    const pem = openssl(['req', '-new', '-newkey', ...args, '-nodes', '-keyout', key, '-subj', '/O=shop/CN=cart', ...wishes])
    for (const content of [Buffer.from(pem), parsePem(pem)[0]!.der]) {
      const request = readCsr(content)
      assert.ok(request.publicKey.equals(createPublicKey(openssl(['pkey', '-in', key, '-pubout']))))
      assert.equal(request.subject, 'O=shop, CN=cart')
      assert.deepEqual(request.uris, ['spiffe://example.org/a'])
      assert.deepEqual(request.dnsNames, ['cart.shop'])
      assert.deepEqual(request.extensions, ['2.5.29.17', '2.5.29.15'])
    }
  })

  test(`OpenSSL verifies a request that we made with a ${kind} key`, async () => {
    const { privateKey } = keyPair(kind)
    const pem = await createCsr({ privateKey, id: 'spiffe://example.org/ns/shop/sa/cart' })
    const said = openssl(['req', '-verify', '-noout', '-text'], pem)
    assert.match(said, /Subject: *\n/)
    assert.match(said, /Subject Alternative Name: critical\s+URI:spiffe:\/\/example\.org\/ns\/shop\/sa\/cart/)
    assert.deepEqual(readCsr(Buffer.from(pem)).uris, ['spiffe://example.org/ns/shop/sa/cart'])
  })
}

function keyPair(kind: string) {
  if (kind === 'Ed25519') return generateKeyPairSync('ed25519')
  return kind.startsWith('P-') ? generateKeyPairSync('ec', { namedCurve: kind }) : generateKeyPairSync('rsa', { modulusLength: 2048 })
}

test('a request without an ID has no extension', async () => {
  const request = readCsr(Buffer.from(await createCsr({ privateKey: keyPair('P-256').privateKey })))
  assert.deepEqual([request.uris, request.extensions, request.subject], [[], [], ''])
})

test('a request whose signature is by another key proves nothing', async () => {
  const [a, b] = [keyPair('P-256'), keyPair('P-256')]
  const request = parsePem(await createCsr({ privateKey: a.privateKey }))[0]!.der
  const points = [a, b].map(({ publicKey }) => publicKey.export({ type: 'spki', format: 'der' }).subarray(-64))
  const at = request.indexOf(points[0]!)
  points[1]!.copy(request, at)
  assert.throws(() => readCsr(request), { code: 'ERR_CSR_SIGNATURE' })
})

test('each byte of a request matters: changed, it is refused with a code of ours', async () => {
  const der = parsePem(await createCsr({ privateKey: keyPair('P-256').privateKey, id: 'spiffe://example.org/a' }))[0]!.der
  const unexpected: string[] = []
  for (let index = 0; index < der.length; index++) {
    const changed = Buffer.from(der)
    changed[index]! ^= 0x01
    const outcome = outcomeOf(changed)
    if (!/^ERR_(CSR|KEY)_/.test(outcome)) unexpected.push(`byte ${index}: ${outcome}`)
  }
  assert.deepEqual(unexpected, [])
})

test('weak keys are refused though the signature is right', async () => {
  const pem = openssl(['req', '-new', '-newkey', 'rsa:1024', '-nodes', '-keyout', '/dev/null', '-subj', '/CN=a'])
  assert.throws(() => readCsr(Buffer.from(pem)), { code: 'ERR_KEY_WEAK' })
})

test('what is no request, or more than one, is refused', async (t) => {
  const dir = temporaryFolder(t)
  const pem = await createCsr({ privateKey: keyPair('P-256').privateKey })
  const certificate = openssl(['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', join(dir, 'key'), '-subj', '/CN=a'])
  writeFileSync(join(dir, 'csr'), pem)
  for (const content of ['', 'hello', certificate, pem + pem, parsePem(certificate)[0]!.der]) {
    assert.throws(() => readCsr(Buffer.from(content)), { code: 'ERR_CSR_UNREADABLE' })
  }
})

test('the older label of PEM is read too', async () => {
  const pem = await createCsr({ privateKey: keyPair('P-256').privateKey })
  readCsr(Buffer.from(pem.replaceAll('CERTIFICATE REQUEST', 'NEW CERTIFICATE REQUEST')))
})

function outcomeOf(content: Buffer): string {
  try {
    readCsr(content)
    return 'accepted'
  } catch (error) {
    return (error as { code?: string }).code ?? String(error)
  }
}

test('a request signed with SHA-1 is refused, one signed with RSA-PSS is read', () => {
  const request = (...args: string[]) =>
    openssl(['req', '-new', '-newkey', 'rsa:2048', '-nodes', '-keyout', '/dev/null', '-subj', '/CN=a', ...args])
  assert.throws(() => readCsr(Buffer.from(request('-sha1'))), { code: 'ERR_CSR_SIGNATURE' })
  const pss = request('-sha256', '-sigopt', 'rsa_padding_mode:pss')
  assert.equal(readCsr(Buffer.from(pss)).subject, 'CN=a')
})
