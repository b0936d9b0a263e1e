import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Field } from '#wire/http2/hpack/field'
import type { HpackDecoder } from '#wire/http2/hpack/decoder'
import { createTestDecoder, decodeBlock, hpackInteger, hpackString, literals } from '../../support/http2-frames.ts'

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex')

function outcome(decoder: HpackDecoder, block: Buffer): string {
  const result = decoder.decode(block, 0, block.length, { onField: () => undefined })
  return result === 'malformed' ? decoder.detail : result
}

test('the requests of RFC 7541 C.3 and C.4 leave the table as the RFC has it', () => {
  const stories = [
    [
      '828684410f7777772e6578616d706c652e636f6d',
      '828684be58086e6f2d6361636865',
      '828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565',
    ],
    ['828684418cf1e3c2e5f23a6ba0ab90f4ff', '828684be5886a8eb10649cbf', '828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf'],
  ]
  for (const story of stories) {
    const decoder = createTestDecoder()
    const sizes: number[] = []
    const last = story
      .map((block) => {
        const fields = decodeBlock(decoder, hex(block))
        sizes.push(decoder.tableSize)
        return fields
      })
      .at(-1)
    assert.deepEqual(sizes, [57, 110, 164])
    assert.deepEqual(last, [
      [':method', 'GET'],
      [':scheme', 'https'],
      [':path', '/index.html'],
      [':authority', 'www.example.com'],
      ['custom-key', 'custom-value'],
    ])
  }
})

test('entries are evicted as in RFC 7541 C.5, where the table has 256 bytes', () => {
  const decoder = createTestDecoder()
  const blocks = [
    '3fe101 4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d546e1768747470733a2f2f7777772e6578616d706c652e636f6d',
    '4803333037c1c0bf',
    '88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31',
  ]
  const sizes = blocks.map((block) => {
    decodeBlock(decoder, hex(block))
    return decoder.tableSize
  })
  assert.deepEqual(sizes, [222, 222, 215])
})

test('an entry larger than the table empties it, and is no error', () => {
  const decoder = createTestDecoder()
  decodeBlock(decoder, literals([['x-a', 'b']], { form: 0x40 }))
  assert.equal(decoder.tableCount, 1)
  decodeBlock(decoder, literals([['x-a', 'b'.repeat(4096)]], { form: 0x40 }))
  assert.deepEqual([decoder.tableCount, decoder.tableSize], [0, 0])
})

test('a name taken from an entry survives the eviction of that entry', () => {
  const decoder = createTestDecoder()
  decodeBlock(decoder, literals([['x-name', 'a'.repeat(4000)]], { form: 0x40 }))
  const block = Buffer.concat([hpackInteger(62, 6, 0x40), hpackString(Buffer.alloc(3000, 0x62))])
  assert.deepEqual(decodeBlock(decoder, block), [['x-name', 'b'.repeat(3000)]])
  assert.equal(decoder.tableCount, 1)
})

test('repeated fields come as the same strings, so that they cost no memory', () => {
  const decoder = createTestDecoder()
  const seen: Field[] = []
  const sink = { onField: (field: Field) => void seen.push(field) }
  const first = literals([['x-tenant', 'shop']], { form: 0x40 })
  decoder.decode(first, 0, first.length, sink)
  decoder.decode(Buffer.from([0xbe]), 0, 1, sink)
  assert.equal(seen[0], seen[1])
})

test('fields that came as never indexed are told apart', () => {
  const decoder = createTestDecoder()
  const flags: boolean[] = []
  for (const form of [0x00, 0x10, 0x40]) {
    const block = literals([['x-secret', 'a']], { form })
    decoder.decode(block, 0, block.length, { onField: (_, neverIndexed) => void flags.push(neverIndexed) })
  }
  assert.deepEqual(flags, [false, true, false])
  assert.equal(decoder.tableCount, 1)
})

const malformed: readonly (readonly [string, string, RegExp])[] = [
  ['index 0', '80', /index 0/],
  ['an index beyond the static table while the dynamic one is empty', 'be', /index 62/],
  ['a name index beyond both tables', '7f0001 61', /index 63/],
  ['an index that is cut short', 'ff', /cut short/],
  ['an index of five continuation bytes', 'ffffffffff0f', /too large/],
  ['an index padded with zeros beyond four bytes', 'ff8080808080 00', /too large/],
  ['a literal without its value', '0001 61', /cut short/],
  ['a name longer than the block', '0005 6162', /cut short/],
  ['a value longer than the block', '0001 61 05 6162', /cut short/],
  ['a length that overflows', '0001 61 7fffffffff7f', /too large/],
  ['a Huffman code with wrong padding', '0001 61 8118', /padding/],
  ['a Huffman code with EOS', '0001 61 84fffffffc', /EOS/],
  ['a size update after a field', '8220', /after the first/],
  ['a size update above the setting', '3fe21f', /above/],
  ['a size update that is cut short', '3f', /cut short/],
  ['three size updates', '20 20 20', /more than two/],
]
for (const [what, block, detail] of malformed) {
  test(`${what} is malformed`, () => assert.match(outcome(createTestDecoder(), hex(block)), detail))
}

test('two size updates are taken: the least size, then the final one', () => {
  const decoder = createTestDecoder()
  decodeBlock(decoder, literals([['x-a', 'b']], { form: 0x40 }))
  assert.equal(outcome(decoder, hex('20 3fe11f')), 'complete')
  assert.deepEqual([decoder.tableCount, decoder.tableSize], [0, 0])
  decodeBlock(decoder, literals([['x-a', 'b']], { form: 0x40 }))
  assert.equal(decoder.tableCount, 1)
})

test('once the setting became smaller, the next block must begin with an update', () => {
  for (const [block, expected] of [
    ['82', /no size update/],
    ['3fe11f', /above/],
    ['3f8107 82', /above/],
    ['3f45 82', /complete/],
    ['20 82', /complete/],
  ] as const) {
    const decoder = createTestDecoder()
    decoder.setLimit(100)
    assert.match(outcome(decoder, hex(block)), expected, block)
  }
})

test('a larger setting asks for no update, and allows one', () => {
  const decoder = createTestDecoder()
  decoder.setLimit(65_536)
  assert.equal(outcome(decoder, hex('82')), 'complete')
  assert.equal(outcome(decoder, Buffer.concat([hpackInteger(65_536, 5, 0x20), hex('82')])), 'complete')
})

test('fields beyond the limit of the list are not handed on, and the table is right still', () => {
  const decoder = createTestDecoder(100)
  const block = literals(
    [
      ['x-first', 'a'],
      ['x-second', 'b'.repeat(40)],
      ['x-third', 'c'],
    ],
    { form: 0x40 },
  )
  const names: string[] = []
  assert.equal(decoder.decode(block, 0, block.length, { onField: ({ name }) => void names.push(name) }), 'too-large')
  assert.deepEqual(names, ['x-first'])
  assert.deepEqual(decodeBlock(decoder, Buffer.from([0xbe])), [['x-third', 'c']])
})

test('every field counts 32 bytes beside its characters', () => {
  const exact = createTestDecoder(2 * 32 + 2 * 4)
  assert.equal(
    outcome(
      exact,
      literals([
        ['x-a', 'b'],
        ['x-c', 'd'],
      ]),
    ),
    'complete',
  )
  assert.equal(
    outcome(
      createTestDecoder(2 * 32 + 2 * 4 - 1),
      literals([
        ['x-a', 'b'],
        ['x-c', 'd'],
      ]),
    ),
    'too-large',
  )
})

test('a few bytes that stand for megabytes are given up early', () => {
  const decoder = createTestDecoder(65_536)
  decodeBlock(decoder, literals([['x-bomb', 'a'.repeat(4000)]], { form: 0x40 }))
  let fields = 0
  const bomb = Buffer.alloc(60_000, 0xbe)
  assert.equal(decoder.decode(bomb, 0, bomb.length, { onField: () => void fields++ }), 'flood')
  assert.ok(fields <= 16, `${fields} fields were handed on`)
})

const names: readonly (readonly [string, boolean])[] = [
  ['x-name', true],
  ["a!#$%&'*+-.^_`|~0", true],
  ['X-Name', false],
  ['x name', false],
  ['x:name', false],
  ['', false],
  ['x-näme', false],
  ['x-name\0', false],
]
const values: readonly (readonly [string, boolean])[] = [
  ['', true],
  ['plain', true],
  ['inner space\tand tab', true],
  [Buffer.from('Käse ✓').toString('latin1'), true],
  [' leading', false],
  ['trailing ', false],
  ['\ttab', false],
  ['tab\t', false],
  ['line\nfeed', false],
  ['carriage\rreturn', false],
  ['nul\0', false],
  ['delete\x7f', false],
  ['latin1 \xe4', false],
  ['overlong \xc0\xaf', false],
]
for (const huffman of [false, true]) {
  test(`names and values are judged, ${huffman ? 'Huffman-coded' : 'plain'}`, () => {
    for (const [text, sound] of names) {
      const decoder = createTestDecoder()
      const block = literals([[text, 'v']], { huffman })
      decoder.decode(block, 0, block.length, { onField: ({ fault }) => assert.equal(fault === 0, sound, JSON.stringify(text)) })
    }
    for (const [text, sound] of values) {
      const decoder = createTestDecoder()
      const block = literals([['x-name', text]], { huffman })
      decoder.decode(block, 0, block.length, {
        onField: ({ fault, value }) => {
          assert.equal(fault === 0, sound, JSON.stringify(text))
          assert.equal(value, text)
        },
      })
    }
  })
}
