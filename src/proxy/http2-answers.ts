/** What a refused HTTP/2 or gRPC caller is told: a head and nothing else (SURFACE §4). */
import type { ReasonCode } from '#base/reasons'
import { addHeader, createHeaderList, type HeaderList } from '#http/header-list'
import { statusOf } from './answers.ts'

export interface Http2Answer {
  readonly status: number
  readonly grpcStatus?: number
  readonly headers?: HeaderList
}

const RETRY_AFTER: HeaderList = createHeaderList()
addHeader(RETRY_AFTER, 'retry-after', '1')

/** gRPC callers get trailers-only answers under status 200. */
export function http2Answer(reason: ReasonCode, grpc: boolean): Http2Answer {
  const status = statusOf(reason)
  if (grpc) return { status: 200, grpcStatus: grpcStatusOfHttp(status) }
  return status === 503 || status === 429 ? { status, headers: RETRY_AFTER } : { status }
}

export function grpcStatusOf(reason: ReasonCode): number {
  return grpcStatusOfHttp(statusOf(reason))
}

function grpcStatusOfHttp(status: number): number {
  switch (status) {
    case 401:
      return 16
    case 403:
      return 7
    case 429:
      return 8
    case 502:
    case 503:
      return 14
    case 504:
    case 408:
      return 4
    default:
      return 13
  }
}
