import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { InjectionSettings } from '#controller/inject/settings'
import { reviewPod } from '#controller/webhook'

const SETTINGS: InjectionSettings = {
  image: 'example.org/postern:1.0.0',
  trustDomain: 'example.org',
  namespace: 'postern-system',
  caAddress: 'postern-ca.postern-system.svc:7100',
  controllerAddress: 'postern-controller.postern-system.svc:7201',
  controllerPeer: 'spiffe://example.org/ns/postern-system/sa/postern-controller',
  trustBundleSigner: undefined,
  interception: 'redirect',
  passThrough: 'allow',
  excludeNetworks: [],
  version: '1.0.0',
}

const POD = {
  kind: 'Pod',
  metadata: { generateName: 'web-', namespace: 'shop', labels: { app: 'web' } },
  spec: { containers: [{ name: 'app', ports: [{ containerPort: 8080 }, { containerPort: 53, protocol: 'UDP' }] }] },
}

function review(object: unknown, rest: object = {}): unknown {
  return {
    kind: 'AdmissionReview',
    apiVersion: 'admission.k8s.io/v1',
    request: { uid: '39df', kind: { group: '', version: 'v1', kind: 'Pod' }, namespace: 'shop', operation: 'CREATE', object, ...rest },
  }
}

const labels = (namespace: string): string | undefined => (namespace === 'shop' ? 'enabled' : undefined)

test('a pod of a labelled namespace is answered with a patch, and its author with what was not guarded', () => {
  const outcome = reviewPod(review(POD), SETTINGS, labels)
  assert.equal(outcome?.outcome, 'injected')
  assert.equal(outcome.pod, 'web-')
  const { response } = outcome.answer
  assert.deepEqual([response.uid, response.allowed, response.patchType], ['39df', true, 'JSONPatch'])
  const patch = JSON.parse(Buffer.from(response.patch ?? '', 'base64').toString()) as { op: string; path: string }[]
  assert.deepEqual(patch.map(({ op, path }) => `${op} ${path}`).sort(), [
    'add /metadata/annotations',
    'add /spec/initContainers',
    'add /spec/volumes',
  ])
  assert.deepEqual(response.warnings, ['postern: port 53/UDP of container `app` is not guarded: only TCP is.'])
})

test('what is left alone is allowed without a patch; what is wrong is denied in words', () => {
  const left = reviewPod(review(POD, { namespace: 'other' }), SETTINGS, labels)
  assert.deepEqual(left?.answer.response, { uid: '39df', allowed: true })
  assert.match(left?.notes[0] ?? '', /neither it nor its namespace/)
  const wrong = { ...POD, metadata: { ...POD.metadata, annotations: { 'postern.dev/interception': 'none' } } }
  assert.deepEqual(reviewPod(review(wrong), SETTINGS, labels)?.answer.response, {
    uid: '39df',
    allowed: false,
    status: { code: 422, message: 'the annotation `postern.dev/interception` is `none`: write `redirect` or `loopback`.' },
  })
})

test('whatever else is reviewed is allowed as it is, under its own uid; what is no review has no answer', () => {
  for (const given of [review(POD, { operation: 'UPDATE' }), review({}), review(null), review(POD, { kind: { kind: 'Service' } })]) {
    assert.deepEqual(reviewPod(given, SETTINGS, labels)?.answer.response, { uid: '39df', allowed: true })
  }
  for (const given of [null, [], {}, { request: {} }, { request: { uid: 7 } }, 'x'])
    assert.equal(reviewPod(given, SETTINGS, labels), undefined)
})
