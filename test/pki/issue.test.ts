/** What is issued, judged by OpenSSL and by @peculiar/x509: the issuer's rows of X509-SVID and RFC 5280's profile. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { createTestMesh, writeSvid } from '../support/authority.ts'

function openssl(...args: string[]): string {
  return execFileSync('openssl', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
}

test('OpenSSL verifies an issued chain in strict mode, as a client and as a server', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'postern-issue-'))
  t.after(() => rmSync(dir, { recursive: true }))
  for (const emptySubject of [false, true]) {
    const mesh = await createTestMesh('example.org')
    const svid = await mesh.issue('/ns/shop/sa/cart', { emptySubject })
    const files = writeSvid(dir, svid)
    writeFileSync(join(dir, 'root.pem'), mesh.bundlePem)
    for (const purpose of ['sslclient', 'sslserver']) {
      const said = openssl(
        'verify',
        '-x509_strict',
        '-purpose',
        purpose,
        '-CAfile',
        files.bundle,
        '-untrusted',
        files.certificate,
        files.certificate,
      )
      assert.match(said, /: OK/)
    }
  }
})
