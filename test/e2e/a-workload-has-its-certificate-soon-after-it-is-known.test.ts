/** From the moment that the authority knows of a workload (its join token is made) to its SVID in the sidecar's hands, trust and revocations included. */
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { median } from '../../bench/median.ts'
import { startCaProcess } from '../support/ca-process.ts'
import { joinedSource } from '../support/joined-source.ts'

const WORKLOADS = 20

test('a workload that becomes known has its certificate within a second', async (t) => {
  await using ca = await startCaProcess()
  const times: number[] = []
  for (let index = 0; index < WORKLOADS; index++) {
    const begun = performance.now()
    const file = join(ca.dir, `token-${index}`)
    const [token = ''] = await ca.tokens([`/ns/shop/sa/app-${index}`])
    writeFileSync(file, token)
    const source = await joinedSource(ca.port, ca.bundleFile, file)
    times.push(performance.now() - begun)
    assert.equal(source.current.identity.id.path, `/ns/shop/sa/app-${index}`)
    source.close()
  }
  t.diagnostic(`known → SVID in hand: median ${median(times).toFixed(0)} ms, longest ${Math.max(...times).toFixed(0)} ms of ${WORKLOADS}`)
  assert.ok(median(times) < 1000)
})
