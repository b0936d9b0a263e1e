/** The X.509 profile of the Workload API, asked with @grpc/grpc-js (SPIFFE_Workload_API §4, §5). */
import assert from 'node:assert/strict'
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { test } from 'node:test'
import { createTestMesh } from '../support/authority.ts'
import { workloadApiClient } from '../support/workload-api-client.ts'
import { startWorkloadApi } from '../support/workload-api-server.ts'
import { createWorkloadSource, stateOf } from '../support/workload-source.ts'

const mesh = await createTestMesh()

test('W-6', async () => {
  const svid = await mesh.issue('/ns/shop/sa/cart')
  await using served = await startWorkloadApi(createWorkloadSource(stateOf([svid], [mesh])))
  using client = workloadApiClient(served.socket)
  await using stream = client.open('FetchX509SVID')
  const { svids } = await stream.next()
  assert.equal(svids.length, 1)
  assert.equal(svids[0].spiffe_id, svid.id)
  assert.ok(
    new X509Certificate(svids[0].x509_svid).checkPrivateKey(
      createPrivateKey({ key: svids[0].x509_svid_key, format: 'der', type: 'pkcs8' }),
    ),
  )
})
