import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { PosternError } from '#base/errors'
import { createConfigMapPublisher } from '#controller/bundle-publisher'
import { countSidecars, createStatusWriter, nextStatus } from '#controller/policy-status'
import { RESOURCES } from '#controller/snapshot/objects'
import { createKubeClient } from '#kube/client'
import type { KubeObject } from '#kube/objects'
import { startKubeApi, send, status as refuse } from '../fakes/kube-api.ts'
import { manualClock } from '../support/manual-clock.ts'

const policy = (name: string, generation: number, status?: object): KubeObject =>
  ({
    metadata: { name, namespace: 'shop', uid: name, resourceVersion: '1', generation },
    spec: { rules: [{ name: 'any', allow: { and: [{ service_account: 'cart' }] } }] },
    ...(status !== undefined && { status }),
  }) as KubeObject

const VERDICT = { errors: [], warnings: [] }

test('those that a policy concerns are counted by namespace; a ClusterPolicy concerns all', () => {
  const report = (namespace: string, digest: string) => ({ namespace, digest, serviceAccount: 'a', instance: 'i', at: 0 })
  const count = countSidecars([report('shop', 'new'), report('shop', 'old'), report('bank', 'b')], (namespace) =>
    namespace === 'shop' ? 'new' : 'b',
  )
  assert.deepEqual(count('shop'), { all: 2, running: 1 })
  assert.deepEqual(count('bank'), { all: 1, running: 1 })
  assert.deepEqual(count('mail'), { all: 0, running: 0 })
  assert.deepEqual(count(undefined), { all: 3, running: 2 })
})

const REPLICAS: readonly (readonly [string, readonly string[] | undefined, number, string])[] = [
  ['a replica whose pod is gone counts no more, however lately it wrote', ['one'], 1_000, '1 of 2'],
  ['one whose pod is there counts, however long ago it wrote', ['one', 'two'], 10_000_000, '4 of 6'],
  ['where pods are not known, one that wrote lately counts', undefined, 1_000, '4 of 6'],
  ['where pods are not known, one that has not written for long does not', undefined, 10_000_000, '1 of 2'],
]

test('the total is made of the shares of all replicas that there are', () => {
  for (const [title, replicas, now, expected] of REPLICAS) {
    const before = { replicas: { two: { all: 4, running: 3, at: new Date(0).toISOString() } } }
    const counted = { all: 2, running: 1 }
    const next = nextStatus({ policy: policy('p', 1, before), replica: 'one', counted, verdict: VERDICT, replicas, now })
    assert.equal(next?.sidecars, expected, title)
  }
})

test('where the pods of the controller are known a status is written when something has changed, and not because time passes', () => {
  const counted = { all: 2, running: 1 }
  const first = nextStatus({ policy: policy('p', 1), replica: 'one', counted, verdict: VERDICT, replicas: ['one'], now: 0 })
  const later = { replica: 'one', counted, verdict: VERDICT, now: 10_000_000 }
  assert.equal(nextStatus({ ...later, policy: policy('p', 1, first), replicas: ['one'] }), undefined)
  assert.notEqual(nextStatus({ ...later, policy: policy('p', 1, first), replicas: undefined }), undefined)
})

test('a policy is read once for each version and hour, and what is not written for a fault is written at the next pass', async () => {
  await using api = await startKubeApi()
  const clock = manualClock(0)
  const client = createKubeClient(api.access, clock)
  let reads = 0
  const faults: PosternError[] = []
  const writer = createStatusWriter({ client, replica: 'one', clock, onFault: (error) => void faults.push(error), onRead: () => reads++ })
  let answer = 500
  let patches = 0
  let written: object = {}
  api.intercept = (_, response, body) => {
    patches++
    written = (JSON.parse(body) as { status: object }).status
    if (answer === 200) send(response, 200, { metadata: {} })
    else refuse(response, answer, 'told to')
    return true
  }
  const pass = (policies: readonly KubeObject[]): Promise<void> =>
    writer.write([{ resource: RESOURCES.policies, policies }], () => ({ all: 1, running: 1 }), ['one'])
  const one = policy('one', 1)
  await pass([one, policy('two', 1)])
  assert.deepEqual([reads, patches, faults.length], [2, 2, 2])
  answer = 200
  await pass([one])
  assert.deepEqual([reads, patches], [2, 3])
  const after = policy('one', 1, written)
  await pass([after])
  await pass([after])
  assert.deepEqual([reads, patches], [2, 3], 'what the watch brings of our own writing is neither read nor written again')
  await pass([policy('one', 2, written)])
  assert.deepEqual([reads, patches], [3, 4])
  answer = 409
  await pass([policy('one', 3, written)])
  assert.equal(faults.length, 2, 'a conflict is no fault: the watch brings what is new')
  await client.close()
})

test('the bundle goes to new namespaces at once, to all when it changes, and where somebody deletes it within some passes', async () => {
  await using api = await startKubeApi()
  const client = createKubeClient(api.access, manualClock(0))
  const maps = new Map<string, string>()
  let looks = 0
  api.intercept = (request, response, body) => {
    const namespace = /namespaces\/([^/]+)\//.exec(request.url ?? '')?.[1] ?? ''
    if (request.method === 'PATCH') maps.set(namespace, (JSON.parse(body) as { data: Record<string, string> }).data['bundle.pem'] ?? '')
    else looks++
    const bundle = maps.get(namespace)
    if (bundle === undefined) refuse(response, 404, 'not found')
    else send(response, 200, { metadata: { name: 'x' }, data: { 'bundle.pem': bundle } })
    return true
  }
  const publisher = createConfigMapPublisher(client)
  const all = Array.from({ length: 50 }, (_, index) => `ns-${index}`)
  assert.equal((await publisher.publish(all, 'one')).length, 50)
  looks = 0
  assert.deepEqual(await publisher.publish([...all, 'new'], 'one'), ['new'])
  assert.ok(looks < 30, `${looks}`)
  maps.delete('ns-45')
  const passes: string[] = []
  for (let pass = 0; pass < 3; pass++) passes.push(...(await publisher.publish([...all, 'new'], 'one')))
  assert.deepEqual(passes, ['ns-45'])
  assert.equal((await publisher.publish(all, 'two')).length, 50)
  await client.close()
})
