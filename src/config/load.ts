/**
 * Has configuration read in a worker thread that ends, and gathers what it posts: no message and no turn of the event loop is long. At
 * start there is no traffic yet to keep clear of: what is small is read here then, which spares a thread's 60 ms and 10 MB.
 */
import { stat } from 'node:fs/promises'
import { Worker } from 'node:worker_threads'
import { PosternError } from '#base/errors'
import type { Problem } from '#base/located'
import type { PolicyDocument, PolicyRule } from '#policy/document'
import { isFault, listFiles } from './files.ts'
import type { ConfigMessage, ReadRequest } from './read-configuration.ts'
import type { SidecarConfig } from './sidecar-config.ts'

declare const __POSTERN_BUNDLED__: boolean | undefined

/** 10,000 rules take some 300 MB while they are parsed. */
const WORKER_HEAP_MB = 1024

export interface LoadedSidecar {
  /** SHA-256, or what is wrong with the file, after an exclamation mark. */
  readonly digest: string
  /** Undefined if the document has errors. */
  readonly config: SidecarConfig | undefined
  readonly needsRestart: readonly string[]
  readonly problems: readonly Problem[]
}

export interface LoadedPolicyFile {
  readonly path: string
  readonly digest: string
  readonly state: 'unchanged' | 'read' | 'failed'
  /** Of state `read`. */
  readonly documents: readonly PolicyDocument[]
  readonly problems: readonly Problem[]
}

export interface LoadedRoot {
  /** One of `spec.policies`, absolute. */
  readonly root: string
  /** What is wrong with it, after an exclamation mark; undefined if it could be read. */
  readonly digest: string | undefined
  readonly files: readonly LoadedPolicyFile[]
  readonly problems: readonly Problem[]
}

export interface Configuration {
  readonly sidecar: LoadedSidecar
  readonly roots: readonly LoadedRoot[]
}

export interface LoadOptions {
  /** Absolute path of the sidecar's document. */
  readonly file: string
  /** Paths below it are shown relative to it; the document's own folder unless said. */
  readonly displayFolder: string
  /** On a reload: the document in force, and the digest by path of what was read last. */
  readonly inForce?: SidecarConfig | undefined
  readonly known?: ReadonlyMap<string, string>
}

/** Bytes of policies that are read in this thread at start. */
const SMALL = 256 * 1024

/** Reads the document and its policies. Faults of files are in the result; @throws ERR_CONFIG_READER if the worker itself fails */
export async function loadConfiguration({ file, displayFolder, inForce, known = new Map() }: LoadOptions): Promise<Configuration> {
  const request: ReadRequest = { file, displayFolder, inForce, known }
  const small = inForce === undefined ? await readSmall(request) : undefined
  return small ?? readInWorker(request)
}

/** Undefined where the policies are not small. */
async function readSmall(request: ReadRequest): Promise<Configuration | undefined> {
  const { readConfiguration } = await import('./read-configuration.ts')
  const gathering = createGathering()
  for await (const message of readConfiguration(request)) {
    if (message.type === 'sidecar' && message.config !== undefined && !(await areSmall(message.config.policies))) return undefined
    gathering.take(message)
  }
  return gathering.result()
}

async function areSmall(roots: readonly string[]): Promise<boolean> {
  let bytes = 0
  for (const root of roots) {
    const files = await listFiles(root)
    if (isFault(files)) continue
    for (const file of files) {
      bytes += await stat(file).then(
        ({ size }) => size,
        () => 0,
      )
      if (bytes > SMALL) return false
    }
  }
  return true
}

function readInWorker(request: ReadRequest): Promise<Configuration> {
  const worker = new Worker(workerUrl(), {
    workerData: request,
    resourceLimits: { maxOldGenerationSizeMb: WORKER_HEAP_MB, maxYoungGenerationSizeMb: 64 },
    name: 'config',
  })
  const gathering = createGathering()
  const { promise, resolve, reject } = Promise.withResolvers<Configuration>()
  worker.on('message', (message: ConfigMessage) => {
    gathering.take(message)
    worker.postMessage('next')
  })
  const fail = (why: string, cause?: unknown): void =>
    reject(new PosternError('ERR_CONFIG_READER', `The configuration could not be read at all: ${why}.`, { cause }))
  worker.on('error', (error: unknown) => fail(error instanceof Error ? error.message : String(error), error))
  worker.on('exit', () => {
    const result = gathering.result()
    if (result === undefined) fail('its reader ended before it was done')
    else resolve(result)
  })
  return promise
}

/** From source, the file beside this one; bundled, the entry that the build makes of it. */
function workerUrl(): URL {
  return typeof __POSTERN_BUNDLED__ === 'undefined'
    ? new URL('./worker.ts', import.meta.url)
    : new URL('./config-worker.js', import.meta.url)
}

interface Gathering {
  take(message: ConfigMessage): void
  /** Undefined until all was taken. */
  result(): Configuration | undefined
}

interface OpenDocument extends PolicyDocument {
  readonly rules: PolicyRule[]
}

function createGathering(): Gathering {
  let sidecar: LoadedSidecar | undefined
  let ended = false
  const roots: (LoadedRoot & { readonly files: LoadedPolicyFile[] })[] = []
  let documents: OpenDocument[] = []
  return {
    take(message) {
      if (message.type === 'sidecar') sidecar = message
      else if (message.type === 'root') roots.push({ ...message, files: [] })
      else if (message.type === 'file') roots.at(-1)?.files.push({ ...message, documents: (documents = []) })
      else if (message.type === 'part') addPart(documents, message.begins, message.document)
      else ended = true
    },
    result: () => (ended && sidecar !== undefined ? { sidecar, roots } : undefined),
  }
}

function addPart(documents: OpenDocument[], begins: boolean, part: PolicyDocument): void {
  const last = documents.at(-1)
  if (begins || last === undefined) documents.push({ ...part, rules: [...part.rules] })
  else last.rules.push(...part.rules)
}
