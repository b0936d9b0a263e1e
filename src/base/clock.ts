/** Time as an argument: what runs on a clock takes one, so that tests can hold it. */

export interface Clock {
  /** Wall clock, milliseconds since the epoch; may jump. */
  now(): number
  /** Monotonic milliseconds with fractions, for durations. */
  monotonic(): number
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
}
