/** Identifiers of requests: which ones callers may bring, and new ones (UUIDv7, RFC 9562 §5.7). */
import type { RandomHex } from './random-hex.ts'

const WELL_FORMED = /^[\w!#$%&'*+.^`|~-]{1,128}$/
const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'))
const VARIANT = ['8', '9', 'a', 'b']

/** A token of 1 to 128 characters: safe in headers, records and paths of the admin interface. */
export function isRequestId(text: string): boolean {
  return WELL_FORMED.test(text)
}

/** @param now ms since the epoch */
export function createRequestId(now: number, random: RandomHex): string {
  // Split in two because bitwise operators see 32 bits only.
  const high = Math.floor(now / 0x1_0000_0000)
  const low = now >>> 0
  return (
    byte(high >>> 8) +
    byte(high) +
    byte(low >>> 24) +
    byte(low >>> 16) +
    '-' +
    byte(low >>> 8) +
    byte(low) +
    '-7' +
    random.take(3) +
    '-' +
    (VARIANT[Number.parseInt(random.take(1), 16) & 3] ?? '8') +
    random.take(3) +
    '-' +
    random.take(12)
  )
}

function byte(value: number): string {
  return HEX[value & 0xff] ?? ''
}
