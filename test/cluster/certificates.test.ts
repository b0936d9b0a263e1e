/**
 * Certificates without a token, on a real Kubernetes: the kubelet asks for each pod (PodCertificateRequest), the controller signs with the
 * authority, and the pod has its SVID before its first container starts. And injection by a MutatingAdmissionPolicy, without a webhook.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { generateKeyPairSync, X509Certificate } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { test } from 'node:test'
import { requestSvid } from '#pki/request-svid'
import { decodeRequest } from '#pki/svid-request'
import { CLUSTER_MISSING, eventually, clusterFor, type Ran } from '../support/cluster.ts'
import { createTestMesh } from '../support/authority.ts'

const ROOT = join(import.meta.dirname, '..', '..')
const SIGNER = 'postern.dev/identity'

function postern(...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(ROOT, 'dist/postern.js'), ...args], { encoding: 'utf8' })
  assert.equal(status, 0, stderr)
  return stdout
}

function workload(name: string, namespace: string, image: string): string {
  return `
apiVersion: v1
kind: ServiceAccount
metadata: { name: ${name}, namespace: ${namespace} }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: ${name}, namespace: ${namespace} }
spec:
  replicas: 1
  selector: { matchLabels: { app: ${name} } }
  template:
    metadata: { labels: { app: ${name} } }
    spec:
      serviceAccountName: ${name}
      initContainers:
        - { name: before, image: ${image}, command: [node, -e, ''] }
      containers:
        - name: app
          image: ${image}
          ports: [{ containerPort: 8080, name: http }]
          readinessProbe: { httpGet: { path: /healthz, port: http }, periodSeconds: 1 }
---
apiVersion: v1
kind: Service
metadata: { name: ${name}, namespace: ${namespace} }
spec: { selector: { app: ${name} }, ports: [{ name: http, port: 8080, targetPort: 8080 }] }
`
}

function policy(namespace: string, path: string): string {
  const rules = [{ name: 'cart', allow: { and: [{ service_account: 'cart' }, { http_path: path }] } }]
  return JSON.stringify({
    apiVersion: 'postern.dev/v1',
    kind: 'Policy',
    metadata: { name: 'readers', namespace },
    spec: { target: { service: 'catalog' }, rules },
  })
}

test('certificates from the cluster, on a real Kubernetes', { skip: CLUSTER_MISSING, timeout: 240_000 }, async (t) => {
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
  const ready = (namespace: string, what: string): Promise<string> => kubectl('-n', namespace, 'rollout', 'status', what, '--timeout=90s')
  const call = async (namespace: string, from: string, url: string): Promise<string> =>
    (await cluster.kubectl(['-n', namespace, 'exec', `deploy/${from}`, '-c', 'app', '--', 'node', '/app/app.js', 'get', url])).stdout.trim()
  const calls = (namespace: string, path: string): Promise<string> =>
    eventually(
      'the call is allowed',
      () => call(namespace, 'cart', `http://catalog.${namespace}:8080${path}`),
      (seen) => seen.startsWith('200'),
    )
  const install = (...more: string[]): string =>
    postern(
      ...['install', '--authority', join(folder, 'authority'), '--trust-domain', 'example.org', '--image', images.postern],
      ...['--ca-storage', 'none', '--replicas', '1', '--trust-bundle', SIGNER, '--pod-certificates', ...more],
    )

  /** What a pod would become, but for names that the API server draws. */
  const injected = async (): Promise<object> => {
    const { status, stdout, stderr } = await cluster.kubectl(['create', '--dry-run=server', '-o', 'json', '-f', '-'], SAMPLE)
    assert.equal(status, 0, stderr)
    const pod = JSON.parse(stdout.replaceAll(/kube-api-access-\w+/g, 'kube-api-access')) as {
      spec: object
      metadata: { annotations: Record<string, string> }
    }
    return { spec: pod.spec, document: JSON.parse(pod.metadata.annotations['postern.dev/sidecar'] ?? '{}') as object }
  }
  let byWebhook: object = {}

  await t.test('a labelled namespace’s pods come up with certificates that the kubelet asked for, and without a token', async () => {
    postern('certs', 'init', join(folder, 'authority'), '--trust-domain', 'example.org')
    const manifests = install()
    await eventually(
      'all manifests are taken',
      () => apply(manifests),
      ({ status }) => status === 0,
    )
    await ready('postern-system', 'statefulset/postern-ca')
    await ready('postern-system', 'deployment/postern-controller')
    await applied(`apiVersion: v1\nkind: Namespace\nmetadata: { name: shop, labels: { postern.dev/inject: enabled } }\n`)
    await applied(policy('shop', '/items'))
    await applied([workload('cart', 'shop', images.app), workload('catalog', 'shop', images.app)].join('---'))
    await ready('shop', 'deployment/cart')
    await ready('shop', 'deployment/catalog')
    byWebhook = await injected()
    const sources = await kubectl(
      '-n',
      'shop',
      'get',
      'pod',
      '-l',
      'app=cart',
      '-o',
      'jsonpath={.items[0].spec.volumes[?(@.name=="postern")]}',
    )
    assert.match(sources, /"podCertificate":\{"credentialBundlePath":"credentials.pem","keyType":"ECDSAP256"/)
    assert.doesNotMatch(sources, /serviceAccountToken/)
    assert.equal(await calls('shop', '/items'), '200 {"path":"/items","caller":"spiffe://example.org/ns/shop/sa/cart"}')
  })

  await t.test('the API server took what was signed, and a request for a pod that is not there is denied', async () => {
    const list = JSON.parse(await kubectl('-n', 'shop', 'get', 'podcertificaterequests', '-o', 'json')) as {
      items: { spec: { podName: string }; status: { certificateChain: string; beginRefreshAt: string; conditions: { type: string }[] } }[]
    }
    const issued = list.items.filter(({ status }) => status.conditions.some(({ type }) => type === 'Issued'))
    assert.equal(issued.length, 2)
    for (const { status } of issued) {
      const leaf = new X509Certificate(status.certificateChain)
      assert.match(leaf.subjectAltName ?? '', /^URI:spiffe:\/\/example\.org\/ns\/shop\/sa\/(?:cart|catalog)$/)
      assert.ok(Date.parse(status.beginRefreshAt) < leaf.validToDate.getTime())
    }
    const request = decodeRequest(requestSvid(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey))
    assert.ok(request.ok)
    const uid = '00000000-0000-4000-8000-000000000000'
    const spec = {
      ...{ signerName: SIGNER, podName: 'ghost', podUID: uid, serviceAccountName: 'cart', serviceAccountUID: uid },
      ...{ nodeName: 'n', nodeUID: uid, maxExpirationSeconds: 86_400, stubPKCS10Request: request.value.toString('base64') },
    }
    const metadata = { name: 'ghost', namespace: 'shop' }
    await applied(JSON.stringify({ apiVersion: 'certificates.k8s.io/v1', kind: 'PodCertificateRequest', metadata, spec }))
    const seen = await eventually(
      'the denial',
      () => kubectl('-n', 'shop', 'get', 'podcertificaterequest', 'ghost', '-o', 'jsonpath={.status.conditions[0]}'),
      (condition) => condition !== '',
    )
    assert.match(seen, /the pod shop\/ghost is not there.*"reason":"PodNotFound".*"type":"Denied"/)
  })

  await t.test('the bundle of another trust domain is in force in the pods, an older one is refused, and the status says so', async () => {
    const partner = await createTestMesh('partner.example')
    const bundle = (sequence: number): string =>
      JSON.stringify({
        apiVersion: 'postern.dev/v1',
        kind: 'TrustDomain',
        metadata: { name: 'partner.example' },
        spec: { bundle: { spiffe_sequence: sequence, keys: [keyOf(partner.bundlePem)] } },
      })
    await applied(bundle(5))
    await eventually(
      'the status',
      () => kubectl('get', 'trustdomain', 'partner.example', '-o', 'jsonpath={.status.conditions[0].status} {.status.sidecars}'),
      (seen) => seen === 'True 2 of 2',
    )
    const kept = await kubectl('-n', 'shop', 'exec', 'deploy/catalog', '-c', 'postern', '--', 'node', '-e', LIST_BUNDLES)
    assert.equal(kept, 'partner.example.json')
    const older = await apply(bundle(4))
    assert.match(older.stderr, /sequence 4, and 5 is in force: an older one is not taken/)
  })

  await t.test('`--injection policy` makes the same pod without the webhook, and its pods call each other', async () => {
    await applied(install('--injection', 'policy'))
    await kubectl('delete', 'mutatingwebhookconfiguration', 'postern')
    // A policy acts some moments after it is written: first the refusal is seen, which nobody else makes.
    const annotated = SAMPLE.replace('labels:', 'annotations: { postern.dev/interception: loopback }, labels:')
    const dryRun = (pod: string): Promise<Ran> => cluster.kubectl(['create', '--dry-run=server', '-f', '-'], pod)
    await eventually(
      'the refusal in words',
      () => dryRun(annotated),
      ({ stderr }) => /injects all pods alike .* annotations below postern\.dev\/ need the webhook/.test(stderr),
    )
    const byPolicy = await eventually(
      'the sidecar',
      () => injected(),
      (seen) => JSON.stringify(seen).includes('postern-init'),
    )
    assert.deepEqual(byPolicy, byWebhook)
    for (const [was, is, words] of REFUSED) assert.match((await dryRun(SAMPLE.replace(was, is))).stderr, words)
    await applied(`apiVersion: v1\nkind: Namespace\nmetadata: { name: plain, labels: { postern.dev/inject: enabled } }\n`)
    await applied(policy('plain', '/items'))
    await applied([workload('cart', 'plain', images.app), workload('catalog', 'plain', images.app)].join('---'))
    await ready('plain', 'deployment/cart')
    await ready('plain', 'deployment/catalog')
    assert.equal(await calls('plain', '/items'), '200 {"path":"/items","caller":"spiffe://example.org/ns/plain/sa/cart"}')
    assert.match(await call('plain', 'cart', 'http://catalog.plain:8080/secret'), /^403 /)
  })
})

/** Every kind of thing that injection looks at. */
const SAMPLE = `
apiVersion: v1
kind: Pod
metadata: { name: sample, namespace: shop, labels: { app: web, tier.example/of: "a_b" } }
spec:
  initContainers: [{ name: own, image: example.org/own:1 }]
  containers:
    - name: app
      image: example.org/app:1
      ports: [{ containerPort: 8080, name: http }, { containerPort: 9090 }, { containerPort: 53, protocol: UDP }]
      startupProbe: { httpGet: { path: '/a"b\\c', port: 9090 }, timeoutSeconds: 4 }
      readinessProbe: { httpGet: { port: http }, periodSeconds: 1 }
      livenessProbe: { exec: { command: [x] } }
    - { name: second, image: example.org/app:1, ports: [{ containerPort: 7070 }], livenessProbe: { httpGet: { path: /l, port: 6060 } } }
`
const REFUSED: readonly (readonly [was: string, is: string, words: RegExp])[] = [
  ['exec: { command: [x] }', 'tcpSocket: { port: 8080 }', /probes of the kinds tcpSocket and grpc.* need the webhook/],
  ['containerPort: 7070', 'containerPort: 7443', /is one that the sidecar needs/],
  ['containerPort: 7070', 'containerPort: 8080', /declared twice/],
]

const LIST_BUNDLES = 'console.log(require("node:fs").readdirSync("/run/postern/mesh/current/federation").join())'

function keyOf(pem: string): object {
  const certificate = new X509Certificate(pem)
  return { ...certificate.publicKey.export({ format: 'jwk' }), use: 'x509-svid', x5c: [certificate.raw.toString('base64')] }
}
