/** What the peer's SETTINGS say (RFC 9113 §6.5). */
import type { Buffer } from 'node:buffer'
import { uint32At } from './frame-reader.ts'
import {
  DEFAULT_TABLE_SIZE,
  DEFAULT_WINDOW,
  FLOW_CONTROL_ERROR,
  type Http2Fault,
  http2Fault,
  LARGEST_31_BIT,
  LARGEST_FRAME_SIZE,
  MAX_FRAME_SIZE,
  PROTOCOL_ERROR,
  SETTING_ENABLE_PUSH,
  SETTING_HEADER_TABLE_SIZE,
  SETTING_INITIAL_WINDOW_SIZE,
  SETTING_MAX_CONCURRENT_STREAMS,
  SETTING_MAX_FRAME_SIZE,
} from './protocol.ts'

/** In force as soon as they are read. Others are none of our business: no frame of ours is longer than any peer must take. */
export interface PeerSettings {
  headerTableSize: number
  /** Infinity unless said. */
  maxConcurrentStreams: number
  initialWindow: number
}

export function createPeerSettings(): PeerSettings {
  return { headerTableSize: DEFAULT_TABLE_SIZE, maxConcurrentStreams: Number.POSITIVE_INFINITY, initialWindow: DEFAULT_WINDOW }
}

/** Reads a SETTINGS payload into `settings`, in order. @param fromServer servers may not enable push */
export function readSettings(
  settings: PeerSettings,
  bytes: Buffer,
  start: number,
  end: number,
  fromServer: boolean,
): Http2Fault | undefined {
  for (let at = start; at < end; at += 6) {
    const value = uint32At(bytes, at + 2)
    switch (((bytes[at] as number) << 8) | (bytes[at + 1] as number)) {
      case SETTING_HEADER_TABLE_SIZE:
        settings.headerTableSize = value
        break
      case SETTING_ENABLE_PUSH:
        if (value > (fromServer ? 0 : 1)) return http2Fault(PROTOCOL_ERROR, 'ERR_HTTP2_SETTINGS', 'ENABLE_PUSH')
        break
      case SETTING_MAX_CONCURRENT_STREAMS:
        settings.maxConcurrentStreams = value
        break
      case SETTING_INITIAL_WINDOW_SIZE:
        if (value > LARGEST_31_BIT) return http2Fault(FLOW_CONTROL_ERROR, 'ERR_HTTP2_SETTINGS', 'INITIAL_WINDOW_SIZE')
        settings.initialWindow = value
        break
      case SETTING_MAX_FRAME_SIZE:
        if (value < MAX_FRAME_SIZE || value > LARGEST_FRAME_SIZE) return http2Fault(PROTOCOL_ERROR, 'ERR_HTTP2_SETTINGS', 'MAX_FRAME_SIZE')
        break
    }
  }
  return undefined
}
