/** Bundles of other trust domains as the controller gives them: each is taken, or what was there before stays. */
import { PosternError } from '#base/errors'
import { isTrustDomain } from '#identity/spiffe-id'
import { type Bundle, readBundle } from '#pki/bundle'
import { newerBundle } from '#pki/newer-bundle'

/** SPIFFE bundles as JSON, by trust domain. */
export type BundleTexts = ReadonlyMap<string, string>

export interface NextBundles {
  readonly bundles: BundleTexts
  /** Why newer ones are not taken. */
  readonly faults: readonly string[]
}

/** A trust domain that is not in `received` any more is trusted no more. */
export function nextBundles(received: Readonly<Record<string, unknown>>, before: BundleTexts): NextBundles {
  const bundles = new Map<string, string>()
  const faults: string[] = []
  for (const [trustDomain, value] of Object.entries(received)) {
    const last = before.get(trustDomain)
    try {
      if (!isTrustDomain(trustDomain)) throw new PosternError('ERR_BUNDLE_MALFORMED', `${trustDomain.slice(0, 100)} names no trust domain.`)
      const text = JSON.stringify(value)
      newerBundle(readBundle(text, trustDomain, `${trustDomain}.json`), readLast(last, trustDomain), `${trustDomain}.json`)
      bundles.set(trustDomain, text)
    } catch (error) {
      if (!(error instanceof PosternError)) throw error
      faults.push(error.message)
      if (last !== undefined) bundles.set(trustDomain, last)
    }
  }
  return { bundles, faults }
}

function readLast(text: string | undefined, trustDomain: string): Bundle | undefined {
  if (text === undefined) return undefined
  try {
    return readBundle(text, trustDomain, `${trustDomain}.json`)
  } catch {
    return undefined // Of another version of ours: it holds nothing up.
  }
}
