/**
 * Starts the sidecar of a bundle once, and keeps the code that V8 has made of it by the time it is ready. Run by the build, in a process
 * with the flags that ship: `node … scripts/write-code.ts FOLDER SCRIPT`.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { get } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { setTimeout as delay } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { createAuthority } from '#pki/authority'
import { issueSvid } from '#pki/issue'
import type { Command } from '../src/cli/command.ts'
import { codeFile, runPrecompiled } from './precompiled.ts'

const DAY = 86_400_000
const PATIENCE = 30_000

const [folder = '', name = ''] = process.argv.slice(2)
const work = mkdtempSync(join(tmpdir(), 'postern-code-'))
try {
  await writeDocuments()
  const { script, exports } = runPrecompiled(folder, name, pathToFileURL(join(folder, 'postern.js')).href)
  const command = exports['sidecarCommand'] as Command
  const { stdin, stdout, stderr, env } = process
  const ended = command.run(['--config', join(work, 'sidecar.yaml')], { stdin, stdout, stderr, env, cwd: work, colour: false })
  await Promise.race([untilReady(), ended.then((status) => Promise.reject(new Error(`The sidecar ended with status ${status}.`)))])
  writeFileSync(join(folder, codeFile(name)), script.createCachedData())
} finally {
  rmSync(work, { recursive: true, force: true })
}
process.exit()

/** One of each kind of listener, and a policy with the usual criteria. */
async function writeDocuments(): Promise<void> {
  const now = Date.now()
  const trustDomain = 'build.example'
  const span = { trustDomain, notBefore: now - 60_000, notAfter: now + DAY }
  const root = await createAuthority({ ...span, kind: 'root' })
  const issuer = await createAuthority({ ...span, kind: 'intermediate', issuer: root })
  const { certificatePem, keyPem = '' } = await issueSvid({
    authority: issuer,
    id: `spiffe://${trustDomain}/ns/shop/sa/catalog`,
    now,
    ttl: DAY,
  })
  const documents = {
    'certificate.pem': certificatePem,
    'key.pem': keyPem,
    'bundle.pem': root.certificatePem,
    'sidecar.yaml': `apiVersion: postern.dev/v1
kind: Sidecar
metadata: { name: catalog, namespace: shop }
spec:
  identity:
    files: { certificate: certificate.pem, key: key.pem, bundle: bundle.pem }
  inbound:
    - { listen: "127.0.0.1:0", app: "127.0.0.1:9", protocol: http1 }
    - { listen: "127.0.0.1:0", app: "unix:app.sock", protocol: http2 }
  policies: [policy.yaml]
  admin: unix:admin.sock
  health: unix:health.sock
`,
    'policy.yaml': `apiVersion: postern.dev/v1
kind: Policy
metadata: { name: catalog-readers, namespace: shop }
spec:
  rules:
    - name: cart-reads
      allow:
        and:
          - spiffe_id: { is: spiffe://${trustDomain}/ns/shop/sa/cart }
          - http_method: { in: [GET, HEAD] }
          - http_path: { starts_with: /catalog/ }
    - deny:
        or:
          - http_path: { starts_with: /catalog/internal }
`,
  }
  for (const [file, text] of Object.entries(documents)) writeFileSync(join(work, file), text, { mode: 0o600 })
}

async function untilReady(): Promise<void> {
  const late = performance.now() + PATIENCE
  while (!(await isReady())) {
    if (performance.now() > late) throw new Error(`The sidecar was not ready within ${PATIENCE / 1000} s.`)
    await delay(5)
  }
}

function isReady(): Promise<boolean> {
  return new Promise((resolve) => {
    const request = get({ socketPath: join(work, 'health.sock'), path: '/readyz', agent: false }, (response) => {
      response.resume()
      resolve(response.statusCode === 200)
    })
    request.once('error', () => resolve(false))
  })
}
