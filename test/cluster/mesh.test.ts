/** Postern on a real Kubernetes: pods of labelled namespaces come up guarded, call each other by name, and policy resources decide. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { test, type TestContext } from 'node:test'
import { CLUSTER_MISSING, eventually, clusterFor, type Ran } from '../support/cluster.ts'

const ROOT = join(import.meta.dirname, '..', '..')

function postern(...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(ROOT, 'dist/postern.js'), ...args], { encoding: 'utf8' })
  assert.equal(status, 0, stderr)
  return stdout
}

function workload(name: string, app: string, replicas: number): string {
  return `
apiVersion: v1
kind: ServiceAccount
metadata: { name: ${name}, namespace: shop }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: ${name}, namespace: shop }
spec:
  replicas: ${replicas}
  selector: { matchLabels: { app: ${name} } }
  template:
    metadata: { labels: { app: ${name} } }
    spec:
      serviceAccountName: ${name}
      containers:
        - name: app
          image: ${app}
          ports: [{ containerPort: 8080, name: http }, { containerPort: 5353, protocol: UDP }]
          lifecycle: { preStop: { sleep: { seconds: 3 } } }
          readinessProbe: { httpGet: { path: /healthz, port: http }, periodSeconds: 1 }
---
apiVersion: v1
kind: Service
metadata: { name: ${name}, namespace: shop }
spec: { selector: { app: ${name} }, ports: [{ name: http, port: 80, targetPort: http }] }
`
}

function policy(name: string, namespace: string, spec: object): string {
  return JSON.stringify({ apiVersion: 'postern.dev/v1', kind: 'Policy', metadata: { name, namespace }, spec })
}

const READERS = {
  target: { service: 'catalog' },
  rules: [{ name: 'cart-reads', allow: { and: [{ service_account: 'cart' }, { http_path: '/items' }] } }],
}

test('on a real Kubernetes', { skip: CLUSTER_MISSING, timeout: 280_000 }, async (t) => {
  using cluster = await clusterFor(t)
  if (cluster === undefined) return
  const { images } = cluster
  const folder = mkdtempSync(join(tmpdir(), 'postern-cluster-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))

  const kubectl = async (...args: string[]): Promise<string> => {
    const { status, stdout, stderr } = await cluster.kubectl(args)
    assert.equal(status, 0, `kubectl ${args.join(' ')}: ${stderr}`)
    return stdout.trim()
  }
  const apply = (text: string): Promise<Ran> => cluster.kubectl(['apply', '-f', '-'], text)
  const applied = async (text: string): Promise<void> => {
    const { status, stderr } = await apply(text)
    assert.equal(status, 0, stderr)
  }
  /** One call from a pod of the shop. */
  const call = async (from: string, url: string): Promise<string> =>
    (await cluster.kubectl(['-n', 'shop', 'exec', `deploy/${from}`, '-c', 'app', '--', 'node', '/app/app.js', 'get', url])).stdout.trim()
  const ready = (namespace: string, what: string): Promise<string> => kubectl('-n', namespace, 'rollout', 'status', what, '--timeout=60s')
  const step = (title: string, body: (context: TestContext) => Promise<void>): Promise<void> => t.test(title, body)

  await step('`postern install` brings up CA and controller, in the restricted profile of Pod Security', async () => {
    postern('certs', 'init', join(folder, 'authority'), '--trust-domain', 'example.org')
    const manifests = postern(
      ...['install', '--authority', join(folder, 'authority'), '--trust-domain', 'example.org', '--image', images.postern],
      ...['--ca-storage', 'none', '--replicas', '1', '--trust-bundle', 'postern.dev/identity'],
    )
    await eventually(
      'all manifests are taken',
      () => apply(manifests),
      ({ status }) => status === 0,
    )
    await ready('postern-system', 'statefulset/postern-ca')
    await ready('postern-system', 'deployment/postern-controller')
  })

  await step('pods of a labelled namespace come up with their sidecars, and probes of the kubelet pass through them', async () => {
    await applied(`apiVersion: v1\nkind: Namespace\nmetadata: { name: shop, labels: { postern.dev/inject: enabled } }\n`)
    await applied(policy('catalog-readers', 'shop', READERS))
    await applied([workload('cart', images.app, 1), workload('catalog', images.app, 2)].join('---'))
    await ready('shop', 'deployment/cart')
    await ready('shop', 'deployment/catalog')
    const containers = await kubectl('-n', 'shop', 'get', 'pod', '-l', 'app=cart', '-o', 'jsonpath={.items[0].spec.initContainers[*].name}')
    assert.equal(containers, 'postern-init postern')
  })

  await step('services call each other by the names they always used; a policy resource decides, and explains', async () => {
    const allowed = await eventually(
      'the call is allowed',
      () => call('cart', 'http://catalog.shop/items'),
      (seen) => seen.startsWith('200'),
    )
    assert.equal(allowed, '200 {"path":"/items","caller":"spiffe://example.org/ns/shop/sa/cart"}')
    const refused = await call('cart', 'http://catalog/secret')
    assert.match(refused, /^403 \{"title":"Forbidden","status":403,"request_id":"[^"]+"\}$/)
    const id = /"request_id":"([^"]+)"/.exec(refused)?.[1] ?? ''
    const explanations = await Promise.all(
      (await kubectl('-n', 'shop', 'get', 'pod', '-l', 'app=catalog', '-o', 'name'))
        .split('\n')
        .map((pod) =>
          cluster.kubectl([
            '-n',
            'shop',
            'exec',
            pod,
            '-c',
            'postern',
            '--',
            'node',
            '/postern/postern.js',
            'explain',
            id,
            '--admin',
            'unix:/run/postern/admin.sock',
          ]),
        ),
    )
    assert.match(explanations.map(({ stdout }) => stdout).join(''), /× http_path is \/items — it is \/secret/)
    assert.match(await call('catalog', 'http://cart.shop/'), /^403 /)
  })

  await step(
    'a policy is live within moments, its status says how many sidecars run it, and a typo is refused with what was meant',
    async () => {
      const rule = { rules: [{ name: 'cart-reads', allow: { and: [{ service_account: 'cart' }, { http_path: '/other' }] } }] }
      await applied(policy('catalog-readers', 'shop', { ...READERS, ...rule }))
      await eventually(
        'the new policy decides',
        () => call('cart', 'http://catalog.shop/other'),
        (seen) => seen.startsWith('200'),
      )
      await applied(policy('catalog-readers', 'shop', READERS))
      await eventually(
        'the old policy decides again',
        () => call('cart', 'http://catalog.shop/items'),
        (seen) => seen.startsWith('200'),
      )
      await eventually(
        'the status',
        () => kubectl('-n', 'shop', 'get', 'policy', 'catalog-readers', '-o', 'jsonpath={.status.conditions[0].status} {.status.sidecars}'),
        (seen) => seen === 'True 3 of 3',
      )
      const typo = await apply(policy('typo', 'shop', { rules: [{ allow: { and: [{ http_pth: '/' }] } }] }))
      assert.notEqual(typo.status, 0)
      assert.match(
        typo.stderr,
        /spec\.rules\[0\]\.allow\.and\[0\]\.http_pth: There is no criterion `http_pth`\. Did you mean `http_path`\?/,
      )
      const shape = await apply(policy('shape', 'shop', { rules: [{ name: 'neither' }] }))
      assert.match(shape.stderr, /a rule needs `allow` or `deny`/)
    },
  )

  await step('there is no way around the sidecar: not to the pod itself, not from the node, not to the port of the sidecar', async () => {
    const ip = await kubectl('-n', 'shop', 'get', 'pod', '-l', 'app=catalog', '-o', 'jsonpath={.items[0].status.podIP}')
    assert.doesNotMatch(await call('cart', `http://${ip}:8080/items`), /^200/)
    for (const port of [8080, 7443]) assert.doesNotMatch((await cluster.curl?.(`http://${ip}:${port}/items`))?.stdout ?? '', /200$/)
  })

  await step('loopback needs no capability: a pod of a restricted namespace is guarded too, and called from the other', async () => {
    await applied(`apiVersion: v1
kind: Namespace
metadata: { name: tight, labels: { postern.dev/inject: enabled, pod-security.kubernetes.io/enforce: restricted } }
---
apiVersion: v1
kind: Pod
metadata:
  name: echo
  namespace: tight
  labels: { app: echo }
  annotations: { postern.dev/interception: loopback, postern.dev/outbound: "7101=cart.shop:80@cart" }
spec:
  securityContext: { runAsNonRoot: true, runAsUser: 1000, seccompProfile: { type: RuntimeDefault } }
  containers:
    - name: app
      image: ${images.app}
      env: [{ name: HOST, value: 127.0.0.1 }]
      ports: [{ containerPort: 8080 }]
      readinessProbe: { httpGet: { path: /healthz, port: 8080 }, periodSeconds: 1 }
      securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: [ALL] } }
---
apiVersion: v1
kind: Service
metadata: { name: echo, namespace: tight }
spec: { selector: { app: echo }, ports: [{ port: 8080 }] }
`)
    await applied(policy('echo', 'tight', { rules: [{ name: 'cart', allow: { and: [{ service_account: 'cart' }] } }] }))
    await kubectl('-n', 'tight', 'wait', '--for=condition=Ready', 'pod/echo', '--timeout=60s')
    const seen = await eventually(
      'the call',
      () => call('cart', 'http://echo.tight:8080/hi'),
      (answer) => answer.startsWith('200'),
    )
    assert.match(seen, /sa\/cart/)
    const rules = [{ name: 'echo', allow: { and: [{ namespace: 'tight' }] } }]
    await applied(policy('cart-callers', 'shop', { target: { service: 'cart' }, rules }))
    const back = await eventually(
      'the call of the loopback pod',
      async () =>
        (
          await cluster.kubectl([
            '-n',
            'tight',
            'exec',
            'echo',
            '-c',
            'app',
            '--',
            'node',
            '/app/app.js',
            'get',
            'http://127.0.0.1:7101/back',
          ])
        ).stdout,
      (answer) => answer.startsWith('200'),
    )
    assert.match(back, /"caller":"spiffe:\/\/example\.org\/ns\/tight\/sa\/default"/)
  })

  await step('a Job with a sidecar completes, and its call was allowed', async () => {
    await applied(`apiVersion: batch/v1
kind: Job
metadata: { name: once, namespace: shop }
spec:
  template:
    spec:
      serviceAccountName: cart
      restartPolicy: Never
      containers: [{ name: app, image: ${images.app}, command: [node, /app/app.js, get, "http://catalog.shop/items"] }]
`)
    await kubectl('-n', 'shop', 'wait', '--for=condition=Complete', 'job/once', '--timeout=60s')
    assert.match(await kubectl('-n', 'shop', 'logs', 'job/once', '-c', 'app'), /^200 /)
  })

  await step('what cannot be injected is refused in words, or left alone for a reason', async () => {
    const pod = (name: string, rest: string): string =>
      `apiVersion: v1\nkind: Pod\nmetadata: { name: ${name}, namespace: shop, ${rest}\n  containers: [{ name: app, image: ${images.app} }]\n`
    const wrong = await apply(pod('wrong', 'annotations: { postern.dev/interception: none } }\nspec:'))
    assert.match(wrong.stderr, /denied the request: the annotation `postern\.dev\/interception` is `none`: write `redirect` or `loopback`/)
    await applied(pod('out', 'labels: { postern.dev/inject: disabled } }\nspec:'))
    assert.equal(await kubectl('-n', 'shop', 'get', 'pod', 'out', '-o', 'jsonpath={.spec.initContainers}'), '')
  })

  await step('a rolling restart under load fails no request', async (context) => {
    const load = cluster.kubectl([
      '-n',
      'shop',
      'exec',
      'deploy/cart',
      '-c',
      'app',
      '--',
      'node',
      '/app/app.js',
      'load',
      'http://catalog.shop/items',
      '20',
      '50',
    ])
    await kubectl('-n', 'shop', 'rollout', 'restart', 'deployment/catalog')
    await ready('shop', 'deployment/catalog')
    const seen = JSON.parse((await load).stdout) as Record<string, number>
    context.diagnostic(`answers: ${JSON.stringify(seen)}`)
    assert.deepEqual(Object.keys(seen), ['200'])
  })

  await step('controller and CA gone: pods run on; a new one waits, and says for what; all recovers by itself', async () => {
    await kubectl('-n', 'postern-system', 'scale', 'deployment/postern-controller', 'statefulset/postern-ca', '--replicas=0')
    await eventually(
      'they are gone',
      () => kubectl('-n', 'postern-system', 'get', 'pods', '-o', 'name'),
      (seen) => seen === '',
    )
    assert.match(await call('cart', 'http://catalog.shop/items'), /^200/)
    await kubectl('-n', 'shop', 'scale', 'deployment/catalog', '--replicas=3')
    await eventually(
      'why no pod comes',
      () => kubectl('-n', 'shop', 'get', 'events', '-o', 'jsonpath={.items[*].message}'),
      (seen) => /failed calling webhook "inject\.postern\.dev"/.test(seen),
    )
    await kubectl('-n', 'postern-system', 'scale', 'deployment/postern-controller', 'statefulset/postern-ca', '--replicas=1')
    await eventually(
      'the third is ready',
      () => kubectl('-n', 'shop', 'get', 'deploy', 'catalog', '-o', 'jsonpath={.status.readyReplicas}'),
      (seen) => seen === '3',
      120,
    )
  })
})
