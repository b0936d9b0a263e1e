/** What SQLite and the file system say, in the words of the product: which fault of the store it is, what to do, and whether it can pass. */
import { accessSync, constants, statfsSync } from 'node:fs'
import { dirname } from 'node:path'
import { PosternError } from '#base/errors'
import type { StoreFault } from './store.ts'

export interface SqliteFault extends StoreFault {
  /** Only a person can mend it: the store stays shut until the next start. */
  readonly lasting: boolean
}

/** Primary result codes (sqlite.org/rescode.html); extended ones hold them in their low byte. */
const CODES = {
  permission: 3,
  busy: 5,
  locked: 6,
  readOnly: 8,
  ioError: 10,
  corrupt: 11,
  full: 13,
  cannotOpen: 14,
  constraint: 19,
  mismatch: 20,
  notADatabase: 26,
} as const

/** SQLITE_IOERR_WRITE and SQLITE_IOERR_FSYNC say no more than that; the system's own code is not handed on. */
function codeOf(error: unknown): number | undefined {
  const code = error instanceof Error && 'errcode' in error ? error.errcode : undefined
  return typeof code === 'number' ? code & 0xff : undefined
}

/** One item of a group is at fault, not the store: a record that is there already, or that the table cannot hold. */
export function isItemsOwnFault(error: unknown): boolean {
  const code = codeOf(error)
  return code === CODES.constraint || code === CODES.mismatch || (error instanceof TypeError && !('errcode' in error))
}

export function conflict(error: unknown): PosternError {
  const why = error instanceof Error ? error.message : String(error)
  return new PosternError('ERR_CA_STORE_CONFLICT', `Nothing was recorded: ${why}.`, { cause: error })
}

/** @param file the database, for the sentence */
export function faultOf(error: unknown, file: string): SqliteFault {
  if (error instanceof PosternError) return { reason: error.code, detail: error.message, lasting: LASTING.has(error.code) }
  const message = error instanceof Error ? error.message : String(error)
  const system = error instanceof Error && 'code' in error ? String(error.code) : ''
  switch (codeOf(error)) {
    case CODES.full:
      return { reason: 'ERR_CA_STORE_FULL', detail: full(file), lasting: false }
    case CODES.readOnly:
    case CODES.permission:
      return { reason: 'ERR_CA_STORE_READ_ONLY', detail: readOnly(file), lasting: false }
    case CODES.corrupt:
    case CODES.notADatabase:
      return { reason: 'ERR_CA_STORE_CORRUPT', detail: damaged(file, message), lasting: true }
    case CODES.busy:
    case CODES.locked:
      return {
        reason: 'ERR_CA_STORE_IN_USE',
        detail: `Another process keeps \`${file}\` locked; end it. Nothing is issued meanwhile.`,
        lasting: false,
      }
    case CODES.cannotOpen:
      if (!mayWrite(file)) return { reason: 'ERR_CA_STORE_READ_ONLY', detail: readOnly(file), lasting: false }
      break
    case CODES.ioError:
      // SQLite hands on no system code: a full disk under the shared index of the journal looks like a broken one.
      if (isFull(file)) return { reason: 'ERR_CA_STORE_FULL', detail: full(file), lasting: false }
      break
    case undefined:
      if (system === 'ENOSPC' || system === 'EDQUOT') return { reason: 'ERR_CA_STORE_FULL', detail: full(file), lasting: false }
      if (system === 'EROFS' || system === 'EACCES' || system === 'EPERM')
        return { reason: 'ERR_CA_STORE_READ_ONLY', detail: readOnly(file), lasting: false }
      break
    default:
  }
  const detail = `\`${file}\` cannot be used: ${message}. Look at the disk and at the system's log; nothing is issued meanwhile.`
  return { reason: 'ERR_CA_STORE', detail, lasting: false }
}

function mayWrite(file: string): boolean {
  try {
    accessSync(file, constants.W_OK)
    accessSync(dirname(file), constants.W_OK)
    return true
  } catch {
    return false
  }
}

function isFull(file: string): boolean {
  try {
    const { bavail, bsize } = statfsSync(dirname(file))
    return bavail * bsize < 256 * 1024
  } catch {
    return false
  }
}

const LASTING: ReadonlySet<string> = new Set(['ERR_CA_STORE_CORRUPT', 'ERR_CA_STORE_NEWER', 'ERR_CA_STORE_MOVED'])

function full(file: string): string {
  return `The disk that holds \`${file}\` is full. Free space on it: nothing is issued meanwhile, and issuing goes on by itself.`
}

function readOnly(file: string): string {
  return `\`${file}\` cannot be written. Give this user the right to write it and its folder, and see that the file system is mounted for writing.`
}

/** @param found what SQLite found, for whoever examines the file */
export function damaged(file: string, found: string): string {
  return `\`${file}\` is damaged (${found}). Keep it for examination and restore the last backup (\`postern ca restore\`, docs/ca-operations.md); nothing is issued until then.`
}

export function toError({ reason, detail }: StoreFault, cause?: unknown): PosternError {
  return new PosternError(reason, detail, { cause })
}
