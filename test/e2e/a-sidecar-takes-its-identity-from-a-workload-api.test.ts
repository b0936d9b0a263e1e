import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { startApp } from '../fakes/apps.ts'
import { createTestMesh } from '../support/authority.ts'
import { call, createMtlsAgent } from '../support/mtls-client.ts'
import { startSidecarProcess } from '../support/sidecar-process.ts'
import { ask } from '../support/small-client.ts'
import { workloadApiClient } from '../support/workload-api-client.ts'
import { startWorkloadApi } from '../support/workload-api-server.ts'
import { createJwtAuthority, createWorkloadSource, stateOf } from '../support/workload-source.ts'

test('a sidecar takes its identity and bundles from a Workload API, follows both, and serves them on to its app', async () => {
  const [mesh, partner] = await Promise.all([createTestMesh(), createTestMesh('partner.example')])
  const authority = createJwtAuthority()
  const svid = await mesh.issue('/ns/test/sa/service')
  const state = createWorkloadSource(stateOf([svid], [mesh, partner], [authority.jwk]), authority.issue)
  await using agent = await startWorkloadApi(state)
  await using app = await startApp()
  await using sidecar = await startSidecarProcess({
    mesh,
    app: app.port,
    spec: '  workloadApi: { listen: unix:workload.sock }\n',
    identity: `{ workloadApi: { socket: "unix:${agent.socket}" } }`,
  })
  const [ours, theirs] = await Promise.all([mesh.issue('/ns/test/sa/caller'), partner.issue('/ns/test/sa/caller')])
  const admin = join(sidecar.dir, 'admin.sock')
  const serial = async (): Promise<string> => ((await ask(admin, '/v1/identity')).json() as { serial: string }).serial
  const status = async (caller: typeof ours): Promise<number> => {
    using agent = createMtlsAgent(caller, { keepAlive: false, ca: mesh.bundlePem })
    return (await call(sidecar.port, agent, '/')).status
  }
  assert.equal(await status(ours), 200)
  assert.equal(await status(theirs), 200)

  using client = workloadApiClient(join(sidecar.dir, 'workload.sock'))
  await using stream = client.open('FetchX509SVID')
  assert.deepEqual(Object.keys((await stream.next()).federated_bundles), ['spiffe://partner.example'])
  const { svids } = await client.call('FetchJWTSVID', { audience: ['orders'] })
  const { spiffe_id } = await client.call('ValidateJWTSVID', { audience: 'orders', svid: svids[0].svid })
  assert.equal(spiffe_id, svid.id)

  const before = await serial()
  const renewed = await mesh.issue('/ns/test/sa/service')
  state.set(stateOf([renewed], [mesh], [authority.jwk]))
  assert.deepEqual((await stream.next()).svids[0].x509_svid, Buffer.concat(renewed.chain))
  assert.notEqual(await serial(), before)
  assert.equal(await status(ours), 200)
  await assert.rejects(status(theirs), 'the federated bundle was withdrawn')

  const last = await mesh.issue('/ns/test/sa/service')
  await agent.restart(createWorkloadSource(stateOf([last], [mesh])))
  assert.deepEqual((await stream.next()).svids[0].x509_svid, Buffer.concat(last.chain))
  assert.equal(await status(ours), 200)
})
