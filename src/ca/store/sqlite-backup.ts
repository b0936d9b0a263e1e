/** Copies of the SQLite store: made while it runs, and put back so that nothing from after the copy can be played again. */
import { closeSync, copyFileSync, existsSync, fsyncSync, openSync, renameSync, rmSync } from 'node:fs'
import { dirname } from 'node:path'
import { backup, DatabaseSync } from 'node:sqlite'
import { PosternError } from '#base/errors'
import { checkPages, giveToOwner, openDatabase, syncFolder } from './sqlite-database.ts'
import { faultOf, toError } from './sqlite-faults.ts'
import { createSqliteSession } from './sqlite-session.ts'

/** All pages in one step, which is one moment: a copy in several begins anew at each commit in between. */
const ALL = 2 ** 31 - 1
const JOURNALS = ['-wal', '-shm'] as const

/** Off the event loop; the store goes on meanwhile. @throws ERR_CA_STORE_BACKUP */
export async function backUp(file: string, path: string): Promise<void> {
  if (existsSync(path)) throw failed(`\`${path}\` is there already; give a new name, or remove it first`)
  let source: DatabaseSync | undefined
  try {
    source = new DatabaseSync(file, { readOnly: true, timeout: 5000 })
    closeSync(openSync(path, 'wx', 0o600))
    giveToOwner(path, dirname(path))
    await backup(source, path, { rate: ALL })
    syncFile(path)
    syncFolder(dirname(path))
  } catch (error) {
    rmSync(path, { force: true })
    throw failed(`the copy to \`${path}\` failed: ${messageOf(error)}`, error)
  } finally {
    source?.close()
  }
}

/** Looks at every page of a backup, in this thread: for tools. @throws ERR_CA_STORE_CORRUPT */
export function checkBackup(path: string): void {
  const database = new DatabaseSync(path, { readOnly: true })
  try {
    checkPages(database, path)
  } catch (error) {
    throw toError(faultOf(error, path), error)
  } finally {
    database.close()
  }
}

export interface RestoreOptions {
  /** What `backUp`, or `sqlite3 ca.db ".backup …"`, made; it stays as it is. */
  readonly backup: string
  /** The store to put in its place, if there is one. */
  readonly file: string
  /** Ms since the epoch. */
  readonly now: number
}

export interface Restored {
  readonly issuances: number
  /** Above every sequence that was ever published, so that sidecars take the bundle for what it is: the newest. */
  readonly sequence: number
  /** Join tokens that looked unused in the copy: they may have been used since, and are void. */
  readonly voidedTokens: number
  /** Where the store that was in its place is kept. */
  readonly kept: string | undefined
}

/**
 * Puts a backup in the place of the store, checked first, on a stopped CA.
 * @throws ERR_CA_STORE_IN_USE, ERR_CA_STORE_CORRUPT, ERR_CA_STORE_NEWER, ERR_CA_STORE_BACKUP
 */
export function restoreBackup({ backup: from, file, now }: RestoreOptions): Restored {
  if (!existsSync(from)) throw failed(`there is no \`${from}\``)
  const lock = createSqliteSession({ file, create: false, exclusive: false, patience: 0 })
  if (lock.lead(true).value !== true) {
    throw new PosternError('ERR_CA_STORE_IN_USE', `A CA runs on \`${file}\`, or its folder cannot be written. Stop it first.`)
  }
  const staged = `${file}.restoring`
  try {
    removeStaged(staged)
    copyFileSync(from, staged)
    const found = prepareRestored(staged, now)
    giveToOwner(staged, file)
    syncFile(staged)
    return { ...found, kept: exchange(staged, file, now) }
  } catch (error) {
    removeStaged(staged)
    throw error instanceof PosternError ? error : failed(messageOf(error), error)
  } finally {
    lock.close()
  }
}

/** What the copy cannot know: which tokens were used since, and how far the sequence went. */
function prepareRestored(staged: string, now: number): Omit<Restored, 'kept'> {
  const database = openDatabase({ file: staged, create: false, check: true })
  try {
    database.exec('BEGIN IMMEDIATE')
    const voided = database.prepare('UPDATE join_tokens SET used_at = ? WHERE used_at = 0').run(now).changes
    // It rises by one a change: no store has seen a change a second since 1970.
    const raised = database.prepare('UPDATE bundle SET sequence = max(sequence + 1, ?) RETURNING sequence').get(Math.floor(now / 1000))
    const issuances = database.prepare('SELECT count(*) AS n FROM issuances').get()
    database.exec('COMMIT')
    return { issuances: Number(issuances?.['n']), sequence: Number(raised?.['sequence']), voidedTokens: Number(voided) }
  } finally {
    // The last connection writes the journal back into the file and removes it.
    database.close()
  }
}

/** Old out of the way, with its journal, which belongs to it; then new in. @returns where the old one is */
function exchange(staged: string, file: string, now: number): string | undefined {
  let kept: string | undefined
  if (existsSync(file)) {
    kept = `${file}.replaced-${now}`
    for (const suffix of ['', ...JOURNALS]) if (existsSync(file + suffix)) renameSync(file + suffix, kept + suffix)
  } else for (const suffix of JOURNALS) rmSync(file + suffix, { force: true })
  renameSync(staged, file)
  syncFolder(dirname(file))
  return kept
}

function removeStaged(staged: string): void {
  for (const suffix of ['', ...JOURNALS]) rmSync(staged + suffix, { force: true })
}

function syncFile(path: string): void {
  const handle = openSync(path, 'r+')
  try {
    fsyncSync(handle)
  } finally {
    closeSync(handle)
  }
}

function failed(why: string, cause?: unknown): PosternError {
  return new PosternError('ERR_CA_STORE_BACKUP', `No backup was made or restored: ${why}.`, { cause })
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
