/** Certificate signing requests (PKCS#10, RFC 2986): made by a workload, read by whoever issues. A request proves a key, never an identity. */
import 'reflect-metadata'
import { constants, createPublicKey, type KeyObject, verify } from 'node:crypto'
import {
  BasicConstraintsExtension,
  type Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  Pkcs10CertificateRequest,
  Pkcs10CertificateRequestGenerator,
  SubjectAlternativeNameExtension,
} from '@peculiar/x509'
import { PosternError } from '#base/errors'
import { acceptedSignature } from './certificate-key.ts'
import { enter, finish, isMalformed, openDer, readElement, readOctetBits, TAG } from './der.ts'
import { keyWeakness, publicKeyOf } from './keys.ts'
import { parsePem } from './pem.ts'
import { signingKeyOf } from './sign-certificate.ts'
import { organisation } from './svid-profile.ts'

/** What a request says; everything but `publicKey` is a wish. */
export interface CertificateRequest {
  /** Proved: the request is signed with its private half, and it is strong enough. */
  readonly publicKey: KeyObject
  readonly subject: string
  readonly uris: readonly string[]
  readonly dnsNames: readonly string[]
  /** OIDs of the extensions asked for. */
  readonly extensions: readonly string[]
}

/**
 * Reads a request (PEM or DER) and checks its proof of possession.
 * @throws ERR_CSR_UNREADABLE, ERR_CSR_SIGNATURE, ERR_KEY_WEAK
 */
export function readCsr(content: Buffer): CertificateRequest {
  const der = derOf(content)
  const { signed, algorithm, signature } = frameOf(der)
  const request = parse(der)
  const publicKey = keyOf(request)
  if (!isSignedBy(publicKey, signed, algorithm, signature))
    throw new PosternError('ERR_CSR_SIGNATURE', 'The request is not signed with the key it holds; make it anew with that key.')
  const weakness = keyWeakness(publicKey)
  if (weakness !== undefined) throw new PosternError('ERR_KEY_WEAK', `The key of the request is refused: ${weakness}.`)
  const names = sanOf(request.extensions)
  return {
    publicKey,
    subject: request.subject,
    uris: names.filter((name) => name.type === 'url').map((name) => name.value),
    dnsNames: names.filter((name) => name.type === 'dns').map((name) => name.value),
    extensions: [...request.extensions].map((extension) => extension.type),
  }
}

export interface CsrOptions {
  readonly privateKey: KeyObject
  /** SPIFFE ID asked for; issuers derive it from what was attested, and refuse a request that says another. */
  readonly id?: string
}

/** Makes a request with an empty subject. @returns PEM */
export async function createCsr({ privateKey, id }: CsrOptions): Promise<string> {
  const { key, hash } = signingKeyOf(privateKey)
  const publicKey = publicKeyOf(privateKey).toCryptoKey({ ...key.algorithm, hash }, true, ['verify'])
  const request = await Pkcs10CertificateRequestGenerator.create({
    keys: { privateKey: key, publicKey },
    signingAlgorithm: { name: key.algorithm.name, hash },
    extensions: id === undefined ? [] : [new SubjectAlternativeNameExtension([{ type: 'url', value: id }], true)],
  })
  return `${request.toString('pem')}\n`
}

/** Makes a request for an intermediate of a trust domain, for a PKI that signs it elsewhere. @returns PEM */
export async function createAuthorityCsr(privateKey: KeyObject, trustDomain: string): Promise<string> {
  const { key, hash } = signingKeyOf(privateKey)
  const publicKey = publicKeyOf(privateKey).toCryptoKey({ ...key.algorithm, hash }, true, ['verify'])
  const request = await Pkcs10CertificateRequestGenerator.create({
    name: [{ O: [organisation(trustDomain)] }, { CN: ['Postern intermediate'] }],
    keys: { privateKey: key, publicKey },
    signingAlgorithm: { name: key.algorithm.name, hash },
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      new SubjectAlternativeNameExtension([{ type: 'url', value: `spiffe://${trustDomain}` }]),
    ],
  })
  return `${request.toString('pem')}\n`
}

function derOf(content: Buffer): Buffer {
  if (!content.includes('-----BEGIN ')) return content
  const blocks = parsePem(content.toString('latin1')).filter((block) => /^(NEW )?CERTIFICATE REQUEST$/.test(block.label))
  const [block] = blocks
  if (block === undefined || blocks.length > 1)
    throw unreadable(block === undefined ? 'it has no CERTIFICATE REQUEST block' : 'it has more than one CERTIFICATE REQUEST block')
  return block.der
}

function parse(der: Buffer): Pkcs10CertificateRequest {
  try {
    return new Pkcs10CertificateRequest(der)
  } catch (cause) {
    throw unreadable('it is not PKCS#10', cause)
  }
}

interface Frame {
  /** The CertificationRequestInfo, byte for byte. */
  readonly signed: Buffer
  readonly algorithm: Buffer
  readonly signature: Buffer
}

// By our own strict reader: @peculiar/x509 reads past lengths that do not agree, and what is signed and what is read must be the same bytes.
function frameOf(der: Buffer): Frame {
  const whole = openDer(der)
  const request = enter(whole, TAG.sequence)
  const signed = readElement(request, TAG.sequence)
  const algorithm = readElement(request, TAG.sequence)
  const signature = readOctetBits(request)
  finish(request)
  finish(whole)
  if (isMalformed(whole)) throw unreadable('it is not DER of one request')
  return { signed, algorithm, signature }
}

function keyOf(request: Pkcs10CertificateRequest): KeyObject {
  try {
    return createPublicKey({ key: Buffer.from(request.publicKey.rawData), format: 'der', type: 'spki' })
  } catch (cause) {
    throw unreadable('its public key cannot be parsed', cause)
  }
}

/** By OpenSSL, with the algorithms that certificates may be signed with; SHA-1 is none of them. */
function isSignedBy(key: KeyObject, signed: Buffer, algorithm: Buffer, signature: Buffer): boolean {
  const name = acceptedSignature(algorithm)
  if (name === undefined) return false
  const digest = name === 'Ed25519' ? null : `sha${name.slice(-3)}`
  const padding = name.startsWith('RSA-PSS') ? { padding: constants.RSA_PKCS1_PSS_PADDING } : {}
  try {
    return verify(digest, signed, { key, ...padding }, signature)
  } catch {
    return false // OpenSSL throws where the algorithm does not fit the key
  }
}

function sanOf(extensions: readonly Extension[]): readonly { readonly type: string; readonly value: string }[] {
  return [...extensions]
    .filter((extension) => extension instanceof SubjectAlternativeNameExtension)
    .flatMap((extension) => extension.names.items.map(({ type, value }) => ({ type, value })))
}

function unreadable(why: string, cause?: unknown): PosternError {
  return new PosternError('ERR_CSR_UNREADABLE', `The certificate request cannot be read: ${why}.`, { cause })
}
