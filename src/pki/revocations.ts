/** Who is no longer trusted although the certificate still is: part of the snapshot, never the `crl` option of TLS. */
import { hash } from 'node:crypto'
import { PosternError } from '#base/errors'
import type { Peer } from '#identity/peer'

/**
 * One revocation. Hex digits may be of either case and hold colons.
 * A certificate is named by its issuer's key identifier and its serial; an authority by the SHA-256 of its certificate, or, where it stands
 * directly above the leaf, as an issuer by its key identifier.
 */
export type Revocation =
  | { readonly kind: 'certificate'; readonly issuerKeyId: string; readonly serial: string }
  | { readonly kind: 'id'; readonly id: string }
  | { readonly kind: 'authority'; readonly fingerprint: string }
  | { readonly kind: 'issuer'; readonly keyId: string }

export interface Revocations {
  readonly size: number
  /** SHA-256 over all of them, whatever their order. */
  readonly digest: string
  isRevoked(peer: Peer): boolean
}

/** @throws ERR_CONFIG_VALUE where digits are not hex, or a fingerprint is not 64 of them */
export function createRevocations(entries: readonly Revocation[]): Revocations {
  const keys = new Set(entries.map(keyOf))
  return {
    size: keys.size,
    digest: hash('sha256', [...keys].toSorted().join('\n'), 'hex'),
    isRevoked({ id, certificate, authorities }) {
      if (keys.size === 0) return false
      const { issuerKeyId, serial } = certificate
      return (
        keys.has(`id ${id.uri}`) ||
        (issuerKeyId !== undefined && (keys.has(`certificate ${issuerKeyId} ${serial}`) || keys.has(`issuer ${issuerKeyId}`))) ||
        authorities.some((fingerprint) => keys.has(`authority ${fingerprint}`))
      )
    },
  }
}

export const NO_REVOCATIONS: Revocations = createRevocations([])

function keyOf(entry: Revocation): string {
  if (entry.kind === 'id') return `id ${entry.id}`
  if (entry.kind === 'certificate') return `certificate ${digitsOf(entry.issuerKeyId)} ${digitsOf(entry.serial).replace(/^0+(?=.)/, '')}`
  if (entry.kind === 'issuer') return `issuer ${digitsOf(entry.keyId)}`
  const fingerprint = digitsOf(entry.fingerprint)
  if (fingerprint.length !== 64) throw unreadable(entry.fingerprint)
  return `authority ${fingerprint}`
}

function digitsOf(text: string): string {
  const digits = text.replaceAll(':', '').toLowerCase()
  if (!/^[0-9a-f]+$/.test(digits)) throw unreadable(text)
  return digits
}

function unreadable(text: string): PosternError {
  return new PosternError(
    'ERR_CONFIG_VALUE',
    `\`${text}\` in a revocation is not what it should be: hex digits, 64 of them in a fingerprint.`,
  )
}
