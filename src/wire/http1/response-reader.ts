/** Reads the head of a response (RFC 9112 §4, §5, §6). */
import type { Refusal } from '#base/result'
import type { HeadLimits } from './limits.ts'
import type { Http1Response } from './message.ts'

export declare function readResponseHead(
  bytes: Buffer,
  start: number,
  end: number,
  limits: HeadLimits,
  requestMethod: string,
): Http1Response | Refusal
