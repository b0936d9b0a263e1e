/**
 * Our SVID from a SPIFFE Workload API, and what it trusts: followed for as long as the sidecar runs.
 *
 *   connect ──▶ follow ──▶ each message is the whole state, and goes into force if peers would take it
 *      ▲          └─ dropped: again at once, then with growing delays; refused for good: at the next reload
 *      └──────────────────┘
 *
 * Whatever fails, the last good identity and bundles stay in force.
 */
import { backoffDelay } from '#base/backoff'
import type { Clock } from '#base/clock'
import { PosternError } from '#base/errors'
import type { ReasonCode } from '#base/reasons'
import type { WorkloadApiIdentityConfig } from '#config/sidecar-config'
import type { Identity, IdentityOrigin, InputStatus } from '#config/snapshot'
import type { Log } from '#telemetry/log'
import { createWorkloadApiClient, type X509Update } from '#workload-api/client'
import { parseEndpointAddress } from '#workload-api/endpoint-address'
import type { IdentityObserver, SvidSource } from './source.ts'
import { type Accepted, acceptUpdate, sentenceOf } from './workload-api-state.ts'

export interface WorkloadApiSvidSourceOptions {
  readonly config: WorkloadApiIdentityConfig
  /** `SPIFFE_ENDPOINT_SOCKET`, for a document that does not say where. */
  readonly endpointSocket?: string | undefined
  readonly clock: Clock
  readonly log: Log
  /** [0, 1), for jitter. */
  readonly random: () => number
  /** Ends the wait for the first identity. */
  readonly signal?: AbortSignal
  readonly observe?: IdentityObserver
  /** Ms after which an identity that was not given is an error; waits for as long as it takes unless said. */
  readonly patience?: number
}

/** Ms. After the first try, which comes at once. */
const RETRY = { first: 250, max: 10_000 }
/** Ms that a stream must have lived for its end to be a mishap: what ends sooner is not asked again at once. */
const SOUND = 1_000

/**
 * Resolves with the first usable identity, however long that takes.
 * @throws PosternError ERR_WORKLOAD_API_ENDPOINT, _REFUSED, _CHOICE where several identities are offered and none was chosen, or what failed last
 * once patience is over; what `signal` was aborted with
 */
export async function createWorkloadApiSvidSource(options: WorkloadApiSvidSourceOptions): Promise<SvidSource> {
  const { config, clock, log, signal, observe } = options
  const client = createWorkloadApiClient(config.socket ?? addressFrom(options.endpointSocket))
  const { name } = client
  const ending = new AbortController()
  const listeners = new Set<() => void>()
  const first = Promise.withResolvers<void>()
  let current: Accepted | undefined
  let update: X509Update | undefined
  let jwtBundles: ReadonlyMap<string, string> = new Map()
  let lastApplied = 0
  let failures = 0
  let lastError: { readonly at: number; readonly reason: ReasonCode; readonly detail: string } | undefined
  /** What ends the waits before next tries. */
  const sleepers = new Set<() => void>()

  function take(next: X509Update): void {
    update = next
    const before = current
    try {
      current = acceptUpdate(next, before, { name, wanted: config, jwtBundles, now: clock.now() })
    } catch (error) {
      fail(error)
      if (current === undefined && error instanceof PosternError && error.facts['final'] === true) first.reject(error)
      return
    }
    lastError = undefined
    failures = 0
    observe?.('renewal', 'ok')
    note(before, current)
    if (before?.identity === current.identity && before.trust === current.trust) return
    lastApplied = clock.now()
    first.resolve()
    for (const listener of listeners) listener()
  }

  function note(before: Accepted | undefined, { identity, trust, problems }: Accepted): void {
    if (problems.length > 0 && problems.join() !== before?.problems.join()) {
      log.warn({ errors: problems }, 'Bundles are left out: what only they could show to be right is not believed.')
    }
    if (identity !== before?.identity) {
      const { id, facts } = identity
      log.info({ id: id.uri, serial: facts.serial, not_after: new Date(facts.notAfter).toISOString() }, 'A new certificate is in force.')
    }
    if (trust !== before?.trust) log.info({ trust_domains: [...trust.bundles.keys()] }, 'New trust bundles are in force.')
  }

  function fail(error: unknown): void {
    if (!(error instanceof PosternError)) throw error
    const detail = sentenceOf(error)
    failures++
    observe?.('renewal', error.code)
    if (detail !== lastError?.detail) {
      const rest = current === undefined ? 'There is no identity yet.' : 'The last good identity stays in force.'
      log.warn({ reason: error.code, detail }, `The Workload API gives none that can be used. ${rest}`)
    }
    lastError = { at: clock.now(), reason: error.code, detail }
  }

  /** Follows one stream for good. @param onFailure returns whether to try again */
  async function follow<T>(
    watch: () => AsyncIterable<T>,
    onMessage: (message: T) => void,
    onFailure: (error: unknown) => boolean,
  ): Promise<void> {
    for (let tries = 0; !ending.signal.aborted;) {
      const begun = clock.monotonic()
      try {
        for await (const message of watch()) {
          if (ending.signal.aborted) return
          onMessage(message)
        }
      } catch (error) {
        if (ending.signal.aborted) return
        tries = clock.monotonic() - begun > SOUND ? 0 : tries + 1
        const again = onFailure(error)
        await pause(again ? (tries === 0 ? 0 : backoffDelay(tries - 1, { ...RETRY, random: options.random })) : undefined)
      }
    }
  }

  /** @param delay ms; undefined: until `hurry` */
  async function pause(delay: number | undefined): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    const timer = delay === undefined ? undefined : setTimeout(resolve, delay)
    sleepers.add(resolve)
    await promise
    sleepers.delete(resolve)
    clearTimeout(timer)
  }

  function hurry(): void {
    for (const wake of sleepers) wake()
  }

  function close(): void {
    if (ending.signal.aborted) return
    ending.abort()
    listeners.clear()
    hurry()
    client.close()
  }

  void follow(
    () => client.watchX509(ending.signal),
    take,
    (error) => {
      fail(error)
      const again = !isFinal(error)
      if (!again && current === undefined) first.reject(error)
      return again
    },
  ).catch(first.reject)
  void follow(
    () => client.watchJwtBundles(ending.signal),
    (bundles) => {
      jwtBundles = bundles
      if (update !== undefined) take(update)
    },
    (error) => {
      // Not every agent serves the JWT profile, and X.509 does without it.
      log.debug({ detail: sentenceOf(error) }, 'There are no JWT bundles.')
      return !isFinal(error)
    },
  ).catch(first.reject)

  const onAbort = (): void => first.reject(signal?.reason)
  const onLate = (): void => first.reject(lateError(name, lastError))
  const late = options.patience === undefined ? undefined : setTimeout(onLate, options.patience)
  signal?.addEventListener('abort', onAbort)
  if (signal?.aborted === true) onAbort()
  try {
    await first.promise
  } catch (error) {
    close()
    throw error
  } finally {
    clearTimeout(late)
    signal?.removeEventListener('abort', onAbort)
  }

  const inForce = (): Accepted => {
    if (current === undefined) throw new TypeError('A source has an identity once it is made.')
    return current
  }

  return {
    kind: 'workloadApi',
    get current(): Identity {
      return inForce()
    },
    subscribe(listener) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
    async reload() {
      hurry()
    },
    status: () => statusOf(name, inForce(), lastApplied, lastError),
    origin: (): IdentityOrigin => ({
      source: 'workloadApi',
      address: name,
      nextRenewal: undefined,
      lastRenewal: { at: lastApplied },
      lastError,
      failures,
      sequence: undefined,
      acknowledged: undefined,
      clockAhead: undefined,
      cacheError: undefined,
    }),
    async issueJwtSvid(audience, signal) {
      return client.fetchJwtSvid(inForce().identity.id.uri, audience, AbortSignal.any([signal, ending.signal]))
    },
    close,
  }
}

function addressFrom(endpointSocket: string | undefined): ReturnType<typeof parseEndpointAddress> {
  if (endpointSocket !== undefined && endpointSocket !== '') return parseEndpointAddress(endpointSocket)
  throw new PosternError(
    'ERR_WORKLOAD_API_ENDPOINT',
    'Neither `spec.identity.workloadApi.socket` nor the variable SPIFFE_ENDPOINT_SOCKET says where the Workload API is.',
  )
}

function lateError(name: string, lastError: { readonly reason: ReasonCode; readonly detail: string } | undefined): PosternError {
  if (lastError !== undefined) return new PosternError(lastError.reason, lastError.detail)
  return new PosternError('ERR_WORKLOAD_API_UNREACHABLE', `The Workload API at ${name} has not answered yet.`)
}

/** Asking again would get the same answer. */
function isFinal(error: unknown): boolean {
  return error instanceof PosternError && error.code === 'ERR_WORKLOAD_API_REFUSED'
}

function statusOf(
  name: string,
  { identity, trust, problems }: Accepted,
  appliedAt: number,
  lastError: { readonly at: number; readonly detail: string } | undefined,
): readonly InputStatus[] {
  const common = { input: name, appliedAt }
  const left = problems.length === 0 ? undefined : problems.join('\n')
  return [
    { ...common, kind: 'certificate', digest: identity.facts.fingerprint, error: lastError?.detail, failedAt: lastError?.at },
    { ...common, kind: 'bundle', digest: trust.digest, error: left, failedAt: left === undefined ? undefined : appliedAt },
  ]
}
