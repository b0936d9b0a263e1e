import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { decodeProtectedHeader } from 'jose'
import { startCaProcess } from '../support/ca-process.ts'
import { startSidecarProcess } from '../support/sidecar-process.ts'
import { workloadApiClient } from '../support/workload-api-client.ts'

test('an app gets JWT-SVIDs of the authority through its sidecar, and another app validates them at its own', async () => {
  await using ca = await startCaProcess()
  const spec = '  workloadApi: { listen: unix:workload.sock }\n'
  await using cart = await startSidecarProcess({ identity: await ca.identityFor('/ns/test/sa/cart'), spec })
  await using orders = await startSidecarProcess({ identity: await ca.identityFor('/ns/test/sa/orders'), spec })
  using asking = workloadApiClient(join(cart.dir, 'workload.sock'))
  using validating = workloadApiClient(join(orders.dir, 'workload.sock'))

  await using stream = asking.open('FetchX509SVID')
  assert.equal((await stream.next()).svids[0].spiffe_id, 'spiffe://example.org/ns/test/sa/cart')
  const { svids } = await asking.call('FetchJWTSVID', { audience: ['orders'] })
  assert.deepEqual(Object.keys(decodeProtectedHeader(svids[0].svid)).toSorted(), ['alg', 'kid', 'typ'])
  const { spiffe_id, claims } = await validating.call('ValidateJWTSVID', { audience: 'orders', svid: svids[0].svid })
  assert.equal(spiffe_id, 'spiffe://example.org/ns/test/sa/cart')
  assert.equal(claims.fields.sub.stringValue, spiffe_id)
  await assert.rejects(validating.call('ValidateJWTSVID', { audience: 'catalog', svid: svids[0].svid }), /ERR_TOKEN_AUDIENCE/)
  const again = await asking.call('FetchJWTSVID', { audience: ['orders'] })
  assert.equal(again.svids[0].svid, svids[0].svid, 'the same for half of its life')
})
