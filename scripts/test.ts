/**
 * Runs the test suite: `node scripts/test.ts [PATTERN…] [--test-…]`. A pattern is a glob, a file, or a part of a path; without one
 * everything under `test/` runs. The runner's own closing lines are the last thing printed.
 */
import { spawn } from 'node:child_process'
import { globSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'

const ROOT = join(import.meta.dirname, '..')
/** A file that hangs must fail the run, not hold it up for good. */
const TIMEOUT_MS = 300_000

function testFiles(patterns: readonly string[]): string[] {
  const all = globSync('test/**/*.test.ts', { cwd: ROOT }).toSorted()
  if (patterns.length === 0) return all
  const chosen = new Set(globSync([...patterns], { cwd: ROOT }))
  return all.filter((file) => chosen.has(file) || patterns.some((pattern) => file.includes(pattern)))
}

/** The spec reporter lists failures after its counts; the counts are kept to be said again at the end. */
const CLOSING = /^\S*ℹ (tests|suites|pass|fail|cancelled|skipped|todo|duration_ms) /

/** Hundreds of processes load the same modules: compiled and stripped of types once. */
const COMPILE_CACHE = join(ROOT, '.cache', 'compile')

async function run(files: readonly string[], flags: readonly string[]): Promise<number> {
  const runner = spawn(
    process.execPath,
    [
      `--import=${pathToFileURL(join(ROOT, 'test/support/property-seed.ts')).href}`,
      '--test',
      '--test-reporter=spec',
      `--test-concurrency=${Math.max(2, availableParallelism())}`,
      `--test-timeout=${TIMEOUT_MS}`,
      ...flags,
      ...files,
    ],
    {
      cwd: ROOT,
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { NODE_COMPILE_CACHE: COMPILE_CACHE, ...process.env, ...(process.stdout.isTTY ? { FORCE_COLOR: '1' } : {}) },
    },
  )
  const closed = new Promise<number>((resolve, reject) => {
    runner.once('error', reject)
    runner.once('close', (code, signal) => resolve(code ?? (signal === null ? 1 : 128)))
  })
  let closing: string[] = []
  let more = false
  for await (const line of createInterface({ input: runner.stdout })) {
    console.log(line)
    if (CLOSING.test(line)) {
      if (more) closing = []
      closing.push(line)
      more = false
    } else if (line.trim() !== '') more = true
  }
  const status = await closed
  if (more) console.log(`\n${closing.join('\n')}`)
  return status
}

const args = process.argv.slice(2)
const files = testFiles(args.filter((arg) => !arg.startsWith('-')))
if (files.length === 0) {
  console.error(`There is no test file that matches ${args.join(' ')}.`)
  process.exitCode = 2
} else {
  process.exitCode = await run(
    files,
    args.filter((arg) => arg.startsWith('-')),
  )
}
