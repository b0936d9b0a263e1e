/** Keeps the publication in step with the store: looked at every second, and at once after a change of our own. */
import { PosternError } from '#base/errors'
import type { Log } from '#telemetry/log'
import type { IssuerCache } from './issuers.ts'
import { type Publication, type PublicationOptions, publicationOf } from './publication.ts'
import type { Store } from './store/store.ts'

export interface Published extends Disposable {
  readonly current: Publication
  /** Why the newest state of the store is not in force; undefined if it is. */
  readonly fault: string | undefined
  /** Reads the store again. @returns whether something was new */
  refresh(): Promise<boolean>
  /** Called after each change, in the same turn. */
  subscribe(listener: (publication: Publication) => void): void
}

export interface PublishedOptions extends PublicationOptions {
  readonly store: Store
  readonly issuers: IssuerCache
  readonly log: Log
  /** Ms between looks; a second unless said. */
  readonly interval?: number
}

/** @throws PosternError where the store cannot be read, or holds nothing to publish */
export async function openPublished({ store, issuers, log, interval = 1000, ...options }: PublishedOptions): Promise<Published> {
  let current = publicationOf(await store.trust(), issuers, options)
  let fault: string | undefined
  let reading: Promise<boolean> | undefined
  const listeners: ((publication: Publication) => void)[] = []
  const timer = setInterval(() => void look(), interval).unref()

  async function look(): Promise<void> {
    try {
      if ((await store.sequence()) !== current.sequence || current.faults.length > 0) await refresh()
      fault = undefined
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error)
      if (message !== fault)
        log.error({ err: error }, 'the newest authorities and revocations cannot be read; what was known stays in force')
      fault = message
      if (!(error instanceof PosternError)) throw error
    }
  }

  async function read(): Promise<boolean> {
    const trust = await store.trust()
    if (trust.sequence === current.sequence && current.faults.length === 0) return false
    const next = publicationOf(trust, issuers, options)
    const isNew = next.sequence !== current.sequence || next.faults.join() !== current.faults.join()
    if (!isNew) return false
    current = next
    for (const each of next.faults) log.error({}, each)
    log.info({ sequence: next.sequence, authority: next.x509?.record.id, revocations: next.revocations.length }, 'published')
    for (const listener of listeners) listener(next)
    return true
  }

  /** One at a time, and what comes while one is under way waits for the next, which sees what it changed. */
  async function refresh(): Promise<boolean> {
    while (reading !== undefined) await reading.catch(() => false)
    reading = read()
    try {
      return await reading
    } finally {
      reading = undefined
    }
  }

  for (const each of current.faults) log.error({}, each)
  return {
    get current() {
      return current
    },
    get fault() {
      return fault
    },
    refresh,
    subscribe: (listener) => void listeners.push(listener),
    [Symbol.dispose]: () => clearInterval(timer),
  }
}
