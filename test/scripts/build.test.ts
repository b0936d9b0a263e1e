import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { isBuiltin } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { after, before, suite, test } from 'node:test'
import { librariesOf } from '../../scripts/base-image.ts'
import { bundle, type Bundle, RUNTIME_FLAGS, writeBundle } from '../../scripts/build.ts'

suite('the bundle', () => {
  // Away from node_modules: what it needs must be in it.
  const folder = mkdtempSync(join(tmpdir(), 'postern-bundle-'))
  const program = join(folder, 'postern.js')

  let made: Bundle

  before(async () => {
    made = await bundle()
    writeBundle(made, folder)
  })
  after(() => rmSync(folder, { recursive: true, force: true }))

  test('imports nothing but its own files and what is built into Node', () => {
    const external = Object.values(made.metafile.outputs).flatMap(({ imports }) => imports.filter((found) => found.external === true))
    const foreign = external.map(({ path }) => path).filter((path) => !isBuiltin(path))
    assert.ok(external.length > 0)
    assert.deepEqual(foreign, [])
  })

  test('is executable and starts Node with the production flags', () => {
    assert.equal(statSync(program).mode & 0o777, 0o755)
    assert.equal(readFileSync(program, 'utf8').split('\n', 1)[0], `#!/usr/bin/env -S node ${RUNTIME_FLAGS.join(' ')}`)
  })

  test('lists its subcommands, and each prints its help', () => {
    const run = (...args: string[]): string => execFileSync(process.execPath, [...RUNTIME_FLAGS, program, ...args], { encoding: 'utf8' })
    const names = [...run('--help').matchAll(/^ {2}(\w+) {2,}/gm)].map((match) => match[1] ?? '')
    assert.ok(names.includes('certs'), names.join())
    for (const name of names) assert.match(run(name, '--help'), new RegExp(`postern ${name}`))
  })

  test('refuses an unknown subcommand with status 2', () => {
    const { status, stderr } = spawnSync(process.execPath, [program, 'sidekar'], { encoding: 'utf8' })
    assert.equal(status, 2)
    assert.match(stderr, /no command `sidekar`/)
  })

  test('brings the licence of every package it contains', () => {
    const notices = readFileSync(join(folder, 'THIRD-PARTY-NOTICES.txt'), 'utf8')
    const names = [...notices.matchAll(/^(\S+) \d+\.\d+\.\d+ \(\S+\)$/gm)].map((match) => match[1])
    for (const name of ['@peculiar/x509', 'reflect-metadata', 'yaml'])
      assert.ok(names.includes(name), `${name} is not among ${names.join(', ')}`)
  })

  test('says of itself that it is ES modules, so that Node need not find out by parsing each file', () => {
    assert.deepEqual(JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')), { type: 'module' })
  })

  test('has a source map for every file of code', () => {
    const names = readdirSync(folder)
    const unmapped = names.filter((name) => name.endsWith('.js') && !names.includes(`${name}.map`))
    assert.deepEqual(unmapped, [])
  })
})

test('the libraries of a binary are those that ldd names by path', () => {
  const output = `\tlinux-vdso.so.1 (0x00007f1909900000)
\tlibatomic.so.1 => /lib/x86_64-linux-gnu/libatomic.so.1 (0x00007f19098e5000)
\t/lib64/ld-linux-x86-64.so.2 (0x00007f1909902000)
`
  assert.deepEqual(librariesOf(output), ['/lib/x86_64-linux-gnu/libatomic.so.1', '/lib64/ld-linux-x86-64.so.2'])
})

test('a library that is missing is named', () => {
  assert.throws(() => librariesOf('\tlibatomic.so.1 => not found\n'), /libatomic\.so\.1/)
})
