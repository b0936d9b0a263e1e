/** Finds where a head ends. */
import type { Refusal } from '#base/result'

/** Index just past the empty line; -1 if it is not there yet. When more bytes have come, go on from `max(start, length before - 3)`. */
export declare function findHeadEnd(bytes: Buffer, from: number): number

/** What to answer when `limits.bytes` have come and no end of the head among them: 414 or 431. */
export declare function oversizedHead(bytes: Buffer, start: number): Refusal
