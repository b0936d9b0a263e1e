/** Bounds on what one message may hold besides its body, and the marks for bodies without a length of their own. */

export interface HeadLimits {
  /** Of a head with its first line, and of a trailer section; bytes. */
  readonly bytes: number
  /** Number of header lines, and of trailer lines. */
  readonly headers: number
}

/** `bodyLength` of a body in chunks. */
export const CHUNKED = -1

/** `bodyLength` of a response body that lasts until the connection ends. */
export const UNTIL_CLOSE = -2
