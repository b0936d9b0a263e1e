/** The store of one replica: an SQLite file, which a worker thread has open. This side queues, groups, and says what is wrong. */
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { PosternError } from '#base/errors'
import { ISSUANCE_COLUMNS, valuesOf } from './columns.ts'
import { createGroupCommit, type Outcome } from './group-commit.ts'
import { toError } from './sqlite-faults.ts'
import type { Read, Reply, Request, WorkerSettings, Write, WriteOutcome } from './sqlite-messages.ts'
import type { Store, StoreFault, StoreRole } from './store.ts'

declare const __POSTERN_BUNDLED__: boolean | undefined

export interface SqliteStoreOptions {
  /** Absolute path. */
  readonly file: string
  /** `server` unless said. */
  readonly role?: StoreRole
  /** Makes the file if it is not there; true unless said. Without: ERR_CA_STORE_MISSING. */
  readonly create?: boolean
  /** Ms between looks at a store that has a fault; a second unless said. */
  readonly probeInterval?: number
  /** Ms to wait while another process has it locked; five seconds unless said. */
  readonly patience?: number
  /** Heap of the thread, MB; 96 unless said. A search of more than it holds ends the thread, which is started again. */
  readonly heapMb?: number
}

export interface SqliteStore extends Store {
  /**
   * A copy as of one moment, made while the store goes on; mode 0600. An existing file is not overwritten.
   * @throws PosternError ERR_CA_STORE_BACKUP
   */
  backup(path: string): Promise<void>
  /** Commits so far, for tests and benches. */
  readonly commits: number
}

/** A few pages of cache and a group of writes: what the thread needs is small. */
const HEAP_MB = 96
const PROBE_INTERVAL = 1000
/** Ms between the beginnings of two commits: under load it is what makes them groups where the disk is quick; alone, nobody waits. */
const PAUSE = 4
const PATIENCE = 5000

interface Waiting {
  readonly resolve: (value: never) => void
  readonly reject: (error: unknown) => void
}

/**
 * Opens it, brings its tables to this version, and checks every page.
 * @throws PosternError ERR_CA_STORE… with what to do
 */
export async function openSqliteStore(options: SqliteStoreOptions): Promise<SqliteStore> {
  const { file, role = 'server', create = true, probeInterval = PROBE_INTERVAL, heapMb = HEAP_MB, patience = PATIENCE } = options
  const settings: WorkerSettings = { file, create, exclusive: role === 'server', patience }
  let fault: StoreFault | undefined
  let closing = false
  let probing: NodeJS.Timeout | undefined
  let nextId = 0
  let leading = false
  let writing:
    | { readonly resolve: (outcomes: readonly Outcome[] | undefined) => void; readonly reject: (error: unknown) => void }
    | undefined
  const asked = new Map<number, Waiting>()
  // Undefined: it ended by itself, and is started again at the next look.
  let worker: Worker | undefined

  const writes = createGroupCommit<Write>({
    pause: PAUSE,
    commit: (group) =>
      new Promise((resolve, reject) => {
        if (worker === undefined) return reject(absent())
        writing = { resolve, reject }
        worker.postMessage({ type: 'writes', writes: group } satisfies Request)
      }),
  })

  async function begin(how: WorkerSettings): Promise<void> {
    worker = await startWorker(how, { heapMb, take, lost })
  }

  function absent(): PosternError {
    return toError(fault ?? { reason: 'ERR_CA_STORE', detail: `The store \`${file}\` is closed.` })
  }

  function take(reply: Reply): void {
    if (reply.type === 'written') {
      const group = writing
      writing = undefined
      setFault(reply.fault)
      if (reply.fault === undefined) group?.resolve(reply.outcomes?.map(toOutcome))
      else group?.reject(toError(reply.fault))
    } else if (reply.type === 'answer') {
      const waiting = asked.get(reply.id)
      asked.delete(reply.id)
      if (reply.fault === undefined) waiting?.resolve(reply.value as never)
      else {
        setFault(reply.fault)
        waiting?.reject(toError(reply.fault))
      }
    }
  }

  /** The thread ended by itself: out of memory, or a bug. What it was doing may or may not be recorded: it is not handed out. */
  function lost(cause: unknown): void {
    if (closing || worker === undefined) return
    const why = cause instanceof Error ? cause.message : 'it ended'
    const detail = `The thread that keeps \`${file}\` failed (${why}). It is started again; if this is seen often, report it.`
    const error = new PosternError('ERR_CA_STORE', detail, { cause })
    worker = undefined
    setFault({ reason: 'ERR_CA_STORE', detail })
    writing?.reject(error)
    writing = undefined
    for (const { reject } of asked.values()) reject(error)
    asked.clear()
  }

  function setFault(found: StoreFault | undefined): void {
    fault = found === undefined ? undefined : { reason: found.reason, detail: found.detail }
    if (fault === undefined || closing || probing !== undefined) return
    probing = setTimeout(() => {
      probing = undefined
      // What it finds is in `fault`.
      look().catch(() => undefined)
    }, probeInterval)
    probing.unref()
  }

  /** Whether the store works again. */
  async function look(): Promise<void> {
    try {
      if (worker === undefined) await begin({ ...settings, create: false })
    } catch (error) {
      if (error instanceof PosternError) setFault({ reason: error.code, detail: error.message })
      throw error
    }
    await writes.add<undefined>(['probe'])
  }

  function ask<T>(read: Read): Promise<T> {
    return request<T>((id) => ({ type: 'read', id, read }))
  }

  function request<T>(make: (id: number) => Request): Promise<T> {
    return new Promise((resolve, reject) => {
      if (worker === undefined) return reject(absent())
      const id = nextId++
      asked.set(id, { resolve, reject })
      worker.postMessage(make(id))
    })
  }

  await begin(settings)
  return {
    recordIssuance: (issuance, joinToken = '') => writes.add(['issue', valuesOf(ISSUANCE_COLUMNS, issuance), joinToken]),
    issuances: (query) => ask(['issuances', query]),
    countIssuances: () => ask(['countIssuances']),
    purge: (endedBefore) => writes.add(['purge', endedBefore]),
    createJoinToken: (token) => writes.add(['joinToken', token]),
    joinToken: (hash) => writes.add(['findToken', hash]),
    joinTokens: (limit) => ask(['joinTokens', limit]),
    revoke: (revocation) => writes.add(['revoke', revocation]),
    withdraw: (revocation) => writes.add(['withdraw', revocation]),
    revocations: () => ask(['revocations']),
    authorities: () => ask(['authorities']),
    changeAuthorities: (expected, changes) => writes.add(['authorities', expected, changes]),
    sequence: () => ask(['sequence']),
    trust: () => ask(['trust']),
    renewLease: (lease) => writes.add(['lease', lease]),
    leases: (validAt) => ask(['leases', validAt]),
    async asLeader(work) {
      if (leading) return false
      leading = true
      try {
        const mine = await request<boolean>((id) => ({ type: 'lead', id, take: true }))
        if (mine) await work()
        return mine
      } finally {
        leading = false
        if (role === 'tool') await request((id) => ({ type: 'lead', id, take: false }))
      }
    },
    async backup(path) {
      const { backUp } = await import('./sqlite-backup.ts')
      await backUp(file, path)
    },
    get commits() {
      return writes.groups
    },
    get fault() {
      return fault
    },
    async [Symbol.asyncDispose]() {
      if (closing) return
      await writes.settled()
      closing = true
      clearTimeout(probing)
      const ending = worker
      worker = undefined
      if (ending === undefined) return
      const ended = once(ending, 'exit')
      ending.postMessage({ type: 'close' } satisfies Request)
      await ended
    },
  }
}

function toOutcome(outcome: WriteOutcome): Outcome {
  if ('value' in outcome) return { value: outcome.value }
  return { error: new PosternError('ERR_CA_STORE_CONFLICT', outcome.conflict) }
}

interface WorkerUse {
  readonly heapMb: number
  readonly take: (reply: Reply) => void
  /** It ended after it was open. Called once or twice. */
  readonly lost: (cause: unknown) => void
}

/** Resolves once the store is open. @throws PosternError with what stands in the way */
async function startWorker(settings: WorkerSettings, { heapMb, take, lost }: WorkerUse): Promise<Worker> {
  const { promise, resolve, reject } = Promise.withResolvers<undefined>()
  const worker = new Worker(workerUrl(), {
    workerData: settings,
    resourceLimits: { maxOldGenerationSizeMb: heapMb, maxYoungGenerationSizeMb: 4 },
    name: 'ca-store',
  })
  const fail = (cause: unknown): void => {
    reject(new PosternError('ERR_CA_STORE', `The thread that keeps \`${settings.file}\` could not be started.`, { cause }))
    lost(cause)
  }
  worker.on('message', (reply: Reply) => {
    if (reply.type !== 'open') take(reply)
    else if (reply.fault === undefined) resolve(undefined)
    else reject(toError(reply.fault))
  })
  worker.on('error', fail)
  worker.on('exit', () => fail(undefined))
  try {
    await promise
    return worker
  } catch (error) {
    await worker.terminate()
    throw error
  }
}

/** From source, the file beside this one; bundled, the entry that the build makes of it. */
function workerUrl(): URL {
  return typeof __POSTERN_BUNDLED__ === 'undefined'
    ? new URL('./worker.ts', import.meta.url)
    : new URL('./ca-store-worker.js', import.meta.url)
}
