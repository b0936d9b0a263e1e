/** Says what a certificate, request or revocation list holds, for people. Verifies nothing: verdicts are made in `path-verdict`. */
import 'reflect-metadata'
import { createPublicKey, hash, type KeyObject } from 'node:crypto'
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  type Extension,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  Pkcs10CertificateRequest,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509Crl,
} from '@peculiar/x509'
import { PosternError } from '#base/errors'
import { keyKind, spkiOf } from './keys.ts'

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

export interface KeyDescription {
  /** `P-256`, `RSA-2048`…; `unknown` where OpenSSL cannot read the key. */
  readonly kind: string
  /** Lower-case hex of the SHA-256 of its SubjectPublicKeyInfo: equal for a key and its certificate. */
  readonly sha256: string
}

export interface CertificateDescription {
  readonly kind: 'certificate'
  /** The one URI of scheme spiffe, if the certificate has exactly one URI. */
  readonly spiffeId: string | undefined
  /** By what it says of itself: it may sign certificates, or it may not. */
  readonly role: 'authority' | 'leaf'
  readonly selfIssued: boolean
  readonly names: readonly AlternativeName[]
  readonly subject: string
  readonly issuer: string
  /** Lower-case hex. */
  readonly serial: string
  /** Ms since the epoch. */
  readonly notBefore: number
  readonly notAfter: number
  readonly key: KeyDescription
  readonly signatureAlgorithm: string
  /** SHA-256 of the DER, lower-case hex. */
  readonly fingerprint: string
  readonly extensions: readonly ExtensionDescription[]
}

export interface RequestDescription {
  readonly kind: 'certificate request'
  readonly subject: string
  readonly names: readonly AlternativeName[]
  readonly key: KeyDescription
  readonly signatureAlgorithm: string
  readonly extensions: readonly ExtensionDescription[]
}

export interface RevocationListDescription {
  readonly kind: 'revocation list'
  readonly issuer: string
  readonly thisUpdate: number
  readonly nextUpdate: number | undefined
  /** Lower-case hex of the serials it revokes. */
  readonly revoked: readonly string[]
}

/** @throws ERR_SVID_MALFORMED */
export function describeCertificate(der: Buffer): CertificateDescription {
  return attempt('certificate', () => {
    const certificate = new X509Certificate(der)
    const names = namesOf(certificate.extensions)
    const uris = names.filter((name) => name.type === 'uri')
    const [uri] = uris
    const basic = find(certificate.extensions, BasicConstraintsExtension)
    return {
      kind: 'certificate',
      spiffeId: uris.length === 1 && uri?.value.startsWith('spiffe://') === true ? uri.value : undefined,
      role: basic?.ca === true ? 'authority' : 'leaf',
      selfIssued: Buffer.from(certificate.subjectName.toArrayBuffer()).equals(Buffer.from(certificate.issuerName.toArrayBuffer())),
      names,
      subject: certificate.subject,
      issuer: certificate.issuer,
      serial: certificate.serialNumber.toLowerCase(),
      notBefore: certificate.notBefore.getTime(),
      notAfter: certificate.notAfter.getTime(),
      key: describeSpki(Buffer.from(certificate.publicKey.rawData)),
      signatureAlgorithm: algorithmName(certificate.signatureAlgorithm),
      fingerprint: hash('sha256', der, 'hex'),
      extensions: [...certificate.extensions].map(describeExtension),
    }
  })
}

/** Does not check the request's signature. @throws ERR_SVID_MALFORMED */
export function describeRequest(der: Buffer): RequestDescription {
  return attempt('certificate request', () => {
    const request = new Pkcs10CertificateRequest(der)
    return {
      kind: 'certificate request',
      subject: request.subject,
      names: namesOf(request.extensions),
      key: describeSpki(Buffer.from(request.publicKey.rawData)),
      signatureAlgorithm: algorithmName(request.signatureAlgorithm),
      extensions: [...request.extensions].map(describeExtension),
    }
  })
}

/** Does not check the list's signature. @throws ERR_SVID_MALFORMED */
export function describeRevocationList(der: Buffer): RevocationListDescription {
  return attempt('revocation list', () => {
    const list = new X509Crl(der)
    return {
      kind: 'revocation list',
      issuer: list.issuer,
      thisUpdate: list.thisUpdate.getTime(),
      nextUpdate: list.nextUpdate?.getTime(),
      revoked: list.entries.map((entry) => entry.serialNumber.toLowerCase()),
    }
  })
}

/** Of a private or public key; the private half is not looked at. */
export function describeKey(key: KeyObject): KeyDescription {
  return { kind: keyKind(key), sha256: hash('sha256', spkiOf(key), 'hex') }
}

function describeSpki(spki: Buffer): KeyDescription {
  try {
    return describeKey(createPublicKey({ key: spki, format: 'der', type: 'spki' }))
  } catch {
    return { kind: 'unknown', sha256: hash('sha256', spki, 'hex') }
  }
}

function attempt<T>(what: string, read: () => T): T {
  try {
    return read()
  } catch (cause) {
    throw new PosternError('ERR_SVID_MALFORMED', `The ${what} cannot be parsed.`, { cause })
  }
}

function find<T extends Extension>(extensions: readonly Extension[], type: new (...args: never[]) => T): T | undefined {
  return extensions.find((extension) => extension instanceof type) as T | undefined
}

const NAME_TYPES: Readonly<Record<string, string>> = { url: 'uri', dn: 'directory', id: 'registered id', guid: 'guid', upn: 'upn' }

function namesOf(extensions: readonly Extension[]): AlternativeName[] {
  return [...extensions]
    .filter((extension) => extension instanceof SubjectAlternativeNameExtension)
    .flatMap((extension) => extension.names.items.map(({ type, value }) => ({ type: NAME_TYPES[type] ?? type, value })))
}

/** WebCrypto's words; the types of @peculiar/x509 leave out the name. */
function algorithmName(described: object): string {
  const algorithm = described as { readonly name: string; readonly hash?: { readonly name: string } }
  return algorithm.hash === undefined ? algorithm.name : `${algorithm.name} with ${algorithm.hash.name}`
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

function describeExtension(extension: Extension): ExtensionDescription {
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
