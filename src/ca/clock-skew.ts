/** Whether a caller could use a certificate at all by its own clock, which it tells in the `Date` of its request (RFC 9110 §6.6.1). */
import { refusal, type Refusal } from '#base/result'
import { BACKDATE_MS } from '#pki/svid-profile'

/**
 * @param date as it was sent; undefined: nothing is known of its clock
 * @param now ms since the epoch
 * @param life of what would be issued, ms
 */
export function skewFault(date: string | undefined, now: number, life: number): Refusal | undefined {
  const theirs = date === undefined ? NaN : Date.parse(date)
  // `Date` has whole seconds, and the request took its time.
  const ahead = theirs - now
  if (Number.isNaN(theirs) || (ahead > -BACKDATE_MS - 1000 && ahead < life / 2)) return undefined
  const seconds = Math.round(Math.abs(ahead) / 1000)
  return refusal(
    'ERR_CA_CLOCK_SKEW',
    `by the clock of the caller it is ${new Date(theirs).toISOString()}, by that of the authority ${new Date(now).toISOString()}: ${seconds} s ${ahead < 0 ? 'behind' : 'ahead'}`,
  )
}
