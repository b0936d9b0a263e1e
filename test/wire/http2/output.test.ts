import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createSlabPool, Output, type SlabPool } from '#wire/http2/output'

function piece(pool: SlabPool, text: string): Buffer {
  const output = new Output(pool)
  output.reserve(text.length)
  output.position += output.bytes.write(text, output.position, 'latin1')
  return output.take() as Buffer
}

test('what was written out is room again', () => {
  const pool = createSlabPool()
  const first = piece(pool, 'first')
  pool.reuse(first)
  const second = piece(pool, 'other')
  assert.deepEqual([second.buffer === first.buffer, second.byteOffset], [true, first.byteOffset])
})

test('a slab that was used up is begun anew once its last piece was written out', () => {
  const pool = createSlabPool()
  const first = piece(pool, 'x'.repeat(63_000))
  pool.reuse(first)
  assert.equal(piece(pool, 'second').buffer, first.buffer)
})

test('a piece behind which another was cut is left alone', () => {
  const pool = createSlabPool()
  const first = piece(pool, 'first')
  const second = piece(pool, 'second')
  pool.reuse(first)
  assert.equal(piece(pool, 'third').byteOffset, second.byteOffset + second.length)
  assert.deepEqual([first.toString(), second.toString()], ['first', 'second'])
})

test('a piece is given back once', () => {
  const pool = createSlabPool()
  const first = piece(pool, 'first')
  pool.reuse(first)
  const second = piece(pool, 'a longer one')
  pool.reuse(first)
  assert.equal(piece(pool, 'third').byteOffset, second.byteOffset + second.length)
})

test('pieces of memory that is no slab of the pool change nothing', () => {
  const pool = createSlabPool()
  const first = piece(pool, 'first')
  pool.reuse(Buffer.alloc(5))
  pool.reuse(piece(createSlabPool(), 'first'))
  assert.equal(piece(pool, 'second').byteOffset, first.byteOffset + first.length)
})
