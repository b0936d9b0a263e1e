/** A clock that moves when it is told to. */
import type { Clock } from '#base/clock'

export interface MovingClock extends Clock {
  advance(ms: number): void
}

/** @param start ms since the epoch */
export function movingClock(start: number): MovingClock {
  let elapsed = 0
  return {
    now: () => start + elapsed,
    monotonic: () => elapsed,
    advance(ms) {
      elapsed += ms
    },
  }
}
