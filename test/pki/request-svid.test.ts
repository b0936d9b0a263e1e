/** The request of a workload: read by our own reader and by OpenSSL. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { test } from 'node:test'
import type { PosternError } from '#base/errors'
import { readCsr } from '#pki/csr'
import { generatePrivateKey, publicKeyOf, spkiOf } from '#pki/keys'
import { requestSvid } from '#pki/request-svid'

function verdictOfOpenssl(csr: string): string {
  const { stdout, stderr } = spawnSync('openssl', ['req', '-verify', '-noout'], { input: csr, encoding: 'utf8' })
  return stdout + stderr
}

test('a request proves its key to our reader and to OpenSSL, and asks for nothing', async () => {
  for (let round = 0; round < 40; round++) {
    const key = await generatePrivateKey()
    const csr = requestSvid(key)
    const read = readCsr(Buffer.from(csr))
    assert.deepEqual(spkiOf(read.publicKey), spkiOf(publicKeyOf(key)))
    assert.deepEqual([read.subject, read.uris, read.dnsNames, read.extensions], ['', [], [], []])
    if (round === 0) assert.match(verdictOfOpenssl(csr), /verify OK/)
  }
})

test('keys of another kind are refused by name', () => {
  for (const pair of [
    generateKeyPairSync('ec', { namedCurve: 'P-384' }),
    generateKeyPairSync('ed25519'),
    generateKeyPairSync('ec', { namedCurve: 'secp256k1' }),
  ])
    assert.throws(
      () => requestSvid(pair.privateKey),
      (error: PosternError) => error.code === 'ERR_KEY_WEAK',
    )
})
