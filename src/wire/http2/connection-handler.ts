/** What a connection needs of its owner, and what it tells it. */
import type { Buffer } from 'node:buffer'
import type { FloodGuardOptions } from './flood-guard.ts'
import type { PeerSettings } from './peer-settings.ts'
import type { Http2Fault } from './protocol.ts'
import type { Http2Resources } from './resources.ts'
import type { Http2Stream } from './stream.ts'

export interface Http2ConnectionOptions {
  readonly resources: Http2Resources
  readonly flood?: FloodGuardOptions
  /**
   * Header blocks of a caller read in one call of `receive`, or other frames that cost as much; all unless said. What is left waits for the
   * next, which must come soon.
   */
  readonly headsPerCall?: number
  /** Credit of the connection is saved up to so many bytes before it is sent; 1 unless said. */
  readonly creditFrom?: number
}

/**
 * What a connection tells its owner. Bytes are valid during the call only. Whatever is answered goes to the output; `receive` must
 * not be called from within.
 */
export interface Http2ConnectionHandler<T> {
  /** DATA without its padding, which was credited back already; the rest is the owner's to credit. */
  onData(stream: Http2Stream<T>, bytes: Buffer, start: number, end: number, endStream: boolean): void
  /** The peer reset the stream, which has left the table. */
  onReset(stream: Http2Stream<T>, code: number): void
  /** Both sides ended the stream, which has left the table. */
  onEnded(stream: Http2Stream<T>): void
  /** We reset the stream, for a fault of the peer. */
  onStreamFault(stream: Http2Stream<T>, fault: Http2Fault): void
  /** The peer takes more: on the stream, or undefined for the connection. What was waiting is sent already. */
  onCredit(stream: Http2Stream<T> | undefined, increment: number): void
  /** So many bytes of the stream's body were written to the output. */
  readonly onSent?: ((stream: Http2Stream<T>, bytes: number) => void) | undefined
  /** The peer's SETTINGS are in force, and acknowledged. */
  onSettings(settings: PeerSettings): void
  onGoaway(lastStreamId: number, code: number): void
  /** The connection is over: GOAWAY stands in the output, nothing more is read. Streams are left to the owner. */
  onFault(fault: Http2Fault): void
}
