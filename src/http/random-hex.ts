/** Random hexadecimal digits, drawn from the system's generator in batches so that one identifier costs a slice. */
import { Buffer } from 'node:buffer'

export interface RandomHex {
  /** `count` lower-case hexadecimal digits that are never given out again; at most 64. */
  take(count: number): string
}

const BATCH_BYTES = 4096

/** @param fill overwrites the array with cryptographically strong random bytes: `randomFillSync` of node:crypto. */
export function createRandomHex(fill: (bytes: Uint8Array) => unknown): RandomHex {
  const bytes = Buffer.alloc(BATCH_BYTES)
  let digits = ''
  let next = 0
  return {
    take(count) {
      if (next + count > digits.length) {
        fill(bytes)
        digits = bytes.toString('hex')
        next = 0
      }
      const start = next
      next += count
      return digits.slice(start, next)
    },
  }
}
