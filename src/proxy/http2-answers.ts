/** What a refused HTTP/2 or gRPC caller is told: a head and nothing else (SURFACE §4). */
import type { ReasonCode } from '#base/reasons'
import { addHeader, createHeaderList, type HeaderList } from '#http/header-list'
import { CHALLENGE, retryAfterOf, statusOf } from './answers.ts'

export interface Http2Answer {
  readonly status: number
  readonly grpcStatus?: number
  readonly headers?: HeaderList
}

/** gRPC callers get trailers-only answers under status 200. @param retryAfter seconds, as far as they are known */
export function http2Answer(reason: ReasonCode, grpc: boolean, retryAfter = 0): Http2Answer {
  const status = statusOf(reason)
  if (grpc) return { status: 200, grpcStatus: grpcStatusOfHttp(status) }
  const seconds = retryAfterOf(status, retryAfter)
  if (seconds === 0 && status !== 401) return { status }
  const headers = createHeaderList()
  if (seconds > 0) addHeader(headers, 'retry-after', String(seconds))
  if (status === 401) addHeader(headers, 'www-authenticate', CHALLENGE)
  return { status, headers }
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
