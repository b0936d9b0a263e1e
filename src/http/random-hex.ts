/** Random hexadecimal digits, drawn from the system's generator in batches so that one identifier costs a slice. */

export interface RandomHex {
  /** `count` lower-case digits that are never given out again; at most 64. */
  take(count: number): string
  /** What follows the time in a UUIDv7 (RFC 9562 §5.7): `7xxx-yxxx-xxxxxxxxxxxx`, never given out again. */
  uuidTail(): string
}

const BATCH_BYTES = 4096
const TAILS = 128
const TAIL = '7xxx-yxxx-xxxxxxxxxxxx'
/** Where each random byte of a tail stands, two digits each; a further one is for the variant. */
const PLACES = Uint8Array.of(0, 2, 5, 7, 10, 12, 14, 16, 18, 20)
const TAIL_BYTES = PLACES.length + 1
const VARIANT_AT = 5
const DIGITS = Buffer.from('0123456789abcdef', 'latin1')

/** @param fill overwrites the array with cryptographically strong random bytes: `randomFillSync` of node:crypto. */
export function createRandomHex(fill: (bytes: Uint8Array) => unknown): RandomHex {
  const bytes = Buffer.alloc(BATCH_BYTES)
  let digits = ''
  let next = 0

  const tailBytes = new Uint8Array(TAILS * TAIL_BYTES)
  const characters = Buffer.alloc(TAILS * TAIL.length, TAIL, 'latin1')
  let tails = ''
  let nextTail = TAILS

  function drawTails(): void {
    fill(tailBytes)
    let taken = 0
    for (let start = 0; start < characters.length; start += TAIL.length) {
      for (const place of PLACES) {
        const byte = tailBytes[taken++] ?? 0
        characters[start + place] = DIGITS[byte >> 4] ?? 0
        characters[start + place + 1] = DIGITS[byte & 15] ?? 0
      }
      characters[start] = TAIL.charCodeAt(0)
      characters[start + VARIANT_AT] = DIGITS[8 | ((tailBytes[taken++] ?? 0) & 3)] ?? 0
    }
    tails = characters.toString('latin1')
    nextTail = 0
  }

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
    uuidTail() {
      if (nextTail === TAILS) drawTails()
      const start = nextTail++ * TAIL.length
      return tails.slice(start, start + TAIL.length)
    },
  }
}
