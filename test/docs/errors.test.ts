import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { REASONS } from '#base/reasons'
import { errorsPage } from '../../scripts/errors-page.ts'

const PAGE = join(import.meta.dirname, '../../docs/errors.md')

test('docs/errors.md is what the reason codes say; `npm run docs` writes it anew', async () => {
  assert.equal(readFileSync(PAGE, 'utf8'), await errorsPage())
})

test('docs/errors.md has exactly one anchor for each reason code', () => {
  const headings = [...readFileSync(PAGE, 'utf8').matchAll(/^### (.*)$/gm)].map((match) => match[1] ?? '')
  assert.deepEqual(headings.sort(), Object.keys(REASONS).sort())
})
