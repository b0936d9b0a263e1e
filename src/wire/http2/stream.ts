/**
 * One stream as one end of a connection sees it (RFC 9113 §5.1). Once in the table it is open; it leaves the table when both sides
 * are closed, or at a reset:
 *
 *   open ── END_STREAM from the peer ──→ half-closed (remote) ── END_STREAM from us ──→ gone
 *     │                                     ↑ the same in the other order, by half-closed (local)
 *     └────────────── RST_STREAM from either side ─────────────────────────────────────→ gone
 */
import type { Buffer } from 'node:buffer'

/** What is waiting for the peer's windows. */
export interface SendQueue {
  readonly chunks: Buffer[]
  /** Sum of the chunks. */
  bytes: number
  /** The last chunk ends the stream. */
  endStream: boolean
  /** Called once all is sent, to write trailers. */
  onDrained: (() => void) | undefined
}

export class Http2Stream<T> {
  readonly id: number
  /** What the owner of the connection keeps with the stream. */
  owner: T | undefined
  /** How much we may send, and how much the peer may; negative after SETTINGS_INITIAL_WINDOW_SIZE became smaller. */
  sendWindow: number
  receiveWindow: number
  /** We sent END_STREAM. */
  localClosed = false
  /** The peer sent END_STREAM. */
  remoteClosed = false
  /** It left the table. */
  gone = false
  /** The peer's final head came: what is next is data or trailers. */
  headed = false
  /** Bytes of body still to come by Content-Length; -1 if that was not said. */
  expected = -1
  /** Informational responses so far. */
  informational = 0
  queue: SendQueue | undefined

  constructor(id: number, sendWindow: number, receiveWindow: number) {
    this.id = id
    this.sendWindow = sendWindow
    this.receiveWindow = receiveWindow
  }
}

/** How a stream that left the table ended. */
export type Ending = 'ended' | 'reset-by-us' | 'reset-by-peer'

const REMEMBERED = 256

/** The streams that ended last, for what may still arrive for them: that is rare, so they are searched, not indexed. */
export class EndedStreams {
  readonly #ids: number[] = []
  readonly #endings: Ending[] = []
  #next = 0

  add(id: number, ending: Ending): void {
    this.#ids[this.#next] = id
    this.#endings[this.#next] = ending
    this.#next = (this.#next + 1) % REMEMBERED
  }

  /** Undefined if it was never opened, or is forgotten. */
  endingOf(id: number): Ending | undefined {
    const index = this.#ids.indexOf(id)
    return index === -1 ? undefined : this.#endings[index]
  }
}
