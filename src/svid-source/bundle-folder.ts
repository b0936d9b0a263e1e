/**
 * Bundles of other trust domains in a folder that we keep ourselves (`mesh-agent/generation-folder.ts`): `TRUST-DOMAIN.json`, read when somebody
 * says that they changed. A file that cannot be used leaves its last good version in force; one that is gone is trusted no more.
 */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from '#base/clock'
import { PosternError } from '#base/errors'
import { decodeUtf8, isFault, readBoundedFile } from '#config/files'
import { oneAtATime } from '#config/one-at-a-time'
import type { InputStatus } from '#config/snapshot'
import { type Bundle, readBundle } from '#pki/bundle'
import { newerBundle } from '#pki/newer-bundle'

export interface BundleFolder {
  readonly current: readonly Bundle[]
  reload(): Promise<void>
  status(): readonly InputStatus[]
}

interface Held {
  readonly bundle: Bundle | undefined
  readonly status: InputStatus
}

const SUFFIX = '.json'
const LARGEST_FILE = 1024 * 1024

export async function openBundleFolder(folder: string, clock: Clock, onChange: () => void): Promise<BundleFolder> {
  let held = new Map<string, Held>()

  async function read(trustDomain: string, before: Held | undefined): Promise<Held> {
    const name = `${trustDomain}${SUFFIX}`
    const content = await readBoundedFile(join(folder, name), LARGEST_FILE)
    const now = clock.now()
    try {
      if (isFault(content)) throw new PosternError('ERR_CONFIG_FILE', `${content.fault}.`)
      if (before?.bundle !== undefined && before.status.digest === content.digest) return before
      const bundle = newerBundle(readBundle(decodeUtf8(content.content) ?? '', trustDomain, name), before?.bundle, name)
      const status = { input: name, kind: 'bundle', digest: content.digest, appliedAt: now, error: undefined, failedAt: undefined } as const
      return { bundle, status }
    } catch (error) {
      if (!(error instanceof PosternError)) throw error
      const said = `${error.message} (${error.code})`
      const last = before?.status
      const failedAt = last?.error === said ? last.failedAt : now
      const status = { input: name, kind: 'bundle', digest: last?.digest, appliedAt: last?.appliedAt, error: said, failedAt } as const
      return { bundle: before?.bundle, status }
    }
  }

  const reload = oneAtATime(async () => {
    // Not there before the controller has spoken for the first time.
    const names = await readdir(folder).catch(() => [])
    const next = new Map<string, Held>()
    for (const name of names) {
      const trustDomain = name.slice(0, -SUFFIX.length)
      if (name.endsWith(SUFFIX)) next.set(trustDomain, await read(trustDomain, held.get(trustDomain)))
    }
    const before = held
    held = next
    if (next.size !== before.size || [...next].some(([name, { bundle }]) => before.get(name)?.bundle !== bundle)) onChange()
  })

  await reload()
  return {
    get current() {
      return [...held.values()].flatMap(({ bundle }) => bundle ?? [])
    },
    reload,
    status: () => [...held.values()].map(({ status }) => status),
  }
}
