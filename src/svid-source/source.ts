/** What every source of our own SVID and bundles is, wherever it takes them from. */
import type { ReasonCode } from '#base/reasons'
import type { IdentityFeed } from '#config/snapshot'
import type { JwtSvid } from '#workload-api/source'

/** Serves a usable identity from the moment it is created to the moment it is closed; the last good one while newer ones fail. */
export interface SvidSource extends IdentityFeed {
  readonly kind: 'files' | 'ca' | 'workloadApi'
  /** Mints a JWT-SVID of our own identity; absent where nobody does. Rejects if it cannot be had. */
  readonly issueJwtSvid?: (audience: readonly string[], signal: AbortSignal) => Promise<JwtSvid>
}

/** Is told of every try to get a certificate, and of every look for newer trust: for metrics. */
export type IdentityObserver = (what: 'renewal' | 'poll', result: 'ok' | ReasonCode) => void
