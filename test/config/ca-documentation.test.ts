/** docs/ca-configuration.md is in step with the reader: every key, every default, every example. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { formatProblem } from '#base/located'
import { REASONS } from '#base/reasons'
import { parseSpan } from '#base/units'
import { CA_DEFAULTS } from '#config/ca-config'
import { caReader, readCaDocument } from '#config/ca-document'
import { keyPaths } from '#config/reader'
import { readYamlDocuments } from '#config/yaml'

const docs = join(import.meta.dirname, '..', '..', 'docs')
const page = readFileSync(join(docs, 'ca-configuration.md'), 'utf8')
/** Key → its default, as the tables write it. */
const rows = new Map([...page.matchAll(/^\| `([\w.[\]*]+)` \|.*\|([^|]*)\|$/gm)].map(([, key = '', value = '']) => [key, value.trim()]))

test('every key of the reader has a row, and there is no other row', () => {
  assert.deepEqual([...rows.keys()].toSorted(), keyPaths(caReader).toSorted())
})

test('the defaults in the tables are those of the reader', () => {
  const value = (key: string): string => (rows.get(`spec.${key}`) ?? '').replaceAll('`', '')
  const spans: Readonly<Record<string, number>> = {
    'store.keep': CA_DEFAULTS.keep,
    'svid.x509': CA_DEFAULTS.svid.x509,
    'svid.jwt': CA_DEFAULTS.svid.jwt,
    'svid.max': CA_DEFAULTS.svid.max,
    'attest.joinToken.max': CA_DEFAULTS.joinToken.max,
    refreshHint: CA_DEFAULTS.refreshHint,
    poll: CA_DEFAULTS.poll,
  }
  for (const [key, expected] of Object.entries(spans)) assert.equal(parseSpan(value(key)), expected, key)
  for (const [key, expected] of Object.entries(CA_DEFAULTS.limits)) assert.equal(Number(value(`limits.${key}`)), expected, key)
  assert.equal(value('listen'), CA_DEFAULTS.listen)
  assert.equal(value('health'), CA_DEFAULTS.health)
  assert.equal(value('attest.serviceAccountToken[].id'), CA_DEFAULTS.serviceAccountId)
  assert.equal(value('attest.serviceAccountToken[].tokenReview.server'), CA_DEFAULTS.kubernetes.server)
})

test('every example is a document without fault, and the last has every key', () => {
  const examples = [...page.matchAll(/```yaml\n([^`]+)```/g)].map(([, text = '']) => text)
  assert.ok(examples.length >= 2)
  for (const example of examples) {
    const { documents, problems } = readYamlDocuments(example, 'example')
    assert.deepEqual(problems, [])
    assert.deepEqual(readCaDocument(documents[0]!, { file: '/example.yaml' }).problems.map(formatProblem), [])
  }
  const last = examples.at(-1) ?? ''
  assert.deepEqual(
    keyPaths(caReader).filter((key) => !last.includes(`${key.split('.').at(-1)?.replace('[]', '')}:`)),
    [],
  )
})

test('every fault of the store has a row among those of docs/ca-operations.md', () => {
  const operations = readFileSync(join(docs, 'ca-operations.md'), 'utf8')
  const notFaults = ['ERR_CA_STORE_CONFLICT', 'ERR_CA_STORE_BACKUP']
  const codes = Object.keys(REASONS).filter((code) => code.startsWith('ERR_CA_STORE') && !notFaults.includes(code))
  assert.ok(codes.length >= 10)
  for (const code of codes) assert.ok(operations.includes(`| \`${code}\` |`), code)
})
