/** Key pairs for certificates: made by OpenSSL, kept as PKCS#8. */
import { createPrivateKey, createPublicKey, generateKeyPair, hash, type KeyObject } from 'node:crypto'
import { promisify } from 'node:util'
import { PosternError } from '#base/errors'
import { acceptedKey } from './certificate-key.ts'

/** What keys certificates may have. P-256 is the default: every SPIFFE implementation reads it, and it signs fastest. */
export const KEY_ALGORITHMS = ['P-256', 'P-384', 'RSA-2048', 'RSA-3072', 'RSA-4096'] as const

export type KeyAlgorithm = (typeof KEY_ALGORITHMS)[number]

const generate = promisify(generateKeyPair)

/** A new private key, 0.1 ms for P-256, a second or so for RSA-4096. Its public half: `publicKeyOf`. */
export async function generatePrivateKey(algorithm: KeyAlgorithm = 'P-256'): Promise<KeyObject> {
  if (algorithm === 'P-256' || algorithm === 'P-384') return (await generate('ec', { namedCurve: algorithm })).privateKey
  return (await generate('rsa', { modulusLength: Number(algorithm.slice(4)) })).privateKey
}

export function publicKeyOf(privateKey: KeyObject): KeyObject {
  return createPublicKey(privateKey)
}

/** Unencrypted PKCS#8 PEM (RFC 5958), as the SPIFFE Workload API and every TLS server take it. */
export function privateKeyPem(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' })
}

/**
 * Reads a private key of any PEM or DER form OpenSSL knows, unencrypted.
 * @throws ERR_KEY_UNREADABLE
 */
export function parsePrivateKey(content: string | Buffer): KeyObject {
  try {
    if (typeof content === 'string' || content.includes('-----BEGIN ')) return createPrivateKey(content)
    return createPrivateKey({ key: content, format: 'der', type: 'pkcs8' })
  } catch (cause) {
    throw new PosternError('ERR_KEY_UNREADABLE', 'The private key cannot be read: it must be an unencrypted PKCS#8, SEC 1 or PKCS#1 key.', {
      cause,
    })
  }
}

/** DER of the SubjectPublicKeyInfo of a public or private key. */
export function spkiOf(key: KeyObject): Buffer {
  const publicKey = key.type === 'private' ? createPublicKey(key) : key
  return publicKey.export({ type: 'spki', format: 'der' })
}

/** Key identifier, 40 hex digits: SHA-256 of the SubjectPublicKeyInfo, its leftmost 160 bits (RFC 7093 §2, methods 1 and 4). */
export function keyIdentifier(key: KeyObject): string {
  return hash('sha256', spkiOf(key), 'hex').slice(0, 40)
}

/** `P-256`, `P-384`, `RSA-2048`, `Ed25519`…: how people name the key's kind. */
export function keyKind(key: KeyObject): string {
  const details = key.asymmetricKeyDetails
  if (key.asymmetricKeyType === 'ec') return CURVE_NAMES[details?.namedCurve ?? ''] ?? details?.namedCurve ?? 'EC'
  if (key.asymmetricKeyType === 'rsa' || key.asymmetricKeyType === 'rsa-pss') return `RSA-${details?.modulusLength ?? '?'}`
  if (key.asymmetricKeyType === 'ed25519') return 'Ed25519'
  return key.asymmetricKeyType ?? 'unknown'
}

/** Why a key is not one we certify, or undefined. What is certified is what our verifier accepts (`certificate-key`). */
export function keyWeakness(key: KeyObject): string | undefined {
  const kind = keyKind(key)
  if (acceptedKey(spkiOf(key)) !== undefined) return undefined
  if (key.asymmetricKeyType !== 'rsa') return `keys of kind ${kind} are not certified; use P-256`
  return `${kind} is not certified; use P-256, or RSA of 2,048 to 4,096 bits with the usual exponent`
}

const CURVE_NAMES: Readonly<Record<string, string>> = { prime256v1: 'P-256', secp384r1: 'P-384', secp521r1: 'P-521' }
