/**
 * What a flood costs whoever sent it, beyond the connection: its identity is refused at the address that the flood came from, longer with
 * each flood that follows. Else a caller that dials again at once pays nothing, and every one of its handshakes is ours to pay.
 */
import { createBoundedCache } from '#base/bounded-cache'
import { FloodGuard } from '#wire/http2/flood-guard'

export interface FloodPenalties {
  /** @param peer SPIFFE ID, `''` for who has none @param first ms of the first penalty; each further one is twice as long */
  flooded(peer: string, source: string, first: number): void
  /** Ms for which connections of the peer are refused at the address; 0: they are taken. */
  remaining(peer: string, source: string): number
  /** Ms until a handshake may begin for the address; 0: now, and it is taken to have begun. */
  restOf(source: string): number
}

interface Penalty {
  until: number
  /** How many there were before, in a row. */
  readonly before: number
}

const MOST_DOUBLINGS = 4
/** Ms without a flood after a penalty, after which the next is as short as the first. */
const FORGIVEN_MS = 60_000
/** Entries, of each kind; the one that was asked for longest ago is forgotten first. */
const CAPACITY = 4096
/** Ms between two handshakes for an address from which there was a flood: others behind it wait, and are not refused. */
const HANDSHAKE_GAP_MS = 100
/** Floods of one identity from wherever; then it is refused everywhere, however many addresses it has. */
const PEER_FLOODS = { burst: 16, perSecond: 0.25 }

/** @param now monotonic ms */
export function createFloodPenalties(now: () => number): FloodPenalties {
  const penalties = createBoundedCache<string, Penalty>(CAPACITY)
  const peers = createBoundedCache<string, FloodGuard>(CAPACITY)
  const sources = createBoundedCache<string, { until: number; next: number }>(CAPACITY)

  /** @returns until when */
  function punish(key: string, at: number, first: number): number {
    const last = penalties.get(key, at)
    // Connections that flood side by side are one flood.
    const before = last === undefined ? 0 : at < last.until ? last.before : Math.min(last.before + 1, MOST_DOUBLINGS)
    const until = at + first * 2 ** before
    penalties.set(key, { until, before }, until + FORGIVEN_MS)
    return until
  }

  return {
    flooded(peer, source, first) {
      const at = now()
      const until = punish(`${source} ${peer}`, at, first)
      sources.set(source, { until: Math.max(until, sources.get(source, at)?.until ?? 0), next: at + HANDSHAKE_GAP_MS }, until)
      // Who has no identity shares that with all others who have none.
      if (peer === '') return
      const guard = peers.get(peer, at) ?? new FloodGuard(PEER_FLOODS)
      peers.set(peer, guard, at + FORGIVEN_MS)
      if (!guard.charge(at)) punish(peer, at, first)
    },
    remaining(peer, source) {
      const at = now()
      const here = penalties.get(`${source} ${peer}`, at)?.until ?? 0
      const anywhere = penalties.get(peer, at)?.until ?? 0
      return Math.max(0, here - at, anywhere - at)
    },
    restOf(source) {
      const at = now()
      const entry = sources.get(source, at)
      if (entry === undefined) return 0
      if (at < entry.next) return entry.next - at
      entry.next = at + HANDSHAKE_GAP_MS
      return 0
    },
  }
}
