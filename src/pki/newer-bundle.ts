/** A bundle with a sequence only ever goes forward (SPIFFE Trust Domain and Bundle §4.1.1): an older one would bring back what was withdrawn. */
import { PosternError } from '#base/errors'
import type { Bundle } from './bundle.ts'

/** @param name of the file or the endpoint @throws ERR_BUNDLE_OLDER where the sequence of `next` is lower than that of `before` */
export function newerBundle(next: Bundle, before: Bundle | undefined, name: string): Bundle {
  if (before === undefined || next.trustDomain !== before.trustDomain) return next
  const { sequence, trustDomain } = next
  if (sequence === undefined || before.sequence === undefined || sequence >= before.sequence) return next
  throw new PosternError(
    'ERR_BUNDLE_OLDER',
    `The bundle ${name} of ${trustDomain} has the sequence ${sequence}, and ${before.sequence} is in force: an older one is not taken.`,
    { facts: { file: name, trustDomain } },
  )
}
