import assert from 'node:assert/strict'
import { mkdirSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { startApp } from '../fakes/apps.ts'
import { startLoad } from '../support/load.ts'
import { call, createMtlsAgent } from '../support/mtls-client.ts'
import { startSidecarProcess } from '../support/sidecar-process.ts'

const RULES = 10_000
const RULES_PER_FILE = 500

/** Each file is replaced as a whole; the last rule allows `allowed`, the others are about other callers and paths. */
function writePolicies(folder: string, version: number, allowed: string): void {
  mkdirSync(folder, { recursive: true })
  for (let from = 0; from < RULES; from += RULES_PER_FILE) {
    const rules = Array.from({ length: RULES_PER_FILE }, (_, offset) => {
      const index = from + offset
      const last = index === RULES - 1
      const path = last ? `{ in: [/always, ${allowed}] }` : `/v${version}/resource-${index}`
      return `- allow: { and: [service_account: ${last ? 'caller' : `other-${index % 1000}`}, http_method: { in: [GET, HEAD] }, http_path: ${path}] }\n`
    })
    const file = join(folder, `policy-${from}.yaml`)
    writeFileSync(`${file}.new`, rules.join(''))
    renameSync(`${file}.new`, file)
  }
}

test('10,000 rules are reloaded under load without a failed request', async (t) => {
  await using app = await startApp()
  await using sidecar = await startSidecarProcess({
    app: app.port,
    policies: '[policies/]',
    prepare: (dir) => writePolicies(join(dir, 'policies'), 1, '/one'),
  })
  const svid = await sidecar.mesh.issue('/ns/test/sa/caller')
  using agent = createMtlsAgent(svid)
  const status = async (path: string): Promise<number> => (await call(sidecar.port, agent, path)).status
  assert.deepEqual([await status('/one'), await status('/two')], [200, 403])
  assert.equal(await sidecar.metric('postern_policy_rules'), RULES)

  await using load = await startLoad({ port: sidecar.port, svid, connections: 10, perSecond: 300, paths: ['/always'] })
  const took: number[] = []
  for (const [version, allowed] of [
    [2, '/two'],
    [3, '/three'],
  ] as const) {
    const begun = performance.now()
    writePolicies(join(sidecar.dir, 'policies'), version, allowed)
    while ((await status(allowed)) !== 200) await new Promise((resolve) => void setTimeout(resolve, 50))
    took.push(performance.now() - begun)
  }
  const { requests, statuses, p99, longest } = await load.stop()
  t.diagnostic(
    `${requests} requests, p99 ${p99.toFixed(1)} ms, longest ${longest.toFixed(1)} ms; new rules were in force after ${took.map((ms) => `${(ms / 1000).toFixed(1)} s`).join(' and ')}`,
  )
  assert.deepEqual(statuses, { 200: requests })
  assert.deepEqual([await status('/one'), await status('/two'), await status('/three')], [403, 403, 200])
  assert.equal(await sidecar.metric('postern_config_last_reload_successful'), 1)
})
