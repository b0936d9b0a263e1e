import assert from 'node:assert/strict'
import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { status } from '@grpc/grpc-js'
import { startSidecarProcess } from '../support/sidecar-process.ts'
import { secretClient, workloadApiClient } from '../support/workload-api-client.ts'

test('an app that speaks SPIFFE gets the identity of its sidecar, and each renewal of it; Envoy on the same socket too', async () => {
  await using sidecar = await startSidecarProcess({ spec: '  workloadApi: { listen: unix:workload.sock, access: group }\n' })
  const socket = join(sidecar.dir, 'workload.sock')
  assert.equal(statSync(socket).mode & 0o777, 0o660)
  using client = workloadApiClient(socket)
  await using stream = client.open('FetchX509SVID')
  const first = await stream.next()
  assert.equal(first.svids[0].spiffe_id, 'spiffe://example.org/ns/test/sa/service')
  assert.equal(first.svids[0].hint, '')

  using envoy = secretClient(socket)
  const secrets = await envoy.call('FetchSecrets', { resource_names: ['default', 'ROOTCA', first.svids[0].spiffe_id] })
  assert.equal(secrets.resources.length, 3)

  const renewed = await sidecar.mesh.issue('/ns/test/sa/service')
  sidecar.write('key.pem', renewed.keyPem)
  sidecar.write('svid.pem', renewed.certificatePem)
  assert.deepEqual((await stream.next()).svids[0].x509_svid, Buffer.concat(renewed.chain))
  assert.notEqual((await envoy.call('FetchSecrets', { resource_names: ['default'] })).version_info, secrets.version_info)

  await assert.rejects(client.call('FetchJWTSVID', { audience: ['x'] }), { code: status.UNAVAILABLE, details: /comes from files/ })

  sidecar.child.kill('SIGTERM')
  assert.equal((await stream.failure()).code, status.UNAVAILABLE)
  assert.equal(await sidecar.exited, 0)
  assert.ok(!existsSync(socket))
})
