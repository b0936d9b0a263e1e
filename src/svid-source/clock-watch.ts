/** Notices that the wall clock was set, or that this process or host did not run for a while. */
import type { Clock } from '#base/clock'

export interface ClockLook {
  /** Ms since the epoch. */
  readonly now: number
  /** Ms since the last look, by the wall clock. */
  readonly passed: number
  /** Ms by which the wall clock went further than the monotonic one; 0 for what is within tolerance. Negative where it was set back. */
  readonly jump: number
}

export interface ClockWatch {
  /** When was looked last, ms since the epoch. */
  readonly seen: number
  look(): ClockLook
}

/** Ms: slower corrections are what time services do all day. */
const TOLERANCE = 2_000

export function createClockWatch(clock: Clock): ClockWatch {
  let [seen, monotonic] = [clock.now(), clock.monotonic()]
  return {
    get seen() {
      return seen
    },
    look() {
      const [now, mono] = [clock.now(), clock.monotonic()]
      const passed = now - seen
      const jump = passed - (mono - monotonic)
      seen = now
      monotonic = mono
      return { now, passed, jump: Math.abs(jump) > TOLERANCE ? jump : 0 }
    },
  }
}
