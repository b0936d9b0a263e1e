/** Two sidecars whose certificates live for seconds, under steady traffic for three lifetimes. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startApp } from '../fakes/apps.ts'
import { startCaProcess } from '../support/ca-process.ts'
import { outboundTo } from '../support/outbound-entries.ts'
import { runSidecar } from '../support/sidecar.ts'
import { steadyCalls } from '../support/steady-calls.ts'

const LIFE = 4_000

test('a caller and a service that renew every two seconds: 50 requests a second over three lifetimes, none fails', async (t) => {
  await using app = await startApp()
  await using ca = await startCaProcess({ x509: `${LIFE / 1000}s` })
  await using called = await runSidecar({ app: app.port, identity: await ca.identityFor('/ns/test/sa/service') })
  await using calling = await runSidecar({
    identity: await ca.identityFor('/ns/test/sa/caller'),
    outbound: outboundTo([called.port], '/ns/test/sa/service'),
  })
  const calls = await steadyCalls(calling.outboundPort, { every: 20, for: 3 * LIFE })
  assert.deepEqual(calls.failures, [])
  const records = (await called.records()).filter((record) => record['msg'] === 'decision')
  // One that met the end of its connection is recorded as cut, and was sent again on another.
  const whole = records.filter(({ reason }) => reason === undefined)
  assert.equal(whole.length, calls.answered)
  const serials = new Set<string>()
  for (const { peer, time } of records as unknown as { peer: { serial: string; not_after: string }; time: string }[]) {
    serials.add(peer.serial)
    assert.ok(Date.parse(time) <= Date.parse(peer.not_after), `seen at ${time} with a certificate that ended at ${peer.not_after}`)
  }
  t.diagnostic(`${calls.answered} requests under ${serials.size} certificates of the caller, none failed`)
  assert.ok(serials.size >= 4, `${serials.size} certificates`)
})
