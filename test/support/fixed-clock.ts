/** Clocks that stand where they are put, or go on by themselves and are put forward. */
import { type Clock, systemClock } from '#base/clock'

/** @param now ms since the epoch */
export function fixedClock(now: number): Clock {
  return { now: () => now, monotonic: () => 0 }
}

/** The real time, and as much more as it was put forward. */
export function movableClock(): Clock & { forward(milliseconds: number): void } {
  let ahead = 0
  return {
    now: () => systemClock.now() + ahead,
    monotonic: () => systemClock.monotonic() + ahead,
    forward(milliseconds) {
      ahead += milliseconds
    },
  }
}
