/** docs/spiffe.md says of each requirement which test shows it: the page has them all, and what it names exists. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'

const ROOT = join(import.meta.dirname, '../..')
const page = readFileSync(join(ROOT, 'docs/spiffe.md'), 'utf8')

/** How many requirements each standard has. */
const COUNTS: Readonly<Record<string, number>> = { ID: 21, X: 28, J: 18, B: 15, E: 18, W: 33, F: 25 }

interface Row {
  readonly numbers: readonly string[]
  readonly shownBy: string
}

function numbersIn(cell: string): string[] {
  const match = /^([A-Z]+)-(\d+)(?: to [A-Z]+-(\d+))?$/.exec(cell)
  assert.ok(match !== null, cell)
  const [, prefix = '', first = '', last = first] = match
  return Array.from({ length: Number(last) - Number(first) + 1 }, (_, index) => `${prefix}-${Number(first) + index}`)
}

const rows: readonly Row[] = [...page.matchAll(/^\| ([A-Z]+-\d+[^|]*?) \| [^|]+ \| ([^|]+) \|$/gm)].map(([, cell = '', shownBy = '']) => ({
  numbers: numbersIn(cell),
  shownBy,
}))

test('every requirement has one row', () => {
  const expected = Object.entries(COUNTS).flatMap(([prefix, count]) =>
    Array.from({ length: count }, (_, index) => `${prefix}-${index + 1}`),
  )
  assert.deepEqual(rows.flatMap(({ numbers }) => numbers).toSorted(), expected.toSorted())
})

test('every test that the page names exists', (t) => {
  let shown = 0
  for (const { numbers, shownBy } of rows) {
    if (shownBy === 'not yet') continue
    shown += numbers.length
    const tests = [...shownBy.matchAll(/`([^`]+)` «([^»]+)»/g)]
    assert.ok(tests.length > 0, `${numbers.join()}: ${shownBy}`)
    for (const [, file = '', title = ''] of tests) {
      const source = readFileSync(join(ROOT, file), 'utf8')
      assert.ok(
        [`'${title}`, `"${title}`, `\`${title}`].some((quoted) => source.includes(quoted)),
        `${numbers.join()}: there is no «${title}» in ${file}`,
      )
    }
  }
  t.diagnostic(`${shown} of ${Object.values(COUNTS).reduce((sum, count) => sum + count)} requirements are shown by tests`)
})

test('a requirement that a title of a test names is not called not yet', () => {
  const pending = new Set(rows.filter(({ shownBy }) => shownBy === 'not yet').flatMap(({ numbers }) => numbers))
  for (const file of new Set([...page.matchAll(/`(test\/[^`]+)` «/g)].map(([, file = '']) => file))) {
    const titles = readFileSync(join(ROOT, file), 'utf8').matchAll(/['`"]((?:(?:ID|X|J|B|E|W|F)-\d+(?:, )?)+): /g)
    for (const [, numbers = ''] of titles) for (const number of numbers.split(', ')) assert.ok(!pending.has(number), `${number} in ${file}`)
  }
})
