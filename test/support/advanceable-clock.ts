/** A clock that tells the real time until it is moved on. */
import { type Clock, systemClock } from '#base/clock'

export function advanceableClock(): Clock & { advance(ms: number): void } {
  let offset = 0
  return {
    now: () => systemClock.now() + offset,
    monotonic: () => systemClock.monotonic(),
    advance(ms) {
      offset += ms
    },
  }
}
