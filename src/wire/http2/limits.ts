/** Bounds on what one peer may ask of a connection. */
import type { HeadLimits } from '../http1/limits.ts'

/** `bytes` bounds one header block on the wire, and its list of fields decoded (names, values and 32 for each, as RFC 9113 §6.5.2 counts). */
export interface Http2Limits extends HeadLimits {
  /** Streams that the caller may have open at once. */
  readonly streams: number
}
