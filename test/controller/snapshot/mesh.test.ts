import assert from 'node:assert/strict'
import { once, EventEmitter } from 'node:events'
import { test } from 'node:test'
import { systemClock } from '#base/clock'
import { followMesh } from '#controller/snapshot/mesh'
import { RESOURCES } from '#controller/snapshot/objects'
import { createKubeClient } from '#kube/client'
import { startKubeApi } from '../../fakes/kube-api.ts'

test('a policy written is in the snapshot of its namespace alone; a status of a pod changes nothing', async () => {
  // The fake stores by the path it is listed under: all namespaces.
  await using api = await startKubeApi(100)
  api.put(RESOURCES.namespaces, { metadata: { name: 'shop', labels: { 'postern.dev/inject': 'enabled' } } })
  const pod = {
    metadata: { name: 'a', namespace: 'shop', annotations: { 'postern.dev/injected': '1' } },
    spec: { serviceAccountName: 'cart' },
  }
  api.put(RESOURCES.pods, pod)
  const client = createKubeClient(api.access, systemClock)
  const mesh = followMesh({ client, trustDomain: 'example.org', clock: systemClock, random: () => 0.5, onFault: () => {} })
  try {
    assert.equal(mesh.snapshot('shop'), undefined)
    await mesh.ready
    assert.equal(mesh.injectLabel('shop'), 'enabled')
    assert.equal(mesh.injectLabel('bank'), undefined)
    const shop = mesh.snapshot('shop')
    const bank = mesh.snapshot('bank')
    const changes = new EventEmitter()
    const changed = (): Promise<unknown> => once(changes, 'change')
    mesh.subscribe(() => changes.emit('change'))
    api.put(RESOURCES.pods, { ...pod, status: { phase: 'Running' } })
    api.put(RESOURCES.policies, { metadata: { name: 'p', namespace: 'shop' }, spec: { rules: [] } })
    // What was listed at the start may still be told of.
    while (mesh.snapshot('shop')?.digest === shop?.digest) await changed()
    assert.equal(mesh.snapshot('bank'), bank)
    assert.equal(mesh.snapshot('shop')?.policies[0]?.name, 'shop/p')
  } finally {
    mesh.close()
    await client.close()
  }
})
