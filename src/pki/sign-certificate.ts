/** Puts a certificate's content together and signs it (RFC 5280 §4.1). Knows nothing of SPIFFE: what content is right is decided by its callers. */
import 'reflect-metadata'
import { randomBytes, type KeyObject } from 'node:crypto'
import {
  AuthorityKeyIdentifierExtension,
  type Extension,
  Name,
  SubjectKeyIdentifierExtension,
  X509CertificateGenerator,
} from '@peculiar/x509'
import { keyIdentifier, spkiOf } from './keys.ts'

/** Attributes of a distinguished name in their order; empty for no name. */
export type NameParts = readonly (readonly ['C' | 'O' | 'OU' | 'CN', string])[]

export interface CertificateContent {
  /** Hex. */
  readonly serial: string
  readonly subject: NameParts
  readonly issuer: NameParts | Uint8Array
  /** Ms since the epoch; cut to whole seconds. */
  readonly notBefore: number
  readonly notAfter: number
  readonly publicKey: KeyObject
  readonly extensions: readonly Extension[]
}

/** @returns DER */
export async function signCertificate(content: CertificateContent, signer: KeyObject): Promise<Buffer> {
  const { key, hash } = signingKeyOf(signer)
  const certificate = await X509CertificateGenerator.create({
    serialNumber: content.serial,
    subject: nameOf(content.subject),
    issuer: content.issuer instanceof Uint8Array ? new Name(content.issuer) : nameOf(content.issuer),
    notBefore: new Date(Math.floor(content.notBefore / 1000) * 1000),
    notAfter: new Date(Math.floor(content.notAfter / 1000) * 1000),
    publicKey: spkiOf(content.publicKey),
    signingKey: key,
    signingAlgorithm: { name: key.algorithm.name, hash },
    extensions: [...content.extensions],
  })
  return Buffer.from(certificate.rawData)
}

/** 16 octets, 126 of their bits random: always positive and of one length (RFC 5280 §4.1.2.2 asks for at most 20 octets). */
export function randomSerial(): string {
  const octets = randomBytes(16)
  octets[0] = ((octets[0] ?? 0) & 0x3f) | 0x40
  return octets.toString('hex')
}

export function subjectKeyIdentifier(key: KeyObject): Extension {
  return new SubjectKeyIdentifierExtension(keyIdentifier(key))
}

/** @param keyId hex of the issuer's own subject key identifier */
export function authorityKeyIdentifier(keyId: string): Extension {
  return new AuthorityKeyIdentifierExtension(keyId)
}

function nameOf(parts: NameParts): Name {
  return new Name(parts.map(([type, value]) => ({ [type]: [{ utf8String: value }] })))
}

const HASHES: Readonly<Record<string, string>> = { 'P-256': 'SHA-256', 'P-384': 'SHA-384', 'P-521': 'SHA-512' }
const CURVES: Readonly<Record<string, string>> = { prime256v1: 'P-256', secp384r1: 'P-384', secp521r1: 'P-521' }

/** A private key as WebCrypto takes it, with the hash that goes with it. */
export interface SigningKey {
  readonly key: CryptoKey
  readonly hash: string
}

// Importing a key costs more than signing with it; an authority signs many times.
const signingKeys = new WeakMap<KeyObject, SigningKey>()

/** The WebCrypto form of a private key: ECDSA, Ed25519, or RSA PKCS#1 v1.5 with SHA-256. */
export function signingKeyOf(signer: KeyObject): SigningKey {
  const known = signingKeys.get(signer)
  if (known !== undefined) return known
  const made = importSigningKey(signer)
  signingKeys.set(signer, made)
  return made
}

function importSigningKey(signer: KeyObject): SigningKey {
  if (signer.asymmetricKeyType === 'ec') {
    const namedCurve = CURVES[signer.asymmetricKeyDetails?.namedCurve ?? ''] ?? ''
    return { key: signer.toCryptoKey({ name: 'ECDSA', namedCurve }, false, ['sign']), hash: HASHES[namedCurve] ?? 'SHA-256' }
  }
  if (signer.asymmetricKeyType === 'ed25519') return { key: signer.toCryptoKey({ name: 'Ed25519' }, false, ['sign']), hash: 'SHA-512' }
  return { key: signer.toCryptoKey({ name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' }, false, ['sign']), hash: 'SHA-256' }
}
