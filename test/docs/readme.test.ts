/** The README's commands, each run as it stands there; `npm ci` and the suite itself aside. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { test, type TestContext } from 'node:test'

const ROOT = join(import.meta.dirname, '..', '..')
const COPIED = ['package.json', 'src', 'certs-tooling', 'examples', 'tsconfig.json']

function blocksOf(file: string): string[] {
  const text = readFileSync(join(ROOT, file), 'utf8')
  return [...text.matchAll(/```sh\n([^]*?)```/g)].map((match) => match[1] ?? '')
}

/** A checkout of its own, so that what the commands make stays out of this one. */
function checkout(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'postern-readme-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  for (const name of COPIED) cpSync(join(ROOT, name), join(folder, name), { recursive: true })
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'))
  return folder
}

function run(script: string, cwd: string): string {
  const path = [join(ROOT, 'node_modules', '.bin'), process.env['PATH']].join(delimiter)
  return execFileSync('bash', ['-euo', 'pipefail', '-c', script], {
    cwd,
    encoding: 'utf8',
    env: { ...process.env, PATH: path },
    timeout: 120_000,
  })
}

test('the README has fewer than 150 lines', () => {
  assert.ok(readFileSync(join(ROOT, 'README.md'), 'utf8').split('\n').length < 150)
})

test('the two commands that do all the set-up are there', () => {
  const blocks = blocksOf('README.md').map((block) => block.trim())
  assert.deepEqual(blocks.slice(0, 2), ['npm ci && npm run demo', 'npm ci && npm test'])
})

test('the demo shows what it should, and says so by its status', (t) => {
  const output = run('npm run -s demo', checkout(t))
  assert.match(output, /All of it happened as it should/)
  assert.doesNotMatch(output, /^×/m)
})

test('the first use works as it is written, one block after the other', (t) => {
  const folder = checkout(t)
  const outputs = blocksOf('README.md')
    .slice(2)
    .map((block) => run(block, folder))
  assert.match(outputs.join(''), /takes http1 on 127\.0\.0\.1:7443 for 127\.0\.0\.1:8080/)
  assert.match(outputs.join(''), /^allowed by allow rule #1/m)
})

test('the commands of the shop example work as they are written', (t) => {
  const folder = checkout(t)
  const output = blocksOf('examples/shop/README.md')
    .map((block) => run(block, folder))
    .join('')
  assert.match(output, /√ not even the cart sees the stock/)
})
