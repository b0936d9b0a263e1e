/**
 * Runs every fuzz target: `npm run fuzz [-- --seconds 60] [-- --seed N] [-- NAME…]`. A target is a file of this folder that exports
 * `fuzz(seconds, seed)`; it throws an error whose message holds the failing input, and returns how many inputs it tried.
 */
import { fork } from 'node:child_process'
import { globSync } from 'node:fs'
import { basename, join } from 'node:path'
import process from 'node:process'
import { parseArgs } from 'node:util'

/** What a target exports as `fuzz`. The same seed tries the same inputs in the same order. */
export type Fuzz = (seconds: number, seed: number) => FuzzRuns | Promise<FuzzRuns>
type FuzzRuns = number | { readonly runs: number }

type Outcome = { readonly runs: number } | { readonly failure: string }

/** A target that has not ended by then hangs on an input. */
const GRACE_SECONDS = 20

async function runHere(file: string, seconds: number, seed: number): Promise<Outcome> {
  try {
    const { fuzz } = (await import(file)) as { readonly fuzz: Fuzz }
    const runs = await fuzz(seconds, seed)
    return { runs: typeof runs === 'number' ? runs : runs.runs }
  } catch (error) {
    return { failure: error instanceof Error ? (error.stack ?? error.message) : String(error) }
  }
}

/** In a process of its own, so that an endless loop or a flood of memory in one target is a finding like any other. */
async function runApart(file: string, seconds: number, seed: number): Promise<Outcome> {
  const child = fork(import.meta.filename, ['--target', file, '--seconds', String(seconds), '--seed', String(seed)], {
    execArgv: ['--max-old-space-size=512'],
  })
  let outcome: Outcome | undefined
  child.on('message', (message) => {
    outcome = message as Outcome
  })
  let hung = false
  const deadline = setTimeout(
    () => {
      hung = true
      child.kill('SIGKILL')
    },
    (seconds + GRACE_SECONDS) * 1000,
  )
  const status = await new Promise<string>((resolve) => {
    child.once('close', (code, signal) => resolve(signal ?? `status ${code}`))
  })
  clearTimeout(deadline)
  if (hung) return { failure: `it did not end within ${GRACE_SECONDS} s of its time: some input makes it loop.` }
  return outcome ?? { failure: `it ended with ${status} and without a result.` }
}

async function hasTarget(file: string): Promise<boolean> {
  return typeof ((await import(file)) as { readonly fuzz?: unknown }).fuzz === 'function'
}

async function targets(names: readonly string[]): Promise<string[]> {
  const found: string[] = []
  for (const name of globSync('*.ts', { cwd: import.meta.dirname }).toSorted()) {
    const file = join(import.meta.dirname, name)
    if (file === import.meta.filename || (names.length > 0 && !names.some((part) => name.includes(part)))) continue
    if (await hasTarget(file)) found.push(file)
  }
  return found
}

async function runAll(names: readonly string[], seconds: number, seed: number): Promise<number> {
  const files = await targets(names)
  if (files.length === 0) {
    console.error(`test/fuzz has no target${names.length === 0 ? '' : ` named ${names.join(' or ')}`}.`)
    return 2
  }
  const share = Math.max(1, Math.floor(seconds / files.length))
  console.log(`${files.length} targets, ${share} s each, seed ${seed}`)
  let failed = 0
  for (const file of files) {
    const name = basename(file, '.ts')
    const outcome = await runApart(file, share, seed)
    if ('runs' in outcome) {
      console.log(`√ ${name}: ${outcome.runs} inputs`)
      continue
    }
    failed += 1
    console.log(`× ${name}: ${outcome.failure}\n  again: npm run fuzz -- --seed ${seed} --seconds ${share} ${name}`)
  }
  return failed === 0 ? 0 : 1
}

const { values, positionals } = parseArgs({
  options: { seconds: { type: 'string', default: '60' }, seed: { type: 'string' }, target: { type: 'string' } },
  allowPositionals: true,
})
const seconds = Number(values.seconds)
const seed = values.seed === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(values.seed)
if (!(seconds > 0) || !Number.isSafeInteger(seed)) {
  console.error('--seconds takes a positive number, --seed a whole number.')
  process.exitCode = 2
} else if (values.target !== undefined) {
  const outcome = await runHere(values.target, seconds, seed)
  process.send?.(outcome, () => process.disconnect?.())
} else {
  process.exitCode = await runAll(positionals, seconds, seed)
}
