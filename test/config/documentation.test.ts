/** docs/configuration.md is in step with the reader: every key, every default, every example. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { formatProblem } from '#base/located'
import { parseSize, parseSpan } from '#base/units'
import { keyPaths } from '#config/reader'
import { DEFAULTS, PATH_OPT_INS } from '#config/sidecar-config'
import { readSidecarDocument, sidecarReader } from '#config/sidecar-document'
import { readYamlDocuments } from '#config/yaml'

const page = readFileSync(join(import.meta.dirname, '..', '..', 'docs', 'configuration.md'), 'utf8')
/** Key → its default, as the tables write it. */
const rows = new Map([...page.matchAll(/^\| `([\w.[\]*]+)` \|.*\|([^|]*)\|$/gm)].map(([, key = '', value = '']) => [key, value.trim()]))
const later = page.slice(page.indexOf('## Not in this version'))

test('every key of the reader has a row, or stands among those of later versions, and there is no other row', () => {
  const keys = keyPaths(sidecarReader)
  const missing = keys.filter((key) => !rows.has(key) && !later.includes(`\`${key}\``))
  assert.deepEqual(missing, [])
  assert.deepEqual(
    [...rows.keys()].filter((key) => !keys.includes(key)),
    [],
  )
})

test('what is refused as not in this version has no row, and everything else is not said to be of a later version', () => {
  for (const key of keyPaths(sidecarReader)) assert.notEqual(rows.has(key), later.includes(`\`${key}\``), key)
})

test('the defaults in the tables are those of the reader', () => {
  const value = (key: string): string => (rows.get(key) ?? '').replaceAll('`', '')
  for (const side of ['inbound', 'outbound'] as const) {
    for (const [name, expected] of Object.entries(DEFAULTS.limits)) {
      const text = value(`spec.${side}[].limits.${name}`)
      if (side === 'outbound' && !rows.has(`spec.outbound[].limits.${name}`)) continue
      assert.equal(parseSize(text) ?? parseSpan(text) ?? Number(text), expected, `${side} ${name}`)
    }
    for (const [name, expected] of Object.entries(DEFAULTS.timeouts)) {
      if (side === 'outbound' && name === 'handshake') continue
      assert.equal(parseSpan(value(`spec.${side}[].timeouts.${name}`)), expected, `${side} ${name}`)
    }
  }
  assert.equal(value('metadata.namespace'), DEFAULTS.namespace)
  assert.equal(value('spec.tls.minVersion'), DEFAULTS.tls.minVersion)
  assert.equal(value('spec.tls.groups'), `[${DEFAULTS.tls.groups.join(', ')}]`)
  assert.equal(value('spec.inbound[].protocol'), DEFAULTS.protocol)
  assert.equal(value('spec.inbound[].unknownTokens'), DEFAULTS.unknownTokens)
  assert.equal(value('spec.records.decisions'), DEFAULTS.records.decisions)
  assert.equal(Number(value('spec.records.allowed')), DEFAULTS.records.allowed)
  assert.equal(value('spec.records.onOverload'), DEFAULTS.records.onOverload)
  assert.equal(value('spec.admin'), DEFAULTS.admin)
  assert.equal(value('spec.health'), DEFAULTS.health)
  assert.equal(parseSpan(value('spec.drain')), DEFAULTS.drain)
})

test('every example is a document without fault', () => {
  const examples = [...page.matchAll(/```yaml\n([^`]+)```/g)].map(([, text = '']) => text)
  assert.ok(examples.length >= 4)
  for (const example of examples) {
    const { documents, problems } = readYamlDocuments(example, 'example')
    assert.deepEqual(problems, [])
    assert.deepEqual(readSidecarDocument(documents[0]!, { file: '/example.yaml' }).problems.map(formatProblem), [])
  }
})

test('the document with everything holds every key of this version', () => {
  const text = page.slice(page.indexOf('## A document with everything'))
  const missing = keyPaths(sidecarReader).filter(
    (key) => rows.has(key) && !text.includes(`${key.split('.').at(-1)?.replace('[]', '')}:`) && !key.includes('*'),
  )
  assert.deepEqual(missing, [])
})

test('every opt-in of paths is described', () => {
  for (const name of PATH_OPT_INS) assert.ok(page.includes(`| \`${name}\` |`), name)
})
