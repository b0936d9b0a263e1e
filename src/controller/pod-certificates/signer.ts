/**
 * Signs the PodCertificateRequests of one signer: each is checked against the cluster, asked of the authority, and answered in its status.
 *
 *   pending ──▶ checked ──▶ asked ──▶ Issued │ Denied │ Failed        (written once; the API server takes no second word)
 *      ▲           └─ nobody to ask ─┘
 *      └──── backoff ◀───────┘
 *
 * There is no leader: of the replicas of the controller each has its turn at a request, in an order of the request's own, so that two
 * certificates for one request are rare, and a replica that is gone holds nobody up for longer than its turn.
 */
import { createHash } from 'node:crypto'
import { backoffDelay } from '#base/backoff'
import type { Clock } from '#base/clock'
import { PosternError } from '#base/errors'
import type { IdentityFeed } from '#config/snapshot'
import type { KubeClient } from '#kube/client'
import type { Resource } from '#kube/objects'
import { type Watched, watchObjects } from '#kube/watch'
import type { CaClient } from '#svid-source/ca-client'
import type { Log } from '#telemetry/log'
import { askAuthority } from './authority.ts'
import { checkRequest } from './check.ts'
import { findRequests, isPending, type Outcome, type PodCertificateRequest, statusOf } from './request.ts'

export interface PodCertificateSigner {
  /** Requests that are not answered yet. */
  readonly pending: number
  /** Why they cannot be followed; undefined while they are. */
  readonly fault: PosternError | undefined
  close(): void
}

export interface PodCertificateSignerOptions {
  readonly client: KubeClient
  readonly authority: CaClient
  readonly feed: Pick<IdentityFeed, 'current'>
  /** `postern.dev/identity`. */
  readonly signer: string
  readonly replica: string
  /** All of the controller that are there now, by the names of their pods. */
  readonly replicas: () => readonly string[]
  readonly clock: Clock
  readonly random: () => number
  readonly log: Log
  readonly onFault: (error: PosternError) => void
  readonly onOutcome: (outcome: string) => void
  /** Default 500 to 30,000 ms. */
  readonly backoff?: { readonly first: number; readonly max: number }
  /** Ms that a replica leaves to those before it. Default 2,000. */
  readonly turn?: number
}

/** In work at once: an authority that comes back must not be met by all of a cluster. */
const AT_ONCE = 16

export function startPodCertificateSigner(options: PodCertificateSignerOptions): PodCertificateSigner {
  const { client, feed, signer, clock, random, log, onFault, onOutcome, backoff = { first: 500, max: 30_000 }, turn = 2000 } = options
  const timers = new Map<string, NodeJS.Timeout>()
  const attempts = new Map<string, number>()
  const ready: string[] = []
  let working = 0
  let requests: Resource | undefined
  let watched: Watched<PodCertificateRequest> | undefined
  let finding: PosternError | undefined
  let closed = false
  let retry: NodeJS.Timeout | undefined

  async function follow(attempt: number): Promise<void> {
    try {
      requests = await findRequests(client)
      if (closed) return
      finding = undefined
      watched = watchObjects<PodCertificateRequest>({
        client,
        resource: requests,
        clock,
        random,
        fieldSelector: `spec.signerName=${signer}`,
        backoff,
        onFault,
        onChange(now, before) {
          if (now === undefined || !isPending(now) || now.spec.signerName !== signer) forget((now ?? before)?.metadata.uid ?? '')
          else if (before === undefined) schedule(now.metadata.uid, turn * rank(now.metadata.uid, options))
        },
      })
    } catch (error) {
      if (!(error instanceof PosternError)) throw error
      finding = error
      onFault(error)
      retry = setTimeout(() => void follow(attempt + 1), backoffDelay(attempt, { ...backoff, random }))
    }
  }

  function forget(uid: string): void {
    clearTimeout(timers.get(uid))
    timers.delete(uid)
    attempts.delete(uid)
  }

  function schedule(uid: string, delay: number): void {
    // A list that was under way still tells what it found.
    if (closed) return
    clearTimeout(timers.get(uid))
    timers.set(
      uid,
      setTimeout(() => {
        ready.push(uid)
        work()
      }, delay),
    )
  }

  function work(): void {
    while (working < AT_ONCE) {
      const uid = ready.shift()
      const request = uid === undefined ? undefined : watched?.objects.get(uid)
      if (uid === undefined) return
      if (request === undefined) attempts.delete(uid)
      if (request === undefined || !isPending(request) || closed) continue
      working++
      void answer(request).finally(() => {
        working--
        work()
      })
    }
  }

  async function answer(request: PodCertificateRequest): Promise<void> {
    const { uid, name, namespace = '' } = request.metadata
    try {
      const outcome = (await checkRequest(client, request)) ?? (await askAuthority(options.authority, feed.current, request))
      if (outcome.type === 'Later') return again(request, outcome.message, outcome.retryAfter)
      await write(request, outcome)
      forget(uid)
      onOutcome(outcome.type)
      const fields = { request: `${namespace}/${name}`, pod: request.spec.podName, service_account: request.spec.serviceAccountName }
      if (outcome.type === 'Issued')
        log.info({ ...fields, not_after: new Date(outcome.notAfter).toISOString() }, 'a pod was given its certificate')
      else log.warn({ ...fields, outcome: outcome.type, reason: outcome.reason, detail: outcome.message }, 'a pod was given no certificate')
    } catch (error) {
      if (!(error instanceof PosternError)) throw error
      // Answered or deleted by somebody else: the watch brings it.
      if (error.code === 'ERR_KUBE_CONFLICT' || error.code === 'ERR_KUBE_NOT_FOUND') return again(request, error.message, 0)
      onFault(error)
      again(request, error.message, 0)
    }
  }

  /** It stays pending, for as long as the cluster keeps it: 15 minutes. */
  function again({ metadata }: PodCertificateRequest, why: string, retryAfter: number): void {
    if (closed) return
    const attempt = attempts.get(metadata.uid) ?? 0
    attempts.set(metadata.uid, attempt + 1)
    const delay = Math.max(retryAfter, backoffDelay(attempt, { ...backoff, random }))
    log.warn(
      { request: `${metadata.namespace ?? ''}/${metadata.name}`, error: why, again_in: Math.round(delay) },
      'a pod waits for its certificate',
    )
    schedule(metadata.uid, delay)
  }

  async function write({ metadata }: PodCertificateRequest, outcome: Outcome): Promise<void> {
    const { name, namespace = '', generation, resourceVersion } = metadata
    const status = statusOf(outcome, clock.now(), generation)
    await client.patch(
      { ...(requests ?? (await findRequests(client))), namespace },
      name,
      { metadata: { resourceVersion }, status },
      { type: 'merge', subresource: 'status' },
    )
  }

  void follow(0)
  return {
    get pending() {
      return [...(watched?.objects.values() ?? [])].filter(isPending).length
    },
    get fault() {
      return finding ?? watched?.fault
    },
    close() {
      closed = true
      clearTimeout(retry)
      for (const timer of timers.values()) clearTimeout(timer)
      watched?.close()
    },
  }
}

/** Which turn of a request is ours: the same order at every replica. */
function rank(uid: string, { replica, replicas }: PodCertificateSignerOptions): number {
  const weight = (name: string): string => createHash('sha256').update(`${uid} ${name}`).digest('hex')
  const own = weight(replica)
  return replicas().filter((name) => name !== replica && weight(name) < own).length
}
