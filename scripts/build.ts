/** Bundles the program into `dist/`: `postern.js`, one file per worker, and chunks for what is rarely needed. Run by `npm run build`. */
import { chmodSync, globSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join, relative, sep } from 'node:path'
import process from 'node:process'
import { build, type Metafile, type OutputFile } from 'esbuild'
import { builtinModules, REQUIRE } from './builtin-modules.ts'

const ROOT = join(import.meta.dirname, '..')
const DIST = join(ROOT, 'dist')
const PROGRAM = 'postern.js'

/**
 * A small young generation keeps the sidecar's memory down at equal cost; SIGUSR1 would open the inspector. Not every flag of V8 may stand
 * here: one that is part of its flag hash makes Node compile its own modules from source at every start, some 40 ms and 3 MB.
 */
export const RUNTIME_FLAGS = [
  '--max-semi-space-size=2',
  '--disable-sigusr1',
  // `node:ffi`, for redirected connections: its warning would stand between the lines of the log.
  '--disable-warning=ExperimentalWarning',
] as const

/**
 * The first as ES modules, which its condition for Node is not: what is not used is left out, and what is left starts in a fifth of the time.
 * The others because their CommonJS `require` would get a module's namespace by the conditions below, where it takes what it gets for a class.
 */
export const ALIASES = {
  yaml: join(ROOT, 'node_modules/yaml/browser/dist/index.js'),
  'pg-pool': join(ROOT, 'node_modules/pg-pool/index.js'),
  'pg-native': join(ROOT, 'scripts/absent-module.cjs'),
} as const

/** Output name → source. `src/ca/store/worker.ts` becomes `ca-store-worker.js`, found beside whichever chunk starts it. */
function entries(): Record<string, string> {
  const workers = globSync('src/**/worker.ts', { cwd: ROOT }).map(
    (file) => [file.replace(/\.ts$/, '').split(sep).slice(1).join('-'), join(ROOT, file)] as const,
  )
  return { postern: join(ROOT, 'src/cli/main.ts'), ...Object.fromEntries(workers) }
}

export interface Bundle {
  readonly files: readonly OutputFile[]
  readonly metafile: Metafile
}

/** Everything in memory: what would be written, and what went into it. */
export async function bundle(): Promise<Bundle> {
  const result = await build({
    entryPoints: entries(),
    outdir: DIST,
    absWorkingDir: ROOT,
    bundle: true,
    splitting: true,
    // Flat: every chunk finds the workers at `./<name>-worker.js`.
    chunkNames: 'chunk-[hash]',
    format: 'esm',
    platform: 'node',
    target: 'node26',
    conditions: ['node', 'import', 'default'],
    alias: ALIASES,
    minify: true,
    sourcemap: 'linked',
    legalComments: 'none',
    plugins: [builtinModules],
    banner: { js: REQUIRE },
    define: { __POSTERN_BUNDLED__: 'true', __POSTERN_VERSION__: JSON.stringify(packageVersion()) },
    metafile: true,
    write: false,
    logLevel: 'warning',
  })
  return { files: result.outputFiles, metafile: result.metafile }
}

/** Replaces the first line of the program by one of the same length in lines, so that the source map stays right. */
function withRuntimeFlags(program: string): string {
  const end = program.indexOf('\n')
  if (!program.startsWith('#!')) throw new Error('src/cli/main.ts has lost its `#!` line.')
  return `#!/usr/bin/env -S node ${RUNTIME_FLAGS.join(' ')}${program.slice(end)}`
}

/** The licences of everything that was bundled, as their terms ask. */
function notices(metafile: Metafile): string {
  const folders = new Set<string>()
  for (const input of Object.keys(metafile.inputs)) {
    const match = /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(input)
    if (match?.[1] !== undefined) folders.add(join(ROOT, match[1]))
  }
  const parts = [...folders].toSorted().map((folder) => {
    const { name, version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Record<string, string>
    const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry))
    return `${name} ${version} (${license})\n\n${file === undefined ? '' : readFileSync(join(folder, file), 'utf8').trim()}\n`
  })
  return `Postern contains the following software.\n\n${parts.join(`\n${'-'.repeat(80)}\n\n`)}`
}

/** Writes the bundle, and removes what else is in the folder. */
export function writeBundle({ files, metafile }: Bundle, folder: string): void {
  mkdirSync(folder, { recursive: true })
  const written = new Set(['THIRD-PARTY-NOTICES.txt', 'package.json'])
  for (const file of files) {
    const name = basename(file.path)
    writeFileSync(join(folder, name), name === PROGRAM ? withRuntimeFlags(file.text) : file.contents)
    written.add(name)
  }
  writeFileSync(join(folder, 'THIRD-PARTY-NOTICES.txt'), notices(metafile))
  // Where no package.json is above the folder, as in an image, Node would parse every file twice to find this out.
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }\n')
  chmodSync(join(folder, PROGRAM), 0o755)
  // Last, so that a program running from here does not lose a chunk before its successor is there.
  for (const name of readdirSync(folder)) if (!written.has(name)) rmSync(join(folder, name), { recursive: true })
}

/** What the build made, for whoever reads the log. */
function summary(files: readonly OutputFile[], milliseconds: number): string {
  const code = files.filter((file) => file.path.endsWith('.js'))
  const size = (file: OutputFile): string => `${(file.contents.byteLength / 1024).toFixed(0)} KiB`
  const named = code.filter((file) => !basename(file.path).startsWith('chunk-')).map((file) => `${basename(file.path)} ${size(file)}`)
  const total = code.reduce((sum, file) => sum + file.contents.byteLength, 0)
  return `${relative(process.cwd(), DIST) || '.'}: ${named.join(', ')}, ${code.length - named.length} chunks; ${(total / 1024).toFixed(0)} KiB in ${milliseconds.toFixed(0)} ms`
}

if (import.meta.main) {
  const begun = performance.now()
  const made = await bundle()
  writeBundle(made, DIST)
  console.log(summary(made.files, performance.now() - begun))
}

function packageVersion(): unknown {
  return (JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: unknown }).version
}
