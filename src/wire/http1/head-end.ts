/** Finds where a head ends, and says what is wrong with one that does not (RFC 9112 §2.1). */
import { Buffer } from 'node:buffer'
import { type Refusal, refusal } from '#base/result'
import type { HeadLimits } from './limits.ts'

const LF = 0x0a

const EMPTY_LINE = Buffer.from('\n\r\n')
const BARE_EMPTY_LINE = Buffer.from('\n\n')

/**
 * Index just past an empty line, or -1 if none is there yet. When more bytes have come, go on from
 * `Math.max(start, lengthBefore - 3)`. An empty line made of bare LFs counts as well: the reader then refuses the head,
 * where waiting for CR LF CR LF would take a smuggled request for more of the same head, or wait for ever.
 */
export function findHeadEnd(bytes: Buffer, from: number): number {
  const end = bytes.indexOf(EMPTY_LINE, from)
  if (end !== -1) return end + 3
  const bareEnd = bytes.indexOf(BARE_EMPTY_LINE, from)
  return bareEnd === -1 ? -1 : bareEnd + 2
}

/** What a head is refused for that has no end within `limits.bytes`: its target, if even the first line has no end there. */
export function oversizedHead(bytes: Buffer, start: number, limits: HeadLimits): Refusal {
  const lineEnd = bytes.indexOf(LF, start + 2)
  const longTarget = lineEnd === -1 || lineEnd - start >= limits.bytes
  return refusal(longTarget ? 'ERR_HTTP_TARGET_TOO_LONG' : 'ERR_HTTP_HEAD_TOO_LARGE', `limit is ${limits.bytes} bytes`)
}
