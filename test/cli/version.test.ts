import assert from 'node:assert/strict'
import { test } from 'node:test'
import { VERSION } from '../../src/cli/version.ts'
import { runPostern } from '../support/run-command.ts'

test('--version says which Postern this is, and on which Node it runs', async () => {
  for (const word of ['--version', '-V', 'version']) {
    const { status, stdout, stderr } = await runPostern([word])
    assert.deepEqual([status, stdout, stderr], [0, `postern ${VERSION} (Node ${process.version})\n`, ''])
  }
})

test('an older Node is named, with where it is, before anything of it fails', async () => {
  const older = `data:text/javascript,${encodeURIComponent("Object.defineProperty(process,'version',{value:'v20.20.2'})").replaceAll("'", '%27')}`
  for (const args of [['demo'], ['--help'], ['sidecar', '--config', 'none.yaml']]) {
    const { status, stdout, stderr } = await runPostern(args, { env: { NODE_OPTIONS: `--import=${older}` } })
    const said = `postern: needs Node 26 or later, and this is v20.20.2 (${process.execPath}).\n`
    assert.deepEqual([status, stdout, stderr], [2, '', said])
  }
})
