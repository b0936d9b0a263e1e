/**
 * Reads what a caller sends over HTTP/2: no faster than it takes answers and the app takes requests, a few requests in each turn so that
 * others have theirs; and, of a caller that is thrown out for a flood, a little more.
 */
import { Buffer } from 'node:buffer'
import type { Socket } from 'node:net'
import type { LinkedRelay } from '#wire/http2/relay-contract'
import type { InboundListenerState } from './inbound-state.ts'

export interface CallerReading {
  receive(bytes: Buffer): void
  /** One side may take again what it did not take before. */
  goOn(): void
  /** From now on, bytes are thrown away. */
  discard(): void
}

export interface CallerReadingOptions {
  readonly caller: Socket
  readonly app: Socket
  readonly relay: LinkedRelay<unknown>
  readonly listener: Pick<InboundListenerState, 'backlog' | 'clock'>
  /** Writes what was made of the bytes. */
  readonly flush: () => void
  /** Ends the connection at once. */
  readonly destroy: () => void
}

/** Bytes that wait for the caller to read, beyond which nothing more of it is read: what is answered here is held back by nothing else. */
const MOST_UNREAD = 262_144

/** Bytes that are thrown away for a flooder to see its GOAWAY, which a reset could overtake; then it is cut. */
const MOST_DISCARDED = 1_048_576

const NOTHING = Buffer.alloc(0)

/** The caller is read no further until its socket has drained. */
export function hasMuchUnread(caller: Socket): boolean {
  return caller.writableLength > MOST_UNREAD
}

export function readCaller({ caller, app, relay, listener, flush, destroy }: CallerReadingOptions): CallerReading {
  /** It stands in the backlog. */
  let queued = false
  /** -1 until bytes are thrown away. */
  let discarded = -1

  function receive(bytes: Buffer): void {
    if (caller.destroyed) return
    if (discarded !== -1) {
      discarded += bytes.length
      if (discarded > MOST_DISCARDED) destroy()
      return
    }
    relay.receiveDownstream(bytes, listener.clock.monotonic())
    flush()
    if (relay.behind) caller.pause()
    if (relay.behind || bytes === NOTHING) goOn()
  }

  function goOn(): void {
    if (app.writableNeedDrain || hasMuchUnread(caller)) return
    if (!relay.behind) caller.resume()
    else if (!queued) {
      queued = true
      listener.backlog.add(() => {
        queued = false
        receive(NOTHING)
      })
    }
  }

  return {
    receive,
    goOn,
    discard() {
      discarded = 0
    },
  }
}
