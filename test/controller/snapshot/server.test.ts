import assert from 'node:assert/strict'
import { once } from 'node:events'
import { Agent, request as httpsRequest } from 'node:https'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { text } from 'node:stream/consumers'
import { systemClock } from '#base/clock'
import type { Mesh } from '#controller/snapshot/mesh'
import { createSnapshotServer, type SnapshotServer } from '#controller/snapshot/server'
import type { SidecarSnapshot } from '#controller/snapshot/snapshot'
import { createTestMesh } from '../../support/authority.ts'
import { identityOf, trustIn } from '../../support/trust.ts'

const mesh = await createTestMesh('example.org')
const foreign = await createTestMesh('example.org')
const own = await mesh.issue('/ns/postern-system/sa/postern-controller')
const cart = await mesh.issue('/ns/shop/sa/cart')

class MeshFake implements Pick<Mesh, 'snapshot' | 'subscribe' | 'synced'> {
  synced = true
  readonly snapshots = new Map<string, SidecarSnapshot>()
  readonly listeners = new Set<() => void>()
  snapshot(namespace: string): SidecarSnapshot | undefined {
    return this.snapshots.get(namespace)
  }
  subscribe(listener: () => void): () => void {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }
  set(namespace: string, digest: string): void {
    this.snapshots.set(namespace, { digest, policies: [], services: [], federation: {} })
    for (const listener of this.listeners) listener()
  }
}

interface Running extends AsyncDisposable {
  readonly fake: MeshFake
  readonly server: SnapshotServer
  readonly refused: string[]
  ask(body: unknown, options?: object, path?: string): Promise<{ status: number; body: string }>
}

async function run(wait = 60_000): Promise<Running> {
  const fake = new MeshFake()
  const refused: string[] = []
  const server = createSnapshotServer({
    mesh: fake as unknown as Mesh,
    identity: { identity: identityOf(own), trust: trustIn([mesh]) },
    clock: systemClock,
    onRefused: (reason) => void refused.push(reason),
    wait,
  })
  server.server.listen(0, '127.0.0.1')
  await once(server.server, 'listening')
  const { port } = server.server.address() as AddressInfo
  const agent = new Agent()
  return {
    fake,
    server,
    refused,
    async ask(body, options = { cert: cart.certificatePem, key: cart.keyPem }, path = '/v1/snapshot') {
      const request = httpsRequest({ port, host: '127.0.0.1', path, method: 'POST', agent, rejectUnauthorized: false, ...options })
      request.end(typeof body === 'string' ? body : JSON.stringify(body))
      const [response] = await once(request, 'response')
      return { status: response.statusCode, body: await text(response) }
    },
    async [Symbol.asyncDispose]() {
      agent.destroy()
      server.close()
      await Promise.resolve()
    },
  }
}

const A = 'a'.repeat(64)
const B = 'b'.repeat(64)

test('a sidecar gets what concerns its namespace at once, then waits for news of it alone, and what it has is known', async () => {
  await using running = await run()
  running.fake.set('shop', A)
  const first = await running.ask({ digest: '', instance: 'cart-1' })
  assert.equal(first.status, 200)
  assert.equal((JSON.parse(first.body) as SidecarSnapshot).digest, A)
  const next = running.ask({ digest: A, instance: 'cart-1' })
  running.fake.set('bank', B)
  running.fake.set('shop', B)
  assert.equal((JSON.parse((await next).body) as SidecarSnapshot).digest, B)
  const [report, ...others] = running.server.reports()
  assert.deepEqual(others, [])
  assert.deepEqual([report?.namespace, report?.serviceAccount, report?.instance, report?.digest], ['shop', 'cart', 'cart-1', A])
})

test('without news the answer is 304 in the end; before everything is known, 503', async () => {
  await using running = await run(50)
  running.fake.set('shop', A)
  assert.equal((await running.ask({ digest: A, instance: 'x' })).status, 304)
  running.fake.snapshots.clear()
  running.fake.synced = false
  assert.equal((await running.ask({ digest: '', instance: 'x' })).status, 503)
})

test('who has no certificate of the mesh is refused before anything is read', async () => {
  await using running = await run()
  const stranger = await foreign.issue('/ns/shop/sa/cart')
  await assert.rejects(running.ask({ digest: '', instance: 'x' }, {}))
  await assert.rejects(running.ask({ digest: '', instance: 'x' }, { cert: stranger.certificatePem, key: stranger.keyPem }))
  assert.equal(running.refused[0], 'ERR_TLS_NO_CERTIFICATE')
  assert.equal(running.refused.length, 2)
})

test('an identity that is no service account, and bodies that are no question, get an answer without content', async () => {
  await using running = await run()
  const odd = await mesh.issue('/postern/ca')
  assert.equal((await running.ask({ digest: '', instance: 'x' }, { cert: odd.certificatePem, key: odd.keyPem })).status, 403)
  assert.equal((await running.ask({ digest: '', instance: 'x' }, undefined, '/v1/other')).status, 404)
  for (const body of [
    '',
    '{',
    '[]',
    { digest: 1, instance: 'x' },
    { digest: '', instance: 'a b' },
    { digest: 'zz', instance: 'x' },
    'x'.repeat(2000),
  ]) {
    assert.equal((await running.ask(body)).status, 400, JSON.stringify(body).slice(0, 50))
  }
})
