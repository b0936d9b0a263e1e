/**
 * The last decisions in memory, for `explain` by id; refusals apart, so that allowed traffic cannot push them out, and under load
 * a share of what was allowed. Refused handshakes are apart from both: anybody can cause them.
 */
import { boundEvent, boundHandshake, requestSize } from './bound-event.ts'
import type { ExchangeEvent, HandshakeEvent } from './event.ts'

/** Ms of one turn of the allowance for allowed decisions. */
const TURN = 1000

export interface RingOptions {
  /** Decisions kept of each kind, allowed and refused, and refused handshakes. Default 1,000. */
  readonly capacity?: number
  /**
   * Allowed decisions kept in one second; the first of each. Default 100. What is kept outlives the young generation: at thousands of
   * requests a second, keeping all would double the cost of garbage collection to remember the last fifth of a second.
   */
  readonly allowedPerSecond?: number
  /** Characters of request data kept of one decision. Default 4,096: 8 MB for all, at the very most. */
  readonly eventSize?: number
}

export interface Ring {
  add(event: ExchangeEvent): void
  addHandshake(event: HandshakeEvent): void
  /** All that had this id, which callers may choose; newest first. */
  find(requestId: string): readonly ExchangeEvent[]
  /** Newest first. */
  recent(limit: number): readonly ExchangeEvent[]
  findHandshake(id: string): HandshakeEvent | undefined
  /** Newest first. */
  recentHandshakes(limit: number): readonly HandshakeEvent[]
  /** Decisions and handshakes that are kept. */
  readonly size: number
}

const DEFAULT_CAPACITY = 1000
const DEFAULT_ALLOWED_PER_SECOND = 100
const DEFAULT_EVENT_SIZE = 4096

/** One kind of decision: the slots, and at which place in the order of all each was filled. */
interface Lane {
  readonly events: ExchangeEvent[]
  readonly orders: number[]
  next: number
}

export function createRing({
  capacity = DEFAULT_CAPACITY,
  allowedPerSecond = DEFAULT_ALLOWED_PER_SECOND,
  eventSize = DEFAULT_EVENT_SIZE,
}: RingOptions = {}): Ring {
  const allowed: Lane = { events: [], orders: [], next: 0 }
  const refused: Lane = { events: [], orders: [], next: 0 }
  const handshakes: HandshakeEvent[] = []
  let nextHandshake = 0
  let order = 0
  let turnSince = 0
  let taken = 0

  function newestFirst(isWanted: (event: ExchangeEvent) => boolean): ExchangeEvent[] {
    return [allowed, refused]
      .flatMap(({ events, orders }) => events.map((event, index) => ({ event, order: orders[index] ?? 0 })))
      .filter(({ event }) => isWanted(event))
      .sort((a, b) => b.order - a.order)
      .map(({ event }) => event)
  }

  return {
    add(event) {
      const isOrdinary = event.reason === undefined && event.decision?.allow === true
      if (isOrdinary) {
        if (event.time - turnSince >= TURN || event.time < turnSince) {
          turnSince = event.time
          taken = 0
        }
        if (++taken > allowedPerSecond) return
      }
      const lane = isOrdinary ? allowed : refused
      lane.events[lane.next] = requestSize(event) > eventSize ? boundEvent(event, eventSize) : event
      lane.orders[lane.next] = order++
      lane.next = (lane.next + 1) % capacity
    },
    addHandshake(event) {
      handshakes[nextHandshake] = boundHandshake(event)
      nextHandshake = (nextHandshake + 1) % capacity
    },
    find: (requestId) => newestFirst((event) => event.requestId === requestId),
    recent: (limit) => newestFirst(() => true).slice(0, limit),
    findHandshake: (id) => handshakes.find((event) => event.id === id),
    // The slot to be filled next holds the oldest.
    recentHandshakes: (limit) => [...handshakes.slice(nextHandshake), ...handshakes.slice(0, nextHandshake)].toReversed().slice(0, limit),
    get size() {
      return allowed.events.length + refused.events.length + handshakes.length
    },
  }
}
