import assert from 'node:assert/strict'
import { once } from 'node:events'
import { request as httpsRequest } from 'node:https'
import { text } from 'node:stream/consumers'
import { test } from 'node:test'
import { systemClock } from '#base/clock'
import type { ControllerConfig } from '#config/controller-document'
import type { Identity, IdentityFeed } from '#config/snapshot'
import { type Controller, startController } from '#controller/controller'
import { RESOURCES } from '#controller/snapshot/objects'
import { createKubeClient } from '#kube/client'
import { createMetrics } from '#telemetry/metrics'
import { createTestMesh, type TestMesh } from '../support/authority.ts'
import { createRecordingLog } from '../support/recording-log.ts'
import { identityOf, trustIn } from '../support/trust.ts'
import { type KubeApiFake, send, startKubeApi } from '../fakes/kube-api.ts'

const NAMES = ['postern-controller.postern-system.svc']
const mesh = await createTestMesh('example.org')
const cart = await mesh.issue('/ns/shop/sa/cart')

const ANY = { kind: 'tcp', host: '127.0.0.1', port: 0 } as const
const CONFIG: ControllerConfig = {
  trustDomain: 'example.org',
  identity: { kind: 'files', certificate: '', key: '', bundle: '' },
  webhook: ANY,
  snapshots: ANY,
  health: undefined,
  injection: {
    image: 'example.org/postern:1',
    namespace: 'postern-system',
    ca: 'ca:7100',
    controller: 'controller:7201',
    interception: 'redirect',
    passThrough: 'allow',
    excludeNetworks: [],
    trustBundle: undefined,
  },
}

class Feed implements Pick<IdentityFeed, 'current' | 'subscribe'> {
  current: Identity
  readonly listeners = new Set<() => void>()
  constructor(current: Identity) {
    this.current = current
  }
  subscribe(listener: () => void): () => void {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }
  next(current: Identity): void {
    this.current = current
    for (const listener of this.listeners) listener()
  }
}

async function identityIn(from: TestMesh, trusting: readonly TestMesh[] = [from]): Promise<Identity> {
  const svid = await from.issue('/ns/postern-system/sa/postern-controller', { dnsNames: NAMES })
  return { identity: identityOf(svid), trust: trustIn(trusting) }
}

interface Patch {
  readonly path: string
  readonly body: unknown
}

interface Running extends AsyncDisposable {
  readonly controller: Controller
  readonly feed: Feed
  readonly patches: Patch[]
  patched(path: string, accept?: (patch: Patch) => boolean): Promise<Patch>
}

async function run(api: KubeApiFake): Promise<Running> {
  const feed = new Feed(await identityIn(mesh))
  const patches: Patch[] = []
  const waiting = new Map<string, (patch: Patch) => void>()
  api.intercept = (request, response, body) => {
    if (request.method !== 'PATCH') return false
    const patch = { path: request.url ?? '', body: JSON.parse(body) as unknown }
    patches.push(patch)
    send(response, 200, { metadata: { name: 'x', uid: 'x', resourceVersion: '1' } })
    waiting.get(patch.path)?.(patch)
    return true
  }
  const metrics = createMetrics()
  const controller = await startController({
    config: CONFIG,
    client: createKubeClient(api.access, systemClock),
    feed: feed as unknown as IdentityFeed,
    metrics,
    log: createRecordingLog(),
    clock: systemClock,
    random: () => 0.5,
    replica: 'one',
    version: '1.0.0',
    interval: 20,
  })
  return {
    controller,
    feed,
    patches,
    patched: (path, accept = () => true) => new Promise((resolve) => waiting.set(path, (patch) => void (accept(patch) && resolve(patch)))),
    async [Symbol.asyncDispose]() {
      await controller.close()
      metrics.close()
    },
  }
}

interface Answer {
  readonly status: number | undefined
  readonly body: string
  readonly connection: string | undefined
}

async function post(port: number, path: string, body: unknown, options: object): Promise<Answer> {
  const request = httpsRequest({ port, host: '127.0.0.1', path, method: 'POST', ...options })
  request.end(JSON.stringify(body))
  const [response] = await once(request, 'response')
  return { status: response.statusCode, body: await text(response), connection: response.headers.connection }
}

const POD = { kind: 'Pod', metadata: { generateName: 'a-' }, spec: { containers: [{ name: 'app', ports: [{ containerPort: 8080 }] }] } }
const REVIEW = { request: { uid: '1', operation: 'CREATE', kind: { kind: 'Pod' }, namespace: 'shop', object: POD } }

test('pods of a labelled namespace are injected over TLS that the API server can verify by name, before and after a renewal', async () => {
  await using api = await startKubeApi(100)
  api.put(RESOURCES.namespaces, { metadata: { name: 'shop', labels: { 'postern.dev/inject': 'enabled' } } })
  await using running = await run(api)
  await running.controller.mesh.ready
  const asApiServer = { ca: mesh.bundlePem, servername: NAMES[0] }
  const first = await post(running.controller.webhookPort, '/inject?timeout=10s', REVIEW, asApiServer)
  assert.equal(first.status, 200)
  assert.match(first.body, /"patchType":"JSONPatch"/)
  running.feed.next(await identityIn(mesh))
  assert.equal((await post(running.controller.webhookPort, '/inject', REVIEW, asApiServer)).status, 200)
  assert.equal((await post(running.controller.webhookPort, '/inject', { no: 'review' }, asApiServer)).status, 400)
  assert.equal((await post(running.controller.webhookPort, '/other', REVIEW, asApiServer)).status, 404)
  const wrong = { request: { uid: '1', object: { kind: 'Policy', spec: { rules: [{ allow: { and: [{ http_pth: '/' }] } }] } } } }
  assert.match((await post(running.controller.webhookPort, '/policies', wrong, asApiServer)).body, /Did you mean `http_path`/)
})

test('the webhook is published under our bundle, and under both roots while one is replaced', async () => {
  await using api = await startKubeApi(100)
  const configurations = { group: 'admissionregistration.k8s.io', version: 'v1', plural: 'mutatingwebhookconfigurations' }
  api.put(configurations, { metadata: { name: 'postern' }, webhooks: [{ name: 'inject.postern.dev', clientConfig: { service: {} } }] })
  await using running = await run(api)
  const path = '/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/postern'
  const bundleOf = ({ body }: Patch): string => Buffer.from((body as { value: string }[])[1]?.value ?? '', 'base64').toString()
  assert.equal(
    bundleOf(running.patches.find((patch) => patch.path === path) ?? (await running.patched(path))).trim(),
    mesh.bundlePem.trim(),
  )
  const next = await createTestMesh('example.org')
  const both = running.patched(path, (patch) => bundleOf(patch).match(/BEGIN CERTIFICATE/g)?.length === 2)
  running.feed.next({
    identity: running.feed.current.identity,
    trust: trustIn([{ trustDomain: 'example.org', bundlePem: mesh.bundlePem + next.bundlePem }]),
  })
  await both
})

test('a policy that sidecars refuse says so in its status, and one that they run says how many', async () => {
  await using api = await startKubeApi(100)
  api.put(RESOURCES.policies, { metadata: { name: 'typo', namespace: 'shop', generation: 3 }, spec: { rules: [{ alow: {} }] } })
  await using running = await run(api)
  const path = '/apis/postern.dev/v1/namespaces/shop/policies/typo/status'
  const first = running.patches.find((patch) => patch.path === path) ?? (await running.patched(path))
  const { status } = first.body as {
    status: { sidecars: string; observedGeneration: number; conditions: { status: string; reason: string; message: string }[] }
  }
  assert.equal(status.sidecars, '0 of 0')
  assert.equal(status.observedGeneration, 3)
  assert.deepEqual([status.conditions[0]?.status, status.conditions[0]?.reason], ['False', 'Invalid'])
  assert.match(status.conditions[0]?.message ?? '', /spec\.rules\[0\]\.alow/)

  const asCart = { cert: cart.certificatePem, key: cart.keyPem, rejectUnauthorized: false }
  const snapshot = await post(running.controller.snapshotPort, '/v1/snapshot', { digest: '', instance: 'cart-1' }, asCart)
  const { digest } = JSON.parse(snapshot.body) as { digest: string }
  const seen = new Promise<string>((resolve) => {
    api.intercept = (request, response, body) => {
      if (request.method !== 'PATCH') return false
      send(response, 200, {})
      const { sidecars } = (JSON.parse(body) as { status: { sidecars: string } }).status
      if (sidecars !== '0 of 1') resolve(sidecars)
      return true
    }
  })
  const poll = post(running.controller.snapshotPort, '/v1/snapshot', { digest, instance: 'cart-1' }, asCart).catch(() => undefined)
  assert.equal(await seen, '1 of 1')
  await running.controller.close()
  await poll
})
