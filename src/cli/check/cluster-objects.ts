/** What the objects of a mesh must look like: judgements on what the API server returned, without asking it anything. */
import type { Pod } from '#controller/inject/pod'
import { readCalls } from '#controller/snapshot/objects'
import type { KubeObject } from '#kube/objects'
import { type CheckResult, judged, skipped } from './catalogue.ts'

const MOST_NAMED = 20

interface Definition extends KubeObject {
  readonly spec?: { readonly versions?: readonly { readonly name: string; readonly served?: boolean; readonly schema?: unknown }[] }
  readonly status?: { readonly conditions?: readonly { readonly type: string; readonly status: string }[] }
}

export function judgeResources(expected: readonly Definition[], there: readonly Definition[]): CheckResult {
  const problems: string[] = []
  for (const { metadata, spec } of expected) {
    const found = there.find((one) => one.metadata.name === metadata.name)
    const version = spec?.versions?.[0]?.name
    if (found === undefined) problems.push(`The custom resource ${metadata.name} is not there.`)
    else if (found.spec?.versions?.some(({ name, served }) => name === version && served === true) !== true) {
      problems.push(`The custom resource ${metadata.name} is not served as ${version}.`)
    } else if (found.status?.conditions?.some(({ type, status }) => type === 'Established' && status === 'True') !== true) {
      problems.push(`The custom resource ${metadata.name} is not established yet.`)
    }
  }
  return judged('cluster-resources', problems)
}

export interface Workload extends KubeObject {
  readonly spec?: { readonly replicas?: number }
  readonly status?: { readonly readyReplicas?: number }
}

export function judgeControlPlane(namespace: string, deployments: readonly Workload[], statefulSets: readonly Workload[]): CheckResult {
  const problems: string[] = []
  let dead = false
  for (const [name, kind, among] of [
    ['postern-ca', 'StatefulSet', statefulSets],
    ['postern-controller', 'Deployment', deployments],
  ] as const) {
    const found = among.find(({ metadata }) => metadata.name === name)
    const wanted = found?.spec?.replicas ?? 1
    const ready = found?.status?.readyReplicas ?? 0
    dead ||= ready === 0
    if (found === undefined) problems.push(`There is no ${kind} ${namespace}/${name}.`)
    else if (ready < wanted || ready === 0) problems.push(`${kind} ${namespace}/${name} has ${ready} of ${wanted} replicas ready.`)
  }
  return judged('cluster-control-plane', problems, dead ? 'failed' : 'warning')
}

interface Configuration extends KubeObject {
  readonly webhooks?: readonly { readonly name: string; readonly clientConfig?: { readonly caBundle?: string } }[]
}

/** @param byPolicy the API server injects by itself @param bundle of the mesh, PEM; undefined if it could not be read */
export function judgeWebhook(
  mutating: readonly Configuration[],
  validating: readonly Configuration[],
  byPolicy: boolean,
  bundle: string | undefined,
): CheckResult {
  const problems: string[] = []
  for (const [kind, name, among] of [
    ['MutatingWebhookConfiguration', 'inject.postern.dev', mutating],
    ['ValidatingWebhookConfiguration', 'policies.postern.dev', validating],
  ] as const) {
    const hook = among.flatMap(({ webhooks = [] }) => webhooks).find((one) => one.name === name)
    if (hook === undefined) {
      // Injection by a MutatingAdmissionPolicy does without a webhook.
      if (!byPolicy || kind !== 'MutatingWebhookConfiguration') problems.push(`There is no webhook ${name} in any ${kind}.`)
      continue
    }
    const trusted = Buffer.from(hook.clientConfig?.caBundle ?? '', 'base64').toString()
    if (trusted === '') problems.push(`The webhook ${name} has no caBundle: the API server cannot call it.`)
    else if (bundle !== undefined && trusted.trim() !== bundle.trim()) {
      problems.push(`The caBundle of the webhook ${name} is not the trust bundle of the mesh.`)
    }
  }
  return judged('cluster-webhook', problems)
}

/** @param image that is injected now */
export function judgeBehind(pods: readonly (KubeObject & Pod)[], image: string | undefined): CheckResult {
  if (image === undefined || image === '') return skipped('cluster-behind', 'which image is injected could not be read.')
  const behind = new Map<string, string[]>()
  for (const { metadata, spec } of pods) {
    const sidecar = spec.initContainers?.find(({ name }) => name === 'postern')
    if (sidecar === undefined || sidecar.image === image || metadata.annotations?.['postern.dev/injected'] === undefined) continue
    const old = sidecar.image ?? ''
    behind.set(old, [...(behind.get(old) ?? []), `${metadata.namespace ?? ''}/${metadata.name}`])
  }
  const lines = [...behind].map(([old, names]) => `${names.length} with ${old} instead of ${image}: ${shown(names)}.`)
  return judged('cluster-behind', lines, 'warning')
}

/** What cannot be read narrows nothing; a namespace that is not there has no services. */
export function judgeCalls(namespaces: readonly KubeObject[]): CheckResult {
  const there = new Set(namespaces.map(({ metadata }) => metadata.name))
  const problems = namespaces.flatMap(({ metadata: { name, annotations } }) => {
    const text = annotations?.['postern.dev/calls']
    if (text === undefined) return []
    const calls = readCalls(text, name)
    if (calls === undefined)
      return [`Namespace ${name} has \`postern.dev/calls: ${text.slice(0, 100)}\`, which is no list of namespaces and narrows nothing.`]
    const absent = [...calls].filter((one) => !there.has(one))
    return absent.length === 0
      ? []
      : [`Namespace ${name} calls ${absent.join(', ')} by its \`postern.dev/calls\`, and there is no such namespace.`]
  })
  return judged('cluster-calls', problems.slice(0, MOST_NAMED), 'warning')
}

interface PolicyObject extends KubeObject {
  readonly status?: {
    readonly observedGeneration?: number
    readonly sidecars?: string
    readonly conditions?: readonly { readonly type: string; readonly status: string; readonly message: string }[]
  }
}

export function judgePolicies(policies: readonly PolicyObject[]): CheckResult {
  const refused: string[] = []
  const late: string[] = []
  for (const { metadata, status } of policies) {
    const name = metadata.namespace === undefined ? `ClusterPolicy ${metadata.name}` : `Policy ${metadata.namespace}/${metadata.name}`
    const accepted = status?.conditions?.find(({ type }) => type === 'Accepted')
    const [running, all] = (status?.sidecars ?? '').split(' of ').map(Number)
    if (accepted?.status === 'False') refused.push(`${name} is refused, and its last good version runs: ${accepted.message}`)
    else if (accepted === undefined || status?.observedGeneration !== metadata.generation)
      late.push(`${name}: no controller has looked at it yet.`)
    else if (running !== undefined && all !== undefined && running < all) late.push(`${name} runs in ${running} of ${all} sidecars.`)
  }
  return judged('cluster-policies', [...refused, ...late].slice(0, MOST_NAMED), refused.length > 0 ? 'failed' : 'warning')
}

function shown(names: readonly string[]): string {
  const more = names.length - MOST_NAMED
  return more > 0 ? `${names.slice(0, MOST_NAMED).join(', ')} and ${more} more` : names.join(', ')
}
