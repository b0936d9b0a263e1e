/** What `certs inspect` says of each thing in a file, as values: which belongs to which, and what is missing. */
import {
  type CertificateDescription,
  describeCertificate,
  describeKey,
  describeRequest,
  describeRevocationList,
  type KeyDescription,
  type RequestDescription,
  type RevocationListDescription,
} from '#pki/inspect'
import type { ContentItem } from './content.ts'

export interface KeyReport {
  readonly kind: 'private key' | 'public key'
  /** Undefined where the key is encrypted and no password was given. */
  readonly key: KeyDescription | undefined
  readonly encrypted: boolean
  /** Number, from 1, of the first thing in the file that holds its public half. */
  readonly belongsTo: number | undefined
}

export interface JwtKeyReport {
  readonly kind: 'JWT key'
  readonly kid: string
  readonly type: string
}

export interface UnknownReport {
  readonly kind: 'unknown'
  readonly label: string
}

export type CertificateReport = CertificateDescription & {
  /** Number, from 1, of the certificate in the file whose name and key identifier are those of its issuer. */
  readonly issuedBy: number | undefined
}

export type ItemReport = CertificateReport | RequestDescription | RevocationListDescription | KeyReport | JwtKeyReport | UnknownReport

export function describeItems(items: readonly ContentItem[]): ItemReport[] {
  const reports = items.map(describe)
  return reports.map((report) => {
    if (report.kind === 'certificate') return { ...report, issuedBy: numberOf(reports, (other) => isIssuer(report, other)) }
    if (report.kind !== 'private key' && report.kind !== 'public key') return report
    const belongsTo = numberOf(
      reports,
      (other) => (other.kind === 'certificate' || other.kind === 'certificate request') && other.key.sha256 === report.key?.sha256,
    )
    return { ...report, belongsTo }
  })
}

function describe(item: ContentItem): ItemReport {
  switch (item.kind) {
    case 'certificate':
      return { ...describeCertificate(item.der), issuedBy: undefined }
    case 'certificate request':
      return describeRequest(item.der)
    case 'revocation list':
      return describeRevocationList(item.der)
    case 'private key':
      return { kind: item.kind, key: item.key && describeKey(item.key), encrypted: item.encrypted, belongsTo: undefined }
    case 'public key':
      return { kind: item.kind, key: describeKey(item.key), encrypted: false, belongsTo: undefined }
    case 'JWT key':
      return { kind: item.kind, kid: textOf(item.jwk['kid']), type: textOf(item.jwk['crv'] ?? item.jwk['kty']) }
    default:
      return item
  }
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

/** By name, and by key identifier where both say one: a hint for the reader, no verification. */
function isIssuer(certificate: CertificateDescription, other: ItemReport): boolean {
  if (other.kind !== 'certificate' || other.role !== 'authority' || other.subject !== certificate.issuer) return false
  const wanted = extensionText(certificate, '2.5.29.35')
  const own = extensionText(other, '2.5.29.14')
  return wanted === undefined || own === undefined || wanted === own
}

function extensionText(certificate: CertificateDescription, oid: string): string | undefined {
  return certificate.extensions.find((extension) => extension.oid === oid)?.text
}

function numberOf(reports: readonly ItemReport[], test: (report: ItemReport) => boolean): number | undefined {
  const index = reports.findIndex(test)
  return index === -1 ? undefined : index + 1
}
