/** Whether a join token may be used, the same for both databases. */
import { type Refusal, refusal } from '#base/result'
import type { JoinToken } from './store.ts'

/**
 * Undefined if the token is good for this id at this time.
 * @param token as it is in the store; undefined if it is not there
 */
export function refuseJoinToken(
  token: Pick<JoinToken, 'spiffeId' | 'expiresAt' | 'usedAt'> | undefined,
  spiffeId: string,
  now: number,
): Refusal | undefined {
  if (token === undefined) return refusal('ERR_JOIN_TOKEN_UNKNOWN', 'no token with this hash was made, or it was forgotten after its end')
  if (token.spiffeId !== spiffeId) return refusal('ERR_JOIN_TOKEN_UNKNOWN', `the token is for ${token.spiffeId}, not for ${spiffeId}`)
  if (token.usedAt !== 0)
    return refusal('ERR_JOIN_TOKEN_USED', `the token for ${spiffeId} was used at ${new Date(token.usedAt).toISOString()}`)
  if (token.expiresAt <= now) {
    const times = `it ended at ${new Date(token.expiresAt).toISOString()}, and here it is ${new Date(now).toISOString()}`
    return refusal('ERR_JOIN_TOKEN_EXPIRED', `the token for ${spiffeId} has expired: ${times}`)
  }
  return undefined
}
