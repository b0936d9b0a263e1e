import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, globSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { generate } from '../../scripts/protobuf.ts'

const GENERATED = join(import.meta.dirname, '../../src/workload-api/generated')

const contents = (folder: string): Record<string, string> =>
  Object.fromEntries(globSync('**/*.ts', { cwd: folder }).map((file) => [file, readFileSync(join(folder, file), 'utf8')]))

test('the generated code is what the .proto files make: `npm run protobuf` was run after their last change', () => {
  const folder = mkdtempSync(join(tmpdir(), 'postern-protobuf-'))
  try {
    generate(folder)
    assert.deepEqual(contents(folder), contents(GENERATED))
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})
