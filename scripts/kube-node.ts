/**
 * Builds the programs of a Kubernetes node for the tests of `test/cluster`: `npm run kube-node [-- PROGRAM…]`. They come from `../shared/kube` (Go
 * modules; seven to nine minutes on two cores the first time) and stay in `.cache/kube-bin`. An API server alone is `apiserver controllers etcd`.
 * Who has a cluster needs none of it: the tests take KUBECONFIG too.
 */
import { execFileSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import process from 'node:process'

const ROOT = join(import.meta.dirname, '..')
export const KUBE_SOURCES = join(ROOT, '..', 'shared', 'kube')
export const KUBE_BIN = process.env['POSTERN_KUBE_BIN'] ?? join(ROOT, '.cache', 'kube-bin')
const PROGRAMS = ['apiserver', 'controllers', 'etcd', 'kubectl', 'kubelet', 'pause', 'proxy', 'scheduler', 'dns']

const isThere = (name: string): boolean => existsSync(join(KUBE_BIN, name))

export function kubeProgramsMissing(): boolean {
  return !PROGRAMS.every(isThere)
}

function build(programs: readonly string[]): void {
  const unknown = programs.filter((name) => !PROGRAMS.includes(name))
  if (unknown.length > 0) throw new Error(`There is no ${unknown.join(', ')}; there are ${PROGRAMS.join(', ')}.`)
  if (!existsSync(join(KUBE_SOURCES, 'build.sh'))) throw new Error(`${KUBE_SOURCES} is not there: give a cluster by KUBECONFIG instead.`)
  const stamp = join(KUBE_BIN, 'built-from')
  const version = createHash('sha256')
    .update(readFileSync(join(KUBE_SOURCES, 'go.sum')))
    .digest('hex')
  const isFresh = existsSync(stamp) && readFileSync(stamp, 'utf8') === version
  if (isFresh && programs.every(isThere)) return console.log(`${KUBE_BIN} is up to date`)
  if (!isFresh) for (const name of PROGRAMS) rmSync(join(KUBE_BIN, name), { force: true })
  // Beside the sources Go writes its sums: they stay as they are.
  const copy = join(ROOT, '.cache', 'kube-src')
  rmSync(copy, { recursive: true, force: true })
  cpSync(KUBE_SOURCES, copy, { recursive: true })
  mkdirSync(KUBE_BIN, { recursive: true })
  execFileSync('bash', [join(copy, 'build.sh'), KUBE_BIN, ...(programs.length === PROGRAMS.length ? [] : programs)], {
    stdio: 'inherit',
    env: { ...process.env, GOFLAGS: '-mod=mod' },
  })
  writeFileSync(stamp, version)
}

if (import.meta.main) build(process.argv.length > 2 ? process.argv.slice(2) : PROGRAMS)
