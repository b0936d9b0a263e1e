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

/** @param digestOf of the snapshot of a namespace as it is now */
export function countSidecars(
  reports: readonly SidecarReport[],
  namespace: string | undefined,
  digestOf: (namespace: string) => string | undefined,
): Counted {
  const concerned = reports.filter((report) => namespace === undefined || report.namespace === namespace)
  return { all: concerned.length, running: concerned.filter((report) => report.digest === digestOf(report.namespace)).length }
}

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

/** A replica that has not written for so long is gone, ms. */
const REPLICA_LIFE = 120_000
const LONGEST_MESSAGE = 30_000

/** @param before the status as it is @returns undefined where nothing is to be written */
export function nextStatus(
  policy: KubeObject,
  replica: string,
  counted: Counted,
  now: number,
  review: NonNullable<PolicyStatusInput['review']> = reviewPolicy,
): Status | undefined {
  const { status: before = {}, ...document } = policy as KubeObject & { readonly status?: Status }
  const { generation } = policy.metadata
  const time = new Date(now).toISOString()
  const { errors, warnings } = review(document, now)
  const others = Object.entries(before.replicas ?? {}).filter(([name, { at }]) => name !== replica && now - Date.parse(at) < REPLICA_LIFE)
  const own = before.replicas?.[replica]
  // Written again before others take us for gone, and not more often than that.
  const fresh =
    own !== undefined && own.all === counted.all && own.running === counted.running && now - Date.parse(own.at) < REPLICA_LIFE / 2
  const replicas = Object.fromEntries([...others, [replica, fresh ? own : { ...counted, at: time }]])
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
  /** Writes what has changed; one pass at a time. */
  write(inputs: readonly PolicyStatusInput[], count: (namespace: string | undefined) => Counted): Promise<void>
}

export function createStatusWriter(
  client: KubeClient,
  replica: string,
  clock: Clock,
  onFault: (error: PosternError) => void,
): StatusWriter {
  let writing: Promise<void> | undefined

  async function writeAll(inputs: readonly PolicyStatusInput[], count: (namespace: string | undefined) => Counted): Promise<void> {
    for (const { resource, policies, review } of inputs) {
      for (const policy of [...policies]) {
        const { name, namespace } = policy.metadata
        const status = nextStatus(policy, replica, count(namespace), clock.now(), review)
        if (status === undefined) continue
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
  }

  return {
    write(inputs, count) {
      writing ??= writeAll(inputs, count).finally(() => {
        writing = undefined
      })
      return writing
    },
  }
}
