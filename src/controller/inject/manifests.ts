/** Manifests as people keep them: finds the pods and pod templates in them, and injects each as the webhook would. */
import { decideInjection } from './decide.ts'
import { injectPod } from './inject.ts'
import type { Pod } from './pod.ts'
import type { InjectionSettings } from './settings.ts'

/** What became of one object. */
export interface InjectedObject {
  /** `Deployment shop/cart`; `#2` in place of a name where there is none. */
  readonly name: string
  readonly kind: 'injected' | 'left' | 'refused'
  /** Sentences: warnings of what was injected, the reason why it was left, or what is wrong. */
  readonly notes: readonly string[]
}

export interface InjectedManifests {
  readonly documents: readonly unknown[]
  readonly objects: readonly InjectedObject[]
}

type Members = Readonly<Record<string, unknown>>

/** Where the pod is in objects of a kind. */
const TEMPLATES: Readonly<Record<string, readonly string[]>> = {
  Pod: [],
  Deployment: ['spec', 'template'],
  ReplicaSet: ['spec', 'template'],
  StatefulSet: ['spec', 'template'],
  DaemonSet: ['spec', 'template'],
  ReplicationController: ['spec', 'template'],
  Job: ['spec', 'template'],
  CronJob: ['spec', 'jobTemplate', 'spec', 'template'],
}

/** Naming a file is asking for injection: the namespace's label is not looked for, a pod's own `disabled` is heeded. */
export function injectManifests(documents: readonly unknown[], namespace: string, settings: InjectionSettings): InjectedManifests {
  const objects: InjectedObject[] = []
  function inject(document: unknown): unknown {
    if (!isMembers(document)) return document
    const kind = typeof document['kind'] === 'string' ? document['kind'] : ''
    const { items } = document
    if (kind.endsWith('List') && Array.isArray(items)) return { ...document, items: items.map(inject) }
    const path = Object.hasOwn(TEMPLATES, kind) ? TEMPLATES[kind] : undefined
    const metadata = isMembers(document['metadata']) ? document['metadata'] : {}
    const own = typeof metadata['namespace'] === 'string' ? metadata['namespace'] : namespace
    const named = typeof metadata['name'] === 'string' ? metadata['name'] : `#${objects.length + 1}`
    // Of what runs no pods it is not known whether it is in a namespace at all.
    const place = path === undefined && metadata['namespace'] === undefined ? named : `${own}/${named}`
    const name = `${kind === '' ? 'an object without a kind' : kind} ${place}`
    const tell = (outcome: InjectedObject['kind'], notes: readonly string[]): void => void objects.push({ name, kind: outcome, notes })
    if (path === undefined) {
      tell('left', ['it runs no pods'])
      return document
    }
    const template = at(document, path)
    if (!isPod(template)) {
      tell('refused', [`it has no pod with containers under \`${[...path, 'spec'].join('.')}\`.`])
      return document
    }
    const pod = path.length === 0 ? template : asOwned(template, document, kind)
    const verdict = decideInjection(pod, own, 'enabled', settings)
    if (verdict.kind === 'leave') tell('left', [verdict.because])
    else if (verdict.kind === 'refuse') tell('refused', verdict.problems)
    else {
      tell('injected', verdict.plan.warnings)
      return replaced(document, path, injectPod(template, verdict.plan, settings))
    }
    return document
  }
  return { documents: documents.map(inject), objects }
}

/** As the API server will show it: owned by its workload. Only for what its service is called. */
function asOwned(template: Pod, { metadata }: Members, kind: string): Pod {
  const name = isMembers(metadata) && typeof metadata['name'] === 'string' ? metadata['name'] : ''
  return name === '' ? template : { ...template, metadata: { ...template.metadata, ownerReferences: [{ kind, name, controller: true }] } }
}

function at(document: Members, path: readonly string[]): unknown {
  return path.reduce<unknown>((value, name) => (isMembers(value) ? value[name] : undefined), document)
}

function replaced(document: Members, path: readonly string[], value: unknown): unknown {
  const [name, ...rest] = path
  if (name === undefined) return value
  const inner = document[name]
  return { ...document, [name]: isMembers(inner) ? replaced(inner, rest, value) : value }
}

function isPod(value: unknown): value is Pod {
  if (!isMembers(value) || !isMembers(value['spec'])) return false
  const { containers } = value['spec']
  return (
    Array.isArray(containers) &&
    containers.length > 0 &&
    containers.every((container) => isMembers(container) && typeof container['name'] === 'string')
  )
}

function isMembers(value: unknown): value is Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
