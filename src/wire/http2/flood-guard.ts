/** A token bucket for what costs us more than it costs the peer: resets, pings, settings, empty frames, credits of one byte. */

export interface FloodGuardOptions {
  /** Frames at once; 1,000 unless said. */
  readonly burst?: number
  /** Frames a second for good; 200 unless said. */
  readonly perSecond?: number
}

export class FloodGuard {
  readonly #burst: number
  readonly #perMs: number
  #tokens: number
  #filledAt: number | undefined

  constructor({ burst = 1000, perSecond = 200 }: FloodGuardOptions = {}) {
    this.#burst = burst
    this.#perMs = perSecond / 1000
    this.#tokens = burst
  }

  /** @param now monotonic ms @returns false once the bucket is empty */
  charge(now: number, cost = 1): boolean {
    if (this.#filledAt !== undefined && now > this.#filledAt) {
      this.#tokens = Math.min(this.#burst, this.#tokens + (now - this.#filledAt) * this.#perMs)
    }
    this.#filledAt = now
    this.#tokens -= cost
    return this.#tokens >= 0
  }
}
