/** What every X509-SVID that is issued here has in common, whichever way it is made. */

/** How far a leaf's life begins in the past, ms, for peers whose clock is behind ours. */
export const BACKDATE_MS = 60_000

/** The trust domain as an organization name, which RFC 5280 (ub-organization-name) bounds to 64 characters. */
export function organisation(trustDomain: string): string {
  return trustDomain.length <= 64 ? trustDomain : `${trustDomain.slice(0, 61)}...`
}
