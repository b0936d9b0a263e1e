/** What the extensions of a certificate say, each in one line, for people (RFC 5280 §4.2). */
import 'reflect-metadata'
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  type Extension,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
} from '@peculiar/x509'

/** A name of the SAN extension: `uri`, `dns`, `email`, `ip`, or another of RFC 5280 §4.2.1.6. */
export interface AlternativeName {
  readonly type: string
  readonly value: string
}

export interface ExtensionDescription {
  readonly oid: string
  /** As RFC 5280 calls it; the OID where it is not known. */
  readonly name: string
  readonly critical: boolean
  /** What it says, in one line; hex of its value where its form is not known. */
  readonly text: string
}

const NAME_TYPES: Readonly<Record<string, string>> = { url: 'uri', dn: 'directory', id: 'registered id', guid: 'guid', upn: 'upn' }

export function namesOf(extensions: readonly Extension[]): AlternativeName[] {
  return [...extensions]
    .filter((extension) => extension instanceof SubjectAlternativeNameExtension)
    .flatMap((extension) => extension.names.items.map(({ type, value }) => ({ type: NAME_TYPES[type] ?? type, value })))
}

const EXTENSION_NAMES: Readonly<Record<string, string>> = {
  '2.5.29.14': 'Subject Key Identifier',
  '2.5.29.15': 'Key Usage',
  '2.5.29.17': 'Subject Alternative Name',
  '2.5.29.18': 'Issuer Alternative Name',
  '2.5.29.19': 'Basic Constraints',
  '2.5.29.30': 'Name Constraints',
  '2.5.29.31': 'CRL Distribution Points',
  '2.5.29.32': 'Certificate Policies',
  '2.5.29.35': 'Authority Key Identifier',
  '2.5.29.36': 'Policy Constraints',
  '2.5.29.37': 'Extended Key Usage',
  '1.3.6.1.5.5.7.1.1': 'Authority Information Access',
  '1.3.6.1.4.1.11129.2.4.2': 'Signed Certificate Timestamps',
}

const PURPOSES: Readonly<Record<string, string>> = {
  '1.3.6.1.5.5.7.3.1': 'serverAuth',
  '1.3.6.1.5.5.7.3.2': 'clientAuth',
  '1.3.6.1.5.5.7.3.3': 'codeSigning',
  '1.3.6.1.5.5.7.3.4': 'emailProtection',
  '1.3.6.1.5.5.7.3.8': 'timeStamping',
  '1.3.6.1.5.5.7.3.9': 'OCSPSigning',
  '2.5.29.37.0': 'anyExtendedKeyUsage',
}

const USAGES = [
  'digitalSignature',
  'nonRepudiation',
  'keyEncipherment',
  'dataEncipherment',
  'keyAgreement',
  'keyCertSign',
  'cRLSign',
  'encipherOnly',
  'decipherOnly',
] as const satisfies readonly (keyof typeof KeyUsageFlags)[]

export function describeExtension(extension: Extension): ExtensionDescription {
  return {
    oid: extension.type,
    name: EXTENSION_NAMES[extension.type] ?? extension.type,
    critical: extension.critical,
    text: extensionText(extension),
  }
}

function extensionText(extension: Extension): string {
  if (extension instanceof BasicConstraintsExtension) {
    return `cA ${extension.ca}${extension.pathLength === undefined ? '' : `, path length ${extension.pathLength}`}`
  }
  if (extension instanceof KeyUsagesExtension) return USAGES.filter((usage) => (extension.usages & KeyUsageFlags[usage]) !== 0).join(', ')
  if (extension instanceof ExtendedKeyUsageExtension) return extension.usages.map((oid) => PURPOSES[String(oid)] ?? String(oid)).join(', ')
  if (extension instanceof SubjectKeyIdentifierExtension) return extension.keyId
  if (extension instanceof AuthorityKeyIdentifierExtension && extension.keyId !== undefined) return extension.keyId
  if (extension instanceof SubjectAlternativeNameExtension) {
    return namesOf([extension])
      .map((name) => `${name.type}:${name.value}`)
      .join(', ')
  }
  return Buffer.from(extension.value).toString('hex')
}
