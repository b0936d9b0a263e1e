/**
 * Counts the requests of each caller against the limits of rules: one token bucket for each limit and caller, bounded in number.
 *
 * A bucket that has filled up again is as good as none, so those are forgotten first. Where all are in use, the limit remembers how
 * far from full the ones it had to forget were, and whoever is new starts no fuller than that: however many callers there are, none
 * gets more than its limit, and together they get no more than as many callers as there are buckets.
 */
import type { SpiffeId } from '#identity/spiffe-id'
import type { RateLimit } from '#policy/decision'
import type { RequestFacts } from '#policy/facts'

export interface RateLimiter {
  /** Counts one request, unless it must wait. @param now monotonic ms @returns ms until it could be taken; 0 if it was */
  take(limit: RateLimit, facts: RequestFacts, now: number): number
  /** Forgets what was counted for all limits but these. @param keys of `RateLimit` */
  keep(keys: ReadonlySet<string>): void
  /** Buckets held. */
  readonly size: number
}

/** Of one listener: about 2 MB if all are used. */
export const MOST_BUCKETS = 10_000
/** Of the least recently used buckets, how many are looked at for one that is full. */
const LOOK_AT = 8
/** Share of one request that is given in advance, as rounding may have taken it away. */
const ROUNDING = 1e-6

/** The buckets of one limit. */
interface Counter {
  /** Ms. */
  readonly interval: number
  readonly buckets: Map<string, Bucket>
  /** When the emptiest of the buckets that were forgotten would be full. */
  forgottenUntil: number
}

/** A member of the ring of all buckets, from the least recently used to the most. */
class Bucket {
  readonly counter: Counter
  readonly caller: string
  /** Requests taken and not yet earned back, as of then. */
  used: number
  /** Monotonic ms. */
  usedAt: number
  older: Bucket = this
  newer: Bucket = this

  constructor(counter: Counter, caller: string, now: number) {
    this.counter = counter
    this.caller = caller
    this.used = Math.max(0, (counter.forgottenUntil - now) / counter.interval)
    this.usedAt = now
  }

  get fullAt(): number {
    return this.usedAt + this.used * this.counter.interval
  }

  /** Makes it the most recently used. @param ends where the ring begins and ends */
  enter(ends: Bucket): void {
    this.older = ends.older
    this.newer = ends
    ends.older.newer = this
    ends.older = this
  }

  leave(): void {
    this.older.newer = this.newer
    this.newer.older = this.older
  }
}

export function createRateLimiter(capacity = MOST_BUCKETS): RateLimiter {
  const counters = new Map<string, Counter>()
  const callerOf = createCallerNames()
  // No bucket: the least recently used is its `newer`, the most recently used its `older`.
  const ends = new Bucket(createCounter(1), '', 0)
  let size = 0

  function add(counter: Counter, caller: string, now: number): Bucket {
    if (size >= capacity) forgetOne(now)
    const bucket = new Bucket(counter, caller, now)
    counter.buckets.set(caller, bucket)
    bucket.enter(ends)
    size++
    return bucket
  }

  function forgetOne(now: number): void {
    let bucket = ends.newer
    for (let seen = 1; seen < LOOK_AT && bucket.fullAt > now && bucket.newer !== ends; seen++) bucket = bucket.newer
    if (bucket.fullAt > now) bucket = ends.newer
    const { counter, caller, fullAt } = bucket
    bucket.leave()
    counter.buckets.delete(caller)
    counter.forgottenUntil = Math.max(counter.forgottenUntil, fullAt)
    size--
  }

  return {
    take(limit, facts, now) {
      let counter = counters.get(limit.key)
      if (counter === undefined) counters.set(limit.key, (counter = createCounter(limit.interval)))
      const caller = callerOf(limit, facts)
      const bucket = counter.buckets.get(caller) ?? add(counter, caller, now)
      if (bucket !== ends.older) {
        bucket.leave()
        bucket.enter(ends)
      }
      const used = Math.max(0, bucket.used - (now - bucket.usedAt) / limit.interval) + 1
      if (used > limit.burst + ROUNDING) return (used - limit.burst) * limit.interval
      bucket.used = used
      bucket.usedAt = now
      return 0
    },
    keep(keys) {
      for (const [key, { buckets }] of counters) {
        if (keys.has(key)) continue
        for (const bucket of buckets.values()) bucket.leave()
        size -= buckets.size
        counters.delete(key)
      }
    },
    get size() {
      return size
    },
  }
}

function createCounter(interval: number): Counter {
  return { interval, buckets: new Map(), forgottenUntil: -Infinity }
}

/**
 * The name under which a caller is counted. Who has no such name (no certificate, an id without namespace) is counted together with
 * all others of the trust domain that have none.
 */
function createCallerNames(): (limit: RateLimit, facts: RequestFacts) => string {
  const namespaces = new WeakMap<SpiffeId, string>()
  return ({ per }, { peer, sourceIp }) => {
    if (per === 'source_ip') return sourceIp
    if (peer === undefined || per === 'all') return ''
    const { id } = peer
    if (per === 'peer') return id.uri
    if (per === 'trust_domain' || id.namespace === undefined) return id.trustDomain
    // The id of a service account says no more than trust domain, namespace and service account.
    if (per === 'service_account') return id.uri
    let name = namespaces.get(id)
    if (name === undefined) namespaces.set(id, (name = `${id.trustDomain}/${id.namespace}`))
    return name
  }
}
