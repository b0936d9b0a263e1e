/** The YAML reader: what it takes, what it refuses and where it says the fault stands. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { plainValue } from '#base/located'
import { readYamlDocuments } from '#config/yaml'
import { MAX_DOCUMENT_DEPTH, MAX_DOCUMENT_LENGTH } from '#config/yaml-limits'

function plain(text: string): unknown[] {
  const { documents, problems } = readYamlDocuments(text, 'a.yaml')
  assert.deepEqual(problems, [])
  return documents.map(plainValue).map((value) => JSON.parse(JSON.stringify(value)) as unknown)
}

const read: readonly (readonly [string, string, unknown[]])[] = [
  ['a map', 'a: 1\nb: [x, true, null, 1.5]\n', [{ a: 1, b: ['x', true, null, 1.5] }]],
  ['words that YAML 1.1 took for booleans, as strings', 'a: on\nb: no\nc: y\n', [{ a: 'on', b: 'no', c: 'y' }]],
  ['several documents', '---\na: 1\n---\nb: 2\n...\n---\nc: 3\n', [{ a: 1 }, { b: 2 }, { c: 3 }]],
  ['nothing where there are only comments', '# nothing\n', []],
  ['nothing after a last separator', 'a: 1\n---\n', [{ a: 1 }]],
  ['an explicit null', '---\n~\n', [null]],
  ['a key without a value as null', 'a:\n{b}'.slice(0, 3), [{ a: null }]],
  ['a flow key without a value as null', '{a, b: }', [{ a: null, b: null }]],
  ['JSON indented by tabs', '{\n\t"a": [\n\t\t1\n\t]\n}\n', [{ a: [1] }]],
  ['a merge key as an ordinary key', '<<: {a: 1}', [{ '<<': { a: 1 } }]],
  ['block scalars', 'a: |\n  x\n  y\n', [{ a: 'x\ny\n' }]],
  ['a byte order mark and CRLF', '\u{feff}a: 1\r\nb: 2\r\n', [{ a: 1, b: 2 }]],
  ['%YAML 1.2', '%YAML 1.2\n---\na: 1\n', [{ a: 1 }]],
]
for (const [what, text, expected] of read) {
  test(`it reads ${what}`, () => assert.deepEqual(plain(text), expected))
}

const refused: readonly (readonly [string, string, number, number, RegExp])[] = [
  ['broken YAML', 'a: 1\nb: [1, 2\n', 3, 1, /flow/i],
  ['wrong indentation', 'a:\n  b: 1\n c: 2\n', 3, 1, /./],
  ['a duplicate key', 'a: 1\nb: 2\na: 3\n', 3, 1, /`a` is here twice; it stands on line 1/],
  ['a duplicate key deep inside', 'x:\n  - {k: 1, k: 2}\n', 2, 12, /`k` is here twice/],
  ['an anchor', 'a: &x 1\n', 1, 4, /Anchors/],
  ['an alias', 'a: *x\n', 1, 4, /Aliases/],
  ['an alias as a key', '? *x\n: 1\n', 1, 3, /Aliases/],
  ['a tag', 'a: !!str 5\n', 1, 4, /Tags/],
  ['a tag without a name', 'a: ! [x]\n', 1, 4, /Tags/],
  ['a tag on a key', '!!str a: 5\n', 1, 1, /Tags/],
  ['a number as a key', 'a:\n  8080: x\n', 2, 3, /`8080` is not a string; quote it/],
  ['a boolean as a key', 'true: x\n', 1, 1, /`true` is not a string/],
  ['a list as a key', '? [a]\n: b\n', 1, 3, /key must be a string/],
  ['an integer that a double cannot hold', 'a: 12345678901234567890\n', 1, 4, /cannot be held exactly/],
  ['infinity', 'a: .inf\n', 1, 4, /cannot be held exactly/],
  ['not-a-number', 'a: [.nan]\n', 1, 5, /cannot be held exactly/],
  ['another version of YAML', '%YAML 1.1\n---\na: on\n', 1, 1, /YAML 1.2/],
]
for (const [what, text, line, column, message] of refused) {
  test(`it refuses ${what}, with its position`, () => {
    const { documents, problems } = readYamlDocuments(text, 'a.yaml')
    assert.deepEqual(documents, [])
    const first = problems[0]
    assert.ok(first)
    assert.match(first.message, message)
    assert.deepEqual(first.at, { file: 'a.yaml', line, column })
  })
}

test('it locates keys and values', () => {
  const [document] = readYamlDocuments('\n\na:\n  b: [x, y]\n', 'f').documents
  assert.ok(document?.kind === 'map')
  const a = document.entries[0]!
  assert.deepEqual(a.keyAt, { file: 'f', line: 3, column: 1 })
  assert.ok(a.value.kind === 'map')
  const b = a.value.entries[0]!
  assert.deepEqual(b.value.at, { file: 'f', line: 4, column: 6 })
  assert.ok(b.value.kind === 'list')
  assert.deepEqual(b.value.items[1]!.at, { file: 'f', line: 4, column: 10 })
})

test('a key named __proto__ is a key like any other', () => {
  const [document] = readYamlDocuments('__proto__: {polluted: true}\nconstructor: 1\n', 'f').documents
  assert.ok(document?.kind === 'map')
  assert.deepEqual(
    document.entries.map((entry) => entry.key),
    ['__proto__', 'constructor'],
  )
  assert.equal(({} as Record<string, unknown>)['polluted'], undefined)
  assert.deepEqual(Object.keys(plainValue(document) as object), ['__proto__', 'constructor'])
})

test('one bad document of a file leaves the others readable', () => {
  const { documents, problems } = readYamlDocuments('a: 1\n---\nb: &x 1\n---\nc: 3\n', 'f')
  assert.equal(documents.length, 2)
  assert.equal(problems.length, 1)
})

test('depth is bounded, and a file of brackets overflows no stack', () => {
  const deep = '['.repeat(200_000)
  assert.match(readYamlDocuments(deep, 'f').problems[0]!.message, /nests deeper/)
  const dashes = '- '.repeat(20_000)
  assert.match(readYamlDocuments(dashes, 'f').problems[0]!.message, /nests deeper/)
  const enough = '['.repeat(MAX_DOCUMENT_DEPTH) + ']'.repeat(MAX_DOCUMENT_DEPTH)
  assert.deepEqual(readYamlDocuments(enough, 'f').problems, [])
})

test('size is bounded', () => {
  assert.match(readYamlDocuments('#'.repeat(MAX_DOCUMENT_LENGTH + 1), 'f').problems[0]!.message, /longer than/)
})

test('a file with a thousand faults reports twenty', () => {
  const text = 'a: 1\n'.repeat(1000)
  assert.equal(readYamlDocuments(text, 'f').problems.length, 20)
})

test('a map of many keys is read in linear time', () => {
  const count = 20_000
  const text = Array.from({ length: count }, (_, index) => `k${index}: 1\n`).join('')
  const [document] = readYamlDocuments(text, 'f').documents
  assert.ok(document?.kind === 'map' && document.entries.length === count)
})
