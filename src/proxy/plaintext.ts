/** Migration: callers without TLS told apart by their first bytes, and who they are (docs/configuration.md#callers-without-tls). */
import type { Socket } from 'node:net'

/** What a connection begins with. */
export type Beginning = 'tls' | 'http1' | 'http2'

/** RFC 8446 §5.1: a record of the handshake. No method of HTTP begins so. */
const HANDSHAKE = 0x16
/** What alone begins an HTTP/2 connection (RFC 9113 §3.4). */
const PREFACE = Buffer.from('PRI ')

/**
 * Reads as much as it takes to tell, gives it back to the socket, and calls `found`. The socket must not be read before, and is paused after.
 * @param timeout ms, after which it is closed @returns what ends the wait
 */
export function tellApart(socket: Socket, timeout: number, found: (what: Beginning) => void, failed: () => void): void {
  let seen: Buffer | undefined
  const timer = setTimeout(() => {
    end()
    failed()
  }, timeout)
  function end(): void {
    clearTimeout(timer)
    socket.off('data', onData)
    socket.off('end', onGone)
    socket.off('close', onGone)
  }
  function onGone(): void {
    end()
    failed()
  }
  function onData(chunk: Buffer): void {
    seen = seen === undefined ? chunk : Buffer.concat([seen, chunk])
    const what = beginningOf(seen)
    if (what === undefined) return
    end()
    socket.pause()
    socket.unshift(seen)
    found(what)
  }
  socket.on('data', onData)
  socket.once('end', onGone)
  socket.once('close', onGone)
  socket.resume()
}

function beginningOf(bytes: Buffer): Beginning | undefined {
  if (bytes[0] === HANDSHAKE) return 'tls'
  const known = Math.min(bytes.length, PREFACE.length)
  if (!bytes.subarray(0, known).equals(PREFACE.subarray(0, known))) return 'http1'
  return known === PREFACE.length ? 'http2' : undefined
}

/** One address that came without TLS. Times are ms since the epoch. */
export interface PlaintextCaller {
  readonly listener: string
  readonly sourceIp: string
  readonly connections: number
  readonly firstSeen: number
  readonly lastSeen: number
}

export interface PlaintextCallers {
  note(listener: string, sourceIp: string, now: number): void
  /** The latest first. */
  list(limit: number): readonly PlaintextCaller[]
}

/** Addresses that are kept; beyond that the one that was seen longest ago makes room. */
const KEPT = 1000

/** @param count is called for each connection */
export function createPlaintextCallers(count: (listener: string, sourceIp: string) => void): PlaintextCallers {
  const callers = new Map<string, PlaintextCaller>()
  return {
    note(listener, sourceIp, now) {
      count(listener, sourceIp)
      const key = `${listener} ${sourceIp}`
      const before = callers.get(key)
      // Deleted and set again, so that the map is in the order of last sight.
      callers.delete(key)
      callers.set(key, {
        listener,
        sourceIp,
        connections: (before?.connections ?? 0) + 1,
        firstSeen: before?.firstSeen ?? now,
        lastSeen: now,
      })
      const [oldest] = callers.keys()
      if (callers.size > KEPT && oldest !== undefined) callers.delete(oldest)
    },
    list: (limit) => [...callers.values()].toReversed().slice(0, limit),
  }
}
