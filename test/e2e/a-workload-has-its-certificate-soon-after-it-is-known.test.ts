/** From the moment that the authority knows of a workload (its join token is made) to its SVID in the sidecar's hands, trust and revocations included. */
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { systemClock } from '#base/clock'
import { createCaSvidSource } from '#svid-source/ca'
import { silentLog } from '#telemetry/log'
import { median } from '../../bench/median.ts'
import { startCaProcess } from '../support/ca-process.ts'

const WORKLOADS = 20

test('a workload that becomes known has its certificate within a second', async (t) => {
  await using ca = await startCaProcess()
  const times: number[] = []
  for (let index = 0; index < WORKLOADS; index++) {
    const begun = performance.now()
    const file = join(ca.dir, `token-${index}`)
    const [token = ''] = await ca.tokens([`/ns/shop/sa/app-${index}`])
    writeFileSync(file, token)
    const source = await createCaSvidSource({
      ca: {
        kind: 'ca',
        address: { kind: 'tcp', host: '127.0.0.1', port: ca.port },
        trustDomain: undefined,
        bundle: ca.bundleFile,
        attest: { method: 'joinToken', file },
        cache: undefined,
      },
      federation: [],
      clock: systemClock,
      log: silentLog,
      random: Math.random,
    })
    times.push(performance.now() - begun)
    assert.equal(source.current.identity.id.path, `/ns/shop/sa/app-${index}`)
    source.close()
  }
  t.diagnostic(`known → SVID in hand: median ${median(times).toFixed(0)} ms, longest ${Math.max(...times).toFixed(0)} ms of ${WORKLOADS}`)
  assert.ok(median(times) < 1000)
})
