/** What every source of our own SVID and bundles is, wherever it takes them from. */
import type { ReasonCode } from '#base/reasons'
import type { IdentityFeed } from '#config/snapshot'

/** Serves a usable identity from the moment it is created to the moment it is closed; the last good one while newer ones fail. */
export interface SvidSource extends IdentityFeed {
  readonly kind: 'files' | 'ca'
}

/** Is told of every try to get a certificate, and of every look for newer trust: for metrics. */
export type IdentityObserver = (what: 'renewal' | 'poll', result: 'ok' | ReasonCode) => void
