/** The store's worker, bundled as the program is: it is found beside the chunk that starts it, and PostgreSQL's client only where it is used. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { test } from 'node:test'
import { build } from 'esbuild'
import { ALIASES } from '../../../scripts/build.ts'
import { builtinModules, REQUIRE } from '../../../scripts/builtin-modules.ts'
import { NO_POSTGRES, startPostgres } from '../../support/postgres-cluster.ts'

const PROJECT = join(import.meta.dirname, '..', '..', '..')

const PROGRAM = `import { openStore } from '#ca/store/open-store'
const config = JSON.parse(process.argv[2])
const store = await openStore(config, { create: true })
await store.recordIssuance({ kind: 'x509', serial: '1', spiffeId: 's', authority: 'a', attestedBy: 'oidc', evidence: '', keyHash: '', notBefore: 1, notAfter: 2, issuedAt: 1 })
console.log(await store.countIssuances())
await store[Symbol.asyncDispose]()`

test('a bundled program opens either store', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'postern-bundled-store-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  writeFileSync(join(folder, 'program.ts'), PROGRAM)
  await build({
    entryPoints: { program: join(folder, 'program.ts'), 'ca-store-worker': join(PROJECT, 'src/ca/store/worker.ts') },
    outdir: join(folder, 'dist'),
    absWorkingDir: PROJECT,
    alias: { ...ALIASES, '#ca': join(PROJECT, 'src/ca') },
    bundle: true,
    splitting: true,
    chunkNames: 'chunk-[hash]',
    format: 'esm',
    platform: 'node',
    conditions: ['node', 'import', 'default'],
    minify: true,
    plugins: [builtinModules],
    banner: { js: REQUIRE },
    define: { __POSTERN_BUNDLED__: 'true' },
    logLevel: 'error',
  })
  const dist = join(folder, 'dist')
  writeFileSync(join(dist, 'package.json'), '{"type":"module"}')
  const run = (config: object): string =>
    execFileSync(process.execPath, [join(dist, 'program.js'), JSON.stringify(config)], { encoding: 'utf8', timeout: 30_000 })
  assert.equal(run({ kind: 'sqlite', file: join(folder, 'ca.db'), keep: 0 }), '1\n')
  // Lazy: what SQLite runs on does not hold it.
  for (const name of readdirSync(dist)) {
    if (name.startsWith('program') || name.startsWith('ca-store')) assert.ok(!readFileSync(join(dist, name), 'utf8').includes('SASL'), name)
  }
  if (NO_POSTGRES !== false) {
    t.diagnostic(`PostgreSQL not tried: ${NO_POSTGRES}`)
    return
  }
  const cluster = await startPostgres()
  t.after(() => cluster.close())
  assert.equal(run({ kind: 'postgres', url: cluster.createDatabase('bundled'), tls: 'off', keep: 0 }), '1\n')
})
