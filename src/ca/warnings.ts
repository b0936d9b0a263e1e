/** What is about to end, in sentences: said early enough that nobody has to hurry. */
import type { Publication } from './publication.ts'

const DAY = 86_400_000
/** An authority's last sixth, or last 30 days if that is less. */
const SHARE = 6

export function expiryWarnings({ x509, jwt }: Publication, now: number): readonly string[] {
  const warnings: string[] = []
  for (const [name, end, begin] of [
    ['X.509 authority', x509?.authority.notAfter, x509?.authority.notBefore],
    ['JWT authority', jwt?.record.notAfter, jwt?.record.changedAt],
  ] as const) {
    if (end === undefined || begin === undefined || now < end - Math.min(30 * DAY, (end - begin) / SHARE)) continue
    const when = now >= end ? 'ended' : 'ends'
    warnings.push(
      `The active ${name} ${when} at ${new Date(end).toISOString()}: no certificate can outlive it. Make another: \`postern ca rotate prepare\`.`,
    )
  }
  return warnings
}
