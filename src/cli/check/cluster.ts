/** The doctor on a cluster: the mesh as the API server shows it, and one pod that is created for trial and never stored. */
import { PosternError } from '#base/errors'
import { systemClock } from '#base/clock'
import { BUNDLE_CONFIG_MAP } from '#controller/bundle-publisher'
import { customResources } from '#controller/crds'
import { decideInjection } from '#controller/inject/decide'
import type { Pod } from '#controller/inject/pod'
import { readPlainYaml } from '#config/plain-yaml'
import { findKubeAccess } from '#kube/access'
import { createKubeClient, type KubeClient } from '#kube/client'
import type { KubeObject, Resource } from '#kube/objects'
import { findServed } from '#kube/served'
import { readBundle } from '#pki/bundle'
import { type CheckResult, judged, passed, skipped } from './catalogue.ts'
import { checkAuthorities } from './identity.ts'
import {
  judgeBehind,
  judgeCalls,
  judgeControlPlane,
  judgePolicies,
  judgeResources,
  judgeWebhook,
  type Workload,
} from './cluster-objects.ts'
import { span } from './times.ts'

/** What certificates are dated back, ms: beyond it a fresh one is not valid yet. */
const SKEW = 60_000
/** A kubelet renews its lease every 10 s; only who ran within the last minutes says anything about a clock. */
const LEASE_LATE = 40_000
const LEASE_OLD = 600_000
/** Details of one check; more would hide the rest. */
const MOST_NAMED = 20

const core = (plural: string, namespace?: string): Resource => ({
  group: '',
  version: 'v1',
  plural,
  ...(namespace !== undefined && { namespace }),
})
const group = (name: string, plural: string, namespace?: string): Resource => ({ ...core(plural, namespace), group: name })

interface InjectionWords {
  readonly image: string
  readonly trustDomain: string
  readonly trustBundle: string | undefined
}

export interface ClusterCheckOptions {
  readonly env: Readonly<Record<string, string | undefined>>
  /** Where CA and controller run. */
  readonly namespace: string
}

export async function* checkCluster({ env, namespace }: ClusterCheckOptions): AsyncGenerator<CheckResult> {
  let client: KubeClient
  try {
    client = createKubeClient(await findKubeAccess(env), systemClock)
  } catch (error) {
    yield judged('cluster-reachable', [messageOf(error)])
    return
  }
  try {
    yield* checkMesh(client, namespace)
  } finally {
    await client.close()
  }
}

export async function* checkMesh(client: KubeClient, namespace: string): AsyncGenerator<CheckResult> {
  let time: number
  try {
    time = await client.time()
  } catch (error) {
    yield judged('cluster-reachable', [messageOf(error)])
    return
  }
  yield passed('cluster-reachable')
  yield* checkAll(client, namespace, time)
}

async function* checkAll(client: KubeClient, namespace: string, time: number): AsyncGenerator<CheckResult> {
  yield await asked('cluster-clock', async () =>
    judgeClocks(await list(client, group('coordination.k8s.io', 'leases', 'kube-node-lease')), time),
  )
  yield await asked('cluster-resources', async () =>
    judgeResources(
      customResources() as readonly KubeObject[],
      await list(client, group('apiextensions.k8s.io', 'customresourcedefinitions')),
    ),
  )
  yield await asked('cluster-control-plane', async () => {
    const controllers = await list<Workload>(client, group('apps', 'deployments', namespace))
    const authorities = await list<Workload>(client, group('apps', 'statefulsets', namespace))
    return judgeControlPlane(namespace, controllers, authorities)
  })
  let words: InjectionWords | undefined
  let bundle: string | undefined
  const mesh = await readMesh(client, namespace).catch((error: unknown) => error)
  if (mesh instanceof Error) yield judged('cluster-trust', [mesh.message])
  else {
    ;({ words, bundle } = mesh as { words: InjectionWords; bundle: string })
    yield await asked('cluster-trust', async () => trustOf(words, bundle))
  }
  // Older clusters have no such kind.
  const bindings = await list(client, group('admissionregistration.k8s.io', 'mutatingadmissionpolicybindings')).catch(() => [])
  const byPolicy = bindings.some(({ metadata }) => metadata.name.startsWith('postern'))
  yield await asked('cluster-webhook', async () =>
    judgeWebhook(
      await list(client, group('admissionregistration.k8s.io', 'mutatingwebhookconfigurations')),
      await list(client, group('admissionregistration.k8s.io', 'validatingwebhookconfigurations')),
      byPolicy,
      bundle,
    ),
  )
  const namespaces = await list(client, core('namespaces')).catch(() => [])
  const labelled = namespaces
    .filter(({ metadata }) => metadata.labels?.['postern.dev/inject'] === 'enabled')
    .map(({ metadata }) => metadata.name)
  const [first] = labelled
  if (first === undefined) {
    const why = 'no namespace has the label `postern.dev/inject: enabled`.'
    yield skipped('cluster-injection', why)
    yield skipped('cluster-uninjected', why)
  } else {
    yield await asked('cluster-injection', async () => tryInjection(client, first, byPolicy))
    yield await asked('cluster-uninjected', async () => {
      const pods = (await list<KubeObject & Pod>(client, core('pods'))).filter(({ metadata }) =>
        labelled.includes(metadata.namespace ?? ''),
      )
      return judgeUninjected(pods, namespace)
    })
  }
  yield await asked('cluster-behind', async () => judgeBehind(await list<KubeObject & Pod>(client, core('pods')), words?.image))
  yield judgeCalls(namespaces)
  yield await asked('cluster-policies', async () =>
    judgePolicies([
      ...(await list(client, group('postern.dev', 'policies'))),
      ...(await list(client, group('postern.dev', 'clusterpolicies'))),
    ]),
  )
}

async function list<T extends KubeObject>(client: KubeClient, resource: Resource): Promise<readonly T[]> {
  return (await client.list<T>(resource)).items
}

/** What the API server does not tell us is said with its words. */
async function asked(id: CheckResult['id'], look: () => Promise<CheckResult>): Promise<CheckResult> {
  try {
    return await look()
  } catch (error) {
    if (!(error instanceof PosternError)) throw error
    return judged(id, [error.message])
  }
}

function messageOf(error: unknown): string {
  if (error instanceof PosternError) return `${error.message} (${error.code})`
  throw error
}

/** The controller's own words on what it injects, and the bundle that pods mount. */
async function readMesh(client: KubeClient, namespace: string): Promise<{ readonly words: InjectionWords; readonly bundle: string }> {
  const maps = core('configmaps', namespace)
  const { data } = await client.get<KubeObject & { readonly data?: Readonly<Record<string, string>> }>(maps, 'postern-controller')
  const document = readPlainYaml(data?.['controller.yaml'] ?? '', `ConfigMap ${namespace}/postern-controller`) as {
    readonly spec?: { readonly trustDomain?: string; readonly injection?: { readonly image?: string; readonly trustBundle?: string } }
  } | null
  const words: InjectionWords = {
    image: document?.spec?.injection?.image ?? '',
    trustDomain: document?.spec?.trustDomain ?? '',
    trustBundle: document?.spec?.injection?.trustBundle,
  }
  const signer = words.trustBundle
  if (signer !== undefined) {
    const kind = group('certificates.k8s.io', 'clustertrustbundles')
    const bundles = (await findServed(client, kind, ['v1', 'v1beta1'])) ?? kind
    const found = await client.get<KubeObject & { readonly spec?: { readonly trustBundle?: string } }>(
      bundles,
      `${signer.replace('/', ':')}:bundle`,
    )
    return { words, bundle: found.spec?.trustBundle ?? '' }
  }
  const found = await client.get<KubeObject & { readonly data?: Readonly<Record<string, string>> }>(maps, BUNDLE_CONFIG_MAP)
  return { words, bundle: found.data?.['bundle.pem'] ?? '' }
}

function trustOf(words: InjectionWords | undefined, bundle: string | undefined): CheckResult {
  const { status, details } = checkAuthorities([readBundle(bundle ?? '', words?.trustDomain ?? '', BUNDLE_CONFIG_MAP)], systemClock.now())
  return { id: 'cluster-trust', status, details }
}

interface Lease extends KubeObject {
  readonly spec?: { readonly renewTime?: string }
}

/** A lease is renewed by the node's own clock: one from the future, or late while others are not, tells of a clock. */
function judgeClocks(leases: readonly Lease[], time: number): CheckResult {
  const own = systemClock.now() - time
  const problems =
    Math.abs(own) > SKEW ? [`The clock of this host is ${span(Math.abs(own))} ${own > 0 ? 'ahead of' : 'behind'} the API server’s.`] : []
  for (const { metadata, spec } of leases) {
    const renewed = Date.parse(spec?.renewTime ?? '')
    if (Number.isNaN(renewed)) continue
    const late = time - renewed
    if (late < -SKEW) problems.push(`The clock of node ${metadata.name} is ${span(-late)} ahead of the API server’s.`)
    else if (late > SKEW + LEASE_LATE && late < LEASE_OLD) {
      problems.push(`Node ${metadata.name} was heard of ${span(late)} ago by its own clock: it is away, or its clock is behind.`)
    }
  }
  return judged('cluster-clock', problems.slice(0, MOST_NAMED))
}

/** As strict as any namespace can be, so that only injection itself decides. */
const TRIAL: Pod = {
  metadata: { generateName: 'postern-check-', annotations: { 'postern.dev/interception': 'loopback' } },
  spec: {
    securityContext: { runAsNonRoot: true, runAsUser: 65_532, seccompProfile: { type: 'RuntimeDefault' } },
    containers: [
      {
        name: 'app',
        image: 'postern.dev/never-run:1',
        ports: [{ containerPort: 8080 }],
        resources: { requests: { cpu: '1m', memory: '1Mi' }, limits: { cpu: '1m', memory: '1Mi' } },
        securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
      },
    ],
  },
}

/** @param byPolicy the API server injects by itself, and knows no annotations */
async function tryInjection(client: KubeClient, namespace: string, byPolicy: boolean): Promise<CheckResult> {
  const { annotations, ...plain } = TRIAL.metadata ?? {}
  const metadata = byPolicy ? plain : { ...plain, annotations }
  const pod = await client.dryRun<Pod>(core('pods', namespace), { apiVersion: 'v1', kind: 'Pod', ...TRIAL, metadata })
  const injected = pod.spec.initContainers?.some(({ name }) => name === 'postern') === true
  return judged('cluster-injection', injected ? [] : [`A pod that was created in ${namespace} for trial came back without a sidecar.`])
}

/** Why a pod has none is asked of the code that decides it. */
function judgeUninjected(pods: readonly (KubeObject & Pod)[], meshNamespace: string): CheckResult {
  const settings = { namespace: meshNamespace, interception: 'redirect' } as const
  const open: string[] = []
  for (const pod of pods) {
    const { name, namespace = '' } = pod.metadata
    if (isOver(pod) || hasSidecar(pod)) continue
    const verdict = decideInjection(pod, namespace, 'enabled', settings)
    if (verdict.kind === 'leave') continue
    const why =
      verdict.kind === 'refuse' ? `could not get one: ${verdict.problems.join(' ')}` : 'was made before the label, or past the webhook.'
    open.push(`Pod ${namespace}/${name} has no sidecar and is open; it ${why}`)
  }
  const more = open.length - MOST_NAMED
  return judged('cluster-uninjected', more > 0 ? [...open.slice(0, MOST_NAMED), `And ${more} more.`] : open)
}

function hasSidecar({ spec }: Pod): boolean {
  return spec.initContainers?.some(({ name }) => name === 'postern') === true
}

function isOver(pod: KubeObject & Pod): boolean {
  const { phase } = (pod as { readonly status?: { readonly phase?: string } }).status ?? {}
  return phase === 'Succeeded' || phase === 'Failed' || pod.metadata.deletionTimestamp !== undefined
}
