/**
 * Paces handshakes (DESIGN §5): so many begun per turn of the event loop, so many in flight, the rest wait unread. A thousand callers
 * that redial at once then delay each other, not those who are being served. Source addresses take turns, and none has more than its
 * share in flight or waiting: whoever dials and stays silent holds up itself.
 */
import type { Socket } from 'node:net'

export interface AcceptLimits {
  /** Accepted sockets that wait for their handshake; further ones are not taken. */
  readonly waiting: number
  readonly waitingPerSource: number
  readonly inFlight: number
  readonly inFlightPerSource: number
  readonly perTurn: number
  /** Ms until a handshake of the address may begin; 0: now, and it counts as begun. None has to wait unless said. */
  readonly restOf?: (address: string) => number
}

export interface AcceptQueue {
  /** @returns false if there is no room: the socket is not taken. */
  push(socket: Socket): boolean
  /** A handshake has ended well. One that ends badly ends with its socket. */
  release(socket: Pick<Socket, 'remoteAddress' | 'remotePort'>): void
  readonly waiting: number
  readonly inFlight: number
  close(): void
}

interface Source {
  readonly address: string
  readonly waiting: Socket[]
  inFlight: number
  /** It is in the list of those whose turn it is. */
  ready: boolean
}

export function createAcceptQueue(limits: AcceptLimits, begin: (socket: Socket) => void): AcceptQueue {
  /** Those with a socket that waits or shakes hands. */
  const sources = new Map<string, Source>()
  /** Those whose turn it is, each once: they have a socket that waits, and a place for it. */
  const ready: Source[] = []
  /** How to end a handshake in flight, by the far end of its connection. */
  const releases = new Map<string, () => void>()
  let waiting = 0
  let inFlight = 0
  let scheduled = false

  function makeReady(source: Source): void {
    if (source.ready || source.waiting.length === 0 || source.inFlight >= limits.inFlightPerSource) return
    source.ready = true
    ready.push(source)
  }

  function forgetIfUnused(source: Source): void {
    if (source.waiting.length === 0 && source.inFlight === 0) sources.delete(source.address)
  }

  function schedule(): void {
    if (scheduled || ready.length === 0 || inFlight >= limits.inFlight) return
    scheduled = true
    setImmediate(turn)
  }

  function turn(): void {
    scheduled = false
    for (let begun = 0; begun < limits.perTurn && inFlight < limits.inFlight;) {
      const source = ready.shift()
      if (source === undefined) break
      const rest = limits.restOf?.(source.address) ?? 0
      if (rest > 0) {
        setTimeout(wake, rest, source).unref()
        continue
      }
      source.ready = false
      const socket = source.waiting.shift()
      if (socket !== undefined) waiting--
      if (socket !== undefined && !socket.destroyed) {
        begun++
        hold(source, socket)
        makeReady(source)
        begin(socket)
      } else {
        makeReady(source)
        forgetIfUnused(source)
      }
    }
    schedule()
  }

  /** It has rested; until now it stood for ready, and was in no list. */
  function wake(source: Source): void {
    source.ready = false
    makeReady(source)
    forgetIfUnused(source)
    schedule()
  }

  /** Counts a handshake until it is released, or its socket is closed. */
  function hold(source: Source, socket: Socket): void {
    const farEnd = farEndOf(socket)
    inFlight++
    source.inFlight++
    let held = true
    const release = (): void => {
      if (!held) return
      held = false
      if (releases.get(farEnd) === release) releases.delete(farEnd)
      inFlight--
      source.inFlight--
      makeReady(source)
      forgetIfUnused(source)
      schedule()
    }
    releases.set(farEnd, release)
    socket.once('close', release)
  }

  return {
    push(socket) {
      const address = socket.remoteAddress ?? ''
      const source = sources.get(address) ?? { address, waiting: [], inFlight: 0, ready: false }
      if (waiting >= limits.waiting || source.waiting.length >= limits.waitingPerSource) return false
      sources.set(address, source)
      source.waiting.push(socket)
      waiting++
      makeReady(source)
      schedule()
      return true
    },
    release: (socket) => releases.get(farEndOf(socket))?.(),
    get waiting() {
      return waiting
    },
    get inFlight() {
      return inFlight
    },
    close() {
      for (const source of sources.values()) for (const socket of source.waiting.splice(0)) socket.destroy()
      ready.length = waiting = 0
    },
  }
}

function farEndOf({ remoteAddress, remotePort }: Pick<Socket, 'remoteAddress' | 'remotePort'>): string {
  return `${remoteAddress} ${remotePort}`
}
