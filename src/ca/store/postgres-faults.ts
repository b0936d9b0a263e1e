/** What PostgreSQL and the way to it say, in the words of the product. */
import { PosternError } from '#base/errors'
import type { StoreFault } from './store.ts'

/** SQLSTATE of a server's answer (PostgreSQL, appendix A), or the system's code of a failed connection. */
export function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : ''
}

/** Each has a digit; the system's codes of the same length, such as EPIPE, have none. */
const SQLSTATE = /^(?=.*\d)[0-9A-Z]{5}$/

/** The connection went before the server's answer came, so whether the statement was done is unknown. */
export function isConnectionLoss(error: unknown): boolean {
  const code = codeOf(error)
  // 57P01 to 57P03: the server is being shut down, has crashed, or starts. 08: connection exceptions. 25P03: our idle transaction was ended.
  if (/^(?:57P0[1235]|08|25P03)/.test(code)) return true
  if (SQLSTATE.test(code)) return false
  return error instanceof Error && !(error instanceof PosternError) && !(error instanceof TypeError)
}

/** Another transaction won; the same statement may succeed now. */
export function isContention(error: unknown): boolean {
  return codeOf(error) === '40001' || codeOf(error) === '40P01'
}

/** One record is at fault: it is there already (23505), or the table cannot hold it (22…, 23…). */
export function isItemsOwnFault(error: unknown): boolean {
  return /^2[23]/.test(codeOf(error)) && SQLSTATE.test(codeOf(error))
}

export function conflict(error: unknown): PosternError {
  return new PosternError('ERR_CA_STORE_CONFLICT', `Nothing was recorded: ${messageOf(error)}.`, { cause: error })
}

/** @param server its address and database, without user and password */
export function faultOf(error: unknown, server: string): StoreFault {
  if (error instanceof PosternError) return { reason: error.code, detail: error.message }
  const code = codeOf(error)
  // PgBouncer's own words, under the code of a protocol violation.
  if (error instanceof Error && /statement pooling mode/.test(error.message)) {
    const detail = `What answers at ${server} is a PgBouncer that pools by statement, and some of what must not be done twice takes a transaction. Set \`pool_mode = transaction\` (or \`session\`) for this database.`
    return { reason: 'ERR_CA_STORE', detail }
  }
  const unreachable = (why: string): StoreFault => ({
    reason: 'ERR_CA_STORE_UNREACHABLE',
    detail: `PostgreSQL at ${server} ${why}: ${messageOf(error)}. Nothing is issued meanwhile; the CA connects again by itself.`,
  })
  if (code.startsWith('28')) return unreachable('turned the CA away; check user and password')
  if (code === '3D000') return unreachable('has no such database; create it')
  if (code === '42501') return unreachable('does not let this user do it; make it the owner of the database or of the schema')
  if (code === '53100')
    return {
      reason: 'ERR_CA_STORE_FULL',
      detail: `The disk of PostgreSQL at ${server} is full. Free space on it; issuing goes on by itself.`,
    }
  if (code === '25006')
    return {
      reason: 'ERR_CA_STORE_READ_ONLY',
      detail: `PostgreSQL at ${server} takes no writes: it is a standby, or set to read only. Give the primary's address.`,
    }
  if (code === 'XX001' || code === 'XX002')
    return {
      reason: 'ERR_CA_STORE_CORRUPT',
      detail: `PostgreSQL at ${server} found damaged data: ${messageOf(error)}. Restore a backup of the database.`,
    }
  if (code.startsWith('53')) return unreachable('has no more room for connections or memory')
  if (error instanceof Error && error.message.startsWith('Query read timeout'))
    return unreachable('does not answer in time (a PgBouncer before it must lend at least two connections: `default_pool_size`)')
  if (isConnectionLoss(error)) return unreachable('does not answer')
  return { reason: 'ERR_CA_STORE', detail: `PostgreSQL at ${server} refused a statement (${code}): ${messageOf(error)}.` }
}

function messageOf(error: unknown): string {
  // Of an address with several IPs, each of which failed.
  if (error instanceof AggregateError && error.message === '') return error.errors.map(messageOf).join('; ')
  return error instanceof Error ? error.message.replace(/\.$/, '') : String(error)
}
