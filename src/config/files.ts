/** Reads what configuration names on disk: one file, bounded, with its digest; a folder as the sorted files in it. */
import { createHash, webcrypto } from 'node:crypto'
import { constants, type Dirent } from 'node:fs'
import { open, readdir, stat } from 'node:fs/promises'
import { extname, join } from 'node:path'
import { MAX_DOCUMENT_LENGTH } from './yaml-limits.ts'

/** Bytes: a quarter of a millisecond. */
const HASHED_AT_ONCE = 128 * 1024
/** What is read of a folder. */
const EXTENSIONS: ReadonlySet<string> = new Set(['.yaml', '.yml', '.json'])

/** Content and its SHA-256 (64 hex digits). */
export interface FileContent {
  readonly content: Buffer
  readonly digest: string
}

/** Why a path cannot be read: one sentence, and the system's code. */
export interface FileFault {
  readonly fault: string
  readonly code: string
}

export function isFault(read: object): read is FileFault {
  return 'fault' in read
}

/** Reads one regular file of at most `limit` bytes. A pipe or a device is a fault, not a wait without end. */
export async function readBoundedFile(path: string, limit: number = MAX_DOCUMENT_LENGTH): Promise<FileContent | FileFault> {
  try {
    await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
    const found = await file.stat()
    if (!found.isFile()) return { fault: `\`${path}\` is not a regular file`, code: 'ENOTFILE' }
    const content = found.size > limit ? undefined : await file.readFile()
    if (content === undefined || content.length > limit)
      return { fault: `\`${path}\` has more than the ${limit} bytes that are read`, code: 'EFBIG' }
    return { content, digest: content.length > HASHED_AT_ONCE ? await digestElsewhere(content) : digestOf(content) }
  } catch (error) {
    return faultOf(path, error)
  }
}

/** In the thread pool: sixteen megabytes would hold up traffic for longer than a reload may. */
async function digestElsewhere(content: Uint8Array<ArrayBuffer>): Promise<string> {
  return Buffer.from(await webcrypto.subtle.digest('SHA-256', content)).toString('hex')
}

export function digestOf(content: Uint8Array): string {
  return createHash('sha256').update(content).digest('hex')
}

/** UTF-8 without byte order mark; undefined if it is not UTF-8. */
export function decodeUtf8(content: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(content)
  } catch {
    return undefined
  }
}

/**
 * The files that a path stands for: itself, or the `.yaml`, `.yml` and `.json` files of a folder and the folders in it, sorted,
 * without what begins with a dot (Kubernetes keeps its versions in `..data`).
 */
export async function listFiles(root: string): Promise<readonly string[] | FileFault> {
  try {
    if (!(await stat(root)).isDirectory()) return [root]
    return await listFolder(root, new Set())
  } catch (error) {
    return faultOf(root, error)
  }
}

/** @param seen device and inode of the folders listed already: one that links to itself is listed once */
async function listFolder(folder: string, seen: Set<string>): Promise<string[]> {
  const { dev, ino } = await stat(folder)
  if (seen.has(`${dev} ${ino}`)) return []
  seen.add(`${dev} ${ino}`)
  const found: string[] = []
  const entries = await readdir(folder, { withFileTypes: true })
  for (const entry of entries.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
    if (entry.name.startsWith('.')) continue
    const path = join(folder, entry.name)
    if (await isFolder(entry, path)) found.push(...(await listFolder(path, seen)))
    else if (EXTENSIONS.has(extname(entry.name).toLowerCase())) found.push(path)
  }
  return found
}

/** What cannot be looked at counts as a file: reading it then says why. */
async function isFolder(entry: Dirent, path: string): Promise<boolean> {
  if (!entry.isSymbolicLink()) return entry.isDirectory()
  try {
    return (await stat(path)).isDirectory()
  } catch {
    return false
  }
}

export function faultOf(path: string, error: unknown): FileFault {
  const code = error instanceof Error && 'code' in error ? String(error.code) : 'EUNKNOWN'
  const why: Readonly<Record<string, string>> = {
    ENOENT: 'does not exist',
    EACCES: 'may not be read by this user',
    EPERM: 'may not be read by this user',
    EISDIR: 'is a folder',
    ENOTDIR: 'is below something that is not a folder',
    ELOOP: 'is a symbolic link that ends nowhere',
    ENXIO: 'is not a regular file',
  }
  return { fault: `\`${path}\` ${why[code] ?? `cannot be read (${code})`}`, code }
}
