/** Reads frames out of whatever pieces the bytes come in, and checks all that can be checked without knowing streams (RFC 9113 §4, §6). */
import { Buffer } from 'node:buffer'
import {
  ENHANCE_YOUR_CALM,
  FLAG_ACK,
  FLAG_END_HEADERS,
  FLAG_END_STREAM,
  FLAG_PADDED,
  FLAG_PRIORITY,
  FRAME_CONTINUATION,
  FRAME_DATA,
  FRAME_GOAWAY,
  FRAME_HEAD_BYTES,
  FRAME_HEADERS,
  FRAME_PING,
  FRAME_PRIORITY,
  FRAME_PUSH_PROMISE,
  FRAME_RST_STREAM,
  FRAME_SETTINGS,
  FRAME_SIZE_ERROR,
  FRAME_WINDOW_UPDATE,
  type Http2Fault,
  http2Fault,
  MAX_FRAME_SIZE,
  PROTOCOL_ERROR,
} from './protocol.ts'

/**
 * What a frame means to the connection. Bytes are the reader's own: they stand from `start` to `end` during the call only.
 * A fault that is returned ends the reading.
 */
export interface FrameHandler {
  /** @param flow what counts against windows: the payload with its padding */
  onData(streamId: number, bytes: Buffer, start: number, end: number, flow: number, endStream: boolean): Http2Fault | undefined
  /** HEADERS with all CONTINUATION that belong to it. */
  onHeaderBlock(streamId: number, bytes: Buffer, start: number, end: number, endStream: boolean): Http2Fault | undefined
  onReset(streamId: number, code: number): Http2Fault | undefined
  onSettings(bytes: Buffer, start: number, end: number): Http2Fault | undefined
  onSettingsAck(): Http2Fault | undefined
  onPing(bytes: Buffer, start: number): Http2Fault | undefined
  onGoaway(lastStreamId: number, code: number): Http2Fault | undefined
  /** @param increment may be 0, which is a fault of the stream only */
  onWindowUpdate(streamId: number, increment: number): Http2Fault | undefined
  /** A frame without a meaning here: PRIORITY, PING with ACK, and types that are not known. */
  onIgnored(): Http2Fault | undefined
  /** Enough for one call: what is left is kept for the next. */
  readonly satisfied: boolean
}

/** So many CONTINUATION frames may follow one HEADERS. */
const MOST_CONTINUATIONS = 8

/** Room for frames that come in pieces, shared by all connections: a body that is sent in full frames would need new room for each. */
export interface FramePool {
  /** At least `size` bytes. */
  take(size: number): Buffer
  giveBack(bytes: Buffer): void
}

const FULL_FRAME = FRAME_HEAD_BYTES + MAX_FRAME_SIZE
/** Less is not worth keeping. */
const LEAST_POOLED = 1024
const MOST_POOLED = 16

export function createFramePool(): FramePool {
  const kept: Buffer[] = []
  return {
    take: (size) => (size < LEAST_POOLED ? undefined : kept.pop()) ?? Buffer.allocUnsafeSlow(size < LEAST_POOLED ? size : FULL_FRAME),
    giveBack(bytes) {
      if (bytes.length === FULL_FRAME && kept.length < MOST_POOLED) kept.push(bytes)
    },
  }
}

export class FrameReader {
  readonly #handler: FrameHandler
  readonly #blockLimit: number
  readonly #pool: FramePool
  /** A frame of which only a part came, and how long it must become: a frame head while its length is not known. */
  #held: Buffer | undefined
  #heldNeeded = 0
  #heldLength = 0
  #begun = false
  /** A header block that goes on in CONTINUATION; stream 0 means there is none. */
  #blockStream = 0
  #blockEndStream = false
  #blockParts: Buffer[] = []
  #blockLength = 0
  #continuations = 0
  #unread: Buffer | undefined

  /** @param blockLimit bytes of one header block on the wire */
  constructor(handler: FrameHandler, blockLimit: number, pool = createFramePool()) {
    this.#handler = handler
    this.#blockLimit = blockLimit
    this.#pool = pool
  }

  /** A frame or a header block was begun and is not complete. */
  get midway(): boolean {
    return this.#held !== undefined || this.#blockStream !== 0
  }

  /** The handler had enough before all was read: call `read` again, if only with nothing. */
  get behind(): boolean {
    return this.#unread !== undefined
  }

  /** Reads on. After a fault nothing may be read any more. What is not read yet is kept, not copied. */
  read(given: Buffer, start = 0): Http2Fault | undefined {
    let bytes = given
    let position = start
    if (this.#unread !== undefined) {
      bytes = start === given.length ? this.#unread : Buffer.concat([this.#unread, given.subarray(start)])
      position = 0
      this.#unread = undefined
    }
    while (this.#held !== undefined) {
      const held = this.#held
      const taken = Math.min(this.#heldNeeded - this.#heldLength, bytes.length - position)
      bytes.copy(held, this.#heldLength, position, position + taken)
      position += taken
      this.#heldLength += taken
      if (this.#heldLength < this.#heldNeeded) return undefined
      const fault = this.#heldNeeded === FRAME_HEAD_BYTES ? this.#completeHead(held) : this.#dispatch(held, 0)
      if (fault !== undefined) return fault
      this.#pool.giveBack(held)
      // What `completeHead` put in its place goes on being filled.
      if (this.#held === held) this.#held = undefined
    }
    while (bytes.length - position >= FRAME_HEAD_BYTES) {
      if (this.#handler.satisfied) {
        this.#unread = bytes.subarray(position)
        return undefined
      }
      const fault = this.#checkHead(bytes, position)
      if (fault !== undefined) return fault
      const end = position + FRAME_HEAD_BYTES + lengthAt(bytes, position)
      if (end > bytes.length) {
        this.#hold(bytes, position, end - position)
        return undefined
      }
      const next = this.#dispatch(bytes, position)
      if (next !== undefined) return next
      position = end
    }
    if (position < bytes.length) this.#hold(bytes, position, FRAME_HEAD_BYTES)
    return undefined
  }

  #hold(bytes: Buffer, start: number, needed: number): void {
    this.#held = this.#pool.take(needed)
    this.#heldNeeded = needed
    this.#heldLength = bytes.copy(this.#held, 0, start)
  }

  /** A frame head that came in pieces is complete. */
  #completeHead(head: Buffer): Http2Fault | undefined {
    const fault = this.#checkHead(head, 0)
    if (fault !== undefined) return fault
    const length = lengthAt(head, 0)
    if (length === 0) return this.#dispatch(head, 0)
    this.#hold(head, 0, FRAME_HEAD_BYTES + length)
    return undefined
  }

  /** Refuses by the frame head alone, so that no payload is waited for in vain. */
  #checkHead(bytes: Buffer, at: number): Http2Fault | undefined {
    const length = lengthAt(bytes, at)
    const type = bytes[at + 3] as number
    const flags = bytes[at + 4] as number
    const streamId = streamIdAt(bytes, at + 5)
    if (length > MAX_FRAME_SIZE) return badSize('a frame above SETTINGS_MAX_FRAME_SIZE')
    if (!this.#begun) {
      if (type !== FRAME_SETTINGS || (flags & FLAG_ACK) !== 0)
        return http2Fault(PROTOCOL_ERROR, 'ERR_HTTP2_PREFACE', 'the first frame is not SETTINGS')
      this.#begun = true
    }
    if (this.#blockStream !== 0 && (type !== FRAME_CONTINUATION || streamId !== this.#blockStream)) {
      return badFrame('a header block is interrupted by another frame')
    }
    switch (type) {
      case FRAME_DATA:
      case FRAME_HEADERS:
        return streamId === 0 ? badFrame('DATA or HEADERS on stream 0') : undefined
      case FRAME_PRIORITY:
        if (streamId === 0) return badFrame('PRIORITY on stream 0')
        return length === 5 ? undefined : badSize('PRIORITY')
      case FRAME_RST_STREAM:
        if (streamId === 0) return badFrame('RST_STREAM on stream 0')
        return length === 4 ? undefined : badSize('RST_STREAM')
      case FRAME_SETTINGS:
        if (streamId !== 0) return badFrame('SETTINGS on a stream')
        return length % 6 === 0 && (length === 0 || (flags & FLAG_ACK) === 0) ? undefined : badSize('SETTINGS')
      case FRAME_PUSH_PROMISE:
        return http2Fault(PROTOCOL_ERROR, 'ERR_HTTP2_PUSH', 'PUSH_PROMISE')
      case FRAME_PING:
        if (streamId !== 0) return badFrame('PING on a stream')
        return length === 8 ? undefined : badSize('PING')
      case FRAME_GOAWAY:
        if (streamId !== 0) return badFrame('GOAWAY on a stream')
        return length >= 8 ? undefined : badSize('GOAWAY')
      case FRAME_WINDOW_UPDATE:
        return length === 4 ? undefined : badSize('WINDOW_UPDATE')
      case FRAME_CONTINUATION:
        return this.#blockStream === 0 ? badFrame('CONTINUATION without HEADERS') : undefined
      default:
        return undefined
    }
  }

  /** One whole frame, whose head was checked. */
  #dispatch(bytes: Buffer, at: number): Http2Fault | undefined {
    const handler = this.#handler
    const flags = bytes[at + 4] as number
    const streamId = streamIdAt(bytes, at + 5)
    const start = at + FRAME_HEAD_BYTES
    const end = start + lengthAt(bytes, at)
    switch (bytes[at + 3]) {
      case FRAME_DATA: {
        if ((flags & FLAG_PADDED) === 0) return handler.onData(streamId, bytes, start, end, end - start, (flags & FLAG_END_STREAM) !== 0)
        const dataEnd = end - (bytes[start] as number)
        if (start >= end || dataEnd <= start) return badFrame('padding longer than its frame')
        return handler.onData(streamId, bytes, start + 1, dataEnd, end - start, (flags & FLAG_END_STREAM) !== 0)
      }
      case FRAME_HEADERS:
        return this.#onHeaders(flags, streamId, bytes, start, end)
      case FRAME_RST_STREAM:
        return handler.onReset(streamId, uint32At(bytes, start))
      case FRAME_SETTINGS:
        return (flags & FLAG_ACK) === 0 ? handler.onSettings(bytes, start, end) : handler.onSettingsAck()
      case FRAME_PING:
        return (flags & FLAG_ACK) === 0 ? handler.onPing(bytes, start) : handler.onIgnored()
      case FRAME_GOAWAY:
        return handler.onGoaway(streamIdAt(bytes, start), uint32At(bytes, start + 4))
      case FRAME_WINDOW_UPDATE:
        return handler.onWindowUpdate(streamId, streamIdAt(bytes, start))
      case FRAME_CONTINUATION:
        return this.#onContinuation(flags, bytes, start, end)
      default:
        return handler.onIgnored()
    }
  }

  #onHeaders(flags: number, streamId: number, bytes: Buffer, start: number, end: number): Http2Fault | undefined {
    let from = start
    let to = end
    if ((flags & FLAG_PADDED) !== 0) {
      to -= from < end ? (bytes[from] as number) : 0
      from++
    }
    if ((flags & FLAG_PRIORITY) !== 0) from += 5
    if (from > to) return badFrame('padding or priority longer than its frame')
    const endStream = (flags & FLAG_END_STREAM) !== 0
    if (to - from > this.#blockLimit) return tooLong()
    if ((flags & FLAG_END_HEADERS) !== 0) return this.#handler.onHeaderBlock(streamId, bytes, from, to, endStream)
    this.#blockStream = streamId
    this.#blockEndStream = endStream
    this.#continuations = 0
    this.#blockParts = [Buffer.from(bytes.subarray(from, to))]
    this.#blockLength = to - from
    return undefined
  }

  #onContinuation(flags: number, bytes: Buffer, start: number, end: number): Http2Fault | undefined {
    if (++this.#continuations > MOST_CONTINUATIONS) return tooLong()
    this.#blockLength += end - start
    if (this.#blockLength > this.#blockLimit) return tooLong()
    this.#blockParts.push(Buffer.from(bytes.subarray(start, end)))
    if ((flags & FLAG_END_HEADERS) === 0) return undefined
    const streamId = this.#blockStream
    const block = Buffer.concat(this.#blockParts, this.#blockLength)
    this.#blockStream = 0
    this.#blockParts = []
    return this.#handler.onHeaderBlock(streamId, block, 0, block.length, this.#blockEndStream)
  }
}

export function uint32At(bytes: Uint8Array, at: number): number {
  return streamIdAt(bytes, at) + ((bytes[at] as number) >= 0x80 ? 0x8000_0000 : 0)
}

function lengthAt(bytes: Uint8Array, at: number): number {
  return ((bytes[at] as number) << 16) | ((bytes[at + 1] as number) << 8) | (bytes[at + 2] as number)
}

/** 31 bits: the first is reserved and ignored (RFC 9113 §4.1). */
function streamIdAt(bytes: Uint8Array, at: number): number {
  return (
    (((bytes[at] as number) & 0x7f) << 24) |
    ((bytes[at + 1] as number) << 16) |
    ((bytes[at + 2] as number) << 8) |
    (bytes[at + 3] as number)
  )
}

function badFrame(detail: string): Http2Fault {
  return http2Fault(PROTOCOL_ERROR, 'ERR_HTTP2_FRAME', detail)
}

function badSize(detail: string): Http2Fault {
  return http2Fault(FRAME_SIZE_ERROR, 'ERR_HTTP2_FRAME_SIZE', detail)
}

function tooLong(): Http2Fault {
  return http2Fault(ENHANCE_YOUR_CALM, 'ERR_HTTP2_HEADER_FLOOD', 'too many CONTINUATION, or too many bytes in one header block')
}
