/** Policies in force by file: each file's last good version, and how its newest one stands. */
import type { Problem } from '#base/located'
import type { PolicyDocument } from '#policy/document'
import type { Configuration, LoadedPolicyFile, LoadedRoot } from './load.ts'
import { describeProblems } from './problems.ts'
import type { InputStatus } from './snapshot.ts'

interface Entry {
  readonly root: string
  readonly status: InputStatus
  /** Of the version in force; empty where none is. */
  readonly documents: readonly PolicyDocument[]
}

export interface PolicyStore {
  /** Takes over what was read: good files replace their last version, failed ones leave it, files that are gone take theirs with them. */
  readonly take: (roots: Configuration['roots'], now: number) => void
  /** In the order of `spec.policies`, files of a folder sorted. */
  readonly documents: () => readonly PolicyDocument[]
  readonly status: () => readonly InputStatus[]
  /** SHA-256 by path of what is in force. */
  readonly digests: () => ReadonlyMap<string, string>
}

export function createPolicyStore(): PolicyStore {
  let entries = new Map<string, Entry>()

  function takeRoot(loaded: LoadedRoot, next: Map<string, Entry>, now: number): void {
    const { root, digest, files, problems } = loaded
    for (const file of files) next.set(file.path, takeFile(root, file, entries.get(file.path), now))
    if (digest === undefined) return
    // The root itself cannot be read: a volume that is not mounted must not open or close anything.
    for (const [path, entry] of entries) if (entry.root === root && !next.has(path)) next.set(path, entry)
    next.set(root, { root, documents: entries.get(root)?.documents ?? [], status: failed(root, entries.get(root)?.status, problems, now) })
  }

  return {
    take(roots, now) {
      const next = new Map<string, Entry>()
      for (const root of roots) takeRoot(root, next, now)
      entries = next
    },
    documents: () => [...entries.values()].flatMap((entry) => entry.documents),
    status: () => [...entries.values()].map((entry) => entry.status),
    digests: () =>
      new Map([...entries].flatMap(([path, { status }]) => (status.digest === undefined ? [] : [[path, status.digest] as const]))),
  }
}

function takeFile(root: string, file: LoadedPolicyFile, before: Entry | undefined, now: number): Entry {
  const { path, digest, state, documents, problems } = file
  if (state === 'failed') return { root, documents: before?.documents ?? [], status: failed(path, before?.status, problems, now) }
  if (state === 'unchanged' && before !== undefined) return { ...before, root }
  const appliedAt = before?.status.digest === digest ? before.status.appliedAt : now
  return { root, documents, status: { input: path, kind: 'policy', digest, appliedAt, error: undefined, failedAt: undefined } }
}

function failed(path: string, before: InputStatus | undefined, problems: readonly Problem[], now: number): InputStatus {
  const error = describeProblems(problems)
  return {
    input: path,
    kind: 'policy',
    digest: before?.digest,
    appliedAt: before?.appliedAt,
    error,
    failedAt: before?.error === error ? (before?.failedAt ?? now) : now,
  }
}
