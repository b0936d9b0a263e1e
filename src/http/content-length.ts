/** The number in a Content-Length (RFC 9110 §8.6), read as strictly as the standard writes it. */

/** Of 2^53 - 1. */
const MOST_DIGITS = 16

/** Digits alone, at most 2^53 - 1; else -1. */
export function parseLength(text: string): number {
  if (text === '' || text.length > MOST_DIGITS) return -1
  let length = 0
  for (let index = 0; index < text.length; index++) {
    const digit = text.charCodeAt(index) - 0x30
    if (digit < 0 || digit > 9) return -1
    length = length * 10 + digit
  }
  return length <= Number.MAX_SAFE_INTEGER ? length : -1
}
