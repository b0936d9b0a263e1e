/** Growing, jittered delays between tries of what failed. */

export interface BackoffOptions {
  /** First delay, ms. */
  readonly first: number
  /** Longest delay, ms. */
  readonly max: number
  /** [0, 1). */
  readonly random: () => number
}

/** The delay before try `attempt` (from 0): doubles from `first` to `max`, ± 20 %. */
export function backoffDelay(attempt: number, { first, max, random }: BackoffOptions): number {
  const delay = Math.min(max, first * 2 ** Math.min(attempt, 30))
  return Math.round(delay * (0.8 + 0.4 * random()))
}
