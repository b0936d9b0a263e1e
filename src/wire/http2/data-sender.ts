/** Sends DATA within the peer's windows, and keeps what has to wait for them (RFC 9113 §6.9). */
import { Buffer } from 'node:buffer'
import { writeData } from './frame-writer.ts'
import type { Output } from './output.ts'
import { DEFAULT_WINDOW, MAX_FRAME_SIZE } from './protocol.ts'
import type { Http2Stream, SendQueue } from './stream.ts'

export class DataSender<T> {
  /** How much we may send on the connection. */
  window = DEFAULT_WINDOW
  #held = false
  readonly #output: Output
  readonly #onEndSent: (stream: Http2Stream<T>) => void
  readonly #onSent: ((stream: Http2Stream<T>, bytes: number) => void) | undefined
  /** Streams with a queue, first come first. */
  readonly #waiting = new Set<Http2Stream<T>>()

  /** @param onEndSent END_STREAM was sent @param onSent bytes were sent */
  constructor(
    output: Output,
    onEndSent: (stream: Http2Stream<T>) => void,
    onSent: ((stream: Http2Stream<T>, bytes: number) => void) | undefined,
  ) {
    this.#output = output
    this.#onEndSent = onEndSent
    this.#onSent = onSent
  }

  send(stream: Http2Stream<T>, bytes: Buffer, start: number, end: number, endStream: boolean): void {
    const length = end - start
    if (stream.queue === undefined && !this.#held && length <= stream.sendWindow && length <= this.window && length <= MAX_FRAME_SIZE) {
      this.#write(stream, bytes, start, end, endStream)
      return
    }
    // An empty frame needs no window; it was let through above unless a window is negative or others wait.
    const queue: SendQueue = (stream.queue ??= { chunks: [], bytes: 0, endStream: false, onDrained: undefined })
    if (length > 0) {
      queue.chunks.push(Buffer.from(bytes.subarray(start, end)))
      queue.bytes += length
    }
    queue.endStream = endStream
    this.#waiting.add(stream)
    this.flush(stream)
  }

  /** The peer takes so much more on the connection. */
  credit(increment: number): void {
    this.window += increment
    this.flushAll()
  }

  /** Whatever the windows allow, all has to wait, or no longer: the socket cannot take more. */
  hold(held: boolean): void {
    this.#held = held
    if (!held) for (const stream of this.#waiting) this.flush(stream)
  }

  flushAll(): void {
    for (const stream of this.#waiting) {
      if (this.window <= 0 || this.#held) break
      this.flush(stream)
    }
  }

  /** Sends what the windows allow of what waits on the stream. */
  flush(stream: Http2Stream<T>): void {
    const { queue } = stream
    if (queue === undefined || this.#held) return
    const { chunks } = queue
    while (chunks.length > 0) {
      const chunk = chunks[0] as Buffer
      const length = Math.min(chunk.length, stream.sendWindow, this.window, MAX_FRAME_SIZE)
      if (length <= 0) return
      queue.bytes -= length
      if (length === chunk.length) chunks.shift()
      else chunks[0] = chunk.subarray(length)
      this.#write(stream, chunk, 0, length, queue.endStream && chunks.length === 0)
    }
    stream.queue = undefined
    this.#waiting.delete(stream)
    if (queue.endStream && !stream.localClosed) this.#write(stream, EMPTY, 0, 0, true)
    queue.onDrained?.()
  }

  /** The stream is gone: what waits on it never leaves. Its queue stays, for whoever credits it. */
  forget(stream: Http2Stream<T>): void {
    this.#waiting.delete(stream)
  }

  #write(stream: Http2Stream<T>, bytes: Buffer, start: number, end: number, endStream: boolean): void {
    stream.sendWindow -= end - start
    this.window -= end - start
    writeData(this.#output, stream.id, bytes, start, end, endStream)
    if (this.#onSent !== undefined && end > start) this.#onSent(stream, end - start)
    if (endStream) this.#onEndSent(stream)
  }
}

const EMPTY = Buffer.alloc(0)
