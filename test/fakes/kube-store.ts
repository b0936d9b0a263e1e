/** What the fake API server stores, and its answers to reads and writes: versions, conflicts, generations, statuses, schemas, as the real one has them. */
import { customResources } from '#controller/crds'
import type { KubeObject } from '#kube/objects'
import { faultsOf, pruned } from '../support/structural-schema.ts'

export type Json = Readonly<Record<string, unknown>>

export interface StoredEvent {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'
  readonly object: KubeObject
  readonly version: number
}

/** `/apis/postern.dev/v1/namespaces/shop/policies/readers/status`, taken apart. */
export interface Target {
  /** Of all namespaces: `/apis/postern.dev/v1/policies`. */
  readonly collection: string
  readonly group: string
  readonly plural: string
  readonly namespace: string | undefined
  readonly name: string | undefined
  readonly subresource: string | undefined
}

/** A status of HTTP and its body. */
export interface Answer {
  readonly code: number
  readonly body: object
}

export interface KubeStore {
  readonly version: number
  /** Versions before it are not known any more. */
  oldest: number
  /** Takes whatever it is given, as a test's own doing. */
  put(target: Target, object: Json): KubeObject
  remove(target: Target): KubeObject | undefined
  objects(target: Target): readonly KubeObject[]
  events(collection: string): readonly StoredEvent[]
  get(target: Target): Answer
  create(target: Target, object: Json, dryRun: boolean): Answer
  patch(target: Target, patch: unknown, contentType: string): Answer
  delete(target: Target): Answer
  /** The next version, for nothing. */
  skip(): void
}

export function parseTarget(path: string): Target | undefined {
  const match = /^(\/api\/v1|\/apis\/([^/]+)\/[^/]+)(?:\/namespaces\/([^/]+)(?=\/))?\/([^/]+)(?:\/([^/]+))?(?:\/([^/]+))?$/.exec(path)
  if (match === null) return undefined
  const [, root = '', group = '', namespace, plural = '', name, subresource] = match
  const decoded = (text: string | undefined): string | undefined => (text === undefined ? undefined : decodeURIComponent(text))
  return { collection: `${root}/${plural}`, group, plural, namespace: decoded(namespace), name: decoded(name), subresource }
}

export function failure(code: number, reason: string, message: string, details?: object): Answer {
  const body = { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', message, reason, ...(details && { details }), code }
  return { code, body }
}

export function createKubeStore(onEvent: (collection: string, event: StoredEvent) => void): KubeStore {
  const collections = new Map<string, { readonly objects: Map<string, KubeObject>; readonly events: StoredEvent[] }>()
  let version = 1
  let oldest = 0

  function collection(path: string): { readonly objects: Map<string, KubeObject>; readonly events: StoredEvent[] } {
    let found = collections.get(path)
    if (found === undefined) collections.set(path, (found = { objects: new Map(), events: [] }))
    return found
  }
  const key = (namespace: string | undefined, name: string): string => `${namespace ?? ''}/${name}`

  function find({ collection: path, namespace, name = '' }: Target): KubeObject | undefined {
    const { objects } = collection(path)
    // Tests name an object of any namespace by its name alone.
    return (
      objects.get(key(namespace, name)) ??
      (namespace === undefined ? [...objects.values()].find((one) => one.metadata.name === name) : undefined)
    )
  }

  function store(target: Target, object: Json & Pick<KubeObject, 'metadata'>, before: KubeObject | undefined): KubeObject {
    version++
    const stored: KubeObject = { ...object, metadata: { ...object.metadata, resourceVersion: String(version) } }
    const { objects, events } = collection(target.collection)
    objects.set(key(stored.metadata.namespace, stored.metadata.name), stored)
    const event: StoredEvent = { type: before === undefined ? 'ADDED' : 'MODIFIED', object: stored, version }
    events.push(event)
    onEvent(target.collection, event)
    return stored
  }

  function drop(target: Target, before: KubeObject): KubeObject {
    version++
    collection(target.collection).objects.delete(key(before.metadata.namespace, before.metadata.name))
    const gone = { ...before, metadata: { ...before.metadata, resourceVersion: String(version) } }
    const event: StoredEvent = { type: 'DELETED', object: gone, version }
    collection(target.collection).events.push(event)
    onEvent(target.collection, event)
    return gone
  }

  /** Undefined: it may be stored. */
  function refusal(target: Target, object: Json): Answer | undefined {
    const schema = schemaOf(target)
    if (schema === undefined) return undefined
    const { apiVersion: _, kind: __, metadata: ___, ...own } = object
    const faults = faultsOf(schema, own)
    const name = (object['metadata'] as { readonly name?: string }).name ?? ''
    return faults.length === 0 ? undefined : failure(422, 'Invalid', `${nameOf(target)} "${name}" is invalid: ${faults.join(', ')}`)
  }

  const answers: KubeStore = {
    get version() {
      return version
    },
    get oldest() {
      return oldest
    },
    set oldest(value) {
      oldest = value
    },
    put(target, object) {
      const metadata = object['metadata'] as KubeObject['metadata']
      const namespace = metadata.namespace ?? target.namespace
      const before = collection(target.collection).objects.get(key(namespace, metadata.name))
      const uid = before?.metadata.uid ?? (metadata as { readonly uid?: string }).uid ?? `uid-${++version}`
      return store(target, { ...object, metadata: { ...metadata, ...(namespace !== undefined && { namespace }), uid } }, before)
    },
    remove(target) {
      const before = find(target)
      return before === undefined ? undefined : drop(target, before)
    },
    objects({ collection: path, namespace }) {
      const all = [...collection(path).objects.values()]
      return namespace === undefined ? all : all.filter(({ metadata }) => metadata.namespace === namespace)
    },
    events: (path) => collection(path).events,
    get(target) {
      const found = find(target)
      return found === undefined ? notFound(target) : { code: 200, body: found }
    },
    create(target, object, dryRun) {
      const given = (object['metadata'] ?? {}) as {
        readonly name?: string
        readonly generateName?: string
        readonly [other: string]: unknown
      }
      const suffix = Math.random().toString(36).slice(2, 7)
      const name = given.name ?? (given.generateName === undefined ? '' : `${given.generateName}${suffix}`)
      const named = { ...target, name }
      if (name === '')
        return failure(422, 'Invalid', `${nameOf(target)} "" is invalid: metadata.name: Required value: name or generateName is required`)
      if (collection(target.collection).objects.has(key(target.namespace, name))) {
        return failure(409, 'AlreadyExists', `${nameOf(target)} "${name}" already exists`, detailsOf(named))
      }
      const schema = schemaOf(target)
      const { status: _, ...unstatused } = object
      const kept = schema === undefined ? object : pruneOwn(schema, unstatused)
      const metadata = {
        ...given,
        name,
        ...(target.namespace !== undefined && { namespace: target.namespace }),
        uid: `uid-${version + 1}`,
        creationTimestamp: '2026-01-01T00:00:00Z',
        ...(schema !== undefined && { generation: 1 }),
        resourceVersion: '',
      }
      const made = { ...kept, metadata } as Json & Pick<KubeObject, 'metadata'>
      return refusal(named, made) ?? { code: 201, body: dryRun ? made : store(named, made, undefined) }
    },
    patch(target, patch, contentType) {
      const before = find(target)
      if (before === undefined) {
        if (contentType !== 'application/apply-patch+yaml') return notFound(target)
        return answers.create(target, withName(patch as Json, target.name ?? ''), false)
      }
      const changed = contentType === 'application/json-patch+json' ? applyJsonPatch(before, patch) : merge(before, patch)
      if (changed === undefined) return failure(422, 'Invalid', 'the server rejected our request due to an error in our request')
      const after = changed as Json & Pick<KubeObject, 'metadata'>
      if (after.metadata.resourceVersion !== before.metadata.resourceVersion && contentType !== 'application/apply-patch+yaml') {
        const why = 'the object has been modified; please apply your changes to the latest version and try again'
        return failure(
          409,
          'Conflict',
          `Operation cannot be fulfilled on ${nameOf(target)} "${target.name ?? ''}": ${why}`,
          detailsOf(target),
        )
      }
      const next = parts(target, before, after)
      return refusal(target, next) ?? { code: 200, body: isSame(next, before) ? before : store(target, next, before) }
    },
    delete(target) {
      const before = find(target)
      if (before === undefined) return notFound(target)
      const { name, uid } = drop(target, before).metadata
      return {
        code: 200,
        body: { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', details: { name, kind: target.plural, uid } },
      }
    },
    skip() {
      version++
    },
  }
  return answers
}

function notFound(target: Target): Answer {
  return failure(404, 'NotFound', `${nameOf(target)} "${target.name ?? ''}" not found`, detailsOf(target))
}

function nameOf({ group, plural }: Target): string {
  return group === '' ? plural : `${plural}.${group}`
}

function detailsOf({ name, group, plural }: Target): object {
  return { name, ...(group !== '' && { group }), kind: plural }
}

interface Definition {
  readonly spec: {
    readonly names: { readonly plural: string }
    readonly versions: readonly { readonly schema: { readonly openAPIV3Schema: Json } }[]
  }
}

const SCHEMAS: ReadonlyMap<string, Json> = new Map(
  (customResources() as unknown as readonly Definition[]).map(({ spec }) => [
    spec.names.plural,
    spec.versions[0]?.schema.openAPIV3Schema ?? {},
  ]),
)

/** Of ours; the fake believes everything of others. */
function schemaOf({ group, plural }: Target): Json | undefined {
  return group === 'postern.dev' ? SCHEMAS.get(plural) : undefined
}

function pruneOwn(schema: Json, { apiVersion, kind, metadata, ...own }: Json): Json {
  return { apiVersion, kind, metadata, ...(pruned(schema, own) as Json) }
}

/** A patch of the status changes nothing else, one of the object no status; what changes the object is a new generation. */
function parts(target: Target, before: KubeObject, after: Json & Pick<KubeObject, 'metadata'>): Json & Pick<KubeObject, 'metadata'> {
  const { status: old, ...rest } = before as KubeObject & Json
  const { status, ...other } = after
  if (target.subresource === 'status') return { ...rest, ...(status !== undefined && { status }) }
  const schema = schemaOf(target)
  if (schema === undefined) return after
  const kept = pruneOwn(schema, other) as Json & Pick<KubeObject, 'metadata'>
  const { metadata: _, ...own } = kept
  const { metadata: __, ...ownBefore } = rest
  const generation = (before.metadata.generation ?? 1) + (isSame(own, ownBefore) ? 0 : 1)
  return { ...kept, ...(old !== undefined && { status: old }), metadata: { ...kept.metadata, generation } }
}

function isSame(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other)
}

function withName(object: Json, name: string): Json {
  return { ...object, metadata: { ...(object['metadata'] as object | undefined), name } }
}

/** RFC 7386. */
function merge(before: unknown, patch: unknown): unknown {
  if (!isMembers(patch)) return patch
  const result: Record<string, unknown> = isMembers(before) ? { ...before } : {}
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete result[name]
    else result[name] = merge(result[name], value)
  }
  return result
}

interface Operation {
  readonly op: 'add' | 'replace' | 'test' | 'remove'
  readonly path: string
  readonly value?: unknown
}

/** RFC 6902, of which operations add, replace, remove and test. @returns undefined where it does not apply */
export function applyJsonPatch(before: unknown, patch: unknown): unknown {
  const root = structuredClone(before)
  for (const { op, path, value } of patch as readonly Operation[]) {
    const steps = path
      .split('/')
      .slice(1)
      .map((step) => step.replaceAll('~1', '/').replaceAll('~0', '~'))
    const last = steps.pop() ?? ''
    let at: unknown = root
    for (const step of steps) at = typeof at === 'object' && at !== null ? (at as Record<string, unknown>)[step] : undefined
    if (typeof at !== 'object' || at === null) return undefined
    const there = at as Record<string, unknown>
    if (op === 'test') {
      if (!isSame(there[last], value)) return undefined
    } else if (op === 'remove') {
      if (!(last in there)) return undefined
      if (Array.isArray(at)) at.splice(Number(last), 1)
      else delete there[last]
    } else if (Array.isArray(at) && op === 'add') at.splice(last === '-' ? at.length : Number(last), 0, value)
    else if (op === 'replace' && !(last in there)) return undefined
    else there[last] = value
  }
  return root
}

function isMembers(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
