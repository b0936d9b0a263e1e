/** Identifiers of requests: which ones callers may bring, and new ones (UUIDv7, RFC 9562 §5.7). */
import type { RandomHex } from './random-hex.ts'

const WELL_FORMED = /^[\w!#$%&'*+.^`|~-]{1,128}$/

/** A token of 1 to 128 characters: safe in headers, records and paths of the admin interface. */
export function isRequestId(text: string): boolean {
  return WELL_FORMED.test(text)
}

let prefixTime = Number.NaN
let prefix = ''

/** @param now ms since the epoch */
export function createRequestId(now: number, random: RandomHex): string {
  // At load, many begin in one millisecond.
  if (now !== prefixTime) {
    const digits = Math.floor(now).toString(16).padStart(12, '0')
    prefix = `${digits.slice(-12, -4)}-${digits.slice(-4)}-`
    prefixTime = now
  }
  return prefix + random.uuidTail()
}
