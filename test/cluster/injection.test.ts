/** Pods of every kind as a real API server stores them, beside the golden files: in restricted namespaces, under a LimitRange, asked twice. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { test } from 'node:test'
import { isDeepStrictEqual } from 'node:util'
import type { Pod } from '#controller/inject/pod'
import { CLUSTER_MISSING, eventually, clusterFor, type Ran } from '../support/cluster.ts'
import { GOLDEN_CASES, GOLDEN_SETTINGS, podOf, readGolden } from '../support/golden-pods.ts'

const ROOT = join(import.meta.dirname, '..', '..')
type Json = Readonly<Record<string, unknown>>

/** Workloads whose controllers make the pod, and how the pod is found; a CronJob's is made by hand, since its time is far. */
const CONTROLLED: Readonly<Record<string, string>> = {
  deployment: 'tier=web',
  'stateful-set': 'app=db',
  'daemon-set': 'app=agent',
  job: 'app.kubernetes.io/name=migrate',
  'cron-job': 'app=report',
}

/** What the stored object lacks of what is expected, by path: the API server adds defaults and volumes of its own. */
function lacking(expected: unknown, stored: unknown, path = ''): string[] {
  if (Array.isArray(expected)) {
    if (!Array.isArray(stored)) return [`${path}: no list`]
    return expected.flatMap((item: unknown, index) => {
      const key = keyOf(item)
      const found: unknown = key === undefined ? stored[index] : stored.find((one) => keyOf(one) === key)
      return lacking(item, found, `${path}[${key ?? index}]`)
    })
  }
  if (isMembers(expected)) {
    if (!isMembers(stored)) return [`${path}: nothing there`]
    return Object.entries(expected).flatMap(([name, value]) => lacking(value, stored[name], `${path}.${name}`))
  }
  return isDeepStrictEqual(expected, stored) ? [] : [`${path}: ${JSON.stringify(stored)} instead of ${JSON.stringify(expected)}`]
}

/** By which the API server tells the items of a list apart. */
function keyOf(item: unknown): string | undefined {
  if (!isMembers(item)) return undefined
  const { mountPath, containerPort, name } = item
  const key = mountPath ?? containerPort ?? name
  return typeof key === 'string' ? key : typeof key === 'number' ? String(key) : undefined
}

function isMembers(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** With the image of this cluster, for the namespace it is stored in; the document apart. */
function compare(name: string, golden: Pod, stored: Pod, image: string, namespace: string): void {
  const swap = (value: unknown): unknown => JSON.parse(JSON.stringify(value).replaceAll(GOLDEN_SETTINGS.image, image))
  assert.deepEqual(lacking(swap(golden.spec), stored.spec), [], name)
  const names = (pod: Pod): unknown => [pod.spec.initContainers?.map((one) => one.name), pod.spec.containers.map((one) => one.name)]
  assert.deepEqual(names(stored), names(golden), name)
  const { annotations: given = {} } = golden.metadata ?? {}
  const { annotations: seen = {} } = stored.metadata ?? {}
  const document = (text: string | undefined): unknown => {
    if (text === undefined) return undefined
    const read = JSON.parse(text) as { readonly metadata: Json; readonly spec: Json }
    // Labels that controllers add (a template's hash, a job's name) are the pod's as well.
    return { ...read, metadata: { name: read.metadata['name'], namespace: read.metadata['namespace'] } }
  }
  const expected = document(given['postern.dev/sidecar']?.replaceAll('"namespace":"golden"', `"namespace":"${namespace}"`))
  assert.deepEqual(document(seen['postern.dev/sidecar']), expected, name)
}

test('injection on a real API server', { skip: CLUSTER_MISSING, timeout: 280_000 }, async (t) => {
  using cluster = await clusterFor(t)
  if (cluster === undefined) return
  const { images } = cluster
  const folder = mkdtempSync(join(tmpdir(), 'postern-injection-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const kubectl = async (args: readonly string[], input?: unknown): Promise<string> => {
    const { status, stdout, stderr } = await cluster.kubectl(args, input === undefined ? undefined : JSON.stringify(input))
    assert.equal(status, 0, `kubectl ${args.join(' ')}: ${stderr}`)
    return stdout
  }
  /** What would be stored. */
  const dryRun = (namespace: string, manifest: unknown): Promise<Ran> =>
    cluster.kubectl(['-n', namespace, 'create', '--dry-run=server', '-o', 'json', '-f', '-'], JSON.stringify(manifest))
  const namespace = (name: string, labels: object = {}): Promise<string> =>
    kubectl(['apply', '-f', '-'], {
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name, labels: { 'postern.dev/inject': 'enabled', ...labels } },
    })

  const postern = (...args: string[]): string => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [join(ROOT, 'dist/postern.js'), ...args], { encoding: 'utf8' })
    assert.equal(status, 0, stderr)
    return stdout
  }
  postern('certs', 'init', join(folder, 'authority'), '--trust-domain', 'example.org')
  const options = ['--trust-domain', 'example.org', '--image', images.postern, '--ca-storage', 'none', '--replicas', '1']
  const manifests = postern('install', '--authority', join(folder, 'authority'), ...options)
  await eventually(
    'the mesh is taken',
    () => cluster.kubectl(['apply', '--server-side', '-f', '-'], manifests),
    ({ status }) => status === 0,
  )
  await kubectl(['-n', 'postern-system', 'rollout', 'status', 'statefulset/postern-ca', '--timeout=60s'])
  await kubectl(['-n', 'postern-system', 'rollout', 'status', 'deployment/postern-controller', '--timeout=60s'])
  await namespace('golden')
  await eventually(
    'the webhook is called',
    () =>
      dryRun('golden', {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: 'try' },
        spec: { containers: [{ name: 'a', image: 'a.example/a:1' }] },
      }),
    ({ stdout }) => stdout.includes('"postern"'),
  )

  for (const golden of GOLDEN_CASES) {
    const selector = CONTROLLED[golden.name]
    // oxlint-disable-next-line no-await-in-loop -- one cluster
    await t.test(`${golden.name}: stored as it is written down`, async () => {
      if (selector === undefined) {
        const { status, stdout, stderr } = await dryRun('golden', golden.manifest)
        assert.equal(status, 0, stderr)
        compare(golden.name, readGolden(golden), JSON.parse(stdout) as Pod, images.postern, 'golden')
        return
      }
      await kubectl(['-n', 'golden', 'create', '-f', '-'], golden.manifest)
      if (golden.name === 'cron-job') await kubectl(['-n', 'golden', 'create', 'job', 'report-now', '--from=cronjob/report'])
      const { items } = await eventually(
        'its controller makes a pod',
        async () =>
          JSON.parse(await kubectl(['-n', 'golden', 'get', 'pods', '-l', selector, '-o', 'json'])) as { readonly items: readonly Pod[] },
        (seen) => seen.items.length > 0,
      )
      compare(golden.name, readGolden(golden), items[0]!, images.postern, 'golden')
    })
  }

  await t.test('a warning reaches whoever creates a pod: of a UDP port, of a hostPort', async () => {
    const agent = GOLDEN_CASES.find(({ name }) => name === 'daemon-set')!
    const { stderr } = await dryRun('golden', { apiVersion: 'v1', kind: 'Pod', ...podOf(agent.manifest), metadata: { name: 'warned' } })
    assert.match(stderr, /Warning: postern: port 8125\/UDP of container `agent` is not guarded/)
    assert.match(stderr, /Warning: postern: hostPort 18126 leads to port 8126/)
  })

  await t.test(
    'in a restricted namespace loopback is stored, and redirect is refused by Pod Security, which names our container',
    async () => {
      await namespace('tight', { 'pod-security.kubernetes.io/enforce': 'restricted' })
      const golden = GOLDEN_CASES.find(({ name }) => name === 'restricted')!
      const loopback = await eventually(
        'the label is known',
        () => dryRun('tight', golden.manifest),
        ({ stdout }) => stdout.includes('"postern"'),
      )
      compare('restricted', readGolden(golden), JSON.parse(loopback.stdout) as Pod, images.postern, 'tight')
      const { metadata, ...rest } = golden.manifest as { readonly metadata: Json }
      const redirect = await dryRun('tight', {
        ...rest,
        metadata: { ...metadata, annotations: { 'postern.dev/interception': 'redirect' } },
      })
      assert.notEqual(redirect.status, 0)
      assert.match(redirect.stderr, /violates PodSecurity "restricted:latest": .*postern-init/)
    },
  )

  await t.test('a LimitRange changes the pod after us, and we are asked again: one sidecar, its own resources kept', async () => {
    await namespace('limited')
    const limits = [{ type: 'Container', default: { cpu: '500m', memory: '1Gi' }, defaultRequest: { cpu: '200m', memory: '300Mi' } }]
    await kubectl(['-n', 'limited', 'apply', '-f', '-'], {
      apiVersion: 'v1',
      kind: 'LimitRange',
      metadata: { name: 'limits' },
      spec: { limits },
    })
    const golden = GOLDEN_CASES.find(({ name }) => name === 'several-containers')!
    const { stdout } = await eventually(
      'the limits are known',
      () => dryRun('limited', golden.manifest),
      (ran) => ran.stdout.includes('"500m"') && ran.stdout.includes('"postern"'),
    )
    const pod = JSON.parse(stdout) as Pod
    compare('several-containers', readGolden(golden), pod, images.postern, 'limited')
    const sidecars = pod.spec.initContainers?.filter(({ name }) => name === 'postern') ?? []
    assert.equal(sidecars.length, 1)
    assert.deepEqual(sidecars[0]?.['resources'], { limits: { cpu: '500m', memory: '256Mi' }, requests: { cpu: '10m', memory: '80Mi' } })
    const name = (
      await kubectl(['-n', 'postern-system', 'get', 'pods', '-l', 'app.kubernetes.io/name=postern-controller', '-o', 'name'])
    ).trim()
    const path = `/api/v1/namespaces/postern-system/pods/http:${name.replace('pod/', '')}:7020/proxy/metrics`
    assert.match(await kubectl(['get', '--raw', path]), /^postern_reviews_total\{outcome="left"\} [1-9]/m)
  })

  await t.test(
    'a webhook that is down, is slow, or shows the certificate of somebody else: what the user sees, and that all of it mends',
    async () => {
      const HOOK = '/webhooks/0/clientConfig'
      const patch = (...changes: readonly Json[]): Promise<string> =>
        kubectl(['patch', 'mutatingwebhookconfiguration', 'postern', '--type=json', '-p', JSON.stringify(changes)])
      const pod = (name: string, container: Json): Json => ({
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name },
        spec: { containers: [{ name: 'a', ...container }] },
      })
      const trial = pod('trial', { image: 'a.example/a:1' })
      const refused = async (what: string, words: RegExp): Promise<void> => {
        await eventually(
          what,
          () => dryRun('golden', trial),
          ({ status, stderr }) => status !== 0 && words.test(stderr),
          30,
        )
      }
      const ours = JSON.parse(await kubectl(['get', 'mutatingwebhookconfiguration', 'postern', '-o', 'json'])) as {
        readonly webhooks: readonly { readonly clientConfig: { readonly caBundle: string } }[]
      }
      const clientConfig = ours.webhooks[0]!.clientConfig

      const foreign = await kubectl(['-n', 'golden', 'get', 'configmap', 'kube-root-ca.crt', '-o', 'jsonpath={.data.ca\\.crt}'])
      await eventually(
        'the certificate is not believed',
        async () => {
          await patch({ op: 'replace', path: `${HOOK}/caBundle`, value: Buffer.from(foreign).toString('base64') })
          return dryRun('golden', trial)
        },
        ({ stderr }) => /failed calling webhook "inject\.postern\.dev".*x509: certificate signed by unknown authority/.test(stderr),
        30,
      )
      await eventually(
        'the controller has written its bundle again',
        () => dryRun('golden', trial),
        ({ stdout }) => stdout.includes('"postern"'),
        30,
      )

      const silent = "require('node:net').createServer(() => {}).listen(8443)"
      await kubectl(['-n', 'default', 'create', '-f', '-'], pod('silent', { image: images.app, command: ['node', '-e', silent] }))
      await kubectl(['-n', 'default', 'wait', '--for=condition=Ready', 'pod/silent', '--timeout=30s'])
      const ip = await kubectl(['-n', 'default', 'get', 'pod', 'silent', '-o', 'jsonpath={.status.podIP}'])
      const slow = { url: `https://${ip}:8443/inject`, caBundle: clientConfig.caBundle }
      await patch({ op: 'replace', path: HOOK, value: slow }, { op: 'replace', path: '/webhooks/0/timeoutSeconds', value: 1 })
      await refused('nothing answers', /failed calling webhook "inject\.postern\.dev".*(?:deadline exceeded|Timeout exceeded)/)
      await patch({ op: 'replace', path: HOOK, value: clientConfig })

      await kubectl(['-n', 'postern-system', 'scale', 'deployment/postern-controller', '--replicas=0'])
      await refused('nobody is there', /failed calling webhook "inject\.postern\.dev".*(?:connection refused|no endpoints available)/)
      await kubectl(['-n', 'postern-system', 'scale', 'deployment/postern-controller', '--replicas=1'])
      await eventually(
        'a pod again',
        () => dryRun('golden', trial),
        ({ stdout }) => stdout.includes('"postern"'),
        90,
      )
    },
  )
})
