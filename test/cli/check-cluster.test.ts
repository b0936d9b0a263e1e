/** The doctor on a cluster, against the fake API server: a mesh in which all is well, and one fault after the other. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { systemClock } from '#base/clock'
import { checkCommand } from '#cli/check'
import type { CheckResult } from '#cli/check/catalogue'
import { checkMesh } from '#cli/check/cluster'
import { customResources } from '#controller/crds'
import { createKubeClient } from '#kube/client'
import type { Resource } from '#kube/objects'
import { type KubeApiFake, send, startKubeApi, status } from '../fakes/kube-api.ts'
import { createTestMesh } from '../support/authority.ts'
import { runInProcess } from '../support/run-command.ts'

const mesh = await createTestMesh('example.org')
const IMAGE = 'example.org/postern:2'

const resource = (group: string, plural: string, namespace?: string): Resource => ({
  group,
  version: 'v1',
  plural,
  ...(namespace !== undefined && { namespace }),
})
const AT = {
  leases: resource('coordination.k8s.io', 'leases', 'kube-node-lease'),
  definitions: resource('apiextensions.k8s.io', 'customresourcedefinitions'),
  deployments: resource('apps', 'deployments', 'postern-system'),
  statefulSets: resource('apps', 'statefulsets', 'postern-system'),
  configMaps: resource('', 'configmaps', 'postern-system'),
  mutating: resource('admissionregistration.k8s.io', 'mutatingwebhookconfigurations'),
  validating: resource('admissionregistration.k8s.io', 'validatingwebhookconfigurations'),
  namespaces: resource('', 'namespaces'),
  pods: resource('', 'pods'),
  policies: resource('postern.dev', 'policies'),
}

interface Definition {
  readonly metadata: { readonly name: string }
}

function pod(
  name: string,
  sidecar: string | undefined,
  more: object = {},
): { metadata: { name: string } & Record<string, unknown>; spec: object } {
  return {
    metadata: { name, namespace: 'shop', ...(sidecar !== undefined && { annotations: { 'postern.dev/injected': '1' } }) },
    spec: {
      containers: [{ name: 'app' }],
      ...(sidecar !== undefined && { initContainers: [{ name: 'postern', image: sidecar }] }),
      ...more,
    },
  }
}

const webhook = (name: string, bundle: string): object => ({ name, clientConfig: { caBundle: Buffer.from(bundle).toString('base64') } })

/** What the API server answers a pod that is created for trial. */
type Trial = 'injected' | 'bare' | 'refused'

function wellMesh(api: KubeApiFake): { trial: Trial; bodies: { readonly url: string; readonly body: string }[] } {
  const state: { trial: Trial; bodies: { readonly url: string; readonly body: string }[] } = { trial: 'injected', bodies: [] }
  api.put(AT.leases, { metadata: { name: 'node-1' }, spec: { renewTime: new Date().toISOString() } })
  for (const definition of customResources() as Definition[]) {
    api.put(AT.definitions, { ...definition, status: { conditions: [{ type: 'Established', status: 'True' }] } })
  }
  api.put(AT.deployments, { metadata: { name: 'postern-controller' }, spec: { replicas: 2 }, status: { readyReplicas: 2 } })
  api.put(AT.statefulSets, { metadata: { name: 'postern-ca' }, spec: { replicas: 1 }, status: { readyReplicas: 1 } })
  const document = { spec: { trustDomain: 'example.org', injection: { image: IMAGE } } }
  api.put(AT.configMaps, { metadata: { name: 'postern-controller' }, data: { 'controller.yaml': JSON.stringify(document) } })
  api.put(AT.configMaps, { metadata: { name: 'postern-ca-bundle' }, data: { 'bundle.pem': mesh.bundlePem } })
  api.put(AT.mutating, { metadata: { name: 'postern' }, webhooks: [webhook('inject.postern.dev', mesh.bundlePem)] })
  api.put(AT.validating, { metadata: { name: 'postern' }, webhooks: [webhook('policies.postern.dev', mesh.bundlePem)] })
  api.put(AT.namespaces, { metadata: { name: 'shop', labels: { 'postern.dev/inject': 'enabled' } } })
  api.put(AT.pods, pod('cart-1', IMAGE))
  const accepted = { type: 'Accepted', status: 'True', message: '' }
  api.put(AT.policies, {
    metadata: { name: 'readers', namespace: 'shop', generation: 1 },
    status: { observedGeneration: 1, sidecars: '1 of 1', conditions: [accepted] },
  })
  api.intercept = (request, response, body) => {
    if (request.url === '/version') {
      send(response, 200, {})
      return true
    }
    if (request.method !== 'POST') return false
    state.bodies.push({ url: request.url ?? '', body })
    if (state.trial === 'refused') status(response, 500, 'failed calling webhook "inject.postern.dev": connection refused')
    else send(response, 201, state.trial === 'injected' ? pod('x', IMAGE) : pod('x', undefined))
    return true
  }
  return state
}

async function all(checks: AsyncIterable<CheckResult>): Promise<CheckResult[]> {
  const results: CheckResult[] = []
  for await (const result of checks) results.push(result)
  return results
}

async function look(api: KubeApiFake): Promise<(id: CheckResult['id']) => CheckResult> {
  const client = createKubeClient(api.access, systemClock)
  try {
    const results = await all(checkMesh(client, 'postern-system'))
    return (id) => results.find((one) => one.id === id) ?? assert.fail(`no ${id} in ${JSON.stringify(results)}`)
  } finally {
    await client.close()
  }
}

test('where all is well everything passes, and the trial pod is a dry run', async () => {
  await using api = await startKubeApi(100)
  const { bodies } = wellMesh(api)
  const client = createKubeClient(api.access, systemClock)
  const results = await all(checkMesh(client, 'postern-system'))
  await client.close()
  assert.deepEqual(
    results.filter((one) => one.status !== 'passed'),
    [],
  )
  assert.deepEqual(
    results.map(({ id }) => id),
    [
      ...['cluster-reachable', 'cluster-clock', 'cluster-resources', 'cluster-control-plane', 'cluster-trust', 'cluster-webhook'],
      ...['cluster-injection', 'cluster-uninjected', 'cluster-behind', 'cluster-calls', 'cluster-policies'],
    ],
  )
  assert.deepEqual(
    bodies.map(({ url }) => url),
    ['/api/v1/namespaces/shop/pods?dryRun=All'],
  )
  assert.ok(api.requests.every((request) => /^GET |dryRun=All$/.test(request)))
})

const SHOP = { name: 'shop', labels: { 'postern.dev/inject': 'enabled' } }
const OLD = new Date(Date.now() - 200_000).toISOString()
const AHEAD = new Date(Date.now() + 300_000).toISOString()

const FAULTS: readonly (readonly [
  string,
  CheckResult['id'],
  'failed' | 'warning',
  RegExp,
  (api: KubeApiFake, state: { trial: Trial }) => void,
])[] = [
  [
    'a node whose clock is ahead',
    'cluster-clock',
    'failed',
    /clock of node node-1 is 5 minutes ahead/,
    (api) => put(api, AT.leases, 'node-1', { spec: { renewTime: AHEAD } }),
  ],
  [
    'a node that is late',
    'cluster-clock',
    'failed',
    /Node node-1 was heard of 3 minutes ago/,
    (api) => put(api, AT.leases, 'node-1', { spec: { renewTime: OLD } }),
  ],
  [
    'a resource that is missing',
    'cluster-resources',
    'failed',
    /policies\.postern\.dev is not there/,
    (api) => api.remove(AT.definitions, 'policies.postern.dev'),
  ],
  [
    'no authority',
    'cluster-control-plane',
    'failed',
    /no StatefulSet postern-system\/postern-ca/,
    (api) => api.remove(AT.statefulSets, 'postern-ca'),
  ],
  [
    'half a controller',
    'cluster-control-plane',
    'warning',
    /has 1 of 2 replicas ready/,
    (api) => put(api, AT.deployments, 'postern-controller', { spec: { replicas: 2 }, status: { readyReplicas: 1 } }),
  ],
  ['a bundle that is gone', 'cluster-trust', 'failed', /postern-ca-bundle/, (api) => api.remove(AT.configMaps, 'postern-ca-bundle')],
  ['no webhook', 'cluster-webhook', 'failed', /no webhook inject\.postern\.dev/, (api) => api.remove(AT.mutating, 'postern')],
  [
    'a caBundle that something set back',
    'cluster-webhook',
    'failed',
    /no caBundle/,
    (api) => put(api, AT.mutating, 'postern', { webhooks: [webhook('inject.postern.dev', '')] }),
  ],
  [
    'a caBundle of another mesh',
    'cluster-webhook',
    'failed',
    /is not the trust bundle of the mesh/,
    (api) => put(api, AT.validating, 'postern', { webhooks: [webhook('policies.postern.dev', 'other')] }),
  ],
  [
    'a webhook that cannot be reached',
    'cluster-injection',
    'failed',
    /failed calling webhook .*connection refused/,
    (_, state) => void (state.trial = 'refused'),
  ],
  ['a webhook that is not asked', 'cluster-injection', 'failed', /came back without a sidecar/, (_, state) => void (state.trial = 'bare')],
  [
    'a pod from before the label',
    'cluster-uninjected',
    'failed',
    /Pod shop\/old has no sidecar and is open; it was made before the label/,
    (api) => void api.put(AT.pods, pod('old', undefined)),
  ],
  [
    'a sidecar behind',
    'cluster-behind',
    'warning',
    /1 with example\.org\/postern:1 instead of example\.org\/postern:2: shop\/cart-0/,
    (api) => void api.put(AT.pods, pod('cart-0', 'example.org/postern:1')),
  ],
  [
    'a list of namespaces that is none',
    'cluster-calls',
    'warning',
    /Namespace shop has `postern\.dev\/calls: Bank;mail`, which is no list/,
    (api) => void api.put(AT.namespaces, { metadata: { ...SHOP, annotations: { 'postern.dev/calls': 'Bank;mail' } } }),
  ],
  [
    'a namespace that is not there',
    'cluster-calls',
    'warning',
    /Namespace shop calls bank by its `postern\.dev\/calls`, and there is no such/,
    (api) => void api.put(AT.namespaces, { metadata: { ...SHOP, annotations: { 'postern.dev/calls': 'shop, bank' } } }),
  ],
  [
    'a policy that is refused',
    'cluster-policies',
    'failed',
    /Policy shop\/readers is refused, .*: no such criterion/,
    (api) => policyStatus(api, { conditions: [{ type: 'Accepted', status: 'False', message: 'no such criterion' }] }),
  ],
  ['a policy that lags', 'cluster-policies', 'warning', /runs in 1 of 3 sidecars/, (api) => policyStatus(api, { sidecars: '1 of 3' })],
  [
    'a policy that nobody looked at',
    'cluster-policies',
    'warning',
    /no controller has looked at it yet/,
    (api) => policyStatus(api, { observedGeneration: 0 }),
  ],
]

function put(api: KubeApiFake, at: Resource, name: string, rest: object): void {
  api.put(at, { metadata: { name }, ...rest })
}

function policyStatus(api: KubeApiFake, change: object): void {
  const before = { observedGeneration: 1, sidecars: '1 of 1', conditions: [{ type: 'Accepted', status: 'True', message: '' }] }
  api.put(AT.policies, { metadata: { name: 'readers', namespace: 'shop', generation: 1 }, status: { ...before, ...change } })
}

for (const [title, id, expected, words, harm] of FAULTS) {
  test(`${title}: ${expected}`, async () => {
    await using api = await startKubeApi(100)
    const state = wellMesh(api)
    harm(api, state)
    const found = (await look(api))(id)
    assert.equal(found.status, expected, JSON.stringify(found))
    assert.match(found.details.join('\n'), words)
  })
}

test('pods that are to stay outside, or are over, are no fault', async () => {
  await using api = await startKubeApi(100)
  wellMesh(api)
  api.put(AT.pods, pod('agent', undefined, { hostNetwork: true }))
  api.put(AT.pods, { ...pod('done', undefined), status: { phase: 'Succeeded' } })
  api.put(AT.pods, { ...pod('out', undefined), metadata: { name: 'out', namespace: 'shop', labels: { 'postern.dev/inject': 'disabled' } } })
  api.put(AT.pods, { ...pod('elsewhere', undefined), metadata: { name: 'elsewhere', namespace: 'other' } })
  assert.equal((await look(api))('cluster-uninjected').status, 'passed')
})

test('where the API server injects by itself no webhook of ours is missed, and the trial chooses nothing', async () => {
  await using api = await startKubeApi(100)
  const { bodies } = wellMesh(api)
  api.remove(AT.mutating, 'postern')
  api.put(resource('admissionregistration.k8s.io', 'mutatingadmissionpolicybindings'), { metadata: { name: 'postern' } })
  const found = await look(api)
  assert.equal(found('cluster-webhook').status, 'passed')
  assert.equal(found('cluster-injection').status, 'passed')
  assert.doesNotMatch(bodies[0]?.body ?? '', /"annotations"/)
  api.remove(AT.validating, 'postern')
  assert.equal((await look(api))('cluster-webhook').status, 'failed')
})

test('without a labelled namespace nothing is created; without an API server nothing else is looked at', async () => {
  await using api = await startKubeApi(100)
  const { bodies } = wellMesh(api)
  api.remove(AT.namespaces, 'shop')
  const found = await look(api)
  assert.equal(found('cluster-injection').status, 'skipped')
  assert.deepEqual(bodies, [])
  const { status: code, stdout } = await runInProcess(checkCommand, ['--cluster'], { env: { KUBECONFIG: '/nowhere/config' } })
  assert.equal(code, 1)
  assert.match(
    stdout,
    /^cluster\n-+\n× the API server answers, and lets us look\n {4}\/nowhere\/config: it cannot be read \(ENOENT\)\. \(ERR_KUBE_CONFIG\)/,
  )
  assert.doesNotMatch(stdout, /cluster-clock/)
})

test('what a role may not read is said where it would have been looked at', async () => {
  await using api = await startKubeApi(100)
  wellMesh(api)
  const before = api.intercept!
  api.intercept = (request, response, body) => {
    if (!request.url?.startsWith('/apis/coordination')) return before(request, response, body)
    status(response, 403, 'leases is forbidden')
    return true
  }
  const found = (await look(api))('cluster-clock')
  assert.equal(found.status, 'failed')
  assert.match(found.details[0]!, /leases is forbidden/)
})

test('docs/checks.md tells how it is called', () => {
  assert.match(readFileSync(new URL('../../docs/checks.md', import.meta.url), 'utf8'), /postern check --cluster/)
})
