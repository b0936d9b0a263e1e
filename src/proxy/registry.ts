/**
 * The one table of live connections. One wall-clock tick a second looks at each (deadlines, certificate ends, decisions that time
 * changes), and every new snapshot makes each re-decide: nothing that was once admitted outlives its reason.
 */
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { ConnectionOrigin } from '#audit/event'
import type { Clock } from '#base/clock'
import type { Snapshot } from '#config/snapshot'

/** What the admin address shows of a connection. */
export interface ConnectionDescription {
  readonly listener: string
  readonly direction: 'inbound' | 'outbound'
  readonly protocol: string
  readonly peer: string | undefined
  readonly sourceIp: string
  readonly openedAt: number
  readonly notAfter: number | undefined
  readonly exchange: { readonly requestId: string; readonly method: string; readonly path: string; readonly startedAt: number } | undefined
}

/** @param notAfter ms since the epoch; Infinity without certificates */
export function describeConnection(
  { listener, direction, protocol, peer, sourceIp }: ConnectionOrigin,
  openedAt: number,
  notAfter: number,
  exchange: ConnectionDescription['exchange'],
): ConnectionDescription {
  const ends = Number.isFinite(notAfter) ? notAfter : undefined
  return { listener, direction, protocol, peer: peer?.id.uri, sourceIp, openedAt, notAfter: ends, exchange }
}

/** A connection and whatever runs on it. All times are ms since the epoch. */
export interface LiveConnection {
  /** Once a second. */
  tick(now: number): void
  /** The snapshot changed: decide again on the facts that are held, and end what is no longer allowed. */
  revalidate(snapshot: Snapshot, now: number): void
  /** End when what runs has ended; take nothing new. */
  drain(): void
  /** The drain time is over. */
  cutAtDrainEnd(): void
  describe(): ConnectionDescription
}

export interface Registry {
  add(connection: LiveConnection): void
  remove(connection: LiveConnection): void
  /** Ends an idle connection that its caller has ended, soon: a few in each turn, so that a thousand that go at once hold up nobody. */
  leave(end: () => void): void
  readonly size: number
  /** Wall clock as of the last tick: cheap enough for every byte received, exact to a second. */
  readonly coarseNow: number
  tick(now: number): Promise<void>
  revalidate(snapshot: Snapshot, now: number): Promise<void>
  drain(): void
  cutAll(): void
  describe(limit: number): ConnectionDescription[]
  /** Resolves when no connection is left. */
  empty(): Promise<void>
}

/** Ms that looking at connections may take of one turn of the event loop, and how many are looked at between two looks at the clock. */
const TURN_MS = 3
const STEP = 16

/** Freeing what TLS holds of a connection costs a tenth of a millisecond. */
const LEAVES_PER_TURN = 8

/** @param now ms since the epoch */
export function createRegistry(now: number, clock: Pick<Clock, 'monotonic'>): Registry {
  const live = new Set<LiveConnection>()
  const waiting: (() => void)[] = []
  const leaving: (() => void)[] = []
  let coarseNow = now
  let latestPass = 0
  let draining = false

  /** Visits all that live, in slices; a later pass of revalidation overtakes this one. */
  async function visit(look: (connection: LiveConnection) => void, overtaken: () => boolean): Promise<void> {
    const failures: unknown[] = []
    let seen = 0
    let began = clock.monotonic()
    // A set may change while it is walked: who goes is not visited, who comes is visited too, and costs no more than that.
    for (const connection of live) {
      try {
        look(connection)
      } catch (error) {
        // A bug that one connection brings out must not keep the others from being looked at.
        failures.push(error)
      }
      if (++seen % STEP !== 0 || clock.monotonic() - began < TURN_MS) continue
      await nextTurn()
      if (overtaken()) return
      began = clock.monotonic()
    }
    if (failures.length > 0) throw failures[0]
  }

  function letGo(): void {
    for (const end of leaving.splice(0, LEAVES_PER_TURN)) end()
    if (leaving.length > 0) setImmediate(letGo)
  }

  return {
    add(connection) {
      live.add(connection)
      // Its handshake was under way when the drain began.
      if (draining) connection.drain()
    },
    remove(connection) {
      live.delete(connection)
      if (live.size === 0) for (const resolve of waiting.splice(0)) resolve()
    },
    leave(end) {
      if (leaving.push(end) === 1) setImmediate(letGo)
    },
    get size() {
      return live.size
    },
    get coarseNow() {
      return coarseNow
    },
    tick(at) {
      coarseNow = at
      return visit(
        (connection) => connection.tick(at),
        () => false,
      )
    },
    revalidate(snapshot, at) {
      const pass = ++latestPass
      return visit(
        (connection) => connection.revalidate(snapshot, at),
        () => pass !== latestPass,
      )
    },
    drain() {
      draining = true
      for (const connection of live) connection.drain()
    },
    cutAll() {
      for (const connection of live) connection.cutAtDrainEnd()
    },
    describe(limit) {
      const found: ConnectionDescription[] = []
      for (const connection of live) {
        if (found.length >= limit) break
        found.push(connection.describe())
      }
      return found
    },
    empty() {
      if (live.size === 0) return Promise.resolve()
      return new Promise((resolve) => void waiting.push(resolve))
    },
  }
}
