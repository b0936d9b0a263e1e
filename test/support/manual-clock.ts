/** A clock that stands until it is moved. */
import type { Clock } from '#base/clock'

export interface ManualClock extends Clock {
  advance(ms: number): void
}

/** @param start ms since the epoch */
export function manualClock(start: number): ManualClock {
  let elapsed = 0
  return {
    now: () => start + elapsed,
    monotonic: () => elapsed,
    advance(ms) {
      elapsed += ms
    },
  }
}
