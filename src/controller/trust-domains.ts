/**
 * TrustDomain resources: the bundles of other trust domains. One that is malformed, or older than the one before, changes nothing, and its
 * status says why. Sidecars hold to the same: what they have outlives a controller that was started anew.
 */
import { PosternError } from '#base/errors'
import { isTrustDomain } from '#identity/spiffe-id'
import type { KubeObject } from '#kube/objects'
import { type Bundle, readBundle } from '#pki/bundle'
import { newerBundle } from '#pki/newer-bundle'
import type { TrustDomainObject } from './snapshot/snapshot.ts'

/** @param before in force, or stored before @returns the bundle, or in a sentence why it is not taken */
export function readTrustDomain(object: TrustDomainObject, own: string, before: Bundle | undefined): Bundle | string {
  const { name } = object.metadata
  if (!isTrustDomain(name)) return `metadata.name: \`${name}\` is not the name of a trust domain.`
  if (name === own) return `metadata.name: ${name} is the mesh's own trust domain; its bundle comes from its authority.`
  try {
    return newerBundle(readBundle(JSON.stringify(object.spec?.bundle ?? null), name, 'spec.bundle'), before, 'spec.bundle')
  } catch (error) {
    if (error instanceof PosternError) return error.message
    throw error
  }
}

export interface TrustDomains {
  /** An object as it is now; undefined: gone. */
  take(now: TrustDomainObject | undefined, before: TrustDomainObject | undefined): void
  /** What sidecars are given for it. */
  inForce(object: TrustDomainObject): TrustDomainObject
  /** What is wrong with it as it is now. */
  faultOf(object: KubeObject): string | undefined
}

interface Held {
  readonly bundle: Bundle | undefined
  readonly object: TrustDomainObject
  readonly fault: string | undefined
}

export function createTrustDomains(own: string): TrustDomains {
  /** By uid: one that is deleted and made anew begins anew, in whatever order we hear of it. */
  const held = new Map<string, Held>()
  return {
    take(now, before) {
      const uid = (now ?? before)?.metadata.uid ?? ''
      if (now === undefined) {
        held.delete(uid)
        return
      }
      const last = held.get(uid)
      const read = readTrustDomain(now, own, last?.bundle)
      if (typeof read !== 'string') held.set(uid, { bundle: read, object: now, fault: undefined })
      // Without a better one it goes out as it is: a sidecar that has one from before keeps that, and no other takes this.
      else held.set(uid, { bundle: last?.bundle, object: last?.bundle === undefined ? now : last.object, fault: read })
    },
    inForce: (object) => held.get(object.metadata.uid)?.object ?? object,
    faultOf: ({ metadata }) => held.get(metadata.uid)?.fault,
  }
}
