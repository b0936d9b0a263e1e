/** Holds the declared graph of imports, the owners of third-party packages, and the size of files (ARCHITECTURE.md). */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { test } from 'node:test'

const ROOT = join(import.meta.dirname, '..')

const PURE = ['base', 'http', 'identity']
const CORE = [...PURE, 'pki', 'token', 'policy', 'wire']
/** Module → what it may import, itself aside. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  base: [],
  http: ['base'],
  identity: ['base'],
  pki: PURE,
  token: PURE,
  policy: PURE,
  wire: ['base', 'http'],
  telemetry: CORE,
  audit: [...CORE, 'telemetry'],
  config: [...CORE, 'telemetry'],
  kube: [...CORE, 'config', 'telemetry'],
  'workload-api': [...CORE, 'config', 'telemetry', 'audit'],
  'svid-source': [...CORE, 'config', 'telemetry', 'audit', 'workload-api', 'kube'],
  'mesh-agent': [...CORE, 'config', 'telemetry', 'svid-source'],
  proxy: [...CORE, 'config', 'telemetry', 'audit', 'workload-api', 'svid-source', 'mesh-agent', 'kube'],
  ca: [...CORE, 'config', 'telemetry', 'audit', 'workload-api', 'svid-source', 'kube'],
  controller: [...CORE, 'config', 'telemetry', 'audit', 'workload-api', 'svid-source', 'kube'],
}
const TOP = ['cli', 'certs-tooling']

/** Package → the modules that may import it. */
const OWNERS: Readonly<Record<string, readonly string[]>> = {
  '@peculiar/x509': ['pki'],
  'reflect-metadata': ['pki'],
  jose: ['token', 'ca'],
  zod: ['config'],
  yaml: ['config'],
  pino: ['telemetry'],
  'prom-client': ['telemetry'],
  'node-forge': ['certs-tooling'],
  undici: ['svid-source', 'kube', 'token', 'mesh-agent', 'cli'],
  pg: ['ca'],
  diff: ['cli'],
  '@connectrpc/connect': ['workload-api'],
  '@connectrpc/connect-node': ['workload-api'],
  '@bufbuild/protobuf': ['workload-api'],
}

function sources(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => relative(ROOT, join(entry.parentPath, entry.name)))
}

const files = [...sources('src'), ...sources('certs-tooling')]

function moduleOf(file: string): string {
  const [top = '', second = ''] = file.split('/')
  return top === 'src' ? second : top
}

function importsOf(file: string): string[] {
  const text = readFileSync(join(ROOT, file), 'utf8')
  return [...text.matchAll(/(?:^|\n)\s*(?:import|export)\s[^'"]*?from\s+'([^']+)'|import\('([^']+)'\)|(?:^|\n)import\s+'([^']+)'/g)].map(
    (match) => match[1] ?? match[2] ?? match[3] ?? '',
  )
}

test('modules import only what the declared graph allows', () => {
  const wrong: string[] = []
  for (const file of files) {
    const from = moduleOf(file)
    for (const specifier of importsOf(file)) {
      if (!specifier.startsWith('#')) {
        if (specifier.startsWith('..') && moduleOf(relative(ROOT, join(ROOT, file, '..', specifier))) !== from)
          wrong.push(`${file}: ${specifier} leaves its module; write #module/file`)
        continue
      }
      const to = specifier.slice(1).split('/')[0] ?? ''
      if (to === from || TOP.includes(from)) continue
      if (!(MAY_IMPORT[from] ?? []).includes(to)) wrong.push(`${file}: ${from} may not import ${to}`)
    }
  }
  assert.deepEqual(wrong, [])
})

test('a third-party package is imported by the module that owns it', () => {
  const wrong: string[] = []
  for (const file of files) {
    for (const specifier of importsOf(file)) {
      if (/^[.#]|^node:/.test(specifier)) continue
      const name = specifier.startsWith('@') ? specifier.split('/').slice(0, 2).join('/') : (specifier.split('/')[0] ?? '')
      if (!(OWNERS[name] ?? []).includes(moduleOf(file))) wrong.push(`${file}: ${name}`)
    }
  }
  assert.deepEqual(wrong, [])
})

test('no source file is longer than 400 lines', () => {
  const long = files
    .map((file) => [file, readFileSync(join(ROOT, file), 'utf8').split('\n').length] as const)
    .filter(([, lines]) => lines > 400)
  assert.deepEqual(long, [])
})
