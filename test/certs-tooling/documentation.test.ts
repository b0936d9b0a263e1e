/** Every command of docs/certificates.md is run, in order, in an empty folder, with `postern` as a user has it on the path. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { certs } from '#cli/certs'
import { hasProgram, temporaryFolder } from '../support/openssl.ts'

const ROOT = join(import.meta.dirname, '..', '..')
const PAGE = readFileSync(join(ROOT, 'docs', 'certificates.md'), 'utf8')
const HAS_JAVA = hasProgram('keytool', '-help')

const blocks = [...PAGE.matchAll(/^```sh( java)?\n([^]*?)^```$/gm)].map(([, java, script = '']) => ({ java: java !== undefined, script }))

test('every command of docs/certificates.md works as it stands', (t) => {
  const dir = temporaryFolder(t)
  const bin = join(dir, 'bin')
  mkdirSync(bin)
  writeFileSync(join(bin, 'postern'), `#!/bin/sh\nexec '${process.execPath}' '${join(ROOT, 'src/cli/main.ts')}' "$@"\n`)
  chmodSync(join(bin, 'postern'), 0o755)
  const work = join(dir, 'work')
  mkdirSync(work)
  assert.ok(blocks.length >= 8)
  for (const { java, script } of blocks) {
    if (java && !HAS_JAVA) {
      t.diagnostic('keytool is absent: its commands were not run')
      continue
    }
    const run = spawnSync('sh', ['-eu', '-c', script], {
      cwd: work,
      encoding: 'utf8',
      env: { ...process.env, PATH: `${bin}:${process.env['PATH']}` },
    })
    assert.equal(run.status, 0, `${script}\n${run.stdout}${run.stderr}`)
    if (java) assert.match(run.stdout, /cart, .*PrivateKeyEntry[^]*example\.org, .*trustedCertEntry/)
  }
  assert.deepEqual(readdirSync(join(work, 'cart')).sort(), ['bundle.pem', 'key.pem', 'svid.pem'])
})

test('docs/certificates.md has a row and an anchor for each command', () => {
  for (const name of Object.keys(certs.subcommands ?? {})) {
    const anchor = new RegExp(`^\\| \\[\`certs ${name}\`\\]\\(#([^)]+)\\)`, 'm').exec(PAGE)?.[1]
    assert.ok(anchor !== undefined, name)
    const anchors = [...PAGE.matchAll(/^## (.*)$/gm)].map(([, title = '']) =>
      title
        .toLowerCase()
        .replace(/[^\w\s-]/g, '')
        .replaceAll(' ', '-'),
    )
    assert.ok(anchors.includes(anchor), anchor)
  }
})
