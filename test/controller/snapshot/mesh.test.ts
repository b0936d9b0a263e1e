import assert from 'node:assert/strict'
import { once, EventEmitter } from 'node:events'
import { test } from 'node:test'
import { systemClock } from '#base/clock'
import { followMesh } from '#controller/snapshot/mesh'
import { readCalls, RESOURCES } from '#controller/snapshot/objects'
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

const CALLS: readonly (readonly [string | undefined, readonly string[] | undefined])[] = [
  [undefined, undefined],
  ['bank', ['bank', 'shop']],
  ['bank, mail', ['bank', 'mail', 'shop']],
  ['shop', ['shop']],
  // What is no list of names narrows nothing.
  ['', undefined],
  ['bank,,mail', undefined],
  ['Bank', undefined],
  ['bank;mail', undefined],
]

test('`postern.dev/calls` of a namespace is a list of namespaces, its own always among them; anything else narrows nothing', () => {
  for (const [text, expected] of CALLS) {
    const read = readCalls(text, 'shop')
    assert.deepEqual(read === undefined ? undefined : [...read].toSorted(), expected, String(text))
  }
})

test('a snapshot holds the services of the mesh, or of those namespaces that its own says it calls, and others leave it as it is', async () => {
  await using api = await startKubeApi(100)
  const endpoints = (namespace: string, account: string, pods: readonly string[]): void => {
    const name = `${account}-${namespace}`
    api.put(RESOURCES.endpointSlices, {
      metadata: { name, namespace, labels: { 'kubernetes.io/service-name': name } },
      endpoints: pods.map((pod) => ({ addresses: ['10.1.0.1'], targetRef: { kind: 'Pod', name: pod } })),
      ports: [{ port: 80 }],
    })
  }
  const serve = (namespace: string, account: string): void => {
    const at = { name: `${account}-${namespace}`, namespace }
    api.put(RESOURCES.pods, { metadata: { ...at, annotations: { 'postern.dev/injected': '1' } }, spec: { serviceAccountName: account } })
    api.put(RESOURCES.services, { metadata: at, spec: { clusterIP: '10.0.0.1', selector: { app: account }, ports: [{ port: 80 }] } })
    endpoints(namespace, account, [at.name])
  }
  const shopCalls = (annotations: object): void => void api.put(RESOURCES.namespaces, { metadata: { name: 'shop', annotations } })
  shopCalls({ 'postern.dev/calls': 'bank' })
  for (const namespace of ['shop', 'bank', 'mail']) serve(namespace, 'web')
  const client = createKubeClient(api.access, systemClock)
  const mesh = followMesh({ client, trustDomain: 'example.org', clock: systemClock, random: () => 0.5, onFault: () => {} })
  try {
    await mesh.ready
    const names = (namespace: string): string[] | undefined => mesh.snapshot(namespace)?.services.map(({ name }) => name)
    const changes = new EventEmitter()
    mesh.subscribe(() => changes.emit('change'))
    const until = async (isIt: () => boolean): Promise<void> => {
      while (!isIt()) await once(changes, 'change')
    }
    await until(() => names('bank')?.length === 3)
    assert.deepEqual(names('shop'), ['web-bank.bank', 'web-shop.shop'])
    const [shop, bank] = [mesh.snapshot('shop'), mesh.snapshot('bank')]
    // Of a namespace that shop does not call: bank's snapshot is another, shop's the same object.
    serve('mail', 'more')
    await until(() => mesh.snapshot('bank') !== bank)
    assert.equal(mesh.snapshot('shop'), shop)
    // A pod made anew under the same account: nobody's snapshot is another.
    const before = mesh.snapshot('bank')
    api.put(RESOURCES.pods, {
      metadata: { name: 'web-bank-2', namespace: 'bank', annotations: { 'postern.dev/injected': '1' } },
      spec: { serviceAccountName: 'web' },
    })
    endpoints('bank', 'web', ['web-bank', 'web-bank-2'])
    api.remove(RESOURCES.pods, 'web-bank')
    endpoints('bank', 'web', ['web-bank-2'])
    await until(() => mesh.podsOf('bank', 'web').join() === 'web-bank-2')
    assert.equal(mesh.snapshot('bank'), before)
    shopCalls({})
    await until(() => names('shop')?.length === 4)
    // With the namespace's last object its services are gone.
    for (const resource of [RESOURCES.endpointSlices, RESOURCES.services, RESOURCES.pods]) {
      for (const name of ['web-mail', 'more-mail']) api.remove(resource, name)
    }
    await until(() => names('shop')?.length === 2)
  } finally {
    mesh.close()
    await client.close()
  }
})
