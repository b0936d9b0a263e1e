/** What a caller gets, or the status code that says why not (SPIFFE_Workload_Endpoint §6, SPIFFE_Workload_API §5.2, §6.2). */
import { Code, ConnectError } from '@connectrpc/connect'
import type { Clock } from '#base/clock'
import type { OfferedIdentity, WorkloadSource, WorkloadState } from './source.ts'

/** SPIFFE_Workload_API §8. */
const LONGEST_HINT = 1024

/** @throws ConnectError Unavailable while there is nothing yet, PermissionDenied where there is no identity */
export function entitledState({ current }: WorkloadSource): WorkloadState {
  if (current === undefined) throw new ConnectError('the identity of this workload is on its way; ask again', Code.Unavailable)
  // Clients look for these words (the crate `spiffe` does).
  if (current.identities.length === 0) throw new ConnectError('no identity issued', Code.PermissionDenied)
  return current
}

/**
 * The identities that are valid now, each hint only once.
 * @throws ConnectError as `entitledState`; Unavailable while all certificates have ended
 */
export function validIdentities(state: WorkloadState, clock: Clock): readonly OfferedIdentity[] {
  const now = clock.now()
  const valid = state.identities.filter(({ identity }) => identity.facts.notAfter > now)
  const [first] = state.identities
  if (valid.length === 0 && first !== undefined) {
    const ended = new Date(first.identity.facts.notAfter).toISOString()
    throw new ConnectError(
      `the certificate of ${first.identity.id.uri} ended at ${ended} and has not been renewed; ask again`,
      Code.Unavailable,
    )
  }
  const seen = new Set<string>()
  return valid.map((offered) => {
    const { hint } = offered
    if (hint === '' || (Buffer.byteLength(hint) <= LONGEST_HINT && !seen.has(hint))) {
      seen.add(hint)
      return offered
    }
    return { ...offered, hint: '' }
  })
}

/** SPIFFE_Workload_Endpoint §3: what a page in a browser, or a request forged through another server, cannot send. Case-sensitive. */
export function isWorkloadRequest(header: string | null | undefined): boolean {
  return header === 'true'
}

export function refuseOthers(): ConnectError {
  return new ConnectError('the metadata `workload.spiffe.io: true` is missing', Code.InvalidArgument)
}
