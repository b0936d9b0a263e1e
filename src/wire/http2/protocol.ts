/** Numbers of HTTP/2: frame types, flags, settings, error codes and initial values (RFC 9113 §4, §6, §7). */
import type { ReasonCode } from '#base/reasons'

export const FRAME_HEAD_BYTES = 9

export const FRAME_DATA = 0x0
export const FRAME_HEADERS = 0x1
export const FRAME_PRIORITY = 0x2
export const FRAME_RST_STREAM = 0x3
export const FRAME_SETTINGS = 0x4
export const FRAME_PUSH_PROMISE = 0x5
export const FRAME_PING = 0x6
export const FRAME_GOAWAY = 0x7
export const FRAME_WINDOW_UPDATE = 0x8
export const FRAME_CONTINUATION = 0x9

/** Of SETTINGS and PING. */
export const FLAG_ACK = 0x1
/** Of DATA and HEADERS. */
export const FLAG_END_STREAM = 0x1
export const FLAG_END_HEADERS = 0x4
export const FLAG_PADDED = 0x8
export const FLAG_PRIORITY = 0x20

export const SETTING_HEADER_TABLE_SIZE = 0x1
export const SETTING_ENABLE_PUSH = 0x2
export const SETTING_MAX_CONCURRENT_STREAMS = 0x3
export const SETTING_INITIAL_WINDOW_SIZE = 0x4
export const SETTING_MAX_FRAME_SIZE = 0x5
export const SETTING_MAX_HEADER_LIST_SIZE = 0x6

export const NO_ERROR = 0x0
export const PROTOCOL_ERROR = 0x1
export const INTERNAL_ERROR = 0x2
export const FLOW_CONTROL_ERROR = 0x3
export const STREAM_CLOSED = 0x5
export const FRAME_SIZE_ERROR = 0x6
export const REFUSED_STREAM = 0x7
export const CANCEL = 0x8
export const COMPRESSION_ERROR = 0x9
export const ENHANCE_YOUR_CALM = 0xb

/** What every peer must take, so that no frame of ours is ever longer, nor any of theirs (RFC 9113 §4.2). */
export const MAX_FRAME_SIZE = 16_384
export const LARGEST_FRAME_SIZE = 16_777_215
export const DEFAULT_WINDOW = 65_535
export const DEFAULT_TABLE_SIZE = 4096
/** Of windows, and of stream identifiers. */
export const LARGEST_31_BIT = 0x7fff_ffff

/** What a client sends first (RFC 9113 §3.4). */
export const CLIENT_PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'

const ERROR_NAMES = [
  'NO_ERROR',
  'PROTOCOL_ERROR',
  'INTERNAL_ERROR',
  'FLOW_CONTROL_ERROR',
  'SETTINGS_TIMEOUT',
  'STREAM_CLOSED',
  'FRAME_SIZE_ERROR',
  'REFUSED_STREAM',
  'CANCEL',
  'COMPRESSION_ERROR',
  'CONNECT_ERROR',
  'ENHANCE_YOUR_CALM',
  'INADEQUATE_SECURITY',
  'HTTP_1_1_REQUIRED',
]

/** For records; unknown codes in hexadecimal. */
export function errorName(code: number): string {
  return ERROR_NAMES[code] ?? `0x${code.toString(16)}`
}

/** Why a connection or a stream cannot go on: the code for the peer, the reason and detail for ourselves. */
export interface Http2Fault {
  /** An error code of RFC 9113 §7. */
  readonly code: number
  readonly reason: ReasonCode
  readonly detail: string
}

export function http2Fault(code: number, reason: ReasonCode, detail: string): Http2Fault {
  return { code, reason, detail }
}
