/**
 * Our SVID and bundles from files, read again whenever they change. Certificate and key go into force together or not at all: while only one of
 * them is new, or the new pair does not lead to the bundle, the last good pair stays and the status says why. Bundles go into force one by one.
 */
import type { Clock } from '#base/clock'
import { oneAtATime } from '#config/one-at-a-time'
import { describeProblems } from '#config/problems'
import type { FederatedBundleConfig, FileIdentityConfig } from '#config/sidecar-config'
import type { Identity, InputStatus } from '#config/snapshot'
import { createFileWatch } from '#config/watch'
import type { Log } from '#telemetry/log'
import { assembleIdentity, digestsOf, type FileIdentity, type IdentityInput, readInputs } from './file-identity.ts'
import type { SvidSource } from './source.ts'

/** Ms until what failed is tried again though no file changed: a certificate may be valid a moment later. */
const RETRY_INTERVAL = 2_000

export interface FileSvidSourceOptions {
  readonly files: FileIdentityConfig
  readonly federation: readonly FederatedBundleConfig[]
  readonly clock: Clock
  readonly log: Log
  /** Ms between polls of the files. Default 500. */
  readonly interval?: number
}

/** @throws ERR_CONFIG_INVALID with every fault of every file, where there is no usable identity to begin with */
export async function createFileSvidSource(options: FileSvidSourceOptions): Promise<SvidSource> {
  const { files, federation, clock, log, interval } = options
  const inputs: readonly IdentityInput[] = [
    { path: files.certificate, kind: 'certificate', trustDomain: undefined },
    { path: files.key, kind: 'key', trustDomain: undefined },
    { path: files.bundle, kind: 'bundle', trustDomain: undefined },
    ...federation.map(({ trustDomain, bundle }): IdentityInput => ({ path: bundle, kind: 'bundle', trustDomain })),
  ]
  const listeners = new Set<() => void>()
  const paths = inputs.map(({ path }) => path)
  const watch = createFileWatch({ clock, onChange: () => void reload(), ...(interval === undefined ? {} : { interval }) })
  let retry: NodeJS.Timeout | undefined
  let closed = false

  const reload = oneAtATime(async () => {
    clearTimeout(retry)
    const read = await readInputs(paths)
    if (closed) return
    watch.expect(paths, digestsOf(read))
    const before = current
    const next = assembleIdentity(inputs, read, before, clock.now())
    current = next
    const failed = next.problems.length > 0
    if (failed) retry = setTimeout(() => void reload(), RETRY_INTERVAL).unref()
    note(before, next)
    if (next.identity !== before.identity || next.trust !== before.trust) for (const listener of listeners) listener()
  })

  function note(before: FileIdentity, next: FileIdentity): void {
    const now = clock.now()
    statuses = statusesOf(inputs, next, statuses, now)
    const errors = describeProblems(next.problems)
    if (errors !== undefined && errors !== describeProblems(before.problems)) {
      log.warn({ errors: errors.split('\n') }, 'The newest identity files cannot be used; the last good ones stay in force.')
    }
    if (next.identity !== before.identity) {
      const { id, facts } = next.identity
      log.info({ id: id.uri, serial: facts.serial, not_after: new Date(facts.notAfter).toISOString() }, 'A new certificate is in force.')
    }
    if (next.trust !== before.trust) log.info({ trust_domains: [...next.trust.bundles.keys()] }, 'New trust bundles are in force.')
  }

  const first = await readInputs(paths)
  let current = assembleIdentity(inputs, first, undefined, clock.now())
  let statuses = statusesOf(inputs, current, [], clock.now())
  watch.expect(paths, digestsOf(first))

  return {
    kind: 'files',
    get current(): Identity {
      return current
    },
    subscribe(listener) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
    reload,
    status: () => statuses,
    origin: () => ({
      source: 'files',
      address: undefined,
      nextRenewal: undefined,
      lastRenewal: undefined,
      lastError: undefined,
      failures: 0,
      sequence: undefined,
      acknowledged: undefined,
      clockAhead: undefined,
      cacheError: undefined,
    }),
    close() {
      closed = true
      clearTimeout(retry)
      watch.close()
      listeners.clear()
    },
  }
}

function statusesOf(
  inputs: readonly IdentityInput[],
  next: FileIdentity,
  before: readonly InputStatus[],
  now: number,
): readonly InputStatus[] {
  const statuses = inputs.map((input) => statusOf(input, next, before, now))
  // A key has no digest to be seen: it goes into force with its certificate.
  const appliedAt = statuses.find(({ kind }) => kind === 'certificate')?.appliedAt
  return statuses.map((status) => (status.kind === 'key' ? { ...status, appliedAt } : status))
}

function statusOf({ path, kind }: IdentityInput, next: FileIdentity, before: readonly InputStatus[], now: number): InputStatus {
  const last = before.find((one) => one.input === path && one.kind === kind)
  const digest = kind === 'key' ? undefined : next.inForce.get(path)
  const error = describeProblems(next.problems.filter(({ at }) => at.file === path))
  const isSame = last?.appliedAt !== undefined && last.digest === digest
  return {
    input: path,
    kind,
    digest,
    appliedAt: isSame ? last.appliedAt : digest === undefined ? undefined : now,
    error,
    failedAt: error === undefined ? undefined : last?.error === error ? last.failedAt : now,
  }
}
