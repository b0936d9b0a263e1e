/**
 * All objects of one kind as they are now: listed once, then followed. What it holds converges to what the API server has, whatever breaks
 * between: dropped connections, versions that are forgotten (410), events that come twice or late.
 *
 *   listing ──all──▶ following ──end of stream──▶ following on from the last version
 *      ▲                 └──410, or a stream that cannot be read──┐
 *      └────────────────────── backoff ◀──────────────────────────┘
 */
import { backoffDelay } from '#base/backoff'
import type { Clock } from '#base/clock'
import { PosternError } from '#base/errors'
import { type KubeClient, type ListOptions, selectors } from './client.ts'
import { jsonLines } from './json-lines.ts'
import { type KubeObject, type Resource, resourceName } from './objects.ts'

export interface Watched<T extends KubeObject> {
  /** By uid. */
  readonly objects: ReadonlyMap<string, T>
  /** Everything was listed at least once. */
  readonly synced: boolean
  /** Resolves when it is. */
  readonly ready: Promise<void>
  /** Why it is not being followed at the moment; undefined while it is. */
  readonly fault: PosternError | undefined
  close(): void
}

export interface WatchOptions<T extends KubeObject> extends ListOptions {
  readonly client: KubeClient
  readonly resource: Resource
  readonly clock: Clock
  readonly random: () => number
  /** What is kept of an object. Its metadata needs uid and resourceVersion. Default: all of it. */
  readonly project?: (object: KubeObject) => T
  /** After each change, with the object as it is now (undefined: gone) and as it was. Never before all are listed; then once for each object. */
  readonly onChange: (now: T | undefined, before: T | undefined) => void
  readonly onFault?: (error: PosternError) => void
  /** Ms after which everything is listed anew all the same: nothing is missed for longer. Default 10 min. */
  readonly resync?: number
  /** Of the delay before the next try, ms. Default 200 to 30,000. */
  readonly backoff?: { readonly first: number; readonly max: number }
}

interface WatchEvent {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK' | 'ERROR'
  readonly object: KubeObject & { readonly code?: number; readonly message?: string }
}

/** So many deletions are remembered, until a new list: what is told late of an object that is gone must not bring it back. */
const MOST_GONE = 1024
/** How long the API server keeps a stream open, s; it ends it, and following goes on. */
const STREAM_SECONDS = 300
const SHORT_STREAM = 1000
const MAX_EVENT = 16 * 1024 * 1024

export function watchObjects<T extends KubeObject>(options: WatchOptions<T>): Watched<T> {
  const { client, resource, clock, random, onChange, resync = 600_000, backoff = { first: 200, max: 30_000 } } = options
  const project = options.project ?? ((object) => object as T)
  const objects = new Map<string, T>()
  /** Versions of deletions, by uid. */
  const deletions = new Map<string, string>()
  const ending = new AbortController()
  const { promise: ready, resolve: becomeReady } = Promise.withResolvers<void>()
  let synced = false
  let fault: PosternError | undefined
  let attempt = 0
  /** From where to follow; `''`: all must be listed first. */
  let version = ''
  let listedAt = 0

  async function run(): Promise<void> {
    while (!ending.signal.aborted) {
      try {
        // Not at the end of a stream alone: some break off each time.
        if (clock.monotonic() - listedAt > resync) version = ''
        if (version === '') await listAll()
        const lasted = await follow()
        // A server that ends every stream at once must not be asked without a pause.
        if (lasted < SHORT_STREAM) await pause(backoffDelay(attempt++, { ...backoff, random }), ending.signal)
      } catch (error) {
        if (ending.signal.aborted) return
        fault = asFault(error, resource)
        // What was missed is not known: only a new list tells.
        if (fault.code !== 'ERR_KUBE_UNREACHABLE') version = ''
        options.onFault?.(fault)
        await pause(backoffDelay(attempt++, { ...backoff, random }), ending.signal)
      }
    }
  }

  async function listAll(): Promise<void> {
    const list = await client.list<T>(resource, options, project)
    listedAt = clock.monotonic()
    deletions.clear()
    const gone = new Set(objects.keys())
    for (const object of list.items) {
      gone.delete(object.metadata.uid)
      put(object)
    }
    for (const uid of gone) drop(uid)
    version = list.metadata.resourceVersion
    synced = true
    becomeReady()
  }

  /** @returns ms until the server ended the stream; Infinity if it told us anything */
  async function follow(): Promise<number> {
    const since = clock.monotonic()
    let told = false
    const query = { ...selectors(options), resourceVersion: version, allowWatchBookmarks: 'true', timeoutSeconds: String(STREAM_SECONDS) }
    const stream = await client.stream(resource, query, ending.signal)
    fault = undefined
    for await (const value of jsonLines(stream, MAX_EVENT)) {
      const { type, object } = value as WatchEvent
      if (type === 'ERROR') {
        const code = object.code === 410 ? 'ERR_KUBE_EXPIRED' : 'ERR_KUBE_RESPONSE'
        throw new PosternError(code, `The watch of ${resourceName(resource)} was ended: ${object.message ?? 'no reason was given'}`)
      }
      attempt = 0
      told = true
      if (type === 'ADDED' || type === 'MODIFIED') put(project(object))
      else if (type === 'DELETED') dropOlder(object)
      version = object.metadata.resourceVersion
    }
    return told ? Infinity : clock.monotonic() - since
  }

  /** An event that comes late, or again, changes nothing. */
  function put(object: T): void {
    const { uid, resourceVersion } = object.metadata
    const before = objects.get(uid)
    const known = before?.metadata.resourceVersion ?? deletions.get(uid)
    if (known !== undefined && !isNewer(resourceVersion, known)) return
    objects.set(uid, object)
    onChange(object, before)
  }

  function dropOlder(object: KubeObject): void {
    const { uid, resourceVersion } = object.metadata
    const before = objects.get(uid)
    if (before !== undefined && isNewer(before.metadata.resourceVersion, resourceVersion)) return
    deletions.set(uid, resourceVersion)
    const [oldest] = deletions.keys()
    if (deletions.size > MOST_GONE && oldest !== undefined) deletions.delete(oldest)
    drop(uid)
  }

  function drop(uid: string): void {
    const before = objects.get(uid)
    if (!objects.delete(uid)) return
    onChange(undefined, before)
  }

  void run()
  return {
    objects,
    get synced() {
      return synced
    },
    ready,
    get fault() {
      return fault
    },
    close: () => ending.abort(),
  }
}

/** Versions of one kind can be compared as whole numbers since Kubernetes 1.35, and always could in practice. */
function isNewer(first: string, second: string): boolean {
  return first.length === second.length ? first > second : first.length > second.length
}

function asFault(error: unknown, resource: Resource): PosternError {
  if (error instanceof PosternError) return error
  return new PosternError('ERR_KUBE_UNREACHABLE', `The watch of ${resourceName(resource)} broke off.`, { cause: error })
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(done, ms)
    function done(): void {
      clearTimeout(timer)
      signal.removeEventListener('abort', done)
      resolve()
    }
    signal.addEventListener('abort', done)
  })
}
