/** Writes the frames that this codec sends (RFC 9113 §4.1, §6). */
import type { Buffer } from 'node:buffer'
import type { Output } from './output.ts'
import {
  FLAG_ACK,
  FLAG_END_HEADERS,
  FLAG_END_STREAM,
  FRAME_CONTINUATION,
  FRAME_DATA,
  FRAME_GOAWAY,
  FRAME_HEAD_BYTES,
  FRAME_HEADERS,
  FRAME_PING,
  FRAME_RST_STREAM,
  FRAME_SETTINGS,
  FRAME_WINDOW_UPDATE,
  MAX_FRAME_SIZE,
} from './protocol.ts'

/** @param settings identifier, value, identifier, value … */
export function writeSettings(output: Output, settings: readonly number[]): void {
  const length = settings.length * 3
  begin(output, length, FRAME_SETTINGS, 0, 0)
  const { bytes } = output
  for (let index = 0; index + 1 < settings.length; index += 2) {
    const identifier = settings[index] ?? 0
    bytes[output.position++] = identifier >>> 8
    bytes[output.position++] = identifier
    put32(output, settings[index + 1] ?? 0)
  }
}

export function writeSettingsAck(output: Output): void {
  begin(output, 0, FRAME_SETTINGS, FLAG_ACK, 0)
}

/** Answers a PING with the 8 bytes it brought. */
/** Of no content: whoever sends one has no other under way. */
export function writePing(output: Output): void {
  begin(output, 8, FRAME_PING, 0, 0)
  output.bytes.fill(0, output.position, output.position + 8)
  output.position += 8
}

export function writePingAck(output: Output, bytes: Buffer, start: number): void {
  begin(output, 8, FRAME_PING, FLAG_ACK, 0)
  bytes.copy(output.bytes, output.position, start, start + 8)
  output.position += 8
}

export function writeReset(output: Output, streamId: number, code: number): void {
  begin(output, 4, FRAME_RST_STREAM, 0, streamId)
  put32(output, code)
}

export function writeGoaway(output: Output, lastStreamId: number, code: number): void {
  begin(output, 8, FRAME_GOAWAY, 0, 0)
  put32(output, lastStreamId)
  put32(output, code)
}

/** @param increment 1 to 2^31 - 1 */
export function writeWindowUpdate(output: Output, streamId: number, increment: number): void {
  begin(output, 4, FRAME_WINDOW_UPDATE, 0, streamId)
  put32(output, increment)
}

/** One DATA frame with the bytes from `start` to `end`, which are at most MAX_FRAME_SIZE. */
export function writeData(output: Output, streamId: number, bytes: Buffer, start: number, end: number, endStream: boolean): void {
  const length = end - start
  begin(output, length, FRAME_DATA, endStream ? FLAG_END_STREAM : 0, streamId)
  if (length === 0) return
  bytes.copy(output.bytes, output.position, start, end)
  output.position += length
}

/**
 * Begins a header block of at most `capacity` bytes: it is to be written from `output.position` on, then ended with `endBlock`.
 * @returns what `endBlock` needs
 */
export function beginBlock(output: Output, capacity: number): number {
  // Room for the frame heads that splitting may put in.
  output.reserve(capacity + FRAME_HEAD_BYTES * (1 + Math.ceil(capacity / MAX_FRAME_SIZE)))
  const start = output.position
  output.position += FRAME_HEAD_BYTES
  return start
}

/** Puts HEADERS, and CONTINUATION where one frame does not hold it all, around the block written since `beginBlock`. */
export function endBlock(output: Output, start: number, streamId: number, endStream: boolean): void {
  const { bytes } = output
  let length = output.position - start - FRAME_HEAD_BYTES
  const flags = endStream ? FLAG_END_STREAM : 0
  if (length <= MAX_FRAME_SIZE) return putHead(bytes, start, length, FRAME_HEADERS, flags | FLAG_END_HEADERS, streamId)
  putHead(bytes, start, MAX_FRAME_SIZE, FRAME_HEADERS, flags, streamId)
  let at = start + FRAME_HEAD_BYTES + MAX_FRAME_SIZE
  for (length -= MAX_FRAME_SIZE; length > 0; length -= MAX_FRAME_SIZE) {
    const size = Math.min(length, MAX_FRAME_SIZE)
    bytes.copyWithin(at + FRAME_HEAD_BYTES, at, at + length)
    putHead(bytes, at, size, FRAME_CONTINUATION, length <= MAX_FRAME_SIZE ? FLAG_END_HEADERS : 0, streamId)
    at += FRAME_HEAD_BYTES + size
  }
  output.position = at
}

/** A frame's head with room for its payload after it. */
function begin(output: Output, length: number, type: number, flags: number, streamId: number): void {
  output.reserve(FRAME_HEAD_BYTES + length)
  putHead(output.bytes, output.position, length, type, flags, streamId)
  output.position += FRAME_HEAD_BYTES
}

function putHead(bytes: Buffer, at: number, length: number, type: number, flags: number, streamId: number): void {
  bytes[at] = length >>> 16
  bytes[at + 1] = length >>> 8
  bytes[at + 2] = length
  bytes[at + 3] = type
  bytes[at + 4] = flags
  bytes[at + 5] = streamId >>> 24
  bytes[at + 6] = streamId >>> 16
  bytes[at + 7] = streamId >>> 8
  bytes[at + 8] = streamId
}

function put32(output: Output, value: number): void {
  const { bytes } = output
  bytes[output.position++] = value >>> 24
  bytes[output.position++] = value >>> 16
  bytes[output.position++] = value >>> 8
  bytes[output.position++] = value
}
