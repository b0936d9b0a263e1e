/** The doctor on an identity from the authority: what it finds, and that it spends no token. */
import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { checkCommand } from '#cli/check'
import { CACHE_FILE } from '#svid-source/ca-cache'
import { type FakeCa, startFakeCa } from '../fakes/ca.ts'
import { createTestMesh } from '../support/authority.ts'
import { runInProcess } from '../support/run-command.ts'
import { createSidecarFolder, type SidecarFolder } from '../support/sidecar-folder.ts'
import { startSidecarProcess } from '../support/sidecar-process.ts'

interface Checked {
  readonly id: string
  readonly status: string
  readonly details: readonly string[]
}

async function check(file: string, ...more: readonly string[]): Promise<(id: string) => Checked> {
  const { stdout, stderr } = await runInProcess(checkCommand, ['--config', file, '--output', 'json', ...more])
  const { checks } = JSON.parse(stdout) as { checks: readonly Checked[] }
  return (id) => checks.find((one) => one.id === id) ?? assert.fail(`no ${id} in ${stdout} ${stderr}`)
}

function folderOf(ca: FakeCa, more = ''): Promise<SidecarFolder> {
  const identity = `{ ca: { address: "127.0.0.1:${ca.port}", bundle: bundle.pem, attest: { joinToken: { file: token } }${more} } }`
  return createSidecarFolder({ mesh: ca.mesh, identity, prepare: (dir) => writeFileSync(join(dir, 'token'), 'secret') })
}

test('all is well where the authority answers, and no token is spent', async () => {
  await using ca = await startFakeCa()
  using folder = await folderOf(ca)
  const found = await check(folder.file)
  for (const id of ['identity-files', 'bundles-valid', 'ca-attestation', 'ca-reachable', 'ca-clock', 'bundle-expiry'])
    assert.equal(found(id).status, 'passed', JSON.stringify(found(id)))
  for (const id of ['certificate-expiry', 'ca-renewal']) assert.equal(found(id).status, 'skipped')
  assert.deepEqual(
    ca.requests.map(({ path }) => path),
    ['/v1/bundle'],
  )
})

test('an authority that is away, that is somebody else, and offline', async () => {
  await using ca = await startFakeCa()
  using folder = await folderOf(ca)
  await ca.stop()
  const away = (await check(folder.file))('ca-reachable')
  assert.equal(away.status, 'failed')
  assert.match(away.details[0]!, /nothing listens there \(ECONNREFUSED\)\. \(ERR_CA_UNREACHABLE\)/)
  await ca.start()
  folder.write('bundle.pem', (await createTestMesh()).bundlePem)
  const other = (await check(folder.file))('ca-reachable')
  assert.equal(other.status, 'failed')
  assert.match(other.details[0]!, /is not the authority: its certificate is refused: ERR_SVID_ISSUER_UNKNOWN/)
  const { stdout } = await runInProcess(checkCommand, ['--config', folder.file, '--output', 'json', '--offline'])
  assert.equal(stdout.includes('ca-reachable'), false)
})

for (const [ahead, status, sentence] of [
  [-600_000, 'failed', /The clock of this host is 10 minutes ahead of the authority’s/],
  [30_000, 'warning', /The clock of this host is 30 seconds behind the authority’s/],
] as const) {
  test(`clocks that differ by ${Math.abs(ahead) / 1000} s: ${status}`, async () => {
    await using ca = await startFakeCa()
    ca.now = () => Date.now() + ahead
    using folder = await folderOf(ca)
    const clock = (await check(folder.file))('ca-clock')
    assert.equal(clock.status, status)
    assert.match(clock.details[0]!, sentence)
  })
}

test('a token that is missing, a bundle that is broken, and a kept identity that others can read', async () => {
  await using ca = await startFakeCa()
  using folder = await folderOf(ca, ', cache: kept')
  rmSync(join(folder.dir, 'token'))
  mkdirSync(join(folder.dir, 'kept'))
  folder.write(join('kept', CACHE_FILE), '{}')
  chmodSync(join(folder.dir, 'kept', CACHE_FILE), 0o644)
  const found = await check(folder.file)
  assert.match(found('ca-attestation').details[0]!, /token` does not exist/)
  assert.equal(found('ca-attestation').status, 'failed')
  assert.match(found('identity-cache').details[0]!, /its mode is 0644/)
  assert.equal(found('identity-cache').status, 'warning')
  folder.write('bundle.pem', 'x')
  assert.equal((await check(folder.file))('bundles-valid').status, 'failed')
})

test('a sidecar that cannot renew is found out before its certificate ends', async () => {
  await using ca = await startFakeCa({ ttl: 20_000 })
  ca.renewShare = 0.05
  const identity = `{ ca: { address: "127.0.0.1:${ca.port}", bundle: bundle.pem, attest: { joinToken: { file: token } } } }`
  await using sidecar = await startSidecarProcess({
    mesh: ca.mesh,
    identity,
    prepare: (dir) => writeFileSync(join(dir, 'token'), 'secret'),
  })
  ca.answer = ({ path }) =>
    path === '/v1/x509-svid' ? { status: 503, body: { code: 'ERR_CA_STORE', detail: 'the disk is full' } } : undefined
  const failed = new Set<number>()
  await sidecar.logged((line) => line['reason'] === 'ERR_CA_BUSY' && failed.add(Number(line['attempt'])).size >= 3)
  const found = await check(join(sidecar.dir, 'sidecar.yaml'))
  assert.equal(found('ca-renewal').status, 'failed')
  assert.match(found('ca-renewal').details[0]!, /tries in a row failed to renew it\. Last, at .*the disk is full \(ERR_CA_STORE\)/)
  assert.notEqual(found('certificate-expiry').status, 'skipped')
})
