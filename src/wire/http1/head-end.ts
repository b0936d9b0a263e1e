/** Finds where a head ends, and says what is wrong with one that does not (RFC 9112 §2.1). */
import { type Refusal, refusal } from '#base/result'
import type { HeadLimits } from './limits.ts'

const LF = 0x0a
const CR = 0x0d

/**
 * Index just past the first empty line, or -1 if none is there yet. When more bytes have come, go on from
 * `Math.max(start, lengthBefore - 3)`. An empty line made of bare LFs counts as well: the reader then refuses the head,
 * where waiting for CR LF CR LF would take a smuggled request for more of the same head, or wait for ever.
 */
export function findHeadEnd(bytes: Buffer, from: number): number {
  const { length } = bytes
  // Both `LF LF` and `LF CR LF` hold two line-end bytes no more than two apart: looking at every second byte meets one of them.
  for (let index = from + 1; index < length; index += 2) {
    if ((bytes[index] as number) > CR) continue
    for (let at = index - 1; at <= index; at++) {
      if (bytes[at] !== LF) continue
      if (bytes[at + 1] === LF) return at + 2
      if (bytes[at + 1] === CR && bytes[at + 2] === LF) return at + 3
    }
  }
  return -1
}

/** What a head is refused for that has no end within `limits.bytes`: its target, if even the first line has no end there. */
export function oversizedHead(bytes: Buffer, start: number, limits: HeadLimits): Refusal {
  const lineEnd = bytes.indexOf(LF, start + 2)
  const longTarget = lineEnd === -1 || lineEnd - start >= limits.bytes
  return refusal(longTarget ? 'ERR_HTTP_TARGET_TOO_LONG' : 'ERR_HTTP_HEAD_TOO_LARGE', `limit is ${limits.bytes} bytes`)
}
