/** `certs convert`: between PEM, DER and PKCS#12, from any form to any other, judged by OpenSSL. */
import assert from 'node:assert/strict'
import { createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto'
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { createCsr } from '#pki/csr'
import type { KeyAlgorithm } from '#pki/keys'
import { certificatesOfPem, certificatesPem } from '#pki/pem'
import { convertCommand } from '../../certs-tooling/convert.ts'
import { createTestMesh, type TestSvid, writeSvid } from '../support/authority.ts'
import { openssl, temporaryFolder } from '../support/openssl.ts'
import { type CommandRun, runInProcess, type RunOptions } from '../support/run-command.ts'

interface Folder {
  readonly dir: string
  readonly svid: TestSvid
  readonly convert: (args: readonly string[], options?: RunOptions) => Promise<CommandRun>
}

async function folder(t: TestContext, keyAlgorithm: KeyAlgorithm = 'P-256'): Promise<Folder> {
  const dir = temporaryFolder(t)
  const svid = await (await createTestMesh('example.org')).issue('/ns/shop/sa/cart', { keyAlgorithm })
  writeSvid(dir, svid)
  writeFileSync(join(dir, 'password'), 'Grüße 🔑\nsecond line\n')
  return { dir, svid, convert: async (args, options) => runInProcess(convertCommand(), args, { cwd: dir, ...options }) }
}

function isKeyOf(svid: TestSvid, key: string | Buffer, form: 'pem' | 'der' = 'pem'): boolean {
  const read = form === 'pem' ? createPrivateKey(key) : createPrivateKey({ key: key as Buffer, format: 'der', type: 'pkcs8' })
  return createPublicKey(read).equals(createPublicKey(svid.keyPem))
}

for (const keyAlgorithm of ['P-256', 'RSA-2048'] as const) {
  test(`PEM to PKCS#12 and back, with a ${keyAlgorithm} key: OpenSSL reads the one, and the other is what was given`, async (t) => {
    const { dir, svid, convert } = await folder(t, keyAlgorithm)
    const there = await convert([
      'svid.pem',
      'key.pem',
      '--to',
      'p12',
      '--out',
      'cart.p12',
      '--name',
      'cart',
      '--password-file',
      'password',
    ])
    assert.equal(there.status, 0, there.stderr)
    assert.match(there.stderr, /^√ cart\.p12: 2 certificates and 1 private key$/m)
    assert.equal((statSync(join(dir, 'cart.p12')).mode & 0o777).toString(8), '600')
    const said = openssl(['pkcs12', '-in', join(dir, 'cart.p12'), '-passin', 'pass:Grüße 🔑', '-nodes'])
    assert.deepEqual(certificatesOfPem(said), svid.chain)
    assert.match(said, /friendlyName: cart/)
    const back = await convert(['cart.p12', '--to', 'pem', '--out', 'back.pem', '--password-env', 'SECRET'], {
      env: { SECRET: 'Grüße 🔑' },
    })
    assert.equal(back.status, 0, back.stderr)
    assert.equal(readFileSync(join(dir, 'back.pem'), 'utf8'), svid.certificatePem + svid.keyPem)
    assert.equal((statSync(join(dir, 'back.pem')).mode & 0o777).toString(8), '600')
  })
}

test('a file of OpenSSL in its legacy form is modernised', async (t) => {
  const { dir, svid, convert } = await folder(t)
  const old = [
    '-inkey',
    join(dir, 'key.pem'),
    '-in',
    join(dir, 'svid.pem'),
    '-out',
    join(dir, 'old.p12'),
    '-passout',
    'pass:Grüße 🔑',
    '-legacy',
  ]
  openssl(['pkcs12', '-export', ...old])
  assert.throws(() => openssl(['pkcs12', '-in', join(dir, 'old.p12'), '-passin', 'pass:Grüße 🔑', '-nodes']), /unsupported/)
  assert.equal((await convert(['old.p12', '--to', 'p12', '--out', 'new.p12', '--password-file', 'password'])).status, 0)
  assert.deepEqual(certificatesOfPem(openssl(['pkcs12', '-in', join(dir, 'new.p12'), '-passin', 'pass:Grüße 🔑', '-nodes'])), svid.chain)
})

test('PEM to DER and back, of a certificate and of a key', async (t) => {
  const { dir, svid, convert } = await folder(t)
  await convert(['svid.pem', '--to', 'der', '--only', 'leaf', '--out', 'leaf.der'])
  assert.deepEqual(readFileSync(join(dir, 'leaf.der')), svid.certificate)
  assert.equal((statSync(join(dir, 'leaf.der')).mode & 0o777).toString(8), '644')
  await convert(['key.pem', '--to', 'der', '--out', 'key.der'])
  assert.ok(isKeyOf(svid, readFileSync(join(dir, 'key.der')), 'der'))
  assert.equal((statSync(join(dir, 'key.der')).mode & 0o777).toString(8), '600')
  const { stdout } = await convert(['leaf.der', 'key.der', '--to', 'pem', '--out', '-'])
  assert.equal(stdout, certificatesPem([svid.certificate]) + svid.keyPem)
})

test('several objects do not fit into DER', async (t) => {
  const { convert } = await folder(t)
  const { status, stderr } = await convert(['svid.pem', 'key.pem', '--to', 'der', '--out', 'out.der'])
  assert.equal(status, 2)
  assert.match(stderr, /DER holds one object, and there are 3: choose with --only leaf or --only key/)
})

test('the key tells which certificate comes first, in whatever order they are given', async (t) => {
  const { svid, convert, dir } = await folder(t)
  writeFileSync(join(dir, 'reversed.pem'), certificatesPem([...svid.chain].reverse()) + svid.keyPem)
  const { stdout } = await convert(['reversed.pem', '--to', 'pem', '--out', '-', '--only', 'certificates'])
  assert.equal(stdout, svid.certificatePem)
})

test('what is given twice is written once', async (t) => {
  const { svid, convert } = await folder(t)
  const { stdout } = await convert(['svid.pem', 'svid.pem', 'key.pem', 'key.pem', '--to', 'pem', '--out', '-'])
  assert.equal(stdout, svid.certificatePem + svid.keyPem)
})

test('encrypted keys of every form of OpenSSL are opened', async (t) => {
  const { dir, svid, convert } = await folder(t)
  const key = join(dir, 'key.pem')
  writeFileSync(join(dir, 'secret'), 'secret')
  const forms = {
    'pbes2.pem': ['pkcs8', '-topk8', '-in', key, '-passout', 'pass:secret'],
    'pbes2.der': ['pkcs8', '-topk8', '-in', key, '-passout', 'pass:secret', '-outform', 'DER', '-out', join(dir, 'pbes2.der')],
    'scrypt.pem': ['pkcs8', '-topk8', '-in', key, '-passout', 'pass:secret', '-scrypt'],
    'legacy.pem': ['ec', '-in', key, '-aes128', '-passout', 'pass:secret'],
    'plain-sec1.pem': ['ec', '-in', key],
    'sec1.der': ['ec', '-in', key, '-outform', 'DER', '-out', join(dir, 'sec1.der')],
  }
  for (const [name, args] of Object.entries(forms)) {
    const said = openssl(args)
    if (name.endsWith('.pem')) writeFileSync(join(dir, name), said)
    const { status, stdout, stderr } = await convert([name, '--to', 'pem', '--out', '-', '--password-file', 'secret'])
    assert.equal(status, 0, `${name}: ${stderr}`)
    assert.equal(stdout, svid.keyPem, name)
  }
  const without = await convert(['pbes2.pem', '--to', 'pem', '--out', '-'])
  assert.match(without.stderr, /private key in pbes2\.pem is encrypted.*ERR_PASSWORD_MISSING/)
  for (const name of ['pbes2.pem', 'pbes2.der', 'legacy.pem']) {
    const wrong = await convert([name, '--to', 'pem', '--out', '-', '--password-file', 'password'])
    assert.match(wrong.stderr, /ERR_PASSWORD_WRONG/, name)
  }
})

test('without a key the certificates become trusted ones', async (t) => {
  const { dir, convert } = await folder(t)
  const { status, stderr } = await convert([
    'bundle.pem',
    '--to',
    'p12',
    '--name',
    'example.org',
    '--out',
    'trust.p12',
    '--password-file',
    'password',
  ])
  assert.equal(status, 0, stderr)
  const said = openssl(['pkcs12', '-in', join(dir, 'trust.p12'), '-passin', 'pass:Grüße 🔑'])
  assert.match(said, /friendlyName: example\.org/)
  assert.match(said, /2\.16\.840\.1\.113894\.746875\.1\.1:/)
  assert.equal((statSync(join(dir, 'trust.p12')).mode & 0o777).toString(8), '644')
})

const REFUSED: readonly (readonly [string, readonly string[], RegExp])[] = [
  ['no form', ['svid.pem', '--out', 'x'], /--to` is missing: choose pem, der or p12.*ERR_USAGE/],
  ['an unknown form', ['svid.pem', '--to', 'jks', '--out', 'x'], /takes no `jks`.*ERR_USAGE/],
  ['no output', ['svid.pem', '--to', 'pem'], /--out` is missing.*ERR_USAGE/],
  ['an unknown selection', ['svid.pem', '--to', 'pem', '--out', 'x', '--only', 'root'], /choose leaf, certificates, key.*ERR_USAGE/],
  [
    'two sources of the password',
    ['svid.pem', '--to', 'p12', '--out', 'x', '--password-file', 'a', '--password-env', 'B'],
    /exclude each other.*ERR_USAGE/,
  ],
  [
    'PKCS#12 without password',
    ['svid.pem', 'key.pem', '--to', 'p12', '--out', 'x'],
    /written with a password: give one.*ERR_PASSWORD_MISSING/,
  ],
  [
    'an empty password',
    ['svid.pem', 'key.pem', '--to', 'p12', '--out', 'x', '--password-file', 'empty'],
    /the one given is empty.*ERR_PASSWORD_MISSING/,
  ],
  [
    'a variable that is not set',
    ['svid.pem', '--to', 'p12', '--out', 'x', '--password-env', 'NOT_SET'],
    /no variable `NOT_SET`.*ERR_PASSWORD_MISSING/,
  ],
  [
    'a password file that is not there',
    ['svid.pem', '--to', 'p12', '--out', 'x', '--password-file', 'none'],
    /none cannot be read.*ERR_FILE_UNREADABLE/,
  ],
  [
    'PKCS#12 of a key alone',
    ['key.pem', '--to', 'p12', '--out', 'x', '--password-file', 'password'],
    /needs the certificate of the key.*ERR_FILE_KIND/,
  ],
  [
    'a key of another certificate',
    ['svid.pem', 'other-key.pem', '--to', 'p12', '--out', 'x', '--password-file', 'password'],
    /ERR_CHAIN_KEY_MISMATCH/,
  ],
  ['two keys', ['svid.pem', 'key.pem', 'other-key.pem', '--to', 'pem', '--out', 'x'], /There are 2 private keys.*ERR_FILE_KIND/],
  ['a request', ['request.pem', '--to', 'der', '--out', 'x'], /holds a certificate request, which is not converted.*ERR_FILE_KIND/],
  ['a key where there is none', ['svid.pem', '--to', 'pem', '--out', 'x', '--only', 'key'], /There is no private key.*ERR_FILE_KIND/],
  [
    'what is none of all this',
    ['password', '--to', 'pem', '--out', 'x'],
    /password is not a certificate, key, request or bundle.*ERR_FILE_KIND/,
  ],
  ['an empty file', ['empty', '--to', 'pem', '--out', 'x'], /it is empty.*ERR_FILE_KIND/],
  ['a folder', ['.', '--to', 'pem', '--out', 'x'], /it is a folder.*ERR_FILE_UNREADABLE/],
  ['a broken block', ['broken.pem', '--to', 'pem', '--out', 'x'], /PEM block is broken off.*ERR_FILE_KIND/],
  ['the wrong password', ['cart.p12', '--to', 'pem', '--out', 'x', '--password-file', 'wrong'], /ERR_PASSWORD_WRONG/],
  ['a missing password', ['cart.p12', '--to', 'pem', '--out', 'x'], /ERR_PASSWORD_MISSING/],
  ['a PKCS#12 file that is cut short', ['cut.p12', '--to', 'pem', '--out', 'x', '--password-file', 'password'], /ERR_PKCS12_MALFORMED/],
]

test('what cannot be converted is refused with status 2, and nothing is written', async (t) => {
  const { dir, svid, convert } = await folder(t)
  const other = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
  writeFileSync(join(dir, 'other-key.pem'), other.export({ type: 'pkcs8', format: 'pem' }))
  writeFileSync(join(dir, 'request.pem'), await createCsr({ privateKey: other }))
  writeFileSync(join(dir, 'empty'), '')
  writeFileSync(join(dir, 'wrong'), 'wrong')
  writeFileSync(join(dir, 'broken.pem'), svid.certificatePem.slice(0, 300))
  await convert(['svid.pem', 'key.pem', '--to', 'p12', '--out', 'cart.p12', '--password-file', 'password'])
  writeFileSync(join(dir, 'cut.p12'), readFileSync(join(dir, 'cart.p12')).subarray(0, -9))
  for (const [what, args, message] of REFUSED) {
    await t.test(what, async () => {
      const { status, stderr, stdout } = await convert(args)
      assert.deepEqual([status, stdout], [2, ''])
      assert.match(stderr, message)
      assert.equal(existsSync(join(dir, 'x')), false)
    })
  }
})

test('an output file that exists is not overwritten without --force', async (t) => {
  const { dir, svid, convert } = await folder(t)
  const refused = await convert(['svid.pem', '--to', 'pem', '--out', 'key.pem'])
  assert.match(refused.stderr, /key\.pem exists.*ERR_FILE_EXISTS/)
  assert.equal(readFileSync(join(dir, 'key.pem'), 'utf8'), svid.keyPem)
  assert.equal((await convert(['svid.pem', '--to', 'pem', '--out', 'key.pem', '--force'])).status, 0)
  assert.equal(readFileSync(join(dir, 'key.pem'), 'utf8'), svid.certificatePem)
})

test('no option takes the password itself', async (t) => {
  const { convert } = await folder(t)
  for (const option of ['--password', '--pass']) {
    assert.match((await convert(['svid.pem', '--to', 'p12', '--out', 'x', option, 'secret'])).stderr, /ERR_USAGE/)
  }
})
