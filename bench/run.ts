/**
 * Measures Postern beside nginx, HAProxy and Envoy: `npm run bench [-- --quick] [-- CASE…]`. Prints the budgets and what was found;
 * a whole run writes docs/performance.md. It judges nothing by its exit status: 1 means that something could not be measured.
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { parseArgs } from 'node:util'
import { CASES } from './cases/cases.ts'
import type { Bench } from './cases/compare.ts'
import { envoy } from './contenders/envoy.ts'
import { haproxy } from './contenders/haproxy.ts'
import { nginx } from './contenders/nginx.ts'
import { postern } from './contenders/postern.ts'
import { makeCertificates } from './environment/certificates.ts'
import { busyShare, machine, moveToLoadCore } from './environment/machine.ts'
import { ensureClientCertificateShim, ensureCommands, ensureEnvoy } from './environment/tools.ts'
import { startUpstream } from './environment/upstream.ts'
import { type CaseReport, type Environment, notMeasured, page, terminalTable } from './report.ts'

const ROOT = join(import.meta.dirname, '..')

const USAGE = `npm run bench [-- OPTION… CASE…]
  --quick          shorter rounds, fewer of them
  --write          write docs/performance.md though not all cases were run
  --program FILE   measure this build, and build nothing
Cases, all of them unless some are named: ${Object.keys(CASES).join(', ')}`

const { values, positionals } = commandLine()

function commandLine(): { values: { quick: boolean; write: boolean; program?: string; help: boolean }; positionals: string[] } {
  const options = {
    quick: { type: 'boolean', default: false },
    write: { type: 'boolean', default: false },
    program: { type: 'string' },
    help: { type: 'boolean', default: false },
  } as const
  try {
    return parseArgs({ options, allowPositionals: true })
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : String(error)}\n\n${USAGE}`)
    return process.exit(2)
  }
}

async function run(names: readonly string[]): Promise<CaseReport> {
  ensureCommands()
  if (values.program === undefined) execFileSync(process.execPath, [join(ROOT, 'scripts/build.ts')], { stdio: 'inherit' })
  const busyBefore = await busyShare(1000)
  moveToLoadCore()
  const folder = mkdtempSync(join(tmpdir(), 'postern-bench-'))
  try {
    await using upstream = await startUpstream(folder)
    const bench: Bench = {
      program: values.program ?? join(ROOT, 'dist/postern.js'),
      quick: values.quick,
      folder,
      certificates: await makeCertificates(join(folder, 'certificates')),
      upstream,
      shim: ensureClientCertificateShim(),
      envoy: ensureEnvoy(),
    }
    const report = await runCases(names, bench)
    console.log(`\n${terminalTable(report.rows)}`)
    if (values.write || (!values.quick && names.length === Object.keys(CASES).length)) {
      writeFileSync(join(ROOT, 'docs/performance.md'), page(report, environment(bench, busyBefore)))
      console.log('\ndocs/performance.md')
    }
    return report
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

async function runCases(names: readonly string[], bench: Bench): Promise<CaseReport> {
  const reports: CaseReport[] = []
  for (const name of names) {
    console.log(`\n${name}`)
    try {
      const report = await (CASES[name] as (bench: Bench) => Promise<CaseReport>)(bench)
      for (const { columns, rows } of report.details) console.log(terminalLines([columns, ...rows]))
      reports.push(report)
    } catch (error) {
      console.error(error)
      reports.push({ rows: [notMeasured(name, '', error instanceof Error ? error.message : String(error))], details: [] })
    }
  }
  return { rows: reports.flatMap(({ rows }) => rows), details: reports.flatMap(({ details }) => details) }
}

function terminalLines(rows: readonly (readonly string[])[]): string {
  return rows.map(([name = '', ...figures]) => `  ${name.padEnd(50)} ${figures.map((figure) => figure.padStart(24)).join(' ')}`).join('\n')
}

function environment(bench: Bench, busyBefore: number): Environment {
  const contenders = [
    postern({ program: bench.program, rules: 0 }),
    nginx(),
    haproxy(),
    ...(bench.envoy === undefined ? [] : [envoy(bench.envoy)]),
  ]
  return {
    date: new Date().toISOString(),
    machine: machine(),
    versions: Object.fromEntries(contenders.map(({ name, version }) => [name.replace(/,.*/, ''), version])),
    busyBefore,
  }
}

if (values.help) {
  console.log(USAGE)
  process.exit()
}
const names = positionals.length === 0 ? Object.keys(CASES) : positionals
const unknown = names.filter((name) => !(name in CASES))
if (unknown.length > 0) {
  console.error(`There is no case ${unknown.join(', ')}; there are ${Object.keys(CASES).join(', ')}.`)
  process.exitCode = 2
} else {
  const { rows } = await run(names)
  process.exitCode = rows.some(({ kept }) => kept === undefined) ? 1 : 0
}
