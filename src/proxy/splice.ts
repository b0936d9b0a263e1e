/** Joins two sockets: bytes both ways with back-pressure, half-close kept, counted. For opaque TCP; HTTP tunnels go through their exchange. */
import type { Socket } from 'node:net'

export interface Splice {
  readonly bytesIn: number
  readonly bytesOut: number
  /** One side has ended, the other has not. */
  readonly halfClosed: boolean
  /** Ms since the epoch, exact to a second: the last byte in either direction. */
  readonly touched: number
  destroy(): void
}

/**
 * @param caller its unread bytes flow from now on
 * @param upstream may still be connecting
 * @param now the registry's coarse clock
 * @param onEnd once, when both are closed. @param fault what the upstream failed with
 */
export function splice(
  caller: Socket,
  upstream: Socket,
  now: () => number,
  onEnd: (fault: NodeJS.ErrnoException | undefined) => void,
): Splice {
  let bytesIn = 0
  let bytesOut = 0
  let touched = now()
  let fault: NodeJS.ErrnoException | undefined
  let open = 2

  function join(from: Socket, to: Socket, count: (bytes: number) => void): void {
    from.on('data', (chunk: Buffer) => {
      count(chunk.length)
      touched = now()
      if (to.writable && !to.write(chunk)) from.pause()
    })
    to.on('drain', () => from.resume())
    from.on('end', () => to.end())
  }

  function closed(other: Socket): void {
    // A reset of one side is passed on as one: the other must not take it for an end.
    if (!other.writableEnded || fault !== undefined) other.destroy()
    if (--open === 0) onEnd(fault)
  }

  join(caller, upstream, (bytes) => {
    bytesIn += bytes
  })
  join(upstream, caller, (bytes) => {
    bytesOut += bytes
  })
  caller.on('error', () => {})
  upstream.on('error', (error: NodeJS.ErrnoException) => {
    fault ??= error
  })
  caller.once('close', () => closed(upstream))
  upstream.once('close', () => closed(caller))

  return {
    get bytesIn() {
      return bytesIn
    },
    get bytesOut() {
      return bytesOut
    },
    get halfClosed() {
      return caller.readableEnded !== upstream.readableEnded
    },
    get touched() {
      return touched
    },
    destroy() {
      caller.destroy()
      upstream.destroy()
    },
  }
}
