/** The `traceparent` header (W3C Trace Context, level 1, §3.2). */
import type { RandomHex } from './random-hex.ts'

export interface Traceparent {
  /** 32 lower-case hexadecimal digits, not all zero. */
  readonly traceId: string
  /** 16 lower-case hexadecimal digits, not all zero. */
  readonly parentId: string
  readonly sampled: boolean
}

const LENGTH = 55
const ZEROS = '0'.repeat(32)

/** Undefined unless the value is well-formed; of later versions the part that version 00 defines is read. */
export function readTraceparent(value: string): Traceparent | undefined {
  if (value.length < LENGTH) return undefined
  const version = value.slice(0, 2)
  if (version === 'ff' || !isLowerHex(value, 0, 2)) return undefined
  if (value.length > LENGTH && (version === '00' || value.charCodeAt(LENGTH) !== 0x2d)) return undefined
  if (value.charCodeAt(2) !== 0x2d || value.charCodeAt(35) !== 0x2d || value.charCodeAt(52) !== 0x2d) return undefined
  if (!isLowerHex(value, 3, 35) || !isLowerHex(value, 36, 52) || !isLowerHex(value, 53, 55)) return undefined
  const traceId = value.slice(3, 35)
  const parentId = value.slice(36, 52)
  if (traceId === ZEROS || ZEROS.startsWith(parentId)) return undefined
  return { traceId, parentId, sampled: (Number.parseInt(value.slice(53, 55), 16) & 1) === 1 }
}

/** A new trace, not sampled: whether to record is for those who trace. */
export function beginTraceparent(random: RandomHex): Traceparent {
  return { traceId: nonZero(random, 32), parentId: nonZero(random, 16), sampled: false }
}

/** The header's value, version 00. */
export function writeTraceparent(trace: Traceparent): string {
  return `00-${trace.traceId}-${trace.parentId}-${trace.sampled ? '01' : '00'}`
}

function nonZero(random: RandomHex, digits: number): string {
  const taken = random.take(digits)
  return ZEROS.startsWith(taken) ? nonZero(random, digits) : taken
}

function isLowerHex(text: string, start: number, end: number): boolean {
  for (let index = start; index < end; index++) {
    const code = text.charCodeAt(index)
    if (!((code >= 0x30 && code <= 0x39) || (code >= 0x61 && code <= 0x66))) return false
  }
  return true
}
