/**
 * What both ends of an HTTP/2 connection do alike: frames, settings, the stream table, flow control, floods and their end
 * (RFC 9113 §5, §6). Header blocks are read by the codec that owns it: `server-codec.ts`, `client-codec.ts`.
 */
import type { Buffer } from 'node:buffer'
import type { Http2ConnectionHandler, Http2ConnectionOptions } from './connection-handler.ts'
import { DataSender } from './data-sender.ts'
import { FloodGuard } from './flood-guard.ts'
import { type FrameHandler, FrameReader } from './frame-reader.ts'
import { writeGoaway, writePingAck, writeReset, writeSettingsAck, writeWindowUpdate } from './frame-writer.ts'
import { Output } from './output.ts'
import { type Announcement, OwnSettings } from './own-settings.ts'
import { createPeerSettings, type PeerSettings, readSettings } from './peer-settings.ts'
import {
  CLIENT_PREFACE,
  DEFAULT_WINDOW,
  ENHANCE_YOUR_CALM,
  FLOW_CONTROL_ERROR,
  type Http2Fault,
  http2Fault,
  LARGEST_31_BIT,
  NO_ERROR,
  PROTOCOL_ERROR,
  STREAM_CLOSED,
} from './protocol.ts'
import { checkData, idle, overflow } from './stream-faults.ts'
import { EndedStreams, type Ending, Http2Stream } from './stream.ts'

const ROOM = 16_384
/** What a header block costs beside any other frame; and bytes of one that cost as much as another frame. */
const HEAD_WORK = 16
const HEAD_BYTES_PER_WORK = 256

/** Reads a header block, for a stream in the table or not. */
export type ReadBlock = (streamId: number, bytes: Buffer, start: number, end: number, endStream: boolean) => Http2Fault | undefined

export class Http2Connection<T> implements FrameHandler {
  readonly output: Output
  readonly streams = new Map<number, Http2Stream<T>>()
  readonly peer: PeerSettings = createPeerSettings()
  /** The highest stream that the peer opened. */
  lastPeerStream = 0
  /** The highest stream that we opened. */
  lastOwnStream = 0
  readonly #server: boolean
  readonly #handler: Http2ConnectionHandler<T>
  readonly #readBlock: ReadBlock
  readonly #reader: FrameReader
  readonly #sender: DataSender<T>
  readonly #guard: FloodGuard
  readonly #creditFrom: number
  readonly #ended = new EndedStreams()
  #now = 0
  /** How many bytes of the preface came. */
  #prefaceLength: number
  readonly #own: OwnSettings
  #receiveWindow = DEFAULT_WINDOW
  /** Credit of the connection that is not sent yet: one frame a turn at most. */
  #creditDue = 0
  readonly #workPerCall: number
  /** What was read in this call, a frame of little cost being 1. */
  #work = 0
  #flooded: Http2Fault | undefined
  #fault: Http2Fault | undefined

  constructor(
    role: 'server' | 'client',
    options: Http2ConnectionOptions,
    blockLimit: number,
    handler: Http2ConnectionHandler<T>,
    readBlock: ReadBlock,
  ) {
    this.output = new Output(options.resources.slabs)
    this.#own = new OwnSettings(this.output)
    this.#server = role === 'server'
    this.#handler = handler
    this.#readBlock = readBlock
    this.#reader = new FrameReader(this, blockLimit, options.resources.frames)
    this.#sender = new DataSender(this.output, (stream) => this.#closeLocal(stream), handler.onSent)
    this.#guard = new FloodGuard(options.flood)
    this.#workPerCall = HEAD_WORK * ((this.#server ? options.headsPerCall : undefined) ?? Number.POSITIVE_INFINITY)
    this.#creditFrom = options.creditFrom ?? 1
    this.#prefaceLength = this.#server ? 0 : CLIENT_PREFACE.length
  }

  /** Why the connection is over, if it is. */
  get fault(): Http2Fault | undefined {
    return this.#fault
  }

  /** The peer has begun something that it must end in time: the preface, a frame or a header block. */
  get midway(): boolean {
    return this.#prefaceLength < CLIENT_PREFACE.length || this.#reader.midway
  }

  /** Not all that came was read, by `headsPerCall`. */
  get behind(): boolean {
    return this.#reader.behind && this.#fault === undefined
  }

  get satisfied(): boolean {
    return this.#work >= this.#workPerCall
  }

  /** How much the peer may send, and we may send, on the connection. */
  get receiveWindow(): number {
    return this.#receiveWindow
  }

  get sendWindow(): number {
    return this.#sender.window
  }

  /** Whether the peer may send on the stream more than a receiver leaves uncredited that gives credit by halves. */
  hasRoom(stream: Http2Stream<T>): boolean {
    return Math.min(stream.receiveWindow, this.#receiveWindow) >= ROOM
  }

  /** @param now monotonic ms, for floods */
  receive(bytes: Buffer, now: number): void {
    if (this.#fault !== undefined) return
    this.#now = now
    this.#work = 0
    let start = 0
    while (this.#prefaceLength < CLIENT_PREFACE.length && start < bytes.length) {
      if (bytes[start++] !== CLIENT_PREFACE.charCodeAt(this.#prefaceLength++)) {
        return this.fail(http2Fault(PROTOCOL_ERROR, 'ERR_HTTP2_PREFACE', 'not the preface of HTTP/2'))
      }
    }
    const fault = this.#reader.read(bytes, start)
    if (fault !== undefined) this.fail(fault)
  }

  /** What is to be written to the socket now, piece by piece; undefined once there is nothing more. */
  takeOutput(): Buffer | undefined {
    if (this.#creditDue >= this.#creditFrom && this.#fault === undefined) {
      writeWindowUpdate(this.output, 0, this.#creditDue)
      this.#receiveWindow += this.#creditDue
      this.#creditDue = 0
    }
    return this.output.take()
  }

  /** The socket takes no more bodies for now, or does again; what else is said is little, and is not held back. */
  holdData(held: boolean): void {
    if (this.#fault === undefined) this.#sender.hold(held)
  }

  /** Ends the connection with GOAWAY. */
  fail(fault: Http2Fault): void {
    if (this.#fault !== undefined) return
    this.#fault = fault
    writeGoaway(this.output, this.lastPeerStream, fault.code)
    this.#handler.onFault(fault)
  }

  /** Tells the peer which of its streams are the last; those beyond are for the owner to refuse. */
  goaway(lastStreamId: number, code = NO_ERROR): void {
    if (this.#fault === undefined) writeGoaway(this.output, lastStreamId, code)
  }

  /** Puts a stream into the table. */
  open(id: number): Http2Stream<T> {
    const stream = new Http2Stream<T>(id, this.peer.initialWindow, this.#own.initialWindow)
    this.streams.set(id, stream)
    return stream
  }

  endingOf(id: number): Ending | undefined {
    return this.#ended.endingOf(id)
  }

  /** Takes a stream out of the table if both sides have ended it. */
  settle(stream: Http2Stream<T>): void {
    if (!stream.localClosed || !stream.remoteClosed || stream.gone) return
    this.#remove(stream, 'ended')
    this.#handler.onEnded(stream)
  }

  /** Sends bytes, as far as the peer's windows allow; the rest is copied and waits. */
  sendData(stream: Http2Stream<T>, bytes: Buffer, start: number, end: number, endStream: boolean): void {
    if (!stream.gone && !stream.localClosed && this.#fault === undefined) this.#sender.send(stream, bytes, start, end, endStream)
  }

  /** Calls `write` once what waits on the stream is sent, and after what was given before: now, if nothing waits. */
  afterData(stream: Http2Stream<T>, write: () => void): void {
    const { queue } = stream
    if (queue === undefined) return stream.gone || stream.localClosed ? undefined : write()
    const before = queue.onDrained
    queue.onDrained = () => {
      before?.()
      write()
    }
  }

  /** A HEADERS frame of ours was written. */
  endHeaders(stream: Http2Stream<T>, endStream: boolean): void {
    if (endStream) this.#closeLocal(stream)
  }

  /** Resets a stream. What waited on it is dropped: the owner credits it. */
  reset(stream: Http2Stream<T>, code: number): void {
    if (stream.gone || this.#fault !== undefined) return
    writeReset(this.output, stream.id, code)
    this.#remove(stream, 'reset-by-us')
  }

  /** Resets a stream that is not in the table. */
  refuse(streamId: number, code: number): void {
    writeReset(this.output, streamId, code)
    this.#ended.add(streamId, 'reset-by-us')
  }

  /** Resets a stream for a fault of the peer, which is charged for it. */
  failStream(stream: Http2Stream<T>, fault: Http2Fault): void {
    this.reset(stream, fault.code)
    this.charge()
    this.#handler.onStreamFault(stream, fault)
  }

  /** Lets the peer send more: on the stream, or on the connection. @param bytes that were received, or that the next hop takes */
  credit(stream: Http2Stream<T> | undefined, bytes: number): void {
    if (bytes === 0 || this.#fault !== undefined) return
    if (stream === undefined) this.#creditDue += bytes
    else if (!stream.gone && !stream.remoteClosed) {
      stream.receiveWindow += bytes
      writeWindowUpdate(this.output, stream.id, bytes)
    }
  }

  /** Tells the peer of settings of ours; the first call sends the first frame, with `fixed`. @param fixed as `writeSettings` */
  announce(announcement: Announcement, fixed?: readonly number[]): void {
    if (this.#fault === undefined) this.#own.announce(announcement, fixed)
  }

  /** Charges the peer for what costs us more than it; the connection ends once it has had too much of it. */
  charge(cost = 1): void {
    this.#work++
    if (!this.#guard.charge(this.#now, cost)) {
      this.#flooded ??= http2Fault(ENHANCE_YOUR_CALM, 'ERR_HTTP2_FLOOD', 'more than the allowance of the connection')
    }
  }

  // What the frame reader calls. Each returns what the frame, or the charges for it, made of the connection.

  onHeaderBlock(streamId: number, bytes: Buffer, start: number, end: number, endStream: boolean): Http2Fault | undefined {
    this.#work += HEAD_WORK + (end - start) / HEAD_BYTES_PER_WORK
    return this.#readBlock(streamId, bytes, start, end, endStream) ?? this.#flooded
  }

  onData(streamId: number, bytes: Buffer, start: number, end: number, flow: number, endStream: boolean): Http2Fault | undefined {
    if (flow > this.#receiveWindow)
      return http2Fault(FLOW_CONTROL_ERROR, 'ERR_HTTP2_FLOW_CONTROL', 'DATA beyond the window of the connection')
    this.#receiveWindow -= flow
    this.#work++
    const length = end - start
    if (length === 0 && !endStream) this.charge()
    const stream = this.streams.get(streamId)
    if (stream === undefined || stream.remoteClosed) {
      this.credit(undefined, flow)
      return this.#strayFrame(streamId, stream) ?? this.#flooded
    }
    const fault = checkData(stream, length, flow, endStream)
    if (fault !== undefined) {
      this.credit(undefined, flow)
      this.failStream(stream, fault)
      return this.#flooded
    }
    stream.receiveWindow -= flow
    if (stream.expected !== -1) stream.expected -= length
    if (flow > length) {
      this.credit(undefined, flow - length)
      if (!endStream) this.credit(stream, flow - length)
    }
    stream.remoteClosed = endStream
    this.#handler.onData(stream, bytes, start, end, endStream)
    this.settle(stream)
    return this.#flooded
  }

  onReset(streamId: number, code: number): Http2Fault | undefined {
    // Servers may reset at will: they cannot have more streams to reset than we open.
    if (this.#server) this.charge()
    const stream = this.streams.get(streamId)
    if (stream !== undefined) {
      this.#remove(stream, 'reset-by-peer')
      this.#handler.onReset(stream, code)
    } else if (this.#isIdle(streamId)) return idle('RST_STREAM')
    return this.#flooded
  }

  onSettings(bytes: Buffer, start: number, end: number): Http2Fault | undefined {
    this.charge()
    const before = this.peer.initialWindow
    const fault = readSettings(this.peer, bytes, start, end, !this.#server)
    if (fault !== undefined) return fault
    const delta = this.peer.initialWindow - before
    if (delta !== 0) {
      for (const stream of this.streams.values()) {
        stream.sendWindow += delta
        if (stream.sendWindow > LARGEST_31_BIT) return overflow()
      }
    }
    // First the acknowledgement: until it is read, the peer holds us to the windows before.
    writeSettingsAck(this.output)
    if (delta > 0) this.#sender.flushAll()
    this.#handler.onSettings(this.peer)
    return this.#flooded
  }

  onSettingsAck(): Http2Fault | undefined {
    const delta = this.#own.acknowledge()
    if (delta === undefined) this.charge()
    else if (delta !== 0) for (const stream of this.streams.values()) stream.receiveWindow += delta
    return this.#flooded
  }

  onPing(bytes: Buffer, start: number): Http2Fault | undefined {
    this.charge()
    writePingAck(this.output, bytes, start)
    return this.#flooded
  }

  onGoaway(lastStreamId: number, code: number): Http2Fault | undefined {
    this.charge()
    this.#handler.onGoaway(lastStreamId, code)
    return this.#flooded
  }

  onWindowUpdate(streamId: number, increment: number): Http2Fault | undefined {
    if (increment === 1) this.charge()
    else this.#work++
    if (streamId === 0) {
      if (increment === 0) return http2Fault(PROTOCOL_ERROR, 'ERR_HTTP2_FLOW_CONTROL', 'WINDOW_UPDATE of 0')
      if (this.#sender.window + increment > LARGEST_31_BIT) return overflow()
      this.#sender.credit(increment)
      this.#handler.onCredit(undefined, increment)
      return this.#flooded
    }
    const stream = this.streams.get(streamId)
    if (stream === undefined) return this.#isIdle(streamId) ? idle('WINDOW_UPDATE') : this.#flooded
    if (increment === 0) this.failStream(stream, http2Fault(PROTOCOL_ERROR, 'ERR_HTTP2_FLOW_CONTROL', 'WINDOW_UPDATE of 0'))
    else if (stream.sendWindow + increment > LARGEST_31_BIT) this.failStream(stream, overflow())
    else {
      stream.sendWindow += increment
      this.#sender.flush(stream)
      this.#handler.onCredit(stream, increment)
    }
    return this.#flooded
  }

  onIgnored(): Http2Fault | undefined {
    this.charge()
    return this.#flooded
  }

  /** A frame for a stream that the peer has closed, or that is closed altogether. */
  #strayFrame(streamId: number, stream: Http2Stream<T> | undefined): Http2Fault | undefined {
    if (stream !== undefined) {
      this.failStream(stream, http2Fault(STREAM_CLOSED, 'ERR_HTTP2_STREAM_STATE', 'DATA after END_STREAM'))
      return undefined
    }
    if (this.#isIdle(streamId)) return idle('DATA')
    // What was under way when we reset the stream is no fault.
    if (this.#ended.endingOf(streamId) === 'reset-by-us') return undefined
    this.charge()
    this.refuse(streamId, STREAM_CLOSED)
    return undefined
  }

  #isIdle(streamId: number): boolean {
    const peers = (streamId & 1) === (this.#server ? 1 : 0)
    return streamId > (peers ? this.lastPeerStream : this.lastOwnStream)
  }

  #closeLocal(stream: Http2Stream<T>): void {
    stream.localClosed = true
    this.settle(stream)
  }

  #remove(stream: Http2Stream<T>, ending: Ending): void {
    stream.gone = true
    this.streams.delete(stream.id)
    this.#sender.forget(stream)
    this.#ended.add(stream.id, ending)
  }
}
