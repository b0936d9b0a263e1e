/** The system's clock with its wall time set forward or back, as an operator or a suspension does. */
import { type Clock, systemClock } from '#base/clock'

export interface ShiftedClock extends Clock {
  /** Ms; negative: back. */
  shift(by: number): void
}

export function shiftedClock(): ShiftedClock {
  let offset = 0
  return {
    now: () => systemClock.now() + offset,
    monotonic: () => systemClock.monotonic(),
    shift(by) {
      offset += by
    },
  }
}
