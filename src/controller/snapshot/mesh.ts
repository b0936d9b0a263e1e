/**
 * The mesh as it is now, kept by watches: one snapshot a namespace, made when somebody asks for it, and made anew when something it is made
 * of has changed. Whoever waits is woken once for a burst of changes.
 */
import { isDeepStrictEqual } from 'node:util'
import type { Clock } from '#base/clock'
import type { PosternError } from '#base/errors'
import type { KubeClient } from '#kube/client'
import type { KubeObject, Resource } from '#kube/objects'
import { type Watched, watchObjects } from '#kube/watch'
import { createTrustDomains } from '../trust-domains.ts'
import { type MeshNamespace, RESOURCES, slimEndpointSlice, slimNamespace, slimPod, slimPolicy, slimService } from './objects.ts'
import { createServiceDirectory } from './service-directory.ts'
import { type PolicyObject, type SidecarSnapshot, snapshotFor, type TrustDomainObject } from './snapshot.ts'

export interface Mesh {
  /** Undefined until everything was listed once: nobody is told a half. */
  snapshot(namespace: string): SidecarSnapshot | undefined
  /** Calls `listener` after something may have changed, at most once in `GATHER` ms. Returns what ends that. */
  subscribe(listener: () => void): () => void
  /** Value of `postern.dev/inject` on a namespace. */
  injectLabel(namespace: string): string | undefined
  /** Names of those with `postern.dev/inject: enabled`. */
  injectedNamespaces(): readonly string[]
  /** Names of the pods of a service account. */
  podsOf(namespace: string, serviceAccount: string): readonly string[]
  readonly policies: Iterable<PolicyObject>
  readonly clusterPolicies: Iterable<PolicyObject>
  readonly trustDomains: Iterable<TrustDomainObject>
  /** Why a TrustDomain as it is now is not in force. */
  bundleFault(object: KubeObject): string | undefined
  /** Resolves when everything was listed once. */
  readonly ready: Promise<void>
  readonly synced: boolean
  /** What is not being followed at the moment, and why. */
  readonly faults: readonly PosternError[]
  close(): void
}

export interface MeshOptions {
  readonly client: KubeClient
  readonly trustDomain: string
  readonly clock: Clock
  readonly random: () => number
  readonly onFault: (error: PosternError) => void
  readonly backoff?: { readonly first: number; readonly max: number }
  /** Ms after which everything is listed anew, see `kube/watch.ts`. */
  readonly resync?: number
}

/** Ms: a rollout changes hundreds of objects at once. */
const GATHER = 50

export function followMesh(options: MeshOptions): Mesh {
  const listeners = new Set<() => void>()
  const bundles = createTrustDomains(options.trustDomain)
  const directory = createServiceDirectory(options.trustDomain)
  const snapshots = new Map<string, SidecarSnapshot>()
  const policiesOf = new Map<string, Map<string, PolicyObject>>()
  const namespaceByName = new Map<string, MeshNamespace>()
  let timer: NodeJS.Timeout | undefined

  function changed(): void {
    timer ??= setTimeout(() => {
      timer = undefined
      for (const listener of listeners) listener()
    }, GATHER)
  }

  /** @param affect what is to be done beside telling, unless nothing that matters has changed */
  function watch<T extends KubeObject>(
    resource: Resource,
    project: (object: KubeObject) => T,
    affect: (now: T | undefined, before: T | undefined) => void,
  ): Watched<T> {
    return watchObjects<T>({
      ...options,
      resource,
      project,
      onChange(now, before) {
        // Most changes are of a status, which nothing here depends on.
        if (now !== undefined && before !== undefined && isSame(now, before)) return
        affect(now, before)
        changed()
      },
    })
  }

  /** A policy of one namespace leaves the others as they are. */
  function takePolicy(now: PolicyObject | undefined, before: PolicyObject | undefined): void {
    const { uid = '', namespace = '' } = (now ?? before)?.metadata ?? {}
    const own = policiesOf.get(namespace) ?? new Map<string, PolicyObject>()
    if (now === undefined) own.delete(uid)
    else own.set(uid, now)
    if (own.size === 0) policiesOf.delete(namespace)
    else policiesOf.set(namespace, own)
    snapshots.delete(namespace)
  }

  function takeNamespace(now: MeshNamespace | undefined, before: MeshNamespace | undefined): void {
    const name = (now ?? before)?.metadata.name ?? ''
    if (now !== undefined) namespaceByName.set(name, now)
    // One of the same name may be there by the time a list tells that the old one is gone.
    else if (namespaceByName.get(name)?.metadata.uid === before?.metadata.uid) namespaceByName.delete(name)
    if (!isDeepStrictEqual(now?.calls, before?.calls)) snapshots.delete(name)
  }

  const pods = watch(RESOURCES.pods, slimPod, (now, before) => directory.take('pods', now, before))
  const serviceObjects = watch(RESOURCES.services, slimService, (now, before) => directory.take('services', now, before))
  const endpointSlices = watch(RESOURCES.endpointSlices, slimEndpointSlice, (now, before) => directory.take('endpointSlices', now, before))
  const policies = watch<PolicyObject>(RESOURCES.policies, slimPolicy, takePolicy)
  const clusterPolicies = watch<PolicyObject>(RESOURCES.clusterPolicies, slimPolicy, () => snapshots.clear())
  const trustDomains = watch<TrustDomainObject>(RESOURCES.trustDomains, slimPolicy, (now, before) => {
    bundles.take(now, before)
    snapshots.clear()
  })
  const namespaces = watch(RESOURCES.namespaces, slimNamespace, takeNamespace)
  const all = [pods, serviceObjects, endpointSlices, policies, clusterPolicies, trustDomains, namespaces]

  /** Snapshots live on where the services in them are as they were. */
  function refresh(): void {
    const others = directory.refresh()
    if (others.size === 0) return
    for (const namespace of snapshots.keys()) {
      const calls = namespaceByName.get(namespace)?.calls
      if (calls === undefined || !calls.isDisjointFrom(others)) snapshots.delete(namespace)
    }
  }

  return {
    snapshot(namespace) {
      if (!all.every(({ synced }) => synced)) return undefined
      refresh()
      let found = snapshots.get(namespace)
      if (found === undefined) {
        found = snapshotFor(namespace, {
          policies: policiesOf.get(namespace)?.values() ?? [],
          clusterPolicies: clusterPolicies.objects.values(),
          trustDomains: [...trustDomains.objects.values()].map((object) => bundles.inForce(object)),
          services: directory.services(namespaceByName.get(namespace)?.calls),
        })
        snapshots.set(namespace, found)
      }
      return found
    },
    subscribe(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    injectLabel(namespace) {
      const { inject = '' } = namespaceByName.get(namespace) ?? {}
      return inject === '' ? undefined : inject
    },
    injectedNamespaces: () =>
      [...namespaceByName.values()]
        .filter(({ inject, metadata }) => inject === 'enabled' && metadata.deletionTimestamp === undefined)
        .map(({ metadata }) => metadata.name),
    podsOf: (namespace, serviceAccount) =>
      [...directory.pods(namespace)].filter((pod) => pod.serviceAccount === serviceAccount).map(({ metadata }) => metadata.name),
    policies: { [Symbol.iterator]: () => policies.objects.values() },
    clusterPolicies: { [Symbol.iterator]: () => clusterPolicies.objects.values() },
    trustDomains: { [Symbol.iterator]: () => trustDomains.objects.values() },
    bundleFault: (object) => bundles.faultOf(object),
    ready: Promise.all(all.map(({ ready }) => ready)).then(() => undefined),
    get synced() {
      return all.every(({ synced }) => synced)
    },
    get faults() {
      return all.flatMap(({ fault }) => (fault === undefined ? [] : [fault]))
    },
    close() {
      clearTimeout(timer)
      for (const watched of all) watched.close()
    },
  }
}

function isSame(one: KubeObject, other: KubeObject): boolean {
  // Custom resources count the changes of their spec (and a label of theirs means nothing here).
  const { generation } = one.metadata
  if (generation !== undefined) return generation === other.metadata.generation
  return isDeepStrictEqual(
    { ...one, metadata: { ...one.metadata, resourceVersion: '' } },
    { ...other, metadata: { ...other.metadata, resourceVersion: '' } },
  )
}
