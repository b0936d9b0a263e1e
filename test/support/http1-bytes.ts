/** Writes HTTP/1.1 messages by hand for tests, wrong ones too, and reads them with the codec under test. */
import type { Refusal } from '#base/result'
import { findHeadEnd } from '#wire/http1/head-end'
import type { HeadLimits } from '#wire/http1/limits'
import type { Http1Request, Http1Response } from '#wire/http1/message'
import { readRequestHead } from '#wire/http1/request-reader'
import { readResponseHead } from '#wire/http1/response-reader'

export const TEST_LIMITS: HeadLimits = { bytes: 65_536, headers: 100 }

/** Lines joined by CR LF, with the empty line at the end. Characters are bytes. */
export function head(...lines: string[]): Buffer {
  return Buffer.from([...lines, '', ''].join('\r\n'), 'latin1')
}

/** Reads one head as the proxy does; undefined where its end is not there. */
export function readRequest(bytes: Buffer, limits: HeadLimits = TEST_LIMITS): Http1Request | Refusal | undefined {
  const end = findHeadEnd(bytes, 0)
  return end === -1 ? undefined : readRequestHead(bytes, 0, end, limits)
}

export function readResponse(bytes: Buffer, method = 'GET', limits: HeadLimits = TEST_LIMITS): Http1Response | Refusal | undefined {
  const end = findHeadEnd(bytes, 0)
  return end === -1 ? undefined : readResponseHead(bytes, 0, end, limits, method)
}
