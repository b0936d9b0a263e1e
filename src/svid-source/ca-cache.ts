/**
 * The last good identity on disk, so that a restart while the authority is away serves at once. One file, for its owner alone, replaced whole:
 * what cannot be read, belongs to others, or has ended is passed over with a sentence.
 */
import { constants } from 'node:fs'
import { mkdir, open, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import process from 'node:process'
import { PosternError } from '#base/errors'
import { faultOf } from '#config/files'
import type { Revocation } from '#pki/revocations'
import { isObject, isSequence } from './ca-answer.ts'

/** What is kept: what the authority said last, as texts. */
export interface KeptIdentity {
  readonly certificatePem: string
  readonly keyPem: string
  readonly bundle: string
  readonly sequence: number
  readonly revocations: readonly Revocation[]
  /** Ms since the epoch. */
  readonly renewAt: number
  /** Ms between polls. */
  readonly pollAfter: number
}

export const CACHE_FILE = 'identity.json'
const VERSION = 1
const LARGEST = 4 * 1024 * 1024

/** @returns undefined where there is none. @throws ERR_IDENTITY_CACHE where there is one that cannot be used */
export async function loadKept(folder: string): Promise<KeptIdentity | undefined> {
  const path = join(folder, CACHE_FILE)
  let text: string
  try {
    await using file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    const { mode, uid, size } = await file.stat()
    if ((mode & constants.S_IFMT) !== constants.S_IFREG) throw unusable(path, 'it is no regular file')
    if ((mode & 0o077) !== 0)
      throw unusable(path, `its mode is ${(mode & 0o777).toString(8).padStart(4, '0')}, and others can get at the key in it`)
    if (uid !== process.getuid?.()) throw unusable(path, 'it belongs to another user')
    if (size > LARGEST) throw unusable(path, 'it is too large to be one')
    text = await file.readFile('utf8')
  } catch (error) {
    if (error instanceof PosternError) throw error
    const { code, fault } = faultOf(path, error)
    if (code === 'ENOENT') return undefined
    throw new PosternError('ERR_IDENTITY_CACHE', `The kept identity is passed over: ${fault}.`, { cause: error })
  }
  const kept = parse(text)
  if (kept === undefined) throw unusable(path, 'it is not what a sidecar of this version writes')
  return kept
}

/** Atomic: whoever reads sees the old or the new one. @throws ERR_IDENTITY_CACHE; what was there stays then */
export async function keep(folder: string, kept: KeptIdentity): Promise<void> {
  const path = join(folder, CACHE_FILE)
  const temporary = `${path}.${process.pid}.tmp`
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 })
    await rm(temporary, { force: true })
    {
      await using file = await open(temporary, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600)
      await file.writeFile(JSON.stringify({ version: VERSION, ...kept }))
      await file.sync()
    }
    await rename(temporary, path)
  } catch (cause) {
    await rm(temporary, { force: true }).catch(() => {})
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause)
    const why = CAUSES[code] ?? `the system says ${code}`
    throw new PosternError(
      'ERR_IDENTITY_CACHE',
      `The identity cannot be kept in \`${folder}\`: ${why}. A restart would have to ask the authority.`,
      {
        cause,
      },
    )
  }
}

const CAUSES: Readonly<Record<string, string>> = {
  ENOSPC: 'the disk is full; make room on it',
  EDQUOT: 'the quota of its user is used up',
  EFBIG: 'files may not be as large as that for this process',
  EROFS: 'it is on a read-only file system',
  EACCES: 'this user may not write there',
  EPERM: 'this user may not write there',
  ENOTDIR: 'it is no folder',
  EEXIST: 'it is no folder',
}

function parse(text: string): KeptIdentity | undefined {
  let read: unknown
  try {
    read = JSON.parse(text)
  } catch {
    return undefined
  }
  if (!isObject(read) || read['version'] !== VERSION) return undefined
  const { certificatePem, keyPem, bundle, sequence, revocations, renewAt, pollAfter } = read
  if (typeof certificatePem !== 'string' || typeof keyPem !== 'string' || typeof bundle !== 'string') return undefined
  if (!isSequence(sequence) || !Array.isArray(revocations) || typeof renewAt !== 'number' || typeof pollAfter !== 'number') return undefined
  return { certificatePem, keyPem, bundle, sequence, revocations: revocations as Revocation[], renewAt, pollAfter }
}

function unusable(path: string, why: string): PosternError {
  return new PosternError('ERR_IDENTITY_CACHE', `The kept identity \`${path}\` is passed over: ${why}.`)
}
