/** PKCS#12 against other programs: what OpenSSL and Java write is read, what we write they read, and nothing opens with a wrong password. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createPrivateKey, createPublicKey, hash, randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import type { KeyAlgorithm } from '#pki/keys'
import { certificatesOfPem } from '#pki/pem'
import { integer, nothing, octets, OID, oid, sequence } from '../../certs-tooling/pkcs12/asn1.ts'
import { macHolds } from '../../certs-tooling/pkcs12/encryption.ts'
import { readPkcs12 } from '../../certs-tooling/pkcs12/read.ts'
import { looksLikePkcs12 } from '../../certs-tooling/pkcs12/recognise.ts'
import { writePkcs12 } from '../../certs-tooling/pkcs12/write.ts'
import { createTestMesh, type TestSvid, writeSvid } from '../support/authority.ts'
import { hasProgram, openssl, temporaryFolder } from '../support/openssl.ts'

const HAS_JAVA = hasProgram('keytool', '-help')

const PASSWORDS = {
  plain: 'geheim',
  empty: '',
  'not ASCII': 'Grüße, 世界',
  'beyond the basic plane': 'clé 🔑',
  'of 200 characters': 'x'.repeat(200),
} as const

/** What OpenSSL is told, and whether it needs its legacy provider. */
const FORMS: Readonly<Record<string, readonly string[]>> = {
  'the defaults of OpenSSL 3': [],
  'legacy: RC2-40 and triple DES': ['-legacy'],
  'RC2-128 and two-key triple DES': ['-legacy', '-certpbe', 'PBE-SHA1-RC2-128', '-keypbe', 'PBE-SHA1-2DES'],
  'AES-128 and triple DES under PBES2': ['-certpbe', 'aes-128-cbc', '-keypbe', 'des-ede3-cbc'],
  'a MAC with SHA-512': ['-macalg', 'sha512'],
  'a MAC with SHA-1 of one round': ['-macalg', 'sha1', '-nomaciter'],
  'no MAC': ['-nomac'],
  'nothing encrypted': ['-certpbe', 'NONE', '-keypbe', 'NONE'],
  'a friendly name': ['-name', 'Grüße'],
}

function exported(dir: string, svid: TestSvid, password: string, form: readonly string[]): Buffer {
  const files = writeSvid(dir, svid)
  const out = join(dir, 'out.p12')
  const output = ['-out', out, '-passout', `pass:${password}`]
  openssl(['pkcs12', '-export', '-inkey', files.key, '-in', files.certificate, ...output, ...form])
  return readFileSync(out)
}

function samePublicKey(a: string, b: ReturnType<typeof createPrivateKey>): boolean {
  return createPublicKey(a).equals(createPublicKey(b))
}

for (const [form, args] of Object.entries(FORMS)) {
  test(`what OpenSSL writes with ${form} is read`, async (t) => {
    const dir = temporaryFolder(t)
    const svid = await (await createTestMesh()).issue('/ns/shop/sa/cart')
    for (const [kind, password] of Object.entries(PASSWORDS)) {
      await t.test(`password: ${kind}`, () => {
        const der = exported(dir, svid, password, args)
        assert.ok(looksLikePkcs12(der))
        const { keys, certificates } = readPkcs12(der, password)
        assert.equal(keys.length, 1)
        assert.ok(samePublicKey(svid.keyPem, keys[0]!))
        assert.deepEqual(certificates, svid.chain)
      })
    }
  })

  test(`what OpenSSL writes with ${form} does not open with another password, nor without one`, async (t) => {
    const svid = await (await createTestMesh()).issue('/a')
    const der = exported(temporaryFolder(t), svid, 'geheim', args)
    assert.throws(() => readPkcs12(der, 'Geheim'), { code: 'ERR_PASSWORD_WRONG' })
    assert.throws(() => readPkcs12(der, undefined), { code: 'ERR_PASSWORD_MISSING' })
  })
}

test('no wrong password opens a file without MAC, not even one whose padding happens to fit', async (t) => {
  const svid = await (await createTestMesh()).issue('/a')
  const der = exported(temporaryFolder(t), svid, 'geheim', ['-nomac', '-iter', '1'])
  for (let number = 0; number < 1500; number++) assert.throws(() => readPkcs12(der, `wrong ${number}`), { code: 'ERR_PASSWORD_WRONG' })
})

const KEY_KINDS: readonly KeyAlgorithm[] = ['P-256', 'P-384', 'RSA-2048']

for (const keyAlgorithm of KEY_KINDS) {
  test(`OpenSSL reads what we write with a ${keyAlgorithm} key`, async (t) => {
    const dir = temporaryFolder(t)
    const svid = await (await createTestMesh()).issue('/ns/shop/sa/cart', { keyAlgorithm })
    for (const [kind, password] of Object.entries(PASSWORDS).filter(([kind]) => kind !== 'empty')) {
      await t.test(`password: ${kind}`, () => {
        const path = write(dir, svid, password)
        const said = openssl(['pkcs12', '-in', path, '-passin', `pass:${password}`, '-nodes'])
        assert.deepEqual(certificatesOfPem(said), svid.chain)
        assert.ok(samePublicKey(svid.keyPem, createPrivateKey(said)))
        assert.match(said, /friendlyName: cart/)
      })
    }
  })
}

function write(dir: string, svid: TestSvid, password: string): string {
  const path = join(dir, 'ours.p12')
  writeFileSync(path, writePkcs12({ key: createPrivateKey(svid.keyPem), certificates: svid.chain, password, name: 'cart' }))
  return path
}

test('what we write is closed with AES-256 and HMAC-SHA-256 of 100,000 rounds', async (t) => {
  const path = write(temporaryFolder(t), await (await createTestMesh()).issue('/a'), 'geheim')
  const said = execFileSync('sh', ['-c', `openssl pkcs12 -in '${path}' -passin pass:geheim -info -noout 2>&1`], { encoding: 'utf8' })
  assert.match(said, /MAC: sha256, Iteration 100000\nMAC length: 32, salt length: 16/)
  assert.equal(said.match(/PBES2, PBKDF2, AES-256-CBC, Iteration 100000, PRF hmacWithSHA256/g)?.length, 2)
})

test('OpenSSL refuses what we write under another password', async (t) => {
  const path = write(temporaryFolder(t), await (await createTestMesh()).issue('/a'), 'geheim')
  assert.throws(() => openssl(['pkcs12', '-in', path, '-passin', 'pass:Geheim', '-nodes']), /invalid password/)
})

test('what we write we read', async () => {
  const svid = await (await createTestMesh()).issue('/a')
  const der = writePkcs12({ key: createPrivateKey(svid.keyPem), certificates: svid.chain, password: 'geheim', name: 'a' })
  const { keys, certificates } = readPkcs12(der, 'geheim')
  assert.ok(samePublicKey(svid.keyPem, keys[0]!))
  assert.deepEqual(certificates, svid.chain)
})

test('no two files are alike, though they hold the same', async () => {
  const svid = await (await createTestMesh()).issue('/a')
  const options = { key: createPrivateKey(svid.keyPem), certificates: svid.chain, password: 'geheim', name: 'a' }
  assert.notDeepEqual(writePkcs12(options), writePkcs12(options))
})

function keytool(...args: string[]): string {
  return execFileSync('keytool', ['-J-Duser.language=en', ...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
}

function fingerprint(der: Buffer): string {
  return hash('sha256', der, 'hex')
    .toUpperCase()
    .replace(/..(?!$)/g, '$&:')
}

test(
  'Java reads what we write: a key with its chain, and trusted authorities',
  { skip: !HAS_JAVA && 'keytool is absent' },
  async (t: TestContext) => {
    const dir = temporaryFolder(t)
    const mesh = await createTestMesh()
    const svid = await mesh.issue('/ns/shop/sa/cart')
    const said = keytool('-list', '-v', '-keystore', write(dir, svid, 'geheim'), '-storepass', 'geheim')
    assert.match(said, /Alias name: cart\n[^]*Entry type: PrivateKeyEntry\nCertificate chain length: 2/)
    for (const der of svid.chain) assert.ok(said.includes(fingerprint(der)))

    const trust = join(dir, 'trust.p12')
    const certificates = [mesh.root.certificate, (await createTestMesh()).root.certificate]
    writeFileSync(trust, writePkcs12({ key: undefined, certificates, password: 'geheim', name: 'roots' }))
    const listed = keytool('-list', '-keystore', trust, '-storepass', 'geheim')
    assert.match(listed, /contains 2 entries/)
    assert.match(listed, /roots, .*trustedCertEntry/)
    assert.match(listed, /roots-2, .*trustedCertEntry/)
  },
)

test('what Java writes is read', { skip: !HAS_JAVA && 'keytool is absent' }, (t: TestContext) => {
  const path = join(temporaryFolder(t), 'java.p12')
  keytool(
    '-genkeypair',
    '-alias',
    'a',
    '-keyalg',
    'EC',
    '-dname',
    'CN=a',
    '-keystore',
    path,
    '-storetype',
    'PKCS12',
    '-storepass',
    'geheim',
  )
  const { keys, certificates } = readPkcs12(readFileSync(path), 'geheim')
  assert.deepEqual([keys.length, certificates.length], [1, 1])
})

test('a file with any byte changed is refused with a code of ours, and never gives other content', async (t) => {
  const svid = await (await createTestMesh()).issue('/a')
  const der = exported(temporaryFolder(t), svid, 'geheim', ['-macalg', 'sha256', '-nomaciter', '-iter', '1'])
  const codes = new Set<string>()
  for (let index = 0; index < der.length; index += 1 + (index % 5)) {
    const changed = Buffer.from(der)
    changed[index]! ^= 0x10
    try {
      const { certificates } = readPkcs12(changed, 'geheim')
      assert.deepEqual(certificates, svid.chain, `byte ${index}`)
    } catch (error) {
      const { code = String(error) } = error as { code?: string }
      assert.match(code, /^ERR_(PKCS12_|PASSWORD_|KEY_)/, `byte ${index}: ${String(error)}`)
      codes.add(code)
    }
  }
  assert.ok(codes.size >= 2, [...codes].join(' '))
})

test('a file that is cut short is not well-formed', async (t) => {
  const der = exported(temporaryFolder(t), await (await createTestMesh()).issue('/a'), 'geheim', [])
  for (const length of [12, 100, der.length - 1]) {
    assert.throws(() => readPkcs12(der.subarray(0, length), 'geheim'), { code: 'ERR_PKCS12_MALFORMED' })
  }
})

test('an absurd count of rounds is refused before it is counted', () => {
  const mac = (rounds: number) =>
    sequence(sequence(sequence(oid(OID.sha256), nothing()), octets(randomBytes(32))), octets(randomBytes(8)), integer(rounds))
  const content = Buffer.from('content')
  assert.equal(macHolds(mac(1), content, 'geheim'), false)
  for (const rounds of [0, 5_000_001, 2 ** 31 - 1])
    assert.throws(() => macHolds(mac(rounds), content, 'geheim'), { code: 'ERR_PKCS12_UNSUPPORTED' })
})
