/** Says what a certificate, request or revocation list holds, for people. Verifies nothing: verdicts are made in `path-verdict`. */
import 'reflect-metadata'
import { createPublicKey, hash, type KeyObject } from 'node:crypto'
import { BasicConstraintsExtension, Pkcs10CertificateRequest, X509Certificate, X509Crl } from '@peculiar/x509'
import { PosternError } from '#base/errors'
import { enter, hasMore, isMalformed, nextTag, openDer, readContent, skip, TAG } from './der.ts'
import { type AlternativeName, describeExtension, type ExtensionDescription, namesOf } from './describe-extension.ts'
import { keyKind, spkiOf } from './keys.ts'

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
    const basic = certificate.getExtension(BasicConstraintsExtension)
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
      revoked: revokedSerials(der),
    }
  })
}

// By our own reader: @peculiar/x509 loses the entries of a list that has no nextUpdate.
function revokedSerials(der: Buffer): string[] {
  const list = enter(enter(openDer(der), TAG.sequence), TAG.sequence)
  if (nextTag(list) === TAG.integer) skip(list)
  skip(list) // signature algorithm
  skip(list) // issuer
  while (nextTag(list) === TAG.utcTime || nextTag(list) === TAG.generalizedTime) skip(list)
  const serials: string[] = []
  if (nextTag(list) !== TAG.sequence) return serials
  const entries = enter(list, TAG.sequence)
  while (hasMore(entries)) serials.push(readContent(enter(entries, TAG.sequence), TAG.integer).toString('hex'))
  if (isMalformed(list)) throw new Error('the entries cannot be read')
  return serials
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

/** WebCrypto's words; the types of @peculiar/x509 leave out the name. */
function algorithmName(described: object): string {
  const algorithm = described as { readonly name: string; readonly hash?: { readonly name: string } }
  return algorithm.hash === undefined ? algorithm.name : `${algorithm.name} with ${algorithm.hash.name}`
}
