/** The worker that reads configuration, bundled as the program is: it is found beside the chunk that starts it. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { build } from 'esbuild'
import { builtinModules, REQUIRE } from '../../scripts/builtin-modules.ts'

const PROJECT = join(import.meta.dirname, '..', '..')

test('a bundled program reads its configuration', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'postern-bundle-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const entry = `import { loadConfiguration } from '#config/load'
const request = { file: process.argv[2], displayFolder: '/' }
const { sidecar } = await loadConfiguration(request)
// What is in force makes it a reload, which is the worker's work.
const again = await loadConfiguration({ ...request, inForce: sidecar.config })
console.log(sidecar.config?.name, again.sidecar.config?.name)`
  await build({
    stdin: { contents: entry, resolveDir: PROJECT, sourcefile: 'program.ts', loader: 'ts' },
    outfile: join(folder, 'program.js'),
    absWorkingDir: PROJECT,
    bundle: true,
    format: 'esm',
    platform: 'node',
    plugins: [builtinModules],
    banner: { js: REQUIRE },
    define: { __POSTERN_BUNDLED__: 'true' },
    logLevel: 'error',
  })
  await build({
    entryPoints: { 'config-worker': join(PROJECT, 'src/config/worker.ts') },
    outdir: folder,
    absWorkingDir: PROJECT,
    bundle: true,
    format: 'esm',
    platform: 'node',
    minify: true,
    define: { __POSTERN_BUNDLED__: 'true' },
    banner: { js: "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);" },
    logLevel: 'error',
  })
  assert.deepEqual(readdirSync(folder).toSorted(), ['config-worker.js', 'program.js'])
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}')
  writeFileSync(
    join(folder, 'postern.yaml'),
    `apiVersion: postern.dev/v1
kind: Sidecar
metadata: { name: catalog }
spec:
  identity: { files: { certificate: c, key: k, bundle: b } }
  inbound: [{ listen: 127.0.0.1:0, app: unix:app.sock }]
`,
  )
  const output = execFileSync(process.execPath, [join(folder, 'program.js'), join(folder, 'postern.yaml')], { encoding: 'utf8' })
  assert.equal(output, 'catalog catalog\n')
})
