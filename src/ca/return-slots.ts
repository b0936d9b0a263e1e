/**
 * When those that are turned away under load shall come back: each gets a second of its own choosing by us, so that a thousand that were
 * away together do not come back together.
 */
export interface ReturnSlots {
  /** @param now ms since the epoch @returns whole seconds from now, at least 1 */
  next(now: number): number
}

export interface ReturnSlotOptions {
  /** Callers that are given the same second. */
  readonly perSecond: number
  /** Nobody waits longer; whole seconds. */
  readonly longest: number
}

export function createReturnSlots({ perSecond, longest }: ReturnSlotOptions): ReturnSlots {
  /** The second that is being filled, and how many it has. */
  let second = 0
  let filled = 0
  return {
    next(now) {
      const first = Math.floor(now / 1000) + 1
      if (second < first || second > first + longest) {
        second = first
        filled = 0
      }
      if (filled >= perSecond) {
        // Past the last of them it begins again: the load is then more than this can spread.
        second = second - first + 1 >= longest ? first : second + 1
        filled = 0
      }
      filled++
      return Math.max(1, second - first + 1)
    },
  }
}
