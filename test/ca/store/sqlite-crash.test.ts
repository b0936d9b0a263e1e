/** Nothing that was answered is lost: not with the process, and not with the power. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { createInterface } from 'node:readline'
import { test, type TestContext } from 'node:test'
import { openDatabase } from '#ca/store/sqlite-database'
import { openSqliteStore } from '#ca/store/sqlite-store'

const PROGRAM = join(import.meta.dirname, 'issue-process.ts')

function folderOf(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'postern-crash-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

interface Issuing {
  readonly process: ChildProcess
  /** What was answered so far. */
  readonly answered: string[]
  /** Resolves when so many were answered. */
  readonly until: (count: number) => Promise<void>
  /** Resolves when all that it said before its end was read. */
  readonly ended: Promise<unknown>
}

function startIssuing(file: string): Issuing {
  const child = spawn(process.execPath, [PROGRAM, file], { stdio: ['ignore', 'pipe', 'inherit'] })
  const lines = createInterface({ input: child.stdout })
  const answered: string[] = []
  const waiting: { readonly count: number; readonly resolve: () => void }[] = []
  lines.on('line', (serial) => {
    answered.push(serial)
    for (const { count, resolve } of waiting) if (answered.length >= count) resolve()
  })
  return {
    process: child,
    answered,
    until: (count) => new Promise((resolve) => void waiting.push({ count, resolve })),
    ended: once(lines, 'close'),
  }
}

async function serialsIn(file: string): Promise<Set<string>> {
  await using store = await openSqliteStore({ file, create: false })
  return new Set((await store.issuances({ limit: 1_000_000 })).map(({ serial }) => serial))
}

test('after kill -9 in the middle of issuing, everything that was answered is there', async (t) => {
  const file = join(folderOf(t), 'ca.db')
  let answered: string[] = []
  for (const round of [1, 2, 3]) {
    const issuing = startIssuing(join(file, '..', `ca${round}.db`))
    await issuing.until(300 * round)
    issuing.process.kill('SIGKILL')
    await issuing.ended
    const found = await serialsIn(join(file, '..', `ca${round}.db`))
    answered = issuing.answered
    assert.deepEqual(
      answered.filter((serial) => !found.has(serial)),
      [],
    )
    assert.ok(found.size - answered.length <= 32, 'only what was under way may be there beyond it')
  }
  t.diagnostic(`${answered.length} answered, none lost`)
})

test('the files as a power cut would leave them, copied in mid-write, open and hold everything answered until then', async (t) => {
  const folder = folderOf(t)
  const file = join(folder, 'ca.db')
  const issuing = startIssuing(file)
  for (let round = 1; round <= 5; round++) {
    await issuing.until(issuing.answered.length + 150)
    // Stopped, wherever it is: in the middle of a write, a commit, a checkpoint. The copy is of one moment.
    issuing.process.kill('SIGSTOP')
    const answered = [...issuing.answered]
    const copy = join(folder, `copy${round}.db`)
    for (const suffix of ['', '-wal']) if (existsSync(file + suffix)) copyFileSync(file + suffix, copy + suffix)
    issuing.process.kill('SIGCONT')
    const found = await serialsIn(copy)
    assert.deepEqual(
      answered.filter((serial) => !found.has(serial)),
      [],
      `copy ${round}`,
    )
  }
  issuing.process.kill('SIGKILL')
  await issuing.ended
})

test('a commit waits for the disk', (t) => {
  const database = openDatabase({ file: join(folderOf(t), 'ca.db'), create: true, check: true })
  const pragma = (name: string): unknown => database.prepare(`PRAGMA ${name}`).get()?.[name]
  assert.equal(pragma('journal_mode'), 'wal')
  assert.equal(pragma('synchronous'), 2, 'FULL: the journal is synced in every commit')
  database.close()
})
