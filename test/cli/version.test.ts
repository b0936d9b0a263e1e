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
