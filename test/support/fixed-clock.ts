/** A clock that stands where it is put. */
import type { Clock } from '#base/clock'

/** @param now ms since the epoch */
export function fixedClock(now: number): Clock {
  return { now: () => now, monotonic: () => 0 }
}
