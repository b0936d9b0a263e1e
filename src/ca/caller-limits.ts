/** How many certificates one caller gets: a token bucket for each, bounded in number. */
import { createBoundedCache } from '#base/bounded-cache'

export interface CallerLimits {
  /** @param now ms since the epoch @returns ms until it could be taken; 0 if it was */
  take(caller: string, now: number): number
  /** The same without taking. */
  wait(caller: string, now: number): number
}

export interface CallerLimitOptions {
  readonly perMinute: number
  readonly burst: number
}

const MOST_CALLERS = 50_000
/** Share of one certificate that is given in advance, as rounding may have taken it away. */
const ROUNDING = 1e-6

interface Bucket {
  /** Taken and not yet earned back, as of `at`. */
  readonly used: number
  readonly at: number
}

export function createCallerLimits({ perMinute, burst }: CallerLimitOptions): CallerLimits {
  const interval = 60_000 / perMinute
  const buckets = createBoundedCache<string, Bucket>(MOST_CALLERS)

  function usedBy(caller: string, now: number): number {
    const bucket = buckets.get(caller, now)
    return bucket === undefined ? 0 : Math.max(0, bucket.used - Math.max(0, now - bucket.at) / interval)
  }

  function waitFor(used: number): number {
    const missing = used + 1 - burst
    return missing > ROUNDING ? Math.ceil((missing - ROUNDING) * interval) : 0
  }

  return {
    take(caller, now) {
      const used = usedBy(caller, now)
      const wait = waitFor(used)
      // A bucket that is full again is as good as none.
      if (wait === 0) buckets.set(caller, { used: used + 1, at: now }, now + (used + 1) * interval + 1)
      return wait
    },
    wait: (caller, now) => waitFor(usedBy(caller, now)),
  }
}
