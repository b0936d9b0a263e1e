/**
 * One open SQLite file and what happens to it. `shut` → `open`; a fault that may pass (full disk, lock, I/O) shuts it, and the next
 * request opens it anew; a lasting one (damage, another version, file gone) keeps it shut until the process starts again.
 */
import { closeSync, existsSync, openSync, statSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { PosternError } from '#base/errors'
import { giveToOwner, openDatabase } from './sqlite-database.ts'
import { conflict, faultOf, isItemsOwnFault, type SqliteFault } from './sqlite-faults.ts'
import type { Read, WorkerSettings, Write, WriteOutcome } from './sqlite-messages.ts'
import { type AnswerRead, prepareReads } from './sqlite-reads.ts'
import { type ApplyWrite, prepareWrites } from './sqlite-writes.ts'

export interface Written {
  readonly outcomes: readonly WriteOutcome[] | undefined
  readonly fault: SqliteFault | undefined
}

export interface Answered {
  readonly value: unknown
  readonly fault: SqliteFault | undefined
}

export interface SqliteSession {
  /** At start: every page is checked, and that it can be written. @returns what stands in the way */
  open(): SqliteFault | undefined
  /** One transaction; durable when it returns without a fault. */
  write(writes: readonly Write[]): Written
  read(read: Read): Answered
  /** Takes the lock of the one that leads, or gives it back. The value is whether it has it. */
  lead(take: boolean): Answered
  close(): void
}

interface Open {
  readonly database: DatabaseSync
  readonly apply: ApplyWrite
  readonly answer: AnswerRead
  /** Which file it was when it was opened. */
  readonly inode: bigint
}

/** Beside the store: a database that is never written, only locked. The system drops the lock with the process, however it ends. */
export const LOCK_SUFFIX = '-lock'

export function createSqliteSession({ file, create, exclusive, patience }: WorkerSettings): SqliteSession {
  let open: Open | undefined
  let lock: DatabaseSync | undefined
  let lasting: SqliteFault | undefined

  /** @throws PosternError */
  function opened(check: boolean): Open {
    if (lasting !== undefined) throw new PosternError(lasting.reason, lasting.detail)
    if (open !== undefined) return open
    const database = openDatabase({ file, create: create && check, check, patience })
    open = { database, apply: prepareWrites(database), answer: prepareReads(database), inode: statSync(file, { bigint: true }).ino }
    return open
  }

  function shut(error: unknown): SqliteFault {
    const fault = faultOf(error, file)
    if (fault.lasting) lasting = fault
    const database = open?.database
    open = undefined
    try {
      database?.close()
    } catch {
      // It was broken already, and `fault` says how.
    }
    return fault
  }

  /** Linux lets a file that is open be removed: what is written then is in no file. */
  function assertInPlace({ inode }: Open): void {
    const found = statSync(file, { bigint: true, throwIfNoEntry: false })
    if (found?.ino === inode) return
    const what = found === undefined ? 'is gone' : 'was replaced by another'
    throw new PosternError(
      'ERR_CA_STORE_MOVED',
      `\`${file}\` ${what} while the CA had it open. Put it back, or restore a backup, and start the CA again; nothing is issued until then.`,
    )
  }

  /** @param isolated a record that cannot be does not take the others of its group with it */
  function transact(session: Open, writes: readonly Write[], isolated: boolean): WriteOutcome[] {
    const { database, apply } = session
    database.exec('BEGIN IMMEDIATE')
    try {
      const outcomes = writes.map((write) => (isolated ? applyAlone(session, write) : { value: apply(write) }))
      assertInPlace(session)
      database.exec('COMMIT')
      return outcomes
    } catch (error) {
      if (database.isTransaction) database.exec('ROLLBACK')
      throw error
    }
  }

  function applyAlone({ database, apply }: Open, write: Write): WriteOutcome {
    database.exec('SAVEPOINT one')
    try {
      return { value: apply(write) }
    } catch (error) {
      if (!isItemsOwnFault(error)) throw error
      database.exec('ROLLBACK TO one')
      return { conflict: conflict(error).message }
    } finally {
      if (database.isTransaction) database.exec('RELEASE one')
    }
  }

  function write(writes: readonly Write[]): Written {
    try {
      const session = opened(false)
      let outcomes: readonly WriteOutcome[]
      try {
        outcomes = transact(session, writes, false)
      } catch (error) {
        if (!isItemsOwnFault(error)) throw error
        outcomes = transact(session, writes, true)
      }
      const plain = outcomes.every((outcome) => 'value' in outcome && outcome.value === undefined)
      return { outcomes: plain ? undefined : outcomes, fault: undefined }
    } catch (error) {
      return { outcomes: undefined, fault: shut(error) }
    }
  }

  function takeLock(): boolean {
    if (lock !== undefined) return true
    makeLockFile()
    const candidate = new DatabaseSync(`${file}${LOCK_SUFFIX}`, { timeout: 0 })
    try {
      candidate.exec('BEGIN EXCLUSIVE')
      lock = candidate
      return true
    } catch (error) {
      candidate.close()
      if (faultOf(error, file).reason === 'ERR_CA_STORE_IN_USE') return false
      throw error
    }
  }

  /** For the store's owner alone, also where root's tool comes first: whoever can open it could keep the CA from starting. */
  function makeLockFile(): void {
    const path = `${file}${LOCK_SUFFIX}`
    if (existsSync(path)) return
    closeSync(openSync(path, 'a', 0o600))
    giveToOwner(path, file)
  }

  function dropLock(): void {
    lock?.close()
    lock = undefined
  }

  return {
    open() {
      try {
        opened(true)
        if (exclusive && !takeLock()) {
          throw new PosternError(
            'ERR_CA_STORE_IN_USE',
            `Another CA runs on \`${file}\`. Stop it first, or use PostgreSQL for several replicas.`,
          )
        }
        return exclusive ? write([['probe']]).fault : undefined
      } catch (error) {
        return shut(error)
      }
    },
    write,
    read(read) {
      try {
        return { value: opened(false).answer(read), fault: undefined }
      } catch (error) {
        return { value: undefined, fault: shut(error) }
      }
    },
    lead(take) {
      try {
        if (take) return { value: takeLock(), fault: undefined }
        if (!exclusive) dropLock()
        return { value: false, fault: undefined }
      } catch (error) {
        return { value: false, fault: faultOf(error, file) }
      }
    },
    close() {
      open?.database.close()
      open = undefined
      dropLock()
    },
  }
}
