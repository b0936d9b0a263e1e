/**
 * The services of the mesh, kept up one namespace at a time: what a change costs depends on its namespace, not on the cluster; and most changes
 * (a pod replaced by its like) are none of the services'.
 */
import { isDeepStrictEqual } from 'node:util'
import type { MeshEndpointSlice, MeshPod, MeshServiceObject } from './objects.ts'
import { byName, type MeshService, meshServices } from './services.ts'

/** All that was there, by uid. */
interface Objects {
  readonly pods: Map<string, MeshPod>
  readonly services: Map<string, MeshServiceObject>
  readonly endpointSlices: Map<string, MeshEndpointSlice>
}

interface Namespace extends Objects {
  found: readonly MeshService[]
}

type Kind = keyof Objects
interface ObjectOf {
  readonly pods: MeshPod
  readonly services: MeshServiceObject
  readonly endpointSlices: MeshEndpointSlice
}

export interface ServiceDirectory {
  /** An object as it is now (undefined: gone) and as it was. */
  take<K extends Kind>(kind: K, now: ObjectOf[K] | undefined, before: ObjectOf[K] | undefined): void
  /** Works out what was changed since the last time. @returns the namespaces whose services are others now */
  refresh(): ReadonlySet<string>
  /** Sorted; the same list for as long as nothing in it has changed. @param namespaces undefined: all */
  services(namespaces: ReadonlySet<string> | undefined): readonly MeshService[]
  /** The pods of a namespace. */
  pods(namespace: string): Iterable<MeshPod>
}

export function createServiceDirectory(trustDomain: string): ServiceDirectory {
  const namespaces = new Map<string, Namespace>()
  const stale = new Set<string>()
  let all: readonly MeshService[] | undefined

  function at(name: string): Namespace {
    let found = namespaces.get(name)
    if (found === undefined) {
      found = { pods: new Map(), services: new Map(), endpointSlices: new Map(), found: [] }
      namespaces.set(name, found)
    }
    return found
  }

  return {
    take(kind, now, before) {
      const metadata = (now ?? before)?.metadata
      if (metadata === undefined) return
      const name = metadata.namespace ?? ''
      const objects: Map<string, unknown> = at(name)[kind]
      if (now === undefined) objects.delete(metadata.uid)
      else objects.set(metadata.uid, now)
      stale.add(name)
    },
    refresh() {
      const changed = new Set<string>()
      for (const name of stale) {
        const namespace = at(name)
        const { pods, services, endpointSlices } = namespace
        const next = meshServices(
          { pods: pods.values(), services: services.values(), endpointSlices: endpointSlices.values() },
          trustDomain,
        )
        if (!isDeepStrictEqual(next, namespace.found)) {
          namespace.found = next
          changed.add(name)
        }
        if (pods.size + services.size + endpointSlices.size === 0) namespaces.delete(name)
      }
      stale.clear()
      if (changed.size > 0) all = undefined
      return changed
    },
    services(wanted) {
      if (wanted !== undefined) return [...wanted].flatMap((name) => namespaces.get(name)?.found ?? []).sort(byName)
      return (all ??= [...namespaces.values()].flatMap(({ found }) => found).sort(byName))
    },
    pods: (namespace) => namespaces.get(namespace)?.pods.values() ?? [],
  }
}
