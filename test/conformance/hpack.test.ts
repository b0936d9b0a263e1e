/** http2jp/hpack-test-case: header lists on the wire as nghttp2 encodes them, with tables that change size. */
import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { HpackEncoder } from '#wire/http2/hpack/encoder'
import { Output } from '#wire/http2/output'
import { createTestDecoder, decodeBlock } from '../support/http2-frames.ts'
import { testResources } from '../support/http2-relay.ts'

const FOLDER = join(import.meta.dirname, '..', '..', '..', 'shared', 'conformance', 'hpack')
const skip = existsSync(FOLDER) ? false : `${FOLDER} is absent`

interface Case {
  readonly wire: string
  readonly headers: readonly [string, string][]
  readonly tableSize: number | undefined
}

function stories(): Map<string, Case[]> {
  const found = new Map<string, Case[]>()
  for (const set of readdirSync(FOLDER)) {
    for (const file of readdirSync(join(FOLDER, set)).toSorted()) {
      const { cases } = JSON.parse(readFileSync(join(FOLDER, set, file), 'utf8')) as {
        cases: { wire: string; headers: Record<string, string>[]; header_table_size?: number }[]
      }
      found.set(
        `${set}/${file}`,
        cases.map(({ wire, headers, header_table_size: tableSize }) => ({ wire, headers: headers.flatMap(Object.entries), tableSize })),
      )
    }
  }
  return found
}

test('every story decodes to its header lists', { skip }, (t) => {
  let total = 0
  for (const [name, cases] of stories()) {
    const decoder = createTestDecoder()
    for (const [index, { wire, headers, tableSize }] of cases.entries()) {
      if (tableSize !== undefined) decoder.setLimit(tableSize)
      assert.deepEqual(decodeBlock(decoder, Buffer.from(wire, 'hex')), headers, `${name} #${index}`)
      assert.ok(decoder.tableSize <= (tableSize ?? 4096))
      total++
    }
  }
  assert.ok(total > 0)
  t.diagnostic(`hpack, decoded: ${total} / ${total}`)
})

test('every header list is encoded so that it decodes to itself, whatever size the table has', { skip }, (t) => {
  let total = 0
  let bytes = 0
  let theirs = 0
  for (const [name, cases] of stories()) {
    const encoder = new HpackEncoder()
    const decoder = createTestDecoder()
    for (const [index, { wire, headers, tableSize }] of cases.entries()) {
      if (tableSize !== undefined) {
        encoder.setLimit(tableSize)
        decoder.setLimit(tableSize)
      }
      const output = new Output(testResources.slabs)
      output.reserve(65_536)
      encoder.begin(output)
      for (const [field, value] of headers) encoder.write(output, field, value)
      const block = Buffer.from(output.take() ?? [])
      assert.deepEqual(decodeBlock(decoder, block), headers, `${name} #${index}`)
      bytes += block.length
      theirs += wire.length / 2
      total++
    }
  }
  assert.ok(total > 0)
  t.diagnostic(`hpack, encoded: ${total} / ${total}, in ${(bytes / theirs).toFixed(2)} times the bytes of nghttp2`)
})
