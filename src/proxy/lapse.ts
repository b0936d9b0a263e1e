/**
 * What becomes of that which runs when the reason it was admitted for is gone (`onExpiry`): cut at once, or told to end and cut at the end of
 * the time for draining. Who is revoked is always cut.
 */
import type { InboundListenerState } from './inbound-state.ts'
import type { Lapsed } from './request-path.ts'

/** Something that may finish, but no longer than this. */
export interface Lapse {
  /** Why it may no longer run. */
  readonly why: Lapsed
  /** Ms since the epoch. */
  readonly until: number
}

/** How long that which runs may go on. @param now ms since the epoch */
export function lapse({ settings }: InboundListenerState, why: Lapsed, now: number): Lapse {
  const { config, drain } = settings
  const isGraceful = config.onExpiry === 'drain' && why.reason !== 'ERR_SVID_REVOKED'
  return { why, until: isGraceful ? now + drain : now }
}

/** For the record of what finished in its time. */
export function lapseNote({ reason, detail }: Lapsed): string {
  return `was draining: ${reason}${detail === '' ? '' : `, ${detail}`}`
}
