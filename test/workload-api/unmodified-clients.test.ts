/** Clients of others, as they come from their registries: py-spiffe and go-spiffe each fetch, watch a renewal and a restart, and validate. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { createTestMesh, type TestSvid } from '../support/authority.ts'
import { runSidecar } from '../support/sidecar.ts'
import { startApp } from '../fakes/apps.ts'
import { absent, GO_SPIFFE, PY_SPIFFE, type RunningClient, runClient } from '../support/spiffe-clients.ts'
import { identityOf } from '../support/trust.ts'
import { startWorkloadApi } from '../support/workload-api-server.ts'
import { createJwtAuthority, createWorkloadSource, stateOf } from '../support/workload-source.ts'

const [mesh, partner] = await Promise.all([createTestMesh(), createTestMesh('partner.example')])
const svids = await Promise.all(Array.from({ length: 3 }, () => mesh.issue('/ns/shop/sa/cart')))
const [first, renewed, afterRestart] = svids as [TestSvid, TestSvid, TestSvid]
const authority = createJwtAuthority()
const stateWith = (svid: TestSvid, withPartner = true) =>
  stateOf([{ ...svid, hint: 'main' }], withPartner ? [mesh, partner] : [mesh], [authority.jwk])
const serialOf = (svid: TestSvid): string => identityOf(svid).facts.serial
/** Both print serials without leading zeros or with a whole first byte. */
const plain = (serial: unknown): string => String(serial).replace(/^0+/, '')

async function fetchesWatchesAndValidates(
  client: RunningClient,
  source: ReturnType<typeof createWorkloadSource>,
  restart: () => Promise<void>,
): Promise<void> {
  const x509 = await client.event(({ event }) => event === 'x509')
  assert.equal(x509['id'], first.id)
  assert.equal(plain(x509['serial']), plain(serialOf(first)))
  assert.equal(x509['chain'], first.chain.length)
  assert.deepEqual([...(x509['domains'] as string[])].toSorted(), ['example.org', 'partner.example'])
  assert.equal((await client.event(({ event }) => event === 'bundles'))['count'], 2)
  const jwt = await client.event(({ event }) => event === 'jwt')
  assert.deepEqual([jwt['id'], jwt['audience']], [first.id, ['catalog']])
  assert.equal((await client.event(({ event }) => event === 'validated'))['id'], first.id)
  assert.match(String((await client.event(({ event }) => event === 'invalid'))['message']), /ERR_TOKEN_AUDIENCE/)

  source.set(stateWith(renewed, false))
  const update = await client.event(({ event, serial }) => event === 'x509' && plain(serial) === plain(serialOf(renewed)))
  assert.deepEqual(update['domains'], ['example.org'])

  source.set(stateWith(afterRestart))
  await restart()
  await client.event(({ event, serial }) => event === 'x509' && plain(serial) === plain(serialOf(afterRestart)))
}

test('py-spiffe fetches, watches a renewal and a restart, and validates', { skip: absent.pySpiffe }, async () => {
  const source = createWorkloadSource(stateWith(first), authority.issue)
  await using served = await startWorkloadApi(source)
  await using client = runClient([PY_SPIFFE.python, join(import.meta.dirname, '../clients/py-spiffe/main.py')], served.socket)
  assert.deepEqual((await client.event(({ event }) => event === 'jwt-bundles'))['domains'], ['example.org', 'partner.example'])
  await fetchesWatchesAndValidates(client, source, () => served.restart())
})

test('go-spiffe fetches, watches a renewal and a restart, validates, and calls a sidecar', { skip: absent.goSpiffe }, async () => {
  const source = createWorkloadSource(stateWith(first), authority.issue)
  await using served = await startWorkloadApi(source)
  await using app = await startApp()
  await using sidecar = await runSidecar({ mesh, app: app.port })
  const sidecarId = sidecar.source.current.identity.id.uri
  await using client = runClient([GO_SPIFFE, `127.0.0.1:${sidecar.port}`, sidecarId], served.socket)
  assert.equal((await client.event(({ event }) => event === 'locally'))['id'], first.id)
  assert.equal((await client.event(({ event }) => event === 'answer'))['status'], 200)
  const record = await sidecar.record(({ msg }) => msg === 'decision')
  assert.deepEqual((record['peer'] as { id: string }).id, first.id)
  assert.equal((await client.event(({ event }) => event === 'x509'))['hint'], 'main')
  await fetchesWatchesAndValidates(client, source, () => served.restart())
})
