/** What a sidecar with a given bundle would say to a chain: the same judgement, in words. */
import { PosternError } from '#base/errors'
import { REASONS, type ReasonCode } from '#base/reasons'
import { isTrustDomain } from '#identity/spiffe-id'
import { usage } from '#cli/arguments'
import type { CommandIo } from '#cli/command'
import { readBundle } from '#pki/bundle'
import { describeCertificate } from '#pki/inspect'
import { verifyChain } from '#pki/path-verdict'
import { createTrustStore, type TrustStore } from '#pki/trust-store'
import { certificatesOf, recognise } from './content.ts'
import { readInput } from './files.ts'

export interface Verdict {
  readonly accepted: boolean
  /** Presented, whether or not it was accepted; `''` if there is none. */
  readonly id: string
  /** Ms since the epoch until when an accepted chain is accepted. */
  readonly validUntil: number | undefined
  /** Undefined where accepted. */
  readonly reason: ReasonCode | undefined
  readonly detail: string
}

/** A sidecar checks who calls it and whom it calls: a chain that passes as one and not as the other is of no use. */
export function judge(chain: readonly Buffer[], trust: TrustStore, now: number): Verdict {
  const asClient = verifyChain(chain, trust, now, 'client')
  const verdict = asClient.ok ? verifyChain(chain, trust, now, 'server') : asClient
  if (verdict.ok) return { accepted: true, id: verdict.value.id.uri, validUntil: verdict.validUntil, reason: undefined, detail: '' }
  return { accepted: false, id: verdict.presented?.id ?? '', validUntil: undefined, reason: verdict.reason, detail: verdict.detail }
}

/** Two sentences: what is wrong, and what to do. */
export function explainReason(reason: ReasonCode): { readonly what: string; readonly remedy: string } {
  return REASONS[reason]
}

/**
 * Reads a bundle file as the whole of what is trusted.
 * @param trustDomain whose it is; undefined to take the one its authorities name
 * @throws ERR_FILE_UNREADABLE, ERR_FILE_KIND, ERR_BUNDLE_MALFORMED, ERR_BUNDLE_EMPTY, ERR_BUNDLE_AUTHORITY, ERR_USAGE
 */
export async function readTrust(path: string, trustDomain: string | undefined, io: Pick<CommandIo, 'stdin' | 'cwd'>): Promise<TrustStore> {
  const bytes = await readInput(path, io)
  const domain = trustDomain ?? (await trustDomainOf(bytes, path))
  if (!isTrustDomain(domain)) throw usage(`\`--trust-domain ${domain}\` is not a trust domain: write one as in example.org.`)
  return createTrustStore(domain, [readBundle(bytes.toString('utf8'), domain, path)])
}

/** The one trust domain that the authorities of a bundle name. @throws ERR_USAGE, ERR_BUNDLE_AUTHORITY, ERR_FILE_KIND */
export async function trustDomainOf(bytes: Buffer, path: string): Promise<string> {
  const certificates = certificatesOf(await recognise(bytes, path, undefined))
  if (certificates.length === 0) throw new PosternError('ERR_FILE_KIND', `${path} is no bundle: there is no certificate in it.`)
  const ids = certificates.map((der) => describeCertificate(der).spiffeId)
  const domains = [...new Set(ids.flatMap((id) => (id === undefined ? [] : [id.slice('spiffe://'.length).split('/')[0] ?? ''])))]
  const [domain] = domains
  if (domains.length > 1) {
    throw new PosternError(
      'ERR_BUNDLE_AUTHORITY',
      `${path} holds authorities of several trust domains (${domains.join(', ')}): keep one bundle for each, they are never merged.`,
    )
  }
  if (domain === undefined) throw usage(`the authorities in ${path} name no trust domain: say whose they are with \`--trust-domain\`.`)
  return domain
}
