/** The authority under a clock that is set forward, set back, or stood still while the process was suspended. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { readWorkloadIdentity } from '#pki/workload-identity'
import { generatePrivateKey } from '#pki/keys'
import { requestSvid } from '#pki/request-svid'
import { startTestCa, type TestCa } from '../support/ca.ts'

const HOUR = 3_600_000

/** Its own certificate is looked at every second; resolves when another is in force. */
async function renewed(ca: TestCa, times: number): Promise<void> {
  const count = (): number => ca.log.lines.filter(({ message }) => message === 'renewed its own certificate').length
  while (count() < times) await ca.get('/v1/bundle')
}

test('past the end of its own certificate, and after a clock that was set back, it has another and goes on', async (t) => {
  let offset = 0
  const ca = await startTestCa(t, { clock: { now: () => Date.now() + offset, monotonic: () => performance.now() } })
  await ca.obtain('/ns/shop/sa/a')
  offset = 100 * HOUR
  await renewed(ca, 1)
  const later = readWorkloadIdentity(await ca.obtain('/ns/shop/sa/b'))
  assert.ok(later.facts.notAfter > Date.now() + offset)
  offset = 0
  await renewed(ca, 2)
  assert.ok(await ca.obtain('/ns/shop/sa/c'))
})

test('past the end of its authority it issues nothing, says both times, and is not ready', async (t) => {
  let offset = 0
  const ca = await startTestCa(t, {
    intermediateTtl: 20 * HOUR,
    clock: { now: () => Date.now() + offset, monotonic: () => performance.now() },
  })
  assert.match(ca.log.lines.map(({ message }) => message).join('\n'), /^(?!.*ends at)/)
  offset = 19 * HOUR
  const ready = () => ca.ca.checks.find(({ name }) => name === 'authority')?.run()
  assert.equal(ready()?.ok, true)
  assert.match(ready()?.detail ?? '', /The active X\.509 authority ends at \d{4}-.*postern ca rotate prepare/)
  offset = 21 * HOUR
  assert.equal(ready()?.ok, false)
  const attestation = { type: 'join_token', token: await ca.token('/ns/shop/sa/a') }
  const answer = await ca.post('/v1/x509-svid', { attestation, csr: requestSvid(await generatePrivateKey()) })
  assert.deepEqual([answer.status, answer.body['code']], [503, 'ERR_CA_NO_AUTHORITY'])
  const line = ca.records.lines.find(({ fields }) => fields['reason'] === 'ERR_CA_NO_AUTHORITY')
  assert.match(String(line?.fields['detail']), /it ended at \d{4}-.*by the clock of the authority it is \d{4}-/)
  assert.equal(await ca.store.countIssuances(), 0)
})
