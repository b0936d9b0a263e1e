/** `postern certs …` as a process: help, statuses, and that data and talk go their own ways. */
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { certs } from '#cli/certs'
import { createTestMesh } from '../support/authority.ts'
import { temporaryFolder } from '../support/openssl.ts'
import { runInProcess, runPostern } from '../support/run-command.ts'

const NAMES = Object.keys(certs.subcommands ?? {})

test('from an empty folder to a verdict, as one process after the other', async (t) => {
  const cwd = temporaryFolder(t)
  const run = async (...args: string[]) => runPostern(['certs', ...args], { cwd })
  const made = await run('init', 'ca', '--trust-domain', 'example.org')
  assert.equal(made.status, 0, made.stderr)
  assert.match(made.stderr, /^\nNext:\n/)
  assert.equal((await run('issue', 'ca', '--id', 'spiffe://example.org/a', '--out', 'a')).status, 0)
  const accepted = await run('verify', 'a/svid.pem', '--bundle', 'ca/bundle.json')
  assert.deepEqual([accepted.status, accepted.stderr], [0, ''])
  assert.match(accepted.stdout, /^√ a\/svid\.pem {2}spiffe:\/\/example\.org\/a {2}accepted/)
  assert.match((await run('inspect', 'a/svid.pem', '--short')).stdout, /^spiffe:\/\/example\.org\/a · leaf · 7h 59m left/)
  writeFileSync(join(cwd, 'password'), 'secret')
  assert.equal((await run('convert', 'a/svid.pem', 'a/key.pem', '--to', 'p12', '--out', 'a.p12', '--password-file', 'password')).status, 0)
  const pem = await run('bundle', 'ca/bundle.json', '--to', 'pem')
  assert.equal(pem.stdout, readFileSync(join(cwd, 'ca', 'bundle.pem'), 'utf8'))
  writeFileSync(join(cwd, 'other.pem'), (await createTestMesh('example.org')).bundlePem)
  assert.equal((await run('verify', 'a/svid.pem', '--bundle', 'other.pem')).status, 1)
  const failed = await run('inspect', 'none.pem')
  assert.deepEqual([failed.status, failed.stdout], [2, ''])
  assert.match(failed.stderr, /^postern: none\.pem cannot be read: there is no such file or folder\. \(ERR_FILE_UNREADABLE\)\n$/)
})

test('--help of each command shows its usage, every option it takes, and an example that begins with it', async () => {
  for (const [name, load] of Object.entries(certs.subcommands ?? {})) {
    const { help } = await load()
    assert.match(help, new RegExp(`^postern certs ${name}: [^]*^Usage: postern certs ${name} [^]*^Example:\n  postern certs ${name} `, 'm'))
    const source = readFileSync(join(import.meta.dirname, '..', '..', 'certs-tooling', `${name}.ts`), 'utf8')
    const options = /const OPTIONS = \{([^]*?)\n\} as const/.exec(source)?.[1] ?? ''
    const taken = [...options.matchAll(/^ {2}'?([a-z-]+)'?: \{ type/gm)].map((match) => match[1] ?? '')
    assert.ok(taken.length > 0)
    for (const option of taken) assert.ok(help.includes(`--${option}`), `${name} --${option}`)
  }
})

test('`certs` alone, or with a slip of the pen, says what there is', async () => {
  const help = await runPostern(['certs', '--help'])
  const own = await runPostern(['certs', 'convert', '--help'])
  assert.deepEqual([help.status, own.status, own.stderr], [0, 0, ''])
  assert.match(own.stdout, /^postern certs convert: /)
  for (const name of NAMES) assert.match(help.stdout, new RegExp(`^  ${name} `, 'm'))
  const alone = await runInProcess(certs, [])
  assert.match(alone.stderr, /`postern certs` has init, issue, request, inspect, verify, convert, bundle.*ERR_USAGE/)
  const slip = await runInProcess(certs, ['insepct', 'a'])
  assert.match(slip.stderr, /there is no `certs insepct`\. Did you mean `inspect`\?/)
  assert.deepEqual([alone.status, slip.status], [2, 2])
})

test('no line of help is wider than a screen of documentation', async () => {
  for (const load of Object.values(certs.subcommands ?? {})) {
    const { help } = await load()
    for (const line of help.split('\n')) assert.ok(line.length <= 130, line)
  }
})
