/** Writes DER (X.690 §10), the inverse of `der`: elements from their content, in the shortest form. */

/** One element of these contents in a row. */
export function derElement(tag: number, ...contents: readonly Uint8Array[]): Buffer {
  let length = 0
  for (const content of contents) length += content.length
  const octets = length < 0x80 ? 0 : length < 0x100 ? 1 : length < 0x10000 ? 2 : 3
  const element = Buffer.allocUnsafe(2 + octets + length)
  element[0] = tag
  if (octets === 0) element[1] = length
  else {
    element[1] = 0x80 | octets
    element.writeUIntBE(length, 2, octets)
  }
  let at = 2 + octets
  for (const content of contents) {
    element.set(content, at)
    at += content.length
  }
  return element
}

/** A BIT STRING of whole octets. */
export function derOctetBits(content: Uint8Array): Buffer {
  return derElement(0x03, NO_UNUSED_BITS, content)
}

/** RFC 5280 §4.1.2.5: UTCTime until 2049, GeneralizedTime from then on; whole seconds. @param time ms since the epoch */
export function derTime(time: number): Buffer {
  const digits = new Date(time).toISOString().replaceAll(/[-:T]/g, '').slice(0, 14)
  const isShort = digits < '2050'
  return derElement(isShort ? 0x17 : 0x18, Buffer.from(`${isShort ? digits.slice(2) : digits}Z`, 'latin1'))
}

const NO_UNUSED_BITS = Buffer.of(0)
