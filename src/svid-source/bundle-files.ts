/** The bundles of federated trust domains from files, read again whenever they change: each goes into force, or stays as it was, on its own. */
import type { Clock } from '#base/clock'
import type { Problem } from '#base/located'
import { decodeUtf8, isFault, readBoundedFile } from '#config/files'
import { oneAtATime } from '#config/one-at-a-time'
import { configurationError, describeProblems, fileProblem, problemsOf } from '#config/problems'
import type { FederatedBundleConfig } from '#config/sidecar-config'
import type { InputStatus } from '#config/snapshot'
import { createFileWatch } from '#config/watch'
import { type Bundle, readBundle } from '#pki/bundle'
import { newerBundle } from '#pki/newer-bundle'

export interface BundleFiles {
  /** The last good version of each. */
  readonly current: readonly Bundle[]
  reload(): Promise<void>
  status(): readonly InputStatus[]
  close(): void
}

export interface BundleFilesOptions {
  readonly federation: readonly FederatedBundleConfig[]
  readonly clock: Clock
  readonly onChange: () => void
  /** Ms between polls of the files. Default 500. */
  readonly interval?: number
}

const LARGEST_FILE = 1024 * 1024

interface Held {
  readonly bundle: Bundle | undefined
  readonly status: InputStatus
}

/** @throws ERR_CONFIG_INVALID where one of them cannot be used to begin with */
export async function createBundleFiles({ federation, clock, onChange, interval }: BundleFilesOptions): Promise<BundleFiles> {
  const paths = federation.map(({ bundle }) => bundle)
  const watch = createFileWatch({ clock, onChange: () => void reload(), ...(interval === undefined ? {} : { interval }) })
  let held = new Map<string, Held>()
  let problems: Problem[] = []
  let closed = false

  async function readAll(): Promise<void> {
    const next = new Map<string, Held>()
    const digests = new Map<string, string>()
    problems = []
    for (const { trustDomain, bundle: path } of federation) {
      const read = await readBoundedFile(path, LARGEST_FILE)
      digests.set(path, isFault(read) ? `!${read.code}` : read.digest)
      const text = isFault(read) ? undefined : decodeUtf8(read.content)
      const why = isFault(read) ? `${read.fault}.` : `\`${path}\` is not text; give PEM, or JSON for a SPIFFE bundle.`
      const found =
        text === undefined ? [fileProblem(path, 'ERR_CONFIG_FILE', why)] : attempt(text, trustDomain, path, held.get(path)?.bundle)
      next.set(path, advance(path, held.get(path), found, isFault(read) ? undefined : read.digest))
    }
    if (closed) return
    held = next
    if (paths.length > 0) watch.expect(paths, digests)
  }

  function attempt(text: string, trustDomain: string, path: string, last: Bundle | undefined): Bundle | readonly Problem[] {
    try {
      return newerBundle(readBundle(text, trustDomain, path), last, path)
    } catch (error) {
      return problemsOf(error, path)
    }
  }

  function advance(path: string, before: Held | undefined, found: Bundle | readonly Problem[], digest: string | undefined): Held {
    const now = clock.now()
    if ('roots' in found) {
      const isSame = before?.status.digest === digest && before?.bundle !== undefined
      const appliedAt = isSame ? before.status.appliedAt : now
      const status: InputStatus = { input: path, kind: 'bundle', digest, appliedAt, error: undefined, failedAt: undefined }
      return { bundle: isSame ? before.bundle : found, status }
    }
    problems.push(...found)
    const error = describeProblems(found)
    const failedAt = before?.status.error === error ? before?.status.failedAt : now
    const status: InputStatus = {
      input: path,
      kind: 'bundle',
      digest: before?.status.digest,
      appliedAt: before?.status.appliedAt,
      error,
      failedAt,
    }
    return { bundle: before?.bundle, status }
  }

  const current = (): readonly Bundle[] => [...held.values()].flatMap(({ bundle }) => bundle ?? [])

  const reload = oneAtATime(async () => {
    const before = current()
    await readAll()
    const after = current()
    if (!closed && (before.length !== after.length || before.some((bundle, index) => bundle !== after[index]))) onChange()
  })

  await readAll()
  if (problems.length > 0) {
    watch.close()
    throw configurationError(problems)
  }
  return {
    get current() {
      return current()
    },
    reload,
    status: () => [...held.values()].map(({ status }) => status),
    close() {
      closed = true
      watch.close()
    },
  }
}
