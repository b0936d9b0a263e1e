import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  type DerCursor,
  enter,
  finish,
  hasMore,
  isMalformed,
  nextTag,
  openDer,
  readContent,
  readElement,
  readNamedBits,
  readOctetBits,
  readOptionalBoolean,
  readUnsigned,
  skip,
  TAG,
} from '#pki/der'

function open(hex: string): DerCursor {
  return openDer(Buffer.from(hex.replaceAll(' ', ''), 'hex'))
}

test('nested values are read in their order, and the cursor stands behind each', () => {
  const cursor = open('30 09 02 01 05 30 04 04 02 ab cd')
  const outer = enter(cursor, TAG.sequence)
  finish(cursor)
  assert.deepEqual(readUnsigned(outer), Buffer.of(5))
  assert.equal(nextTag(outer), TAG.sequence)
  const inner = enter(outer, TAG.sequence)
  finish(outer)
  assert.deepEqual(readElement(inner, TAG.octetString).toString('hex'), '0402abcd')
  assert.ok(!hasMore(inner))
  assert.equal(nextTag(inner), -1)
  finish(inner)
  assert.ok(!isMalformed(cursor))
})

/** What is wrong → DER of an OCTET STRING that has it. */
const FAULTS: Readonly<Record<string, string>> = {
  'nothing at all': '',
  'a tag without a length': '04',
  'another tag than the one asked for': '05 00',
  'content that ends too early': '04 02 ab',
  'an indefinite length': '04 80 ab 00 00',
  'a long length where a short one does': '04 81 02 ab cd',
  'a length with a leading zero octet': `04 82 00 81 ${'00'.repeat(129)}`,
  'a length of more octets than any document has': '04 84 00 00 00 01 ab',
  'a length whose octets end too early': '04 82 01',
  'a length past every bound': '04 83 ff ff ff 00',
}

for (const [title, hex] of Object.entries(FAULTS)) {
  test(`${title} is malformed, and yields nothing`, () => {
    const cursor = open(hex)
    assert.equal(readContent(cursor, TAG.octetString).length, 0)
    assert.ok(isMalformed(cursor))
    assert.equal(readElement(cursor, TAG.octetString).length, 0)
    assert.ok(!hasMore(cursor))
  })
}

test('the long form of a length is read where it is needed', () => {
  for (const size of [128, 255, 256, 65_535, 65_536]) {
    const octets = size < 256 ? 1 : size < 65_536 ? 2 : 3
    const header = Buffer.of(0x04, 0x80 | octets, ...[16, 8, 0].slice(3 - octets).map((shift) => (size >> shift) & 0xff))
    const cursor = openDer(Buffer.concat([header, Buffer.alloc(size, 7)]))
    assert.equal(readContent(cursor, TAG.octetString).length, size)
    assert.ok(!isMalformed(cursor))
  }
})

test('a multi-octet tag is refused, also by whoever only passes it', () => {
  const cursor = open('1f 81 01 00')
  skip(cursor)
  assert.ok(isMalformed(cursor))
})

test('a fault inside marks the document, so that nothing after it is read', () => {
  const cursor = open('30 02 04 05 02 01 07')
  const inner = enter(cursor, TAG.sequence)
  readContent(inner, TAG.octetString)
  assert.ok(isMalformed(cursor))
  assert.deepEqual(readUnsigned(cursor), Buffer.alloc(0))
})

test('what is left over where a value should end is a fault', () => {
  const cursor = open('02 01 05 00')
  readUnsigned(cursor)
  finish(cursor)
  assert.ok(isMalformed(cursor))
})

test('an INTEGER loses its sign octet, and is refused if negative or padded', () => {
  for (const [hex, value] of [
    ['02 01 00', '00'],
    ['02 01 7f', '7f'],
    ['02 02 00 80', '80'],
    ['02 03 01 00 00', '010000'],
  ] as const) {
    const cursor = open(hex)
    assert.equal(readUnsigned(cursor).toString('hex'), value)
    assert.ok(!isMalformed(cursor), hex)
  }
  for (const hex of ['02 01 80', '02 01 ff', '02 02 00 7f', '02 02 00 00', '02 00']) {
    const cursor = open(hex)
    readUnsigned(cursor)
    assert.ok(isMalformed(cursor), hex)
  }
})

test('a BOOLEAN is one octet, all ones or all zeros', () => {
  assert.equal(readOptionalBoolean(open('01 01 ff')), true)
  assert.equal(readOptionalBoolean(open('01 01 00')), false)
  assert.equal(readOptionalBoolean(open('04 00')), false)
  for (const hex of ['01 01 01', '01 02 ff ff', '01 00']) {
    const cursor = open(hex)
    readOptionalBoolean(cursor)
    assert.ok(isMalformed(cursor), hex)
  }
})

test('named bits say how many of them are unused, and those are zero', () => {
  for (const [hex, bits] of [
    ['03 02 07 80', 0x8000],
    ['03 02 01 06', 0x0600],
    ['03 03 07 00 80', 0x0080],
    ['03 01 00', 0],
  ] as const) {
    const cursor = open(hex)
    assert.equal(readNamedBits(cursor), bits)
    assert.ok(!isMalformed(cursor), hex)
  }
  for (const hex of ['03 00', '03 01 01', '03 02 08 80', '03 02 07 ff', '03 04 00 80 00 00']) {
    const cursor = open(hex)
    readNamedBits(cursor)
    assert.ok(isMalformed(cursor), hex)
  }
})

test('a BIT STRING of octets has no unused bits', () => {
  assert.deepEqual(readOctetBits(open('03 03 00 ab cd')), Buffer.of(0xab, 0xcd))
  const cursor = open('03 03 01 ab cc')
  readOctetBits(cursor)
  assert.ok(isMalformed(cursor))
})
