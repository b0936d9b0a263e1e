/** The `traceparent` header (W3C Trace Context, level 1, §3.2). */
import type { RandomHex } from './random-hex.ts'

export interface Traceparent {
  /** 32 lower-case hexadecimal digits, not all zero. */
  readonly traceId: string
  /** 16 lower-case hexadecimal digits, not all zero. */
  readonly parentId: string
  readonly sampled: boolean
}

/** Version 00 is exactly this; later versions may go on after another hyphen. Zero identifiers are invalid in all. */
const FORM = /^(?!ff)[\da-f]{2}-(?!0{32})[\da-f]{32}-(?!0{16})[\da-f]{16}-[\da-f]{2}(?:$|-)/
const LENGTH = 55

/** The last digit of flags with the lowest bit set. */
const SAMPLED = '13579bdf'
const ZEROS = '0'.repeat(32)

/** Undefined unless the value is well-formed; of later versions the part that version 00 defines is read. */
export function readTraceparent(value: string): Traceparent | undefined {
  if (!FORM.test(value) || (value.length > LENGTH && value.startsWith('00'))) return undefined
  return { traceId: value.slice(3, 35), parentId: value.slice(36, 52), sampled: SAMPLED.includes(value.charAt(54)) }
}

/** The header's value of a new trace, not sampled: whether to record is for those who trace. */
export function beginTraceparent(random: RandomHex): string {
  return `00-${nonZero(random, 32)}-${nonZero(random, 16)}-00`
}

function nonZero(random: RandomHex, digits: number): string {
  const taken = random.take(digits)
  return ZEROS.startsWith(taken) ? nonZero(random, digits) : taken
}
