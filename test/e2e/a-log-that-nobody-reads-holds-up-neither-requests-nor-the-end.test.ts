import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { startApp } from '../fakes/apps.ts'
import { createTestMesh } from '../support/authority.ts'
import { createFifo } from '../support/fifo.ts'
import { call, createMtlsAgent } from '../support/mtls-client.ts'
import { ALLOW_ALL } from '../support/sidecar.ts'

const MAIN = join(import.meta.dirname, '..', '..', 'src', 'cli', 'main.ts')
/** At some 700 bytes a record, three times what a pipe holds. */
const REQUESTS = 300

test('a log that nobody reads holds up neither requests nor the end', async () => {
  using stdout = createFifo()
  await using app = await startApp((_request, response) => response.end('hello'))
  const mesh = await createTestMesh()
  const svid = await mesh.issue('/ns/test/sa/service')
  const folder = mkdtempSync(join(tmpdir(), 'postern-e2e-'))
  const files = {
    'svid.pem': svid.certificatePem,
    'key.pem': svid.keyPem,
    'bundle.pem': svid.bundlePem,
    'policy.yaml': ALLOW_ALL,
    'sidecar.yaml': `apiVersion: postern.dev/v1
kind: Sidecar
metadata: { name: service, namespace: test }
spec:
  identity:
    files: { certificate: svid.pem, key: key.pem, bundle: bundle.pem }
  inbound:
    - { listen: 127.0.0.1:0, app: 127.0.0.1:${app.port} }
  policies: [policy.yaml]
  health: off
`,
  }
  for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content)
  const child = spawn(process.execPath, [MAIN, 'sidecar', '--config', join(folder, 'sidecar.yaml')], {
    cwd: folder,
    stdio: ['ignore', stdout.writer, 'pipe'],
  })
  const { stderr } = child
  assert.ok(stderr)
  const exited = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>
  try {
    let port = 0
    for await (const line of createInterface({ input: stderr })) {
      const said = JSON.parse(line) as { readonly msg: string; readonly port?: number }
      if (said.msg === 'takes callers') port = said.port ?? 0
      if (said.msg === 'ready') break
    }
    stderr.resume()
    using agent = createMtlsAgent(await mesh.issue('/ns/test/sa/caller'))
    for (let index = 0; index < REQUESTS; index++) {
      assert.equal((await call(port, agent, `/${index}`)).status, 200)
    }
    child.kill('SIGTERM')
    assert.deepEqual(await exited, [0, null])
    const lines = stdout.read().split('\n')
    // The last one is what the pipe had room for.
    const records = lines.slice(0, -1).map((line) => JSON.parse(line) as { readonly path: string })
    assert.ok(records.length > 50 && records.length < REQUESTS, `${records.length} records`)
    assert.deepEqual(
      records.map(({ path }) => path),
      records.map((_, index) => `/${index}`),
    )
  } finally {
    if (child.exitCode === null) child.kill('SIGKILL')
    rmSync(folder, { recursive: true })
  }
})
