import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decideInjection, type Plan } from '../../../src/controller/inject/decide.ts'
import { injectPod } from '../../../src/controller/inject/inject.ts'
import { jsonPatch } from '../../../src/controller/inject/json-patch.ts'
import { injectManifests } from '../../../src/controller/inject/manifests.ts'
import type { Pod } from '../../../src/controller/inject/pod.ts'
import type { InjectionSettings } from '../../../src/controller/inject/settings.ts'

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
  excludeNetworks: ['10.96.0.1/32'],
  version: '1.0.0',
}

const APP: Pod = {
  metadata: {
    generateName: 'cart-6f99f599c5-',
    labels: { app: 'cart', 'pod-template-hash': '6f99f599c5' },
    ownerReferences: [{ kind: 'ReplicaSet', name: 'cart-6f99f599c5', controller: true }],
  },
  spec: {
    serviceAccountName: 'cart',
    containers: [
      {
        name: 'app',
        image: 'app:1',
        ports: [{ containerPort: 8080, name: 'web' }],
        readinessProbe: { httpGet: { path: '/ok', port: 'web' } },
      },
    ],
  },
}

function withAnnotations(annotations: Readonly<Record<string, string>>, pod: Pod = APP): Pod {
  return { ...pod, metadata: { ...pod.metadata, annotations } }
}

function planOf(pod: Pod, settings = SETTINGS): Plan {
  const verdict = decideInjection(pod, 'shop', 'enabled', settings)
  assert.equal(verdict.kind, 'inject', JSON.stringify(verdict))
  return (verdict as { plan: Plan }).plan
}

function injected(pod: Pod, settings = SETTINGS): Pod {
  return injectPod(pod, planOf(pod, settings), settings)
}

interface DocumentSpec {
  readonly inbound?: readonly { readonly listen: string }[]
  readonly probes?: readonly unknown[]
}

function documentOf(pod: Pod): { metadata: Record<string, unknown>; spec: DocumentSpec } {
  return JSON.parse(pod.metadata?.annotations?.['postern.dev/sidecar'] ?? '')
}

test('the sidecar is the first of the init containers, behind the one that redirects, and what the pod had stays', () => {
  const own = { name: 'migrate', image: 'm:1' }
  const pod = injected({ ...APP, spec: { ...APP.spec, initContainers: [own], volumes: [{ name: 'data', emptyDir: {} }] } })
  assert.deepEqual(
    pod.spec.initContainers?.map(({ name }) => name),
    ['postern-init', 'postern', 'migrate'],
  )
  assert.equal(pod.spec.initContainers?.[1]?.restartPolicy, 'Always')
  assert.equal(pod.spec.initContainers?.[2], own)
  assert.deepEqual(
    pod.spec.volumes?.map(({ name }) => name),
    ['data', 'postern', 'postern-run', 'postern-no-token'],
  )
  assert.equal(pod.spec.containers[0]?.image, 'app:1')
})

test('in the restricted profile of Pod Security: loopback needs no capability, no root, no redirecting container', () => {
  const pod = injected(withAnnotations({ 'postern.dev/interception': 'loopback' }))
  assert.deepEqual(
    pod.spec.initContainers?.map(({ name }) => name),
    ['postern'],
  )
  const securityContext = pod.spec.initContainers?.[0]?.['securityContext']
  assert.deepEqual(securityContext, {
    allowPrivilegeEscalation: false,
    capabilities: { drop: ['ALL'] },
    readOnlyRootFilesystem: true,
    seccompProfile: { type: 'RuntimeDefault' },
    runAsNonRoot: true,
    runAsUser: 1337,
    runAsGroup: 1337,
  })
  assert.equal(documentOf(pod).spec.inbound?.[0]?.listen, 'pod:8080')
})

test('probes and hooks of guarded ports are asked of the sidecar, with exactly what was configured; others stay', () => {
  const handlers = {
    readinessProbe: { httpGet: { path: '/ok?deep=1', port: 'web', httpHeaders: [{ name: 'x', value: 'y' }] }, periodSeconds: 7 },
    livenessProbe: { tcpSocket: { port: 8080 }, timeoutSeconds: 3 },
    startupProbe: { grpc: { port: 9000, service: 'shop' } },
    lifecycle: { preStop: { httpGet: { path: '/bye', port: 8080 } }, postStart: { exec: { command: ['true'] } } },
  }
  const pod = injected({
    ...APP,
    spec: {
      containers: [
        { name: 'app', ports: [{ containerPort: 8080, name: 'web' }, { containerPort: 9000 }], ...handlers },
        { name: 'side', readinessProbe: { httpGet: { port: 1234 } }, livenessProbe: { httpGet: { port: 8080, scheme: 'HTTPS' } } },
      ],
    },
  })
  const [app, side] = pod.spec.containers
  assert.deepEqual(app?.readinessProbe, { periodSeconds: 7, httpGet: { path: '/app-health/app/readiness', port: 7020 } })
  assert.deepEqual(app?.livenessProbe, { timeoutSeconds: 3, httpGet: { path: '/app-health/app/liveness', port: 7020 } })
  assert.deepEqual(app?.startupProbe, { httpGet: { path: '/app-health/app/startup', port: 7020 } })
  assert.deepEqual(app?.lifecycle, {
    preStop: { httpGet: { path: '/app-health/app/prestop', port: 7020 } },
    postStart: { exec: { command: ['true'] } },
  })
  assert.deepEqual(side?.readinessProbe, { httpGet: { port: 1234 } })
  assert.deepEqual(side?.livenessProbe, { httpGet: { port: 8080, scheme: 'HTTPS' } })
  assert.deepEqual(documentOf(pod).spec.probes, [
    { path: '/app-health/app/startup', ask: { grpc: { port: 9000, service: 'shop' } }, timeout: '1s' },
    {
      path: '/app-health/app/readiness',
      ask: { http: { port: 8080, path: '/ok?deep=1', headers: [{ name: 'x', value: 'y' }] } },
      timeout: '1s',
    },
    { path: '/app-health/app/liveness', ask: { tcp: { port: 8080 } }, timeout: '3s' },
    { path: '/app-health/app/prestop', ask: { http: { port: 8080, path: '/bye', headers: [] } }, timeout: '30s' },
  ])
})

test('ports: of all containers, named or not, without UDP and those to skip, each with its protocol and its listener', () => {
  const plan = planOf(
    withAnnotations(
      { 'postern.dev/skip-ports': '9100', 'postern.dev/protocols': '5432=tcp,9000=http2' },
      {
        ...APP,
        spec: {
          containers: [
            { name: 'a', ports: [{ containerPort: 8080 }, { containerPort: 5353, protocol: 'UDP' }, { containerPort: 9100 }] },
            { name: 'b', ports: [{ containerPort: 5432 }, { containerPort: 9000 }, { containerPort: 8080 }] },
          ],
        },
      },
    ),
  )
  assert.deepEqual(plan.ports, [
    { port: 8080, protocol: 'http1' },
    { port: 5432, protocol: 'tcp' },
    { port: 9000, protocol: 'http2' },
  ])
  assert.deepEqual(plan.warnings, ['port 5353/UDP of container `a` is not guarded: only TCP is.'])
})

const SERVICES: readonly (readonly [Pod['metadata'], string])[] = [
  [{ labels: { 'app.kubernetes.io/name': 'n', app: 'a' } }, 'n'],
  [{ labels: { app: 'a' } }, 'a'],
  [{ labels: { 'pod-template-hash': '6f9' }, ownerReferences: [{ kind: 'ReplicaSet', name: 'web-6f9', controller: true }] }, 'web'],
  [{ ownerReferences: [{ kind: 'StatefulSet', name: 'db', controller: true }] }, 'db'],
  [{ name: 'lonely' }, 'lonely'],
  [{ generateName: 'job-' }, 'job'],
  [{ labels: { app: 'a' }, annotations: { 'postern.dev/service': 'said' } }, 'said'],
]

test('a pod is called what its labels, or its owner, call it', () => {
  for (const [metadata, expected] of SERVICES) assert.equal(planOf({ ...APP, metadata: metadata ?? {} }).service, expected)
})

const LEFT: readonly (readonly [string, Pod, string, string | undefined, RegExp])[] = [
  ['of the system', APP, 'kube-system', 'enabled', /belongs to the system/],
  ['of the mesh itself', APP, 'postern-system', 'enabled', /belongs to the system/],
  ['of a namespace without the label', APP, 'shop', undefined, /neither it nor its namespace/],
  ['that opts out', { ...APP, metadata: { labels: { 'postern.dev/inject': 'disabled' } } }, 'shop', 'enabled', /is `disabled`/],
  ["on its node's network", { ...APP, spec: { ...APP.spec, hostNetwork: true } }, 'shop', 'enabled', /hostNetwork/],
  ['that has its sidecar', injectPod(APP, planOf(APP), SETTINGS), 'shop', 'enabled', /already/],
]

test('what is left alone is left for a reason', () => {
  for (const [title, pod, namespace, label, because] of LEFT) {
    const verdict = decideInjection(pod, namespace, label, SETTINGS)
    assert.equal(verdict.kind, 'leave', title)
    assert.match((verdict as { because: string }).because, because)
  }
})

test('a pod may opt in where its namespace does not', () => {
  const pod = { ...APP, metadata: { labels: { 'postern.dev/inject': 'enabled' } } }
  assert.equal(decideInjection(pod, 'shop', undefined, SETTINGS).kind, 'inject')
})

const REFUSED: readonly (readonly [Readonly<Record<string, string>>, RegExp])[] = [
  [{ 'postern.dev/interceptoin': 'redirect' }, /no annotation `postern\.dev\/interceptoin`; did you mean `postern\.dev\/interception`\?/],
  [{ 'postern.dev/interception': 'iptables' }, /write `redirect` or `loopback`/],
  [{ 'postern.dev/ports': '8080;9090' }, /write ports with commas/],
  [{ 'postern.dev/ports': '70000' }, /write ports with commas/],
  [{ 'postern.dev/protocols': '8080=h2' }, /the protocols are/],
  [{ 'postern.dev/protocols': '9999=tcp' }, /port 9999, which is not guarded \(8080\)/],
  [{ 'postern.dev/memory-limit': '1 GB' }, /quantity such as `128Mi`/],
  [{ 'postern.dev/log-level': 'verbose' }, /`debug` or `info`/],
  [{ 'postern.dev/service': 'Cart/..' }, /name of a service/],
  [{ 'postern.dev/inject': 'true' }, /write `enabled` or `disabled`/],
  [{ 'postern.dev/ports': '7443' }, /port 7443 is one that the sidecar needs/],
  [{ 'postern.dev/interception': 'loopback', 'postern.dev/ports': '80' }, /below 1024/],
]

test('annotations are an allow-list: what is unknown or wrong is refused in a sentence that says what to write', () => {
  for (const [annotations, expected] of REFUSED) {
    const verdict = decideInjection(withAnnotations(annotations), 'shop', 'enabled', SETTINGS)
    assert.equal(verdict.kind, 'refuse', JSON.stringify(annotations))
    assert.match((verdict as { problems: readonly string[] }).problems.join('\n'), expected)
  }
})

test("names that are the sidecar's are refused", () => {
  const pod = { ...APP, spec: { containers: [{ name: 'postern' }], volumes: [{ name: 'postern-run' }] } }
  const verdict = decideInjection(pod, 'shop', 'enabled', SETTINGS)
  assert.equal((verdict as { problems: readonly string[] }).problems.length, 2)
})

test('the patch, applied, gives what injection gives, and touches only what changed', () => {
  const pod = withAnnotations({ a: 'b' })
  const after = injected(pod)
  const patch = jsonPatch(pod, after)
  assert.deepEqual(patch.map(({ op, path }) => `${op} ${path}`).sort(), [
    'add /spec/initContainers',
    'add /spec/volumes',
    'replace /metadata/annotations',
    'replace /spec/containers',
  ])
  const applied = structuredClone(pod) as unknown as Record<string, Record<string, unknown>>
  for (const { path, value } of patch) {
    const [, top = '', member = ''] = path.split('/')
    ;(applied[top] as Record<string, unknown>)[member] = value
  }
  assert.deepEqual(applied, after)
})

test('manifests of every kind, lists too; what runs no pods stays; once more changes nothing', () => {
  const template = { metadata: { labels: { app: 'x' } }, spec: { containers: [{ name: 'app', ports: [{ containerPort: 8080 }] }] } }
  const workloads = ['Deployment', 'StatefulSet', 'DaemonSet', 'ReplicaSet', 'Job'].map((kind) => ({
    kind,
    metadata: { name: 'x' },
    spec: { template },
  }))
  const documents = [
    ...workloads,
    { kind: 'CronJob', metadata: { name: 'x' }, spec: { jobTemplate: { spec: { template } } } },
    { kind: 'Pod', metadata: { name: 'x', namespace: 'other' }, spec: template.spec },
    {
      kind: 'List',
      items: [
        { kind: 'Service', metadata: { name: 'x' } },
        { kind: 'Deployment', metadata: { name: 'y' }, spec: { template } },
      ],
    },
    { kind: 'Deployment', metadata: { name: 'broken' }, spec: {} },
  ]
  const { documents: first, objects } = injectManifests(documents, 'shop', SETTINGS)
  assert.deepEqual(
    objects.map(({ name, kind }) => `${name} ${kind}`),
    [
      ...workloads.map(({ kind }) => `${kind} shop/x injected`),
      'CronJob shop/x injected',
      'Pod other/x injected',
      'Service x left',
      'Deployment shop/y injected',
      'Deployment shop/broken refused',
    ],
  )
  const again = injectManifests(first, 'shop', SETTINGS)
  assert.deepEqual(again.documents, first)
  assert.deepEqual([...new Set(again.objects.map(({ kind }) => kind))].sort(), ['left', 'refused'])
  assert.equal((first[0] as { spec: { template: Pod } }).spec.template.metadata?.ownerReferences, undefined)
})

test('a loopback pod calls services at ports of its own, whose pods must be who is said', () => {
  const annotations = {
    'postern.dev/interception': 'loopback',
    'postern.dev/outbound': '7101=catalog.shop:80@catalog, 7102=db.data:5432@postgres, 7103=db-0.db.data:5432@postgres',
    'postern.dev/protocols': '7102=tcp',
  }
  const { outbound } = documentOf(injected(withAnnotations(annotations))).spec as { readonly outbound?: readonly object[] }
  assert.deepEqual(outbound, [
    { listen: '127.0.0.1:7101', to: 'catalog.shop:80', peer: 'spiffe://example.org/ns/shop/sa/catalog', protocol: 'http1' },
    { listen: '127.0.0.1:7102', to: 'db.data:5432', peer: 'spiffe://example.org/ns/data/sa/postgres', protocol: 'tcp' },
    { listen: '127.0.0.1:7103', to: 'db-0.db.data:5432', peer: 'spiffe://example.org/ns/data/sa/postgres', protocol: 'http1' },
  ])
  for (const [change, words] of [
    [{ 'postern.dev/interception': 'redirect' }, /`postern\.dev\/outbound` is for `loopback`/],
    [{ 'postern.dev/outbound': '8080=catalog.shop:80@catalog', 'postern.dev/protocols': '8080=tcp' }, /port 8080, which is the app's/],
    [{ 'postern.dev/outbound': '7020=catalog.shop:80@catalog' }, /port 7020, which is the app's, the sidecar's/],
    [{ 'postern.dev/outbound': '7101=catalog.shop:80' }, /write `7101=catalog\.shop:80@catalog`/],
    [{ 'postern.dev/outbound': '7101=a.b:1@c,7101=a.b:2@c' }, /give the port 7101 only once/],
  ] as const) {
    const verdict = decideInjection(withAnnotations({ ...annotations, ...change }), 'shop', 'enabled', SETTINGS)
    assert.equal(verdict.kind, 'refuse', JSON.stringify(change))
    assert.match((verdict as { problems: readonly string[] }).problems.join('\n'), words)
  }
})
