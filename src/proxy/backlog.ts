/**
 * Shares the data thread among connections that have sent more than is read at once: they go on in turns, and all of them together have
 * so much of each turn of the event loop. Whoever sends little is read as it comes, and waits for no more than that.
 */
import type { Clock } from '#base/clock'

export interface Backlog {
  /** Calls `goOn` in a later turn: once, after those that were added before. */
  add(goOn: () => void): void
}

/** Ms of one turn. What one `goOn` does is not interrupted. */
const TURN_MS = 1

export function createBacklog(clock: Pick<Clock, 'monotonic'>): Backlog {
  const waiting: (() => void)[] = []
  let scheduled = false

  function schedule(): void {
    if (scheduled || waiting.length === 0) return
    scheduled = true
    setImmediate(turn)
  }

  function turn(): void {
    const began = clock.monotonic()
    do waiting.shift()?.()
    while (waiting.length > 0 && clock.monotonic() - began < TURN_MS)
    scheduled = false
    schedule()
  }

  return {
    add(goOn) {
      waiting.push(goOn)
      schedule()
    },
  }
}
