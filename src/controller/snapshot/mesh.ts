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
import { RESOURCES, slimEndpointSlice, slimPod, slimService } from './objects.ts'
import type { MeshEndpointSlice, MeshPod, MeshServiceObject } from './objects.ts'
import { type MeshService, meshServices } from './services.ts'
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
}

/** Ms: a rollout changes hundreds of objects at once. */
const GATHER = 50

export function followMesh(options: MeshOptions): Mesh {
  const listeners = new Set<() => void>()
  const bundles = createTrustDomains(options.trustDomain)
  const snapshots = new Map<string, SidecarSnapshot>()
  let services: readonly MeshService[] | undefined
  let timer: NodeJS.Timeout | undefined

  function changed(): void {
    timer ??= setTimeout(() => {
      timer = undefined
      for (const listener of listeners) listener()
    }, GATHER)
  }

  function watch<T extends KubeObject>(
    resource: Resource,
    slim: (object: KubeObject) => T,
    affects: 'services' | 'all' | 'labels' | 'trust',
  ): Watched<T> {
    return watchObjects<T>({
      ...options,
      resource,
      project: slim,
      onChange(now, before) {
        // Most changes are of a status, which nothing here depends on.
        if (now !== undefined && before !== undefined && isSame(now, before)) return
        if (affects === 'trust') bundles.take(now, before)
        if (affects === 'services') {
          services = undefined
          snapshots.clear()
        } else if (affects === 'all' || affects === 'trust') {
          const namespace = (now ?? before)?.metadata.namespace
          // A policy of one namespace leaves the others as they are.
          if (namespace === undefined) snapshots.clear()
          else snapshots.delete(namespace)
        }
        changed()
      },
    })
  }

  const pods: Watched<MeshPod> = watch(RESOURCES.pods, slimPod, 'services')
  const serviceObjects: Watched<MeshServiceObject> = watch(RESOURCES.services, slimService, 'services')
  const endpointSlices: Watched<MeshEndpointSlice> = watch(RESOURCES.endpointSlices, slimEndpointSlice, 'services')
  const policies = watch<PolicyObject>(RESOURCES.policies, (object) => object, 'all')
  const clusterPolicies = watch<PolicyObject>(RESOURCES.clusterPolicies, (object) => object, 'all')
  const trustDomains = watch<TrustDomainObject>(RESOURCES.trustDomains, (object) => object, 'trust')
  const namespaces = watch(RESOURCES.namespaces, (object) => object, 'labels')
  const all = [pods, serviceObjects, endpointSlices, policies, clusterPolicies, trustDomains, namespaces]

  return {
    snapshot(namespace) {
      if (!all.every(({ synced }) => synced)) return undefined
      let found = snapshots.get(namespace)
      if (found === undefined) {
        services ??= meshServices(
          { pods: pods.objects.values(), services: serviceObjects.objects.values(), endpointSlices: endpointSlices.objects.values() },
          options.trustDomain,
        )
        found = snapshotFor(namespace, {
          policies: policies.objects.values(),
          clusterPolicies: clusterPolicies.objects.values(),
          trustDomains: [...trustDomains.objects.values()].map((object) => bundles.inForce(object)),
          services,
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
      for (const { metadata } of namespaces.objects.values()) {
        if (metadata.name === namespace) return metadata.labels?.['postern.dev/inject']
      }
      return undefined
    },
    injectedNamespaces: () =>
      [...namespaces.objects.values()]
        .filter(({ metadata }) => metadata.labels?.['postern.dev/inject'] === 'enabled' && metadata.deletionTimestamp === undefined)
        .map(({ metadata }) => metadata.name),
    podsOf: (namespace, serviceAccount) =>
      [...pods.objects.values()]
        .filter((pod) => pod.metadata.namespace === namespace && pod.serviceAccount === serviceAccount)
        .map(({ metadata }) => metadata.name),
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
