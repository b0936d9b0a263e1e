/** Opens the SQLite file: created for its owner alone, checked, brought to this version's tables, durable. For the worker and for tools. */
import { chmodSync, chownSync, closeSync, fsyncSync, openSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import process from 'node:process'
import { DatabaseSync } from 'node:sqlite'
import { PosternError } from '#base/errors'
import { damaged, faultOf, toError } from './sqlite-faults.ts'
import { APPLICATION_ID, SQLITE_MIGRATIONS } from './sqlite-migrations.ts'

export interface OpenDatabaseOptions {
  /** Absolute path. */
  readonly file: string
  /** Make it if it is not there. */
  readonly create: boolean
  /** Look at every page first; a damaged file is refused. */
  readonly check: boolean
  /** Ms to wait while another process writes. */
  readonly patience?: number
}

const PATIENCE = 5000

/** @throws PosternError ERR_CA_STORE… */
export function openDatabase({ file, create, check, patience = PATIENCE }: OpenDatabaseOptions): DatabaseSync {
  const created = prepareFile(file, create)
  let database: DatabaseSync | undefined
  try {
    database = new DatabaseSync(file, { timeout: patience, enableForeignKeyConstraints: false, defensive: true })
    if (check) checkPages(database, file)
    database.exec(`
      PRAGMA journal_mode = WAL;
      PRAGMA synchronous = FULL;
      PRAGMA trusted_schema = OFF;
      PRAGMA cell_size_check = ON;
      PRAGMA journal_size_limit = 16777216;
    `)
    migrate(database, file)
    if (created) syncFolder(dirname(file))
    return database
  } catch (error) {
    database?.close()
    throw toError(faultOf(error, file), error)
  }
}

/** Mode 0600 before SQLite puts anything in it; the journal's files take theirs from it. @returns whether it is new */
function prepareFile(file: string, create: boolean): boolean {
  try {
    const found = statSync(file)
    if (!found.isFile()) throw new PosternError('ERR_CA_STORE', `\`${file}\` is not a regular file; \`spec.store.sqlite\` names one.`)
    if ((found.mode & 0o077) !== 0) chmodSync(file, 0o600)
    return false
  } catch (error) {
    if (error instanceof PosternError) throw error
    if (!isAbsent(error)) throw toError(faultOf(error, file), error)
  }
  if (!create)
    throw new PosternError('ERR_CA_STORE_MISSING', `There is no store at \`${file}\`. Check \`spec.store\` and that its volume is mounted.`)
  try {
    closeSync(openSync(file, 'wx', 0o600))
    giveToOwner(file, dirname(file))
    return true
  } catch (error) {
    if (isAbsent(error))
      throw new PosternError('ERR_CA_STORE_MISSING', `The folder of \`${file}\` does not exist; make it, or check \`spec.store\`.`)
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false
    throw toError(faultOf(error, file), error)
  }
}

function isAbsent(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT'
}

/** A new file's name is not durable until its folder is. */
export function syncFolder(folder: string): void {
  const handle = openSync(folder, 'r')
  try {
    fsyncSync(handle)
  } finally {
    closeSync(handle)
  }
}

/** What root makes beside the store belongs to whom the store, or else its folder, belongs to. */
export function giveToOwner(path: string, file: string): void {
  if (process.geteuid?.() !== 0) return
  const { uid, gid } = statSync(file, { throwIfNoEntry: false }) ?? statSync(dirname(file))
  chownSync(path, uid, gid)
}

/** @throws ERR_CA_STORE_CORRUPT */
export function checkPages(database: DatabaseSync, file: string): void {
  const found = database.prepare('PRAGMA quick_check(1)').get()?.['quick_check']
  if (found !== 'ok') throw new PosternError('ERR_CA_STORE_CORRUPT', damaged(file, String(found).split('\n').join('; ')))
}

function migrate(database: DatabaseSync, file: string): void {
  if (versionOf(database, file) === SQLITE_MIGRATIONS.length) return
  database.exec('BEGIN IMMEDIATE')
  try {
    // Again: another process may have been here since.
    for (const step of SQLITE_MIGRATIONS.slice(versionOf(database, file))) database.exec(step)
    database.exec(`PRAGMA application_id = ${APPLICATION_ID}; PRAGMA user_version = ${SQLITE_MIGRATIONS.length}; COMMIT`)
  } catch (error) {
    if (database.isTransaction) database.exec('ROLLBACK')
    throw error
  }
}

/** @throws ERR_CA_STORE_NEWER */
function versionOf(database: DatabaseSync, file: string): number {
  const number = (pragma: string): number => Number(database.prepare(`PRAGMA ${pragma}`).get()?.[pragma])
  const [version, application] = [number('user_version'), number('application_id')]
  const tables = Number(database.prepare('SELECT count(*) AS n FROM sqlite_schema').get()?.['n'])
  if (application !== APPLICATION_ID && (tables > 0 || version > 0 || application !== 0)) {
    throw new PosternError(
      'ERR_CA_STORE_NEWER',
      `\`${file}\` is the database of another program; \`spec.store.sqlite\` must name one of its own.`,
    )
  }
  if (version > SQLITE_MIGRATIONS.length) {
    const message = `\`${file}\` has version ${version} of the tables, and this Postern knows ${SQLITE_MIGRATIONS.length}. Run the version that wrote it, or restore a backup made before.`
    throw new PosternError('ERR_CA_STORE_NEWER', message)
  }
  return version
}
