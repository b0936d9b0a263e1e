/** Request identifiers and trace contexts. */
import assert from 'node:assert/strict'
import { randomFillSync } from 'node:crypto'
import { test } from 'node:test'
import { createRandomHex } from '#http/random-hex'
import { createRequestId, isRequestId } from '#http/request-id'
import { beginTraceparent, readTraceparent } from '#http/traceparent'

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736'
const SPAN = '00f067aa0ba902b7'

test('a request id is a token of 1 to 128 characters', () => {
  for (const text of ['a', '01890a5d-ac96-774b-bcce-b302099a8057', "!#$%&'*+-.^_`|~09azAZ", 'x'.repeat(128)]) {
    assert.equal(isRequestId(text), true, text)
  }
  for (const text of [
    '',
    'x'.repeat(129),
    'a b',
    'a\n',
    'a\r\nb: c',
    'a"b',
    'a/b',
    'a:b',
    'a,b',
    'a=b',
    'caf\xe9',
    '\u0100',
    '(a)',
    'a\0',
  ]) {
    assert.equal(isRequestId(text), false, JSON.stringify(text))
  }
})

test('a new request id is a UUIDv7 of its time, and no two are equal', () => {
  const random = createRandomHex(randomFillSync)
  const seen = new Set<string>()
  for (const now of [0, 1, 0xffff_ffff, 0x1_0000_0000, 1_795_000_000_000, 0xffff_ffff_ffff]) {
    for (let index = 0; index < 2000; index++) {
      const id = createRequestId(now, random)
      assert.match(id, /^[\da-f]{8}-[\da-f]{4}-7[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}$/)
      assert.equal(Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16), now)
      assert.ok(isRequestId(id))
      seen.add(id)
    }
  }
  assert.equal(seen.size, 12_000)
})

test('random digits are drawn in batches and never given out twice', () => {
  let fills = 0
  const random = createRandomHex((bytes) => {
    fills++
    for (let index = 0; index < bytes.length; index += 4)
      new DataView(bytes.buffer, bytes.byteOffset).setUint32(index, fills * 65_536 + index)
  })
  const taken = new Set<string>()
  for (let index = 0; index < 4096; index++) taken.add(random.take(8))
  assert.equal(taken.size, 4096)
  assert.equal(fills, 4)
})

test('the random part of an id has each byte that is drawn in two digits, but for version and variant', () => {
  let fills = 0
  const random = createRandomHex((bytes) => {
    fills++
    for (let index = 0; index < bytes.length; index++) bytes[index] = fills === 1 ? index : 0xff
  })
  assert.equal(random.uuidTail(), '7001-a203-040506070809')
  for (let index = 1; index < 128; index++) random.uuidTail()
  assert.equal(fills, 1)
  assert.equal(random.uuidTail(), '7fff-bfff-ffffffffffff')
  assert.equal(fills, 2)
})

test('a traceparent is read if the standard calls it valid', () => {
  for (const [value, sampled] of [
    [`00-${TRACE}-${SPAN}-01`, true],
    [`00-${TRACE}-${SPAN}-00`, false],
    [`00-${TRACE}-${SPAN}-ff`, true],
    [`00-${TRACE}-${SPAN}-02`, false],
    [`cc-${TRACE}-${SPAN}-01`, true],
    [`cc-${TRACE}-${SPAN}-01-what-the-future-brings`, true],
    [`cc-${TRACE}-${SPAN}-01-`, true],
  ] as const) {
    assert.deepEqual(readTraceparent(value), { traceId: TRACE, parentId: SPAN, sampled }, value)
  }
})

test('any other traceparent is as if it had not come', () => {
  for (const value of [
    '',
    `00-${TRACE}-${SPAN}`,
    `00-${TRACE}-${SPAN}-`,
    `00-${TRACE}-${SPAN}-1`,
    `00-${TRACE}-${SPAN}-011`,
    `00-${TRACE}-${SPAN}-01-`,
    `00-${TRACE}-${SPAN}-01-x`,
    `00-${TRACE}-${SPAN}-01 `,
    ` 00-${TRACE}-${SPAN}-01`,
    `ff-${TRACE}-${SPAN}-01`,
    `FF-${TRACE}-${SPAN}-01`,
    `0-${TRACE}-${SPAN}-01`,
    `cc-${TRACE}-${SPAN}-01x`,
    `00-${TRACE.toUpperCase()}-${SPAN}-01`,
    `00-${TRACE}-${SPAN.toUpperCase()}-01`,
    `00-${TRACE}-${SPAN}-0G`,
    `00-${'0'.repeat(32)}-${SPAN}-01`,
    `00-${TRACE}-${'0'.repeat(16)}-01`,
    `00_${TRACE}_${SPAN}_01`,
    `00-${TRACE}-${SPAN}-01\n`,
    `00-${TRACE.slice(1)}-${SPAN}-01`,
  ]) {
    assert.equal(readTraceparent(value), undefined, JSON.stringify(value))
  }
})

test('a trace that is begun reads back, and is never all zeros', () => {
  const random = createRandomHex(randomFillSync)
  const seen = new Set<string>()
  for (let index = 0; index < 1000; index++) {
    const value = beginTraceparent(random)
    assert.match(value, /^00-[\da-f]{32}-[\da-f]{16}-00$/)
    assert.notEqual(readTraceparent(value), undefined)
    seen.add(value)
  }
  assert.equal(seen.size, 1000)
  let fills = 0
  const zerosFirst = createRandomHex((bytes) => bytes.fill(fills++ === 0 ? 0 : 0xab))
  assert.equal(beginTraceparent(zerosFirst), `00-${'ab'.repeat(16)}-${'ab'.repeat(8)}-00`)
})
