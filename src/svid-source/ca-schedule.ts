/** When the next renewal and the next poll are due: times of the wall clock, so that a suspended process is late, never mistaken. */
import { backoffDelay } from '#base/backoff'

/** Share of its life after which a certificate is renewed, unless the authority gives a time. */
const RENEW_AFTER = 0.5
/** Share of what is left by which it is renewed whatever the authority says: a try that fails wants another. */
const LATEST = 0.8
/** Renewals that were planned alike must not come alike: this share of the life, early or late. */
const JITTER = 0.05
const FIRST_RETRY = 1_000
const LONGEST_RETRY = 60_000
/** Of what is left of a certificate: a short-lived one is tried for more often. */
const RETRY_SHARE = 0.1
const SHORTEST_RETRY = 100

export interface Lifetime {
  readonly notBefore: number
  readonly notAfter: number
}

/** @param renewAt of the authority's choosing, taken if it lies within what is left. @param random [0, 1) */
export function renewalTime({ notBefore, notAfter }: Lifetime, now: number, renewAt: number | undefined, random: number): number {
  const left = notAfter - now
  // Its beginning lies back a little: what counts is the time since it was handed out.
  const life = Math.min(left, notAfter - notBefore)
  const asked = renewAt !== undefined && renewAt > now && renewAt < notAfter ? renewAt : now + life * RENEW_AFTER
  return Math.min(asked + life * JITTER * (2 * random - 1), now + left * LATEST)
}

/**
 * When to try again after a failure.
 * @param failures in a row, the one just met included
 * @param retryAfter ms that the authority asked for; 0 for none. Kept to, but for what would let the certificate end unasked
 * @param left ms until the certificate ends; Infinity or less than nothing where there is none to lose
 */
export function retryDelay(failures: number, retryAfter: number, left: number, random: () => number): number {
  const expiring = left > 0 && Number.isFinite(left)
  const max = expiring ? Math.min(LONGEST_RETRY, Math.max(SHORTEST_RETRY, left * RETRY_SHARE)) : LONGEST_RETRY
  const delay = backoffDelay(Math.max(0, failures - 1), { first: Math.min(FIRST_RETRY, max), max, random })
  if (retryAfter <= delay) return delay
  // Many were told the same second.
  const asked = retryAfter * (1 + 0.2 * random())
  return expiring ? Math.min(asked, Math.max(delay, left * 0.8)) : asked
}

/** @param pollAfter ms. @param failures in a row. @param random [0, 1) */
export function pollDelay(pollAfter: number, failures: number, random: number): number {
  return pollAfter * (0.8 + 0.4 * random) * Math.min(4, 1 + failures / 4)
}
