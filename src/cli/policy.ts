/** `postern policy`: reads policies and says what is wrong or suspicious, and runs the tests they hold. */
import { systemClock } from '#base/clock'
import { formatProblem, type Problem } from '#base/located'
import { nearest } from '#base/suggest'
import { lintPolicies } from '#policy/lint'
import { parseInstant } from '#policy/read-time'
import { type PolicyTestResult, runPolicyTests } from '#policy/run-tests'
import { parseArguments, usage } from './arguments.ts'
import type { Command, CommandIo, ExitStatus } from './command.ts'
import { hasErrors, type LoadedPolicies, loadPolicies } from './policy-files.ts'

const checkCommand: Command = {
  summary: 'reads policies and says what is wrong or suspicious',
  help: `postern policy check: reads policies and says what is wrong or suspicious

Usage: postern policy check FILE… [options]

  FILE           a policy file, or a folder of them
  --strict       warnings fail too
  --output json  prints the complaints as JSON

Errors refuse a document: whatever is unknown, empty, or could never match as it is written. Warnings are about rules that are
well-formed and probably not meant: contradictions, allow rules that a deny rule overrules or that are open to every peer, names
that nearly agree with others, loose prefixes, tests that test nothing.
Exit status: 0 no errors, 1 warnings with --strict, 2 errors.

Example:
  postern policy check policies/
`,
  run: check,
}

const testCommand: Command = {
  summary: 'runs the tests that policy files hold',
  help: `postern policy test: runs the tests that policy files hold

Usage: postern policy test FILE… [options]

  FILE           a policy file, or a folder of them
  --at TIME      decides tests without \`at\` as of this time, as in 2026-12-24T18:00:00Z (default: now)
  --output json  prints the results as JSON

Each test is decided by all documents of its file, those in shadow mode as if they were enforced.
Exit status: 0 all passed, 1 one failed, 2 a document has errors.

Example:
  postern policy test policies/catalog.yaml
`,
  run: runTests,
}

const subcommands: NonNullable<Command['subcommands']> = {
  check: async () => checkCommand,
  test: async () => testCommand,
  'who-can': async () => (await import('./policy-reach.ts')).whoCanCommand,
  'what-can': async () => (await import('./policy-reach.ts')).whatCanCommand,
}

export const policyCommand: Command = {
  summary: 'checks policies, runs the tests they hold, lists who can do what',
  help: `postern policy: checks policies, runs the tests they hold, lists who can do what

Usage: postern policy COMMAND …

  check     reads policies and says what is wrong or suspicious
  test      runs the tests that policy files hold
  who-can   lists who is allowed a request
  what-can  lists what a caller is allowed

Each has --help. docs/policy.md describes every criterion.

Example:
  postern policy check policies/
`,
  subcommands,
  async run([name]) {
    if (name === undefined) throw usage('which? `postern policy` has check, test, who-can and what-can.')
    const meant = nearest(name, Object.keys(subcommands))
    throw usage(`there is no \`policy ${name}\`.${meant === undefined ? '' : ` Did you mean \`${meant}\`?`}`)
  },
}

export function wantsJson(output: string): boolean {
  if (output !== 'json' && output !== 'text') throw usage('`--output` takes `json` or `text`.')
  return output === 'json'
}

async function check(args: readonly string[], io: CommandIo): Promise<ExitStatus> {
  const options = { strict: { type: 'boolean', default: false }, output: { type: 'string', default: 'text' } } as const
  const { values, positionals } = parseArguments(args, options, { name: 'FILE…', min: 1 })
  const json = wantsJson(values.output)
  const loaded = await loadPolicies(positionals, io.cwd)
  const problems = [...loaded.problems, ...lintPolicies(loaded.documents, systemClock.now())].toSorted(byPlace)
  const errors = problems.filter(({ severity }) => severity === 'error').length
  const warnings = problems.length - errors
  const rules = loaded.documents.reduce((sum, document) => sum + document.rules.length, 0)
  if (json) {
    const flat = problems.map(({ at, ...problem }) => ({ ...at, ...problem }))
    io.stdout.write(
      `${JSON.stringify({ files: loaded.files.length, policies: loaded.documents.length, rules, errors, warnings, problems: flat }, undefined, 2)}\n`,
    )
  } else {
    io.stdout.write(problems.map((problem) => `${formatProblem(problem)}\n`).join(''))
    const found = `${count(loaded.files.length, 'file')}, ${count(loaded.documents.length, 'good policy', 'good policies')}, ${count(rules, 'rule')}`
    io.stderr.write(`${found}: ${count(errors, 'error')}, ${count(warnings, 'warning')}\n`)
  }
  if (errors > 0) return 2
  return values.strict && warnings > 0 ? 1 : 0
}

function count(number: number, one: string, many = `${one}s`): string {
  return `${number} ${number === 1 ? one : many}`
}

/** Files stay in the order in which they were read. */
function byPlace(a: Problem, b: Problem): number {
  return a.at.file === b.at.file ? a.at.line - b.at.line || a.at.column - b.at.column : 0
}

async function runTests(args: readonly string[], io: CommandIo): Promise<ExitStatus> {
  const options = { at: { type: 'string' }, output: { type: 'string', default: 'text' } } as const
  const { values, positionals } = parseArguments(args, options, { name: 'FILE…', min: 1 })
  const json = wantsJson(values.output)
  const loaded = await loadPolicies(positionals, io.cwd)
  reportErrors(loaded, io)
  if (hasErrors(loaded.problems)) return 2
  const now = values.at === undefined ? systemClock.now() : instantOption(values.at)
  const results = loaded.files.flatMap((file) =>
    runPolicyTests(
      loaded.documents.filter((document) => document.file === file),
      now,
    ),
  )
  const failed = results.filter(({ passed }) => !passed).length
  if (json) io.stdout.write(`${JSON.stringify({ passed: results.length - failed, failed, tests: results.map(asJson) }, undefined, 2)}\n`)
  else io.stdout.write(results.map((result) => `${asText(result, io.colour)}\n`).join(''))
  if (results.length === 0) io.stderr.write('There are no tests: write them under `tests:`, beside `spec`.\n')
  else io.stderr.write(`${results.length - failed} passed, ${failed} failed\n`)
  return failed > 0 ? 1 : 0
}

function instantOption(text: string): number {
  const instant = parseInstant(text)
  if (instant === undefined) throw usage('`--at` takes an instant as RFC 3339 writes it, such as 2030-01-31T08:00:00Z.')
  return instant
}

/** On stderr: what keeps documents from being used. */
export function reportErrors({ problems }: LoadedPolicies, io: CommandIo): void {
  const errors = problems.filter(({ severity }) => severity === 'error')
  io.stderr.write(errors.map((problem) => `${formatProblem(problem)}\n`).join(''))
}

function asJson({ policy, name, at, passed, outcome }: PolicyTestResult): object {
  return { policy, name, ...at, passed, outcome }
}

function asText({ name, at, passed, outcome }: PolicyTestResult, colour: boolean): string {
  const paint = (code: number, text: string): string => (colour ? `\u001b[${code}m${text}\u001b[0m` : text)
  return passed ? `${paint(32, '√')} ${name}` : `${paint(31, '×')} ${name}\n  ${at.file}:${at.line}:${at.column}: ${outcome}`
}
