/** What every source of our own SVID and bundles is, wherever it takes them from. */
import type { IdentityFeed } from '#config/snapshot'

/** Serves a usable identity from the moment it is created to the moment it is closed; the last good one while newer ones fail. */
export interface SvidSource extends IdentityFeed {
  readonly kind: 'files'
}
