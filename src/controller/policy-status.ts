/**
 * What became of each policy, written where its author looks: whether sidecars take it, and how many run it. Every replica of the controller
 * hears of its own sidecars alone, so each writes its own share, and the total is made of all.
 */
import { isDeepStrictEqual } from 'node:util'
import type { Clock } from '#base/clock'
import { PosternError } from '#base/errors'
import type { KubeClient } from '#kube/client'
import type { KubeObject, Resource } from '#kube/objects'
import { type PolicyVerdict, reviewPolicy } from './policy-review.ts'
import type { SidecarReport } from './snapshot/server.ts'

export interface PolicyStatusInput {
  readonly resource: Resource
  readonly policies: Iterable<KubeObject>
  /** Default: as a policy is. */
  readonly review?: (object: KubeObject, now: number) => PolicyVerdict
}

export interface Counted {
  /** Heard of. */
  readonly all: number
  /** Of these, those with the snapshot that this policy is in. */
  readonly running: number
}

/**
 * Counts those that a policy concerns; each namespace once.
 * @param digestOf of the snapshot of a namespace as it is now
 * @returns for a namespace, or for all
 */
export function countSidecars(
  reports: readonly SidecarReport[],
  digestOf: (namespace: string) => string | undefined,
): (namespace: string | undefined) => Counted {
  const counts = new Map<string, Counted>()
  for (const [namespace, own] of Map.groupBy(reports, (report) => report.namespace)) {
    const digest = digestOf(namespace)
    counts.set(namespace, { all: own.length, running: own.filter((report) => report.digest === digest).length })
  }
  const sum = (of: (counted: Counted) => number): number => [...counts.values()].reduce((total, counted) => total + of(counted), 0)
  const everywhere = { all: sum(({ all }) => all), running: sum(({ running }) => running) }
  return (namespace) => (namespace === undefined ? everywhere : (counts.get(namespace) ?? NONE))
}

const NONE: Counted = { all: 0, running: 0 }

interface Condition {
  readonly type: string
  readonly status: 'True' | 'False'
  readonly reason: string
  readonly message: string
  readonly lastTransitionTime: string
  readonly observedGeneration?: number
}

interface Status {
  readonly observedGeneration?: number
  readonly sidecars?: string
  readonly replicas?: Readonly<Record<string, Counted & { readonly at: string }>>
  readonly conditions?: readonly Condition[]
}

/** A replica that has not written for so long is gone, ms: where the pods of the controller are not known. */
const REPLICA_LIFE = 120_000
const LONGEST_MESSAGE = 30_000

export interface StatusInput {
  readonly policy: KubeObject
  /** Our own name, and what we count. */
  readonly replica: string
  readonly counted: Counted
  readonly verdict: PolicyVerdict
  /** Names of all that there are; undefined: who has not written for a while is gone. */
  readonly replicas: readonly string[] | undefined
  readonly now: number
}

/** @returns undefined where nothing is to be written */
export function nextStatus({ policy, replica, counted, verdict, replicas: there, now }: StatusInput): Status | undefined {
  const { status: before = {} } = policy as KubeObject & { readonly status?: Status }
  const { generation } = policy.metadata
  const time = new Date(now).toISOString()
  const { errors, warnings } = verdict
  const isThere = (name: string, { at }: { readonly at: string }): boolean =>
    there === undefined ? now - Date.parse(at) < REPLICA_LIFE : there.includes(name)
  const others = Object.entries(before.replicas ?? {}).filter(([name, one]) => name !== replica && isThere(name, one))
  const own = before.replicas?.[replica]
  // Where only the time tells who is there: written again before others take us for gone, and not more often than that.
  const isFresh = own !== undefined && (there !== undefined || now - Date.parse(own.at) < REPLICA_LIFE / 2)
  const kept = isFresh && own.all === counted.all && own.running === counted.running
  const replicas = Object.fromEntries([...others, [replica, kept ? own : { ...counted, at: time }]])
  const counts = Object.values(replicas)
  const sum = (of: (counted: Counted) => number): number => counts.reduce((total, one) => total + of(one), 0)
  const accepted: Omit<Condition, 'lastTransitionTime'> = {
    type: 'Accepted',
    status: errors.length === 0 ? 'True' : 'False',
    reason: errors.length > 0 ? 'Invalid' : warnings.length > 0 ? 'AcceptedWithWarnings' : 'Accepted',
    message: [...errors, ...warnings].join('\n').slice(0, LONGEST_MESSAGE),
    ...(generation !== undefined && { observedGeneration: generation }),
  }
  const old = before.conditions?.find(({ type }) => type === 'Accepted')
  const since = old?.status === accepted.status ? old.lastTransitionTime : time
  const next: Status = {
    ...(generation !== undefined && { observedGeneration: generation }),
    sidecars: `${sum(({ running }) => running)} of ${sum(({ all }) => all)}`,
    replicas,
    conditions: [{ ...accepted, lastTransitionTime: since }],
  }
  return isDeepStrictEqual(next, before) ? undefined : next
}

export interface StatusWriter {
  /** Writes what has changed; one pass at a time. @param replicas see `StatusInput` */
  write(
    inputs: readonly PolicyStatusInput[],
    count: (namespace: string | undefined) => Counted,
    replicas: readonly string[] | undefined,
  ): Promise<void>
}

export interface StatusWriterOptions {
  readonly client: KubeClient
  readonly replica: string
  readonly clock: Clock
  readonly onFault: (error: PosternError) => void
  /** A policy was read: once for each version of it, and again when the hour has changed, since some rules hold for a time. */
  readonly onRead?: () => void
}

interface Read {
  readonly generation: number | undefined
  readonly hour: number
  readonly verdict: PolicyVerdict
}

const HOUR = 3_600_000

export function createStatusWriter({ client, replica, clock, onFault, onRead }: StatusWriterOptions): StatusWriter {
  /** All that a status was made of beside the object: while it is the same there is nothing to write. */
  const looked = new WeakMap<KubeObject, string>()
  const reads = new Map<string, Read>()
  let writing: Promise<void> | undefined

  function verdictOf(policy: KubeObject, review: NonNullable<PolicyStatusInput['review']>, now: number): PolicyVerdict {
    const { uid, generation } = policy.metadata
    const hour = Math.floor(now / HOUR)
    const last = reads.get(uid)
    if (last !== undefined && generation !== undefined && last.generation === generation && last.hour === hour) return last.verdict
    const { status: _, ...document } = policy as KubeObject & { readonly status?: unknown }
    const verdict = review(document, now)
    onRead?.()
    reads.set(uid, { generation, hour, verdict })
    return verdict
  }

  async function writeAll(
    inputs: readonly PolicyStatusInput[],
    count: (namespace: string | undefined) => Counted,
    replicas: readonly string[] | undefined,
  ): Promise<void> {
    // A time counts only where it tells who is there, and for what a review says of it.
    const turn = `${replicas?.join() ?? Math.floor(clock.now() / (REPLICA_LIFE / 4))} ${Math.floor(clock.now() / HOUR)}`
    const present = new Set<string>()
    for (const { resource, policies, review } of inputs) {
      for (const policy of [...policies]) {
        const { name, namespace, uid } = policy.metadata
        present.add(uid)
        const counted = count(namespace)
        const verdict = review === undefined ? verdictOf(policy, reviewPolicy, clock.now()) : review(policy, clock.now())
        const seen = `${counted.running} ${counted.all} ${turn} ${verdict.errors.join()}`
        if (looked.get(policy) === seen) continue
        const status = nextStatus({ policy, replica, counted, verdict, replicas, now: clock.now() })
        if (status === undefined) {
          looked.set(policy, seen)
          continue
        }
        const at = namespace === undefined ? resource : { ...resource, namespace }
        try {
          await client.patch(
            at,
            name,
            { metadata: { resourceVersion: policy.metadata.resourceVersion }, status },
            { type: 'merge', subresource: 'status' },
          )
        } catch (error) {
          if (!(error instanceof PosternError)) throw error
          // Changed or deleted since: the watch brings what is new, and the next pass writes it.
          if (error.code !== 'ERR_KUBE_CONFLICT' && error.code !== 'ERR_KUBE_NOT_FOUND') onFault(error)
        }
      }
    }
    for (const uid of reads.keys()) if (!present.has(uid)) reads.delete(uid)
  }

  return {
    write(inputs, count, replicas) {
      writing ??= writeAll(inputs, count, replicas).finally(() => {
        writing = undefined
      })
      return writing
    },
  }
}
