/** Reads and writes the files of the certificate tools: whole or not at all, with errors that say what to do. */
import { closeSync, fchmodSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { randomBytes } from 'node:crypto'
import { basename, dirname, join, resolve } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { PosternError } from '#base/errors'
import type { CommandIo } from '#cli/command'

/** No certificate file is larger; what is, was meant for something else. */
const MAX_INPUT = 16 * 1024 * 1024

/** A file's bytes; `-` is standard input. @throws ERR_FILE_UNREADABLE */
export async function readInput(path: string, io: Pick<CommandIo, 'stdin' | 'cwd'>): Promise<Buffer> {
  if (path === '-') return buffer(io.stdin)
  return readFile(resolve(io.cwd, path), path)
}

/** @param shown how the message calls the file. @throws ERR_FILE_UNREADABLE */
export function readFile(path: string, shown: string = path): Buffer {
  try {
    if (statSync(path).size > MAX_INPUT)
      throw new PosternError('ERR_FILE_UNREADABLE', `${shown} is larger than 16 MiB: it is no certificate file.`)
    return readFileSync(path)
  } catch (cause) {
    if (cause instanceof PosternError) throw cause
    throw new PosternError('ERR_FILE_UNREADABLE', `${shown} cannot be read: ${explain(cause)}.`, { cause })
  }
}

export interface OutputFile {
  readonly path: string
  readonly content: string | Uint8Array
  /** 0o600 for what holds a private key, else 0o644. */
  readonly mode: 0o600 | 0o644
}

/**
 * Writes files so that whoever watches them never reads half of one: all are written beside their places and flushed,
 * then moved there in the order given, one right after the other. On an error before the moves nothing has changed.
 * @throws ERR_FILE_UNWRITABLE
 */
export function writeFiles(files: readonly OutputFile[]): void {
  const staged: { readonly from: string; readonly to: string }[] = []
  try {
    for (const file of files) {
      const from = join(dirname(file.path), `.${basename(file.path)}.${randomBytes(6).toString('hex')}.tmp`)
      staged.push({ from, to: file.path })
      naming(file.path, () => writeDurably(from, file))
    }
    for (const { from, to } of staged) naming(to, () => renameSync(from, to))
  } finally {
    for (const { from } of staged) discard(from)
  }
}

// What cannot be removed must not hide why it could not be written.
function discard(path: string): void {
  try {
    rmSync(path, { force: true })
  } catch {}
}

function writeDurably(path: string, { content, mode }: OutputFile): void {
  const descriptor = openSync(path, 'wx', mode)
  try {
    fchmodSync(descriptor, mode) // whatever the umask is: a bundle that services cannot read would be found out late
    writeFileSync(descriptor, content)
    fsyncSync(descriptor)
  } finally {
    closeSync(descriptor)
  }
}

/** Makes a folder that is not there yet, for its owner alone. @throws ERR_FILE_UNWRITABLE */
export function makeFolder(path: string): void {
  naming(path, () => mkdirSync(path, { recursive: true, mode: 0o700 }))
}

export function exists(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined
}

function naming<T>(path: string, act: () => T): T {
  try {
    return act()
  } catch (cause) {
    throw new PosternError('ERR_FILE_UNWRITABLE', `${path} cannot be written: ${explain(cause)}.`, { cause })
  }
}

const ERRNO: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file or folder',
  EACCES: 'permission is denied; check its owner and mode, and those of its folder',
  EPERM: 'the operation is not permitted',
  EISDIR: 'it is a folder; name a file in it',
  ENOTDIR: 'a part of its path is a file, not a folder',
  EEXIST: 'there is a file where a folder is needed',
  ENOSPC: 'the disk is full; nothing was changed',
  EDQUOT: 'the disk quota is used up; nothing was changed',
  EROFS: 'the file system is read-only',
  ELOOP: 'its symbolic links go round in a circle',
  ENAMETOOLONG: 'its name is too long',
  EMFILE: 'too many files are open',
}

function explain(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code ?? ''
  return ERRNO[code] ?? (error instanceof Error ? error.message : String(error))
}
