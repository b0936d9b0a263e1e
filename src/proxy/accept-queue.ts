/**
 * Paces handshakes (DESIGN §5): so many begun per turn of the event loop, so many in flight, the rest wait unread. A thousand callers
 * that redial at once then delay each other, not those who are being served.
 */
import type { Socket } from 'node:net'

export interface AcceptLimits {
  /** Accepted sockets that wait or shake hands; further ones are closed. */
  readonly waiting: number
  readonly inFlight: number
  readonly perTurn: number
}

export interface AcceptQueue {
  /** @returns false if the queue is full: the socket is not taken. */
  push(socket: Socket): boolean
  /** A handshake that was begun has ended, well or badly. */
  release(): void
  readonly waiting: number
  readonly inFlight: number
  close(): void
}

export function createAcceptQueue(limits: AcceptLimits, begin: (socket: Socket) => void): AcceptQueue {
  const queue: Socket[] = []
  let head = 0
  let inFlight = 0
  let scheduled = false

  function schedule(): void {
    if (scheduled || head === queue.length || inFlight >= limits.inFlight) return
    scheduled = true
    setImmediate(turn)
  }

  function turn(): void {
    scheduled = false
    for (let begun = 0; begun < limits.perTurn && inFlight < limits.inFlight && head < queue.length; head++) {
      const socket = queue[head]
      if (socket === undefined || socket.destroyed) continue
      inFlight++
      begun++
      begin(socket)
    }
    if (head > 1024 || head === queue.length) {
      queue.splice(0, head)
      head = 0
    }
    schedule()
  }

  return {
    push(socket) {
      if (queue.length - head >= limits.waiting) return false
      queue.push(socket)
      schedule()
      return true
    },
    release() {
      inFlight--
      schedule()
    },
    get waiting() {
      return queue.length - head
    },
    get inFlight() {
      return inFlight
    },
    close() {
      for (const socket of queue.splice(0).slice(head)) socket.destroy()
      head = 0
    },
  }
}
