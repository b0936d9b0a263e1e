/** Files are written whole or not at all, and what the system answers is said in words. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { readFile, writeFiles } from '../../certs-tooling/files.ts'
import { temporaryFolder } from '../support/openssl.ts'

const ROOT = process.getuid?.() === 0

test('modes are as asked for, whatever the umask is', (t) => {
  const dir = temporaryFolder(t)
  const umask = process.umask(0o077)
  t.after(() => process.umask(umask))
  writeFiles([
    { path: join(dir, 'a'), content: 'a', mode: 0o644 },
    { path: join(dir, 'b'), content: 'b', mode: 0o600 },
  ])
  assert.deepEqual(
    ['a', 'b'].map((name) => (statSync(join(dir, name)).mode & 0o777).toString(8)),
    ['644', '600'],
  )
})

test('a key file that was open to others is closed by being replaced', (t) => {
  const path = join(temporaryFolder(t), 'key.pem')
  writeFileSync(path, 'old')
  chmodSync(path, 0o666)
  writeFiles([{ path, content: 'new', mode: 0o600 }])
  assert.equal((statSync(path).mode & 0o777).toString(8), '600')
})

test('if one file cannot be written none is, and nothing is left lying about', (t) => {
  const dir = temporaryFolder(t)
  writeFileSync(join(dir, 'a'), 'old')
  const files = [
    { path: join(dir, 'a'), content: 'new', mode: 0o644 },
    { path: join(dir, 'missing', 'b'), content: 'b', mode: 0o644 },
  ] as const
  assert.throws(() => writeFiles(files), {
    code: 'ERR_FILE_UNWRITABLE',
    message: /missing\/b cannot be written: there is no such file or folder/,
  })
  assert.deepEqual(readdirSync(dir), ['a'])
  assert.equal(readFileSync(join(dir, 'a'), 'utf8'), 'old')
})

test('a folder in the place of a file is said to be one', (t) => {
  const dir = temporaryFolder(t)
  mkdirSync(join(dir, 'a'))
  assert.throws(() => writeFiles([{ path: join(dir, 'a'), content: 'a', mode: 0o644 }]), {
    code: 'ERR_FILE_UNWRITABLE',
    message: /a cannot be written: it is a folder/,
  })
  assert.throws(() => readFile(join(dir, 'a')), { code: 'ERR_FILE_UNREADABLE', message: /it is a folder/ })
  assert.deepEqual(readdirSync(dir), ['a'])
})

test('what is not there, too large, or a circle of links is not read', (t) => {
  const dir = temporaryFolder(t)
  writeFileSync(join(dir, 'large'), '')
  truncateSync(join(dir, 'large'), 16 * 1024 * 1024 + 1)
  symlinkSync('circle', join(dir, 'circle'))
  const cases = { none: /no such file/, large: /larger than 16 MiB/, circle: /circle/ }
  for (const [name, message] of Object.entries(cases))
    assert.throws(() => readFile(join(dir, name)), { code: 'ERR_FILE_UNREADABLE', message })
})

test('a file of another owner is said to be denied', { skip: ROOT && 'root may read everything' }, (t) => {
  const path = join(temporaryFolder(t), 'a')
  writeFileSync(path, 'a', { mode: 0o000 })
  assert.throws(() => readFile(path), { code: 'ERR_FILE_UNREADABLE', message: /permission is denied/ })
})

test('a full disk leaves the old files as they were and says so', (t) => {
  const dir = temporaryFolder(t)
  const script = `
    import { readFileSync, readdirSync, writeFileSync } from 'node:fs'
    import { writeFiles } from '${join(import.meta.dirname, '../../certs-tooling/files.ts')}'
    writeFileSync('${dir}/svid.pem', 'old')
    try {
      writeFiles([{ path: '${dir}/key.pem', content: 'key', mode: 0o600 }, { path: '${dir}/svid.pem', content: Buffer.alloc(1 << 20), mode: 0o644 }])
    } catch (error) {
      console.log(JSON.stringify([error.code, error.message, readdirSync('${dir}'), readFileSync('${dir}/svid.pem', 'utf8')]))
    }`
  const inFullFolder = [
    '-rm',
    'sh',
    '-c',
    `mount -t tmpfs -o size=64k none '${dir}' && exec '${process.execPath}' --input-type=module-typescript -e "$SCRIPT"`,
  ]
  const run = spawnSync('unshare', inFullFolder, { encoding: 'utf8', env: { ...process.env, SCRIPT: script } })
  if (run.error !== undefined || /unshare failed|permission denied|not permitted/i.test(run.stderr))
    return t.skip('no file system of its own can be had here')
  assert.equal(run.status, 0, run.stderr)
  const [code, message, files, content] = JSON.parse(run.stdout) as [string, string, string[], string]
  assert.deepEqual([code, files, content], ['ERR_FILE_UNWRITABLE', ['svid.pem'], 'old'])
  assert.match(message, /svid\.pem cannot be written: the disk is full; nothing was changed/)
})
