/** The annotations in docs/kubernetes.md are those that are read; and alerts, checks and commands that the page names exist. */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { readAnnotations } from '#controller/inject/annotations'

const ROOT = join(import.meta.dirname, '..', '..', '..')
const page = readFileSync(join(ROOT, 'docs', 'kubernetes.md'), 'utf8')
const documented = [...page.matchAll(/^\| `postern\.dev\/([\w-]+)` \|/gm)].map(([, name = '']) => name)

test('every annotation that is read is documented, and no other', () => {
  const source = readFileSync(join(ROOT, 'src/controller/inject/annotations.ts'), 'utf8')
  const known = [...source.matchAll(/\b(?:read|resource)\('([\w-]+)'/g)].map(([, name = '']) => name)
  assert.deepEqual(documented.toSorted(), known.toSorted())
})

test('each checks its value, and says in which annotation it is wrong', () => {
  for (const name of documented) {
    const problems = readAnnotations({ [`postern.dev/${name}`]: 'Not=Such a value' })
    assert.ok(Array.isArray(problems), name)
    assert.equal(problems.length, 1, name)
    assert.match(String(problems[0]), new RegExp(`^the annotation \`postern\\.dev/${name}\` is \`Not=Such a value\`: write `))
  }
})

test('alerts that the page names exist, and so do the files', () => {
  const rules = readFileSync(join(ROOT, 'deploy/prometheus/rules.yaml'), 'utf8')
  for (const [name] of page.matchAll(/\bPostern[A-Z]\w+/g)) assert.ok(rules.includes(`alert: ${name}\n`), name)
  for (const [, file = ''] of page.matchAll(/\]\(([\w./-]+)(?:#[\w-]+)?\)/g)) assert.ok(existsSync(join(ROOT, 'docs', file)), file)
  for (const [name] of page.matchAll(/\b(?:examples|deploy)\/[\w./-]+\w/g)) assert.ok(existsSync(join(ROOT, name)), name)
})

test('every link into the page has its heading', () => {
  const anchors = new Set(
    [...page.matchAll(/^#+ (.+)$/gm)].map(([, title = '']) =>
      title
        .toLowerCase()
        .replaceAll(/[^\w\s-]/g, '')
        .replaceAll(' ', '-'),
    ),
  )
  for (const [, anchor = ''] of page.matchAll(/\]\(#([\w-]+)\)/g)) assert.ok(anchors.has(anchor), anchor)
})
