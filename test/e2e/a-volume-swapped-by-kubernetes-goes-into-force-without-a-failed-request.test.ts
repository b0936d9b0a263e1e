import assert from 'node:assert/strict'
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { startApp } from '../fakes/apps.ts'
import { createTestMesh, type TestSvid } from '../support/authority.ts'
import { call, createMtlsAgent, dial } from '../support/mtls-client.ts'
import { type RunningSidecar, runSidecar } from '../support/sidecar.ts'

const FILES = ['svid.pem', 'key.pem', 'bundle.pem', 'policy.yaml'] as const

/** As the kubelet writes a volume: a new folder, then `..data` is made to point to it by a rename. */
function writeVolume(dir: string, version: number, content: Readonly<Record<(typeof FILES)[number], string>>): void {
  const folder = `..2026_0${version}`
  mkdirSync(join(dir, folder))
  for (const name of FILES) writeFileSync(join(dir, folder, name), content[name])
  symlinkSync(folder, join(dir, '..data_tmp'))
  renameSync(join(dir, '..data_tmp'), join(dir, '..data'))
}

function contentOf(svid: TestSvid, bundlePem: string, path: string): Record<(typeof FILES)[number], string> {
  return {
    'svid.pem': svid.certificatePem,
    'key.pem': svid.keyPem,
    'bundle.pem': bundlePem,
    'policy.yaml': `- allow: { and: [http_path: { in: [/both, ${path}] }] }\n`,
  }
}

async function serialShown(sidecar: RunningSidecar, svid: TestSvid): Promise<string> {
  const socket = await dial(sidecar.port, svid)
  const serial = socket.getPeerX509Certificate()?.serialNumber.toLowerCase().replace(/^0+/, '') ?? ''
  socket.destroy()
  return serial
}

test('the swap of ..data puts new certificates, bundles and policies in force, and no request fails', async (t) => {
  const mesh = await createTestMesh()
  const next = await createTestMesh()
  await using app = await startApp()
  const first = await mesh.issue('/ns/test/sa/service')
  const policy = contentOf(first, mesh.bundlePem, '/old')['policy.yaml']
  await using sidecar = await runSidecar({ mesh, app: app.port, svid: first, policy })
  writeVolume(sidecar.dir, 1, contentOf(first, mesh.bundlePem, '/old'))
  for (const name of FILES) {
    symlinkSync(join('..data', name), join(sidecar.dir, 'link'))
    renameSync(join(sidecar.dir, 'link'), join(sidecar.dir, name))
  }
  const { generation } = sidecar.source.current
  const caller = await mesh.issue('/ns/test/sa/caller')
  using kept = createMtlsAgent(caller, { maxSockets: 4 })
  using fresh = createMtlsAgent(caller, { keepAlive: false, maxSockets: 4 })
  assert.equal((await call(sidecar.port, kept, '/old')).status, 200)
  assert.equal((await call(sidecar.port, kept, '/new')).status, 403)

  let ended = false
  let requests = 0
  const load = [kept, kept, kept, fresh, fresh].map(async (agent) => {
    while (!ended) {
      assert.equal((await call(sidecar.port, agent, '/both')).status, 200)
      requests++
    }
  })
  const swapped = new Promise<void>((resolve) => {
    const before = sidecar.source.current
    const unsubscribe = sidecar.source.subscribe(({ identity, documents }) => {
      if (identity === before.identity || documents === before.documents) return
      unsubscribe()
      resolve()
    })
  })
  const second = await next.issue('/ns/test/sa/service')
  writeVolume(sidecar.dir, 2, contentOf(second, mesh.bundlePem + next.bundlePem, '/new'))
  rmSync(join(sidecar.dir, '..2026_01'), { recursive: true })
  await swapped
  const during = requests
  assert.equal((await call(sidecar.port, kept, '/new')).status, 200)
  assert.equal((await call(sidecar.port, kept, '/old')).status, 403)
  assert.equal(await serialShown(sidecar, caller), sidecar.source.current.identity.facts.serial)
  using other = createMtlsAgent(await next.issue('/ns/test/sa/caller'))
  assert.equal((await call(sidecar.port, other, '/new')).status, 200, 'callers of the added root are known')
  while (requests < during + 50) await new Promise((resolve) => void setImmediate(resolve))
  ended = true
  await Promise.all(load)
  assert.ok(sidecar.source.current.generation > generation)
  assert.equal(sidecar.source.lastReload.successful, true)
  const failed = (await sidecar.records()).filter((record) => record['path'] === '/both' && record['status'] !== 200)
  assert.deepEqual(failed, [])
  t.diagnostic(`${requests} requests, none failed; ${sidecar.source.current.generation - generation} new snapshots`)
})
