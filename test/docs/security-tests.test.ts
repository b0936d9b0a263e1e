/** docs/security-tests.md and the tests it names, both ways. */
import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'

const ROOT = join(import.meta.dirname, '..', '..')

function titlesOf(file: string): string[] {
  const text = readFileSync(join(ROOT, file), 'utf8')
  return [...text.matchAll(/^\s*test\(\s*(['"`])((?:\\.|(?!\1).)*)\1/gm)].map((match) => (match[2] ?? '').replaceAll(/\\(['"`\\])/g, '$1'))
}

test('every class in docs/security-tests.md names a test that exists, and every test of test/security is named', () => {
  const page = readFileSync(join(ROOT, 'docs', 'security-tests.md'), 'utf8')
  const named = [...page.matchAll(/^\| \d+ \| (test\/security\/[\w.-]+): (.*?) \| /gm)].map(
    (match) => `${match[1]}: ${match[2]?.replaceAll('\\|', '|')}`,
  )
  const existing = globSync('test/security/*.test.ts', { cwd: ROOT }).flatMap((file) => titlesOf(file).map((title) => `${file}: ${title}`))
  assert.deepEqual(named.toSorted(), existing.toSorted())
  assert.ok(named.length > 40)
})
