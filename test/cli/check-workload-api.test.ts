/** The doctor on an identity from a Workload API: who answers, what it offers, and whether peers would take it. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import * as grpc from '@grpc/grpc-js'
import { checkCommand } from '#cli/check'
import { systemClock } from '#base/clock'
import { startFakeAgent } from '../fakes/workload-api-agent.ts'
import { createTestMesh, type TestSvid } from '../support/authority.ts'
import { runInProcess } from '../support/run-command.ts'
import { createSidecarFolder } from '../support/sidecar-folder.ts'
import { startSidecarProcess } from '../support/sidecar-process.ts'
import { certificatesOfPem, parsePem } from '#pki/pem'

interface Checked {
  readonly id: string
  readonly status: string
  readonly details: readonly string[]
}

type Found = (id: string) => Checked | undefined

async function check(identity: string, env: Readonly<Record<string, string>> = {}, ...more: readonly string[]): Promise<Found> {
  using folder = await createSidecarFolder({ identity })
  const { stdout } = await runInProcess(checkCommand, ['--config', folder.file, '--output', 'json', ...more], { env })
  const { checks } = JSON.parse(stdout) as { checks: readonly Checked[] }
  return (id) => checks.find((one) => one.id === id)
}

/** As FetchX509SVID says it. */
function offer({ id, certificatePem, keyPem, bundlePem }: TestSvid): object {
  return {
    spiffe_id: id,
    x509_svid: Buffer.concat(certificatesOfPem(certificatePem)),
    x509_svid_key: parsePem(keyPem)[0]?.der,
    bundle: Buffer.concat(certificatesOfPem(bundlePem)),
  }
}

test('all is well with the socket of a sidecar that serves the Workload API, named by the document or by the environment', async () => {
  await using sidecar = await startSidecarProcess({ spec: '  workloadApi: { listen: unix:w.sock }\n' })
  const socket = join(sidecar.dir, 'w.sock')
  for (const found of [
    await check(`{ workloadApi: { socket: "unix:${socket}" } }`),
    await check('{ workloadApi: {} }', { SPIFFE_ENDPOINT_SOCKET: `unix://${socket}` }),
  ]) {
    for (const id of ['workload-api-answers', 'workload-api-identity', 'clock-skew', 'certificate-expiry', 'bundle-expiry'])
      assert.equal(found(id)?.status, 'passed', `${id}: ${found(id)?.details.join(' ')}`)
    assert.deepEqual(found('workload-api-identity')?.details, ['spiffe://example.org/ns/test/sa/service'])
  }
})

test('nobody who answers, nowhere to ask, and offline', async () => {
  const away = await check('{ workloadApi: { socket: unix:nobody.sock } }')
  assert.equal(away('workload-api-answers')?.status, 'failed')
  assert.match(away('workload-api-answers')?.details[0] ?? '', /ERR_WORKLOAD_API_UNREACHABLE/)
  assert.equal(away('workload-api-identity')?.status, 'skipped')
  const nowhere = await check('{ workloadApi: {} }')
  assert.match(nowhere('workload-api-answers')?.details[0] ?? '', /Neither .* nor SPIFFE_ENDPOINT_SOCKET .*\(ERR_WORKLOAD_API_ENDPOINT\)/)
  const wrong = await check('{ workloadApi: {} }', { SPIFFE_ENDPOINT_SOCKET: 'unix:relative.sock' })
  assert.equal(wrong('workload-api-answers')?.status, 'failed')
  const offline = await check('{ workloadApi: { socket: unix:nobody.sock } }', {}, '--offline')
  assert.equal(offline('workload-api-answers'), undefined)
})

test('an agent that knows no such workload, offers others, or offers what peers would refuse', async () => {
  const mesh = await createTestMesh()
  const [cart, web] = [offer(await mesh.issue('/ns/shop/sa/cart')), offer(await mesh.issue('/ns/shop/sa/web'))]
  const now = systemClock.now()
  const ended = offer({ ...(await mesh.issueFlawed({ notBefore: now - 7_200_000, notAfter: now - 3_600_000 })), bundlePem: mesh.bundlePem })
  const stranger = offer({ ...(await mesh.issue('/x')), bundlePem: (await createTestMesh()).bundlePem })
  for (const [answer, id, status, says] of [
    [{ code: grpc.status.PERMISSION_DENIED }, 'workload-api-answers', 'failed', /ERR_WORKLOAD_API_DENIED/],
    [{ message: { svids: [cart, web] } }, 'workload-api-identity', 'failed', /offers several identities: .*cart.*web/],
    [{ message: { svids: [ended] } }, 'workload-api-identity', 'failed', /ERR_SVID_EXPIRED/],
    [{ message: { svids: [stranger] } }, 'workload-api-identity', 'failed', /peers would refuse spiffe:\S+: ERR_SVID_/],
    [
      { message: { svids: [cart], federated_bundles: { 'spiffe://other.example': Buffer.from('x') } } },
      'workload-api-identity',
      'warning',
      /other\.example/,
    ],
  ] as const) {
    await using agent = await startFakeAgent({ FetchX509SVID: [answer] })
    const found = (await check(`{ workloadApi: { socket: "unix:${agent.socket}" } }`))(id)
    assert.equal(found?.status, status, JSON.stringify(found))
    assert.match(found.details.join(' '), says)
  }
})
