/** Writes the pages of `docs/` that are made from code. Run by `npm run docs`; a test keeps both in step. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { errorsPage } from './errors-page.ts'

writeFileSync(join(import.meta.dirname, '../docs/errors.md'), await errorsPage())
console.log('docs/errors.md')
