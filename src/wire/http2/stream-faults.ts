/** Faults of a peer in what it sends on streams, and with windows (RFC 9113 §5.1, §6.1, §6.9). */
import { FLOW_CONTROL_ERROR, type Http2Fault, http2Fault, PROTOCOL_ERROR } from './protocol.ts'
import type { Http2Stream } from './stream.ts'

export function checkData<T>(stream: Http2Stream<T>, length: number, flow: number, endStream: boolean): Http2Fault | undefined {
  if (flow > stream.receiveWindow) return http2Fault(FLOW_CONTROL_ERROR, 'ERR_HTTP2_FLOW_CONTROL', 'DATA beyond the window of the stream')
  if (!stream.headed) return http2Fault(PROTOCOL_ERROR, 'ERR_HTTP2_STREAM_STATE', 'DATA before the head')
  if (stream.expected !== -1 && (length > stream.expected || (endStream && length !== stream.expected))) {
    return http2Fault(PROTOCOL_ERROR, 'ERR_HTTP2_CONTENT_LENGTH', 'DATA')
  }
  return undefined
}

export function idle(frame: string): Http2Fault {
  return http2Fault(PROTOCOL_ERROR, 'ERR_HTTP2_STREAM_STATE', `${frame} on a stream that was never opened`)
}

export function overflow(): Http2Fault {
  return http2Fault(FLOW_CONTROL_ERROR, 'ERR_HTTP2_FLOW_CONTROL', 'a window beyond 2^31 - 1')
}
