/**
 * Notices that files changed: fs.watch on their folders for speed, and a poll because events get lost (suspend, network file systems,
 * inotify's limits). What counts is content: a scan is compared with what was read last. Symbolic links are followed at every scan,
 * so Kubernetes' swap of `..data`, atomic renames, and files that were deleted and made again are all seen.
 */
import { type FSWatcher, watch } from 'node:fs'
import { stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Clock } from '#base/clock'
import { faultOf, isFault, listFiles, readBoundedFile } from './files.ts'

/** Ms between polls; with one settling scan a change is reported well within a second. */
const POLL_INTERVAL = 500
/** Ms that an event waits for its companions, and a changed scan for its confirmation. */
const DEBOUNCE = 50
/** A poll takes at most this share of the time: ten thousand files are polled less often. */
const POLL_SHARE = 0.05
/** How often a scan that keeps changing is repeated before it is reported as it is. */
const MAX_SETTLING = 4
/** Ms within which a file can change twice under one timestamp. */
const TIMESTAMP_GRAIN = 2_000

/** Digest by path: SHA-256 of a file, or what is wrong with it after an exclamation mark. */
export type Scan = ReadonlyMap<string, string>

export interface FileWatchOptions {
  readonly clock: Clock
  /** Called once for every content that differs from what was read last. */
  readonly onChange: () => void
  /** Ms between polls. Default 500. */
  readonly interval?: number
}

export interface FileWatch {
  /** Watches `roots` (files, and folders of documents) from now on, and reports a scan that differs from `read`. */
  expect(roots: readonly string[], read: Scan): void
  close(): void
}

/** Begins to watch with the first `expect`. Keeps no process alive. */
export function createFileWatch({ clock, onChange, interval = POLL_INTERVAL }: FileWatchOptions): FileWatch {
  const folders = createFolderWatch(onEvent)
  let scanner = createScanner(clock)
  let roots: readonly string[] = []
  let expected = ''
  let reported: string | undefined
  let timer: NodeJS.Timeout | undefined
  /** The timer stands at an event already: later ones must not push it back, or a busy folder would never be read. */
  let soon = false
  let scanning = false
  /** Something happened during the scan, maybe behind its back. */
  let missed = false
  let closed = false

  function onEvent(): void {
    if (scanning) missed = true
    else if (!soon) {
      soon = true
      lookIn(DEBOUNCE)
    }
  }

  function lookIn(delay: number): void {
    if (closed) return
    clearTimeout(timer)
    timer = setTimeout(() => void look(), delay).unref()
  }

  async function look(): Promise<void> {
    const looked = roots
    scanning = true
    soon = false
    missed = false
    await folders.watch(roots)
    const begun = clock.monotonic()
    const first = fingerprint(await scanner.scan(roots))
    const taken = clock.monotonic() - begun
    const seen = await settle(first)
    scanning = false
    if (closed) return
    soon = missed || looked !== roots
    lookIn(soon ? Math.max(DEBOUNCE, taken) : Math.max(interval, taken / POLL_SHARE))
    if (looked !== roots) return
    if (seen === expected || seen === reported) return
    reported = seen
    onChange()
  }

  /** A scan that the next one confirms: half of a write is not worth reading. */
  async function settle(first: string): Promise<string> {
    let seen = first
    for (let round = 0; seen !== expected && seen !== reported && round < MAX_SETTLING; round++) {
      await new Promise<void>((resolve) => void setTimeout(resolve, DEBOUNCE).unref())
      const again = fingerprint(await scanner.scan(roots))
      if (again === seen) break
      seen = again
    }
    return seen
  }

  return {
    expect(next, read) {
      roots = next
      expected = fingerprint(read)
      reported = undefined
      scanner = createScanner(clock)
      onEvent()
    },
    close() {
      closed = true
      clearTimeout(timer)
      folders.close()
    },
  }
}

function fingerprint(scan: Scan): string {
  return [...scan]
    .map(([path, digest]) => `${path}\0${digest}`)
    .toSorted()
    .join('\n')
}

/** Every file under `roots` with its digest, read anew only where its metadata say that it may have changed. */
function createScanner(clock: Clock): { scan(roots: readonly string[]): Promise<Scan> } {
  let remembered = new Map<string, { readonly signature: string; readonly digest: string }>()

  async function digestOf(path: string): Promise<{ readonly signature: string; readonly digest: string }> {
    try {
      const { dev, ino, size, mtimeNs, ctimeNs, ctimeMs } = await stat(path, { bigint: true })
      // A file that was written a moment ago can be written again without a trace in its timestamps.
      const fresh = clock.now() - Number(ctimeMs) < TIMESTAMP_GRAIN
      const signature = fresh ? '' : [dev, ino, size, mtimeNs, ctimeNs].join(' ')
      const before = remembered.get(path)
      if (before !== undefined && signature !== '' && before.signature === signature) return before
      const read = await readBoundedFile(path)
      return { signature, digest: isFault(read) ? `!${read.code}` : read.digest }
    } catch (error) {
      return { signature: '', digest: `!${faultOf(path, error).code}` }
    }
  }

  return {
    async scan(roots) {
      const next: typeof remembered = new Map()
      for (const root of roots) {
        const files = await listFiles(root)
        if (isFault(files)) next.set(root, { signature: '', digest: `!${files.code}` })
        else for (const file of files) if (!next.has(file)) next.set(file, await digestOf(file))
      }
      remembered = next
      return new Map([...next].map(([path, { digest }]) => [path, digest]))
    },
  }
}

/** fs.watch on the folders of `roots`, made again when a folder is another one than it was. */
function createFolderWatch(onEvent: () => void): { watch(roots: readonly string[]): Promise<void>; close(): void } {
  const open = new Map<string, { readonly inode: bigint; readonly watcher: FSWatcher }>()
  let closed = false

  function drop(folder: string): void {
    open.get(folder)?.watcher.close()
    open.delete(folder)
  }

  async function attend(folder: string): Promise<void> {
    const inode = await inodeOf(folder)
    if (open.get(folder)?.inode === inode) return
    drop(folder)
    if (inode === undefined || closed) return
    try {
      const watcher = watch(folder, { persistent: false }, onEvent)
      watcher.on('error', () => drop(folder))
      open.set(folder, { inode, watcher })
    } catch {
      // No more watches to be had, or the folder just went: the poll goes on.
    }
  }

  return {
    async watch(roots) {
      const wanted = new Set(roots.flatMap((root) => [dirname(root), root]))
      for (const folder of open.keys()) if (!wanted.has(folder)) drop(folder)
      for (const folder of wanted) await attend(folder)
    },
    close() {
      closed = true
      for (const folder of open.keys()) drop(folder)
    },
  }
}

/** Of a folder; undefined if there is none. */
async function inodeOf(folder: string): Promise<bigint | undefined> {
  try {
    const found = await stat(folder, { bigint: true })
    return found.isDirectory() ? found.ino : undefined
  } catch {
    return undefined
  }
}
