import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { startApp } from '../fakes/apps.ts'
import { call, createMtlsAgent } from '../support/mtls-client.ts'
import { startSidecarProcess } from '../support/sidecar-process.ts'
import { ask } from '../support/small-client.ts'

test('SIGHUP reads all files again: a good version goes into force, a bad one changes nothing and shows', async () => {
  await using app = await startApp()
  await using sidecar = await startSidecarProcess({ app: app.port, policy: '- allow: { and: [http_path: /one] }\n' })
  const { child } = sidecar
  const svid = await sidecar.mesh.issue('/ns/test/sa/caller')
  using agent = createMtlsAgent(svid)
  const status = async (path: string): Promise<number> => (await call(sidecar.port, agent, path)).status
  const admin = join(sidecar.dir, 'admin.sock')
  const config = async () =>
    (await ask(admin, '/v1/config')).json() as { generation: number; last_reload: { at: string; successful: boolean } }
  assert.deepEqual([await status('/one'), await status('/two')], [200, 403])

  // Nothing has changed: what is seen is the reading alone.
  const before = await config()
  child.kill('SIGHUP')
  await sidecar.logged((line) => line['msg'] === 'reads all files again')
  while ((await config()).last_reload.at === before.last_reload.at) continue
  const same = await config()
  assert.deepEqual([same.generation, same.last_reload.successful], [before.generation, true])

  sidecar.write('policy.yaml', '- allow: { and: [http_path: /two] }\n')
  child.kill('SIGHUP')
  await sidecar.logged((line) => /is in force/.test(String(line['msg'])) && Number(line['generation']) > before.generation)
  assert.deepEqual([await status('/one'), await status('/two')], [403, 200])
  assert.equal(await sidecar.metric('postern_config_last_reload_successful'), 1)

  sidecar.write('policy.yaml', '- allow: { and: [http_pth: /one] }\n')
  child.kill('SIGHUP')
  const problem = await sidecar.logged((line) => /Did you mean `http_path`/.test(JSON.stringify(line)))
  assert.match(JSON.stringify(problem), /policy\.yaml:1:\d+/)
  assert.deepEqual([await status('/one'), await status('/two')], [403, 200])
  assert.equal(await sidecar.metric('postern_config_last_reload_successful'), 0)
  const ready = await ask(join(sidecar.dir, 'health.sock'), '/readyz?verbose')
  assert.equal(ready.status, 200, 'the last good version guards as well as before')
  assert.match(ready.text, /policy\.yaml/)

  const renewed = await sidecar.mesh.issue('/ns/test/sa/service')
  sidecar.write('svid.pem', renewed.certificatePem)
  sidecar.write('key.pem', renewed.keyPem)
  child.kill('SIGHUP')
  using fresh = createMtlsAgent(svid, { keepAlive: false })
  const serialShown = async (): Promise<string> => ((await ask(admin, '/v1/identity')).json() as { serial: string }).serial
  while (!renewed.certificate.toString('hex').includes(await serialShown())) continue
  assert.equal((await call(sidecar.port, fresh, '/two')).status, 200)
  assert.equal(child.exitCode, null)
  assert.ok(
    sidecar.records.every((record) => record['msg'] === 'decision'),
    'records are all that stdout gets',
  )
})
