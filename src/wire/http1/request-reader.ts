/** Reads the head of a request (RFC 9112 §2, §3, §5, §6). */
import type { Refusal } from '#base/result'
import type { HeadLimits } from './limits.ts'
import type { Http1Request } from './message.ts'

export declare function readRequestHead(bytes: Buffer, start: number, end: number, limits: HeadLimits): Http1Request | Refusal
