/** What PostgreSQL's codes and the system's mean for the store. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { faultOf, isConnectionLoss, isContention, isItemsOwnFault } from '#ca/store/postgres-faults'

function errorWith(code: string | undefined): Error {
  return Object.assign(new Error('words of the server.'), code === undefined ? {} : { code })
}

test('each code is told apart: of the connection, of another transaction, of one record, of the server', () => {
  const rows: readonly (readonly [code: string | undefined, kind: 'loss' | 'contention' | 'own' | 'other', reason: string])[] = [
    ['EPIPE', 'loss', 'ERR_CA_STORE_UNREACHABLE'],
    ['ECONNREFUSED', 'loss', 'ERR_CA_STORE_UNREACHABLE'],
    ['ECONNRESET', 'loss', 'ERR_CA_STORE_UNREACHABLE'],
    ['ENOENT', 'loss', 'ERR_CA_STORE_UNREACHABLE'],
    [undefined, 'loss', 'ERR_CA_STORE_UNREACHABLE'],
    ['57P01', 'loss', 'ERR_CA_STORE_UNREACHABLE'],
    ['57P02', 'loss', 'ERR_CA_STORE_UNREACHABLE'],
    ['57P03', 'loss', 'ERR_CA_STORE_UNREACHABLE'],
    ['08006', 'loss', 'ERR_CA_STORE_UNREACHABLE'],
    ['25P03', 'loss', 'ERR_CA_STORE_UNREACHABLE'],
    ['40001', 'contention', 'ERR_CA_STORE'],
    ['40P01', 'contention', 'ERR_CA_STORE'],
    ['23505', 'own', 'ERR_CA_STORE'],
    ['22P02', 'own', 'ERR_CA_STORE'],
    ['28P01', 'other', 'ERR_CA_STORE_UNREACHABLE'],
    ['3D000', 'other', 'ERR_CA_STORE_UNREACHABLE'],
    ['53300', 'other', 'ERR_CA_STORE_UNREACHABLE'],
    ['53100', 'other', 'ERR_CA_STORE_FULL'],
    ['25006', 'other', 'ERR_CA_STORE_READ_ONLY'],
    ['XX001', 'other', 'ERR_CA_STORE_CORRUPT'],
    ['42601', 'other', 'ERR_CA_STORE'],
  ]
  for (const [code, kind, reason] of rows) {
    const error = errorWith(code)
    assert.deepEqual(
      { loss: isConnectionLoss(error), contention: isContention(error), own: isItemsOwnFault(error) },
      { loss: kind === 'loss', contention: kind === 'contention', own: kind === 'own' },
      code ?? 'none',
    )
    const fault = faultOf(error, 'db.internal:5432/postern')
    assert.equal(fault.reason, reason, code ?? 'none')
    assert.ok(fault.detail.includes('db.internal:5432/postern'))
  }
  assert.match(faultOf(new AggregateError([errorWith('ECONNREFUSED')], ''), 'db').detail, /words of the server/)
})

test('what PgBouncer in between has wrong is said with what to set', () => {
  const pooled = Object.assign(new Error('transaction blocks not allowed in statement pooling mode'), { code: '08P01' })
  assert.deepEqual(faultOf(pooled, 'db').reason, 'ERR_CA_STORE')
  assert.match(faultOf(pooled, 'db').detail, /Set `pool_mode = transaction`/)
  const late = faultOf(new Error('Query read timeout'), 'db')
  assert.equal(late.reason, 'ERR_CA_STORE_UNREACHABLE')
  assert.match(late.detail, /at least two connections: `default_pool_size`/)
})
