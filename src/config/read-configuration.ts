/** Reads the sidecar's document and every policy it names, as a sequence of small messages; runs in the worker (`worker.ts`). */
import { basename, extname } from 'node:path'
import type { Problem } from '#base/located'
import { documentParts, type PolicyDocument } from '#policy/document'
import { protocolProblems } from '#policy/protocol'
import { readPolicyDocument } from '#policy/read-document'
import { type FileFault, decodeUtf8, isFault, listFiles, readBoundedFile } from './files.ts'
import { applyLive } from './live.ts'
import { meshPolicies } from './mesh-document.ts'
import { displayName, fileProblem } from './problems.ts'
import { governedListeners } from './scope.ts'
import type { SidecarConfig } from './sidecar-config.ts'
import { readSidecarDocument } from './sidecar-document.ts'
import { readYamlDocuments, type YamlDocuments } from './yaml.ts'

/** Rules in one message: a millisecond or two to deserialise. */
const RULES_PER_MESSAGE = 50
const PROBLEMS_PER_FILE = 100

export interface ReadRequest {
  /** Absolute path of the sidecar's document. */
  readonly file: string
  /** Paths below it are shown relative to it. */
  readonly displayFolder: string
  /** What is in force already, on a reload. */
  readonly inForce: SidecarConfig | undefined
  /** Digest by path of what was read last, so that what did not change is not parsed again. */
  readonly known: ReadonlyMap<string, string>
}

export type ConfigMessage =
  | {
      readonly type: 'sidecar'
      readonly digest: string
      /** What is in force from now on; undefined if the document has errors. */
      readonly config: SidecarConfig | undefined
      readonly needsRestart: readonly string[]
      readonly problems: readonly Problem[]
    }
  /** One of `spec.policies`. */
  | { readonly type: 'root'; readonly root: string; readonly digest: string | undefined; readonly problems: readonly Problem[] }
  /** A file of the last root. `read`: its documents follow in parts. */
  | {
      readonly type: 'file'
      readonly path: string
      /** SHA-256, or what is wrong, after an exclamation mark. */
      readonly digest: string
      readonly state: 'unchanged' | 'read' | 'failed'
      readonly problems: readonly Problem[]
    }
  /** Rules of the last file. `begins`: of its next document. */
  | { readonly type: 'part'; readonly begins: boolean; readonly document: PolicyDocument }
  | { readonly type: 'end' }

/** Yields what it reads in order. Never throws for what is wrong with a file. */
export async function* readConfiguration(request: ReadRequest): AsyncGenerator<ConfigMessage> {
  const sidecar = await readSidecar(request)
  yield sidecar
  const config = sidecar.config ?? request.inForce
  if (config !== undefined) yield* readPolicyFiles(request, sidecar, config)
  yield { type: 'end' }
}

async function* readPolicyFiles(request: ReadRequest, sidecar: SidecarMessage, config: SidecarConfig): AsyncGenerator<ConfigMessage> {
  // Listeners govern what a policy may hold: if the document changed, every policy is checked against it again.
  const known = request.known.get(request.file) === sidecar.digest ? request.known : new Map<string, string>()
  const seen = new Set<string>()
  for (const root of config.policies) yield* readRoot(root, { ...request, known }, config, seen)
}

type SidecarMessage = Extract<ConfigMessage, { type: 'sidecar' }>

async function readSidecar({ file, displayFolder, inForce }: ReadRequest): Promise<SidecarMessage> {
  const name = displayName(file, displayFolder)
  const read = await readBoundedFile(file)
  const failed = (digest: string, problems: readonly Problem[]): SidecarMessage => ({
    type: 'sidecar',
    digest,
    config: undefined,
    needsRestart: [],
    problems,
  })
  if (isFault(read)) return failed(`!${read.code}`, [faultProblem(name, read)])
  const { documents, problems } = readText(read.content, name)
  const [document, extra] = documents
  if (problems.length > 0) return failed(read.digest, problems)
  if (document === undefined) return failed(read.digest, [problemAt(name, 'The file holds no document; it needs one of kind Sidecar.')])
  if (extra !== undefined) {
    return failed(read.digest, [
      {
        ...problemAt(name, 'The file holds more than one document; policies go into files of their own, under `spec.policies`.'),
        at: extra.at,
      },
    ])
  }
  const result = readSidecarDocument(document, { file })
  if (result.config === undefined) return failed(read.digest, result.problems)
  const live = inForce === undefined ? { config: result.config, needsRestart: [] } : applyLive(inForce, result.config)
  return { type: 'sidecar', digest: read.digest, ...live, problems: result.problems }
}

async function* readRoot(root: string, request: ReadRequest, config: SidecarConfig, seen: Set<string>): AsyncGenerator<ConfigMessage> {
  const files = await listFiles(root)
  const name = displayName(root, request.displayFolder)
  const isMesh = config.mesh !== undefined && root === meshPolicies(config.mesh)
  if (isFault(files)) {
    // Before the controller has spoken there is no folder: nothing is allowed until then.
    if (isMesh && files.code === 'ENOENT') {
      yield { type: 'root', root, digest: undefined, problems: [] }
      return
    }
    const fault = { ...files, fault: `${files.fault}; \`spec.policies\` names it` }
    yield { type: 'root', root, digest: `!${files.code}`, problems: [faultProblem(name, fault)] }
    return
  }
  const empty: Problem[] =
    files.length > 0 || isMesh
      ? []
      : [{ ...problemAt(name, 'The folder holds no `.yaml`, `.yml` or `.json` file, so no policy.'), severity: 'warning' }]
  yield { type: 'root', root, digest: undefined, problems: empty }
  for (const path of files) {
    // Named twice, or by a folder and by itself: it counts once.
    if (seen.has(path)) continue
    seen.add(path)
    yield* readPolicyFile(path, request, config)
  }
}

async function* readPolicyFile(path: string, { displayFolder, known }: ReadRequest, config: SidecarConfig): AsyncGenerator<ConfigMessage> {
  const name = displayName(path, displayFolder)
  const read = await readBoundedFile(path)
  if (isFault(read)) {
    yield { type: 'file', path, digest: `!${read.code}`, state: 'failed', problems: [faultProblem(name, read)] }
    return
  }
  const { digest } = read
  if (known.get(path) === digest) {
    yield { type: 'file', path, digest, state: 'unchanged', problems: [] }
    return
  }
  const { documents, problems } = readPolicies(readText(read.content, name), name, config)
  const failed = problems.some(({ severity }) => severity === 'error')
  yield { type: 'file', path, digest, state: failed ? 'failed' : 'read', problems: firstOf(problems, name) }
  if (failed) return
  for (const document of documents) {
    let begins = true
    for (const part of documentParts(document, RULES_PER_MESSAGE)) {
      yield { type: 'part', begins, document: part }
      begins = false
    }
  }
}

function readPolicies(text: YamlDocuments, name: string, config: SidecarConfig): { documents: PolicyDocument[]; problems: Problem[] } {
  const problems = [...text.problems]
  const documents: PolicyDocument[] = []
  const defaultName = basename(name, extname(name))
  for (const [index, value] of text.documents.entries()) {
    const reading = readPolicyDocument(value, { defaultName: text.documents.length > 1 ? `${defaultName}-${index + 1}` : defaultName })
    problems.push(...reading.problems)
    if (reading.document === undefined) continue
    documents.push(reading.document)
    problems.push(...protocolProblems(reading.document, governedListeners(config)))
  }
  // An error, so that a file that was emptied, or is about to be written, leaves its deny rules in force.
  if (documents.length === 0 && problems.length === 0) problems.push(fileProblem(name, 'ERR_POLICY_EMPTY', 'The file holds no policy.'))
  return { documents, problems }
}

function firstOf(problems: readonly Problem[], name: string): readonly Problem[] {
  if (problems.length <= PROBLEMS_PER_FILE) return problems
  const rest = problems.length - PROBLEMS_PER_FILE
  const errorsFirst = problems.toSorted((a, b) => Number(a.severity === 'warning') - Number(b.severity === 'warning'))
  return [
    ...errorsFirst.slice(0, PROBLEMS_PER_FILE),
    { ...problemAt(name, `There are ${rest} more problems in this file.`), severity: 'warning' },
  ]
}

function readText(content: Uint8Array, name: string): YamlDocuments {
  const text = decodeUtf8(content)
  return text === undefined ? { documents: [], problems: [problemAt(name, 'The file is not UTF-8.')] } : readYamlDocuments(text, name)
}

function problemAt(file: string, message: string): Problem {
  return fileProblem(file, 'ERR_CONFIG_SYNTAX', message)
}

function faultProblem(file: string, { fault }: FileFault): Problem {
  return fileProblem(file, 'ERR_CONFIG_FILE', `${fault}.`)
}
