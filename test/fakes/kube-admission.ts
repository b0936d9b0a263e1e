/** Webhooks as the fake API server calls them: those of the configurations that are stored, over the TLS that they say, with the patch applied. */
import { Agent, fetch } from 'undici'
import type { KubeObject } from '#kube/objects'
import { type Answer, applyJsonPatch, failure, type Json, type KubeStore, parseTarget, type Target } from './kube-store.ts'

interface Hook {
  readonly name: string
  readonly clientConfig: { readonly url?: string; readonly caBundle?: string }
  readonly failurePolicy?: 'Fail' | 'Ignore'
  readonly rules: readonly {
    readonly operations: readonly string[]
    readonly apiGroups: readonly string[]
    readonly resources: readonly string[]
  }[]
  readonly namespaceSelector?: Selector
  readonly objectSelector?: Selector
}

interface Selector {
  readonly matchExpressions?: readonly { readonly key: string; readonly operator: string; readonly values?: readonly string[] }[]
}

interface Admitted {
  readonly object: Json
  readonly warnings: readonly string[]
}

interface Response {
  readonly response: {
    readonly allowed: boolean
    readonly patch?: string
    readonly status?: { readonly code?: number; readonly message?: string }
    readonly warnings?: readonly string[]
  }
}

const GROUP = '/apis/admissionregistration.k8s.io/v1'

/** @returns what is to be stored, or the refusal */
export async function admit(store: KubeStore, target: Target, object: Json, dryRun: boolean): Promise<Admitted | Answer> {
  let admitted = object
  const warnings: string[] = []
  for (const kind of ['mutatingwebhookconfigurations', 'validatingwebhookconfigurations']) {
    const configurations = store.objects(parseTarget(`${GROUP}/${kind}`) as Target)
    for (const hook of configurations.flatMap((one) => (one as KubeObject & { readonly webhooks?: readonly Hook[] }).webhooks ?? [])) {
      if (hook.clientConfig.url === undefined || !isMeant(hook, store, target, admitted)) continue
      const review = await call(hook, target, admitted, dryRun)
      if (review === undefined) {
        if (hook.failurePolicy === 'Ignore') continue
        return failure(500, 'InternalError', `Internal error occurred: failed calling webhook "${hook.name}": failed to call webhook`)
      }
      const { allowed, patch, status, warnings: told = [] } = review.response
      warnings.push(...told)
      if (!allowed) {
        return failure(
          status?.code ?? 403,
          'Forbidden',
          `admission webhook "${hook.name}" denied the request: ${status?.message ?? 'without explanation'}`,
        )
      }
      if (patch !== undefined) admitted = applyJsonPatch(admitted, JSON.parse(Buffer.from(patch, 'base64').toString())) as Json
    }
  }
  return { object: admitted, warnings }
}

function isMeant(
  { rules, namespaceSelector, objectSelector }: Hook,
  store: KubeStore,
  { group, plural, namespace }: Target,
  object: Json,
): boolean {
  const ruled = rules.some(
    ({ operations, apiGroups, resources }) => operations.includes('CREATE') && apiGroups.includes(group) && resources.includes(plural),
  )
  if (!ruled) return false
  const of = store.get(parseTarget(`/api/v1/namespaces/${namespace ?? ''}`) as Target).body as Partial<KubeObject>
  const labels = { 'kubernetes.io/metadata.name': namespace ?? '', ...of.metadata?.labels }
  return (
    isSelected(namespaceSelector, labels) &&
    isSelected(objectSelector, (object['metadata'] as { labels?: object } | undefined)?.labels ?? {})
  )
}

function isSelected(selector: Selector | undefined, labels: Readonly<Record<string, string>> | object): boolean {
  return (selector?.matchExpressions ?? []).every(({ key, operator, values = [] }) => {
    const label = (labels as Readonly<Record<string, string>>)[key]
    return operator === 'In' ? label !== undefined && values.includes(label) : label === undefined || !values.includes(label)
  })
}

async function call({ clientConfig }: Hook, target: Target, object: Json, dryRun: boolean): Promise<Response | undefined> {
  const kind = { group: target.group, version: 'v1', kind: String(object['kind']) }
  const request = { uid: 'review-1', kind, namespace: target.namespace, operation: 'CREATE', object, oldObject: null, dryRun }
  const agent = new Agent({ connect: { ca: Buffer.from(clientConfig.caBundle ?? '', 'base64').toString() } })
  try {
    const answered = await fetch(`${clientConfig.url ?? ''}?timeout=10s`, {
      method: 'POST',
      dispatcher: agent,
      body: JSON.stringify({ kind: 'AdmissionReview', apiVersion: 'admission.k8s.io/v1', request }),
    })
    return answered.ok ? ((await answered.json()) as Response) : undefined
  } catch {
    return undefined
  } finally {
    await agent.close()
  }
}
