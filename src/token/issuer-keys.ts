/**
 * The keys of one issuer while time passes: the last good ones for a bounded time, a look at their origin now and then, and one more when a token
 * names a key that nobody knows. Never more than one look at once, never a key from anywhere else.
 *
 *   no keys ──look──→ keys ──look: good──→ keys (confirmed) ──look: bad, again and again──→ too old: no keys
 */
import { backoffDelay } from '#base/backoff'
import type { Clock } from '#base/clock'
import type { Refusal } from '#base/result'
import { type KeySet, readKeySet } from './key-set.ts'
import type { KeyOrigin } from './key-origin.ts'

export interface IssuerKeysOptions {
  readonly origin: KeyOrigin
  /** Only keys of use jwt-svid. */
  readonly jwtSvid: boolean
  /** Ms for which the last good keys are used though their origin gives no good ones any more. */
  readonly keep: number
  readonly clock: Clock
  /** [0, 1) */
  readonly random: () => number
  /** Keys have come or gone. */
  readonly onChange: () => void
  /** How a look went, where that is other than the look before. */
  readonly onOutcome: (failure: Refusal | undefined) => void
}

export interface IssuerKeys {
  readonly current: KeySet | undefined
  /** Why the last look gave no keys; undefined if it did. */
  readonly failure: Refusal | undefined
  /** Ms since the epoch: the first look of those that failed since the last good one, and when the keys in force came. */
  readonly failedAt: number | undefined
  readonly changedAt: number | undefined
  /** Looks at the origin, whatever the time. Joins a look under way. */
  look(): Promise<void>
  /** For a token whose key is not known: a look, the one under way, or undefined while the last is too recent. */
  seek(): Promise<void> | undefined
  /** Once a second. @param now ms since the epoch */
  tick(now: number): void
  /** Nothing is told any more. */
  close(): void
}

/** Tries of an origin that fails, ms. */
const RETRY = { first: 1000, max: 60_000 }

export function createIssuerKeys(options: IssuerKeysOptions): IssuerKeys {
  const { origin, clock, random } = options
  let current: KeySet | undefined
  let text: string | undefined
  let failure: Refusal | undefined
  let failures = 0
  let failedAt: number | undefined
  let confirmedAt: number | undefined
  let changedAt: number | undefined
  let nextAt = -Infinity
  let lookedAt = -Infinity
  let underWay: Promise<void> | undefined
  let closed = false

  async function lookNow(): Promise<void> {
    const result = await load()
    underWay = undefined
    if (closed) return
    const now = clock.now()
    const known = failure?.reason === result?.reason && failure?.detail === result?.detail
    failure = result
    failures = result === undefined ? 0 : failures + 1
    failedAt = result === undefined ? undefined : (failedAt ?? now)
    nextAt = now + (result === undefined ? origin.interval : Math.min(origin.interval, backoffDelay(failures - 1, { ...RETRY, random })))
    if (!known) options.onOutcome(result)
  }

  /** @returns why there are no new keys */
  async function load(): Promise<Refusal | undefined> {
    const loaded = await origin.load()
    if (closed) return undefined
    if (!loaded.ok) return loaded
    if (loaded.value !== text || current === undefined) {
      const read = await readKeySet(loaded.value, { jwtSvid: options.jwtSvid })
      if (!read.ok) return read
      text = loaded.value
      replace(read.value)
    }
    confirmedAt = clock.now()
    return undefined
  }

  function replace(next: KeySet | undefined): void {
    const before = current
    current = next
    if (closed || describe(before) === describe(next)) return
    changedAt = clock.now()
    options.onChange()
  }

  function look(): Promise<void> {
    if (underWay === undefined) {
      lookedAt = clock.monotonic()
      underWay = lookNow()
    }
    return underWay
  }

  return {
    get current() {
      return current
    },
    get failure() {
      return failure
    },
    get failedAt() {
      return failedAt
    },
    get changedAt() {
      return changedAt
    },
    look,
    seek() {
      if (underWay !== undefined) return underWay
      return clock.monotonic() - lookedAt < origin.cooldown ? undefined : look()
    },
    tick(now) {
      if (current !== undefined && confirmedAt !== undefined && now - confirmedAt > options.keep) {
        text = undefined
        replace(undefined)
      }
      // A clock that was set back must not put the next look off.
      if (nextAt - now > origin.interval) nextAt = now + origin.interval
      if (now >= nextAt) void look()
    },
    close() {
      closed = true
    },
  }
}

function describe(set: KeySet | undefined): string | undefined {
  return set?.keys.map(({ kid, algorithm, thumbprint }) => `${thumbprint} ${algorithm} ${kid}`).join('\n')
}
