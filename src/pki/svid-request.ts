/**
 * Reads the one profile of certificate request (PKCS#10, RFC 2986) that the authority signs, from its DER, strictly. A request proves a key,
 * never a name: its subject is ignored, and one that asks for more than the ID that was attested is refused by what it asks for.
 * `request-svid` writes the smallest of these; `csr` reads every other kind, for tools.
 */
import { createPublicKey, type KeyObject, verify } from 'node:crypto'
import { ok, refusal, type Refusal, type Result } from '#base/result'
import { type CertificateExtensions, readExtensions } from './certificate-extensions.ts'
import { acceptedKey, acceptedSignature } from './certificate-key.ts'
import {
  type DerCursor,
  enter,
  finish,
  hasMore,
  isMalformed,
  nextTag,
  openDer,
  readContent,
  readElement,
  readOctetBits,
  skip,
  TAG,
} from './der.ts'
import { parsePem } from './pem.ts'

/** No request may be larger, in octets: RSA-4096 with all that may be asked for needs less than 2,000. */
export const LARGEST_REQUEST = 8192

/** Object identifiers as hex of their DER content. */
const OID = {
  extensionRequest: '2a864886f70d01090e',
  subjectKeyId: '551d0e',
  keyUsage: '551d0f',
  subjectAltName: '551d11',
  basicConstraints: '551d13',
  extendedKeyUsage: '551d25',
  ec: '2a8648ce3d0201',
}

/** What says nothing beyond an SVID: each is looked into. */
const HARMLESS = [OID.subjectKeyId, OID.keyUsage, OID.subjectAltName, OID.basicConstraints, OID.extendedKeyUsage]

const SET = 0x31
const NAME_KINDS: Readonly<Record<number, string>> = {
  0x80: 'other name',
  0xa0: 'other name',
  0x81: 'email address',
  0x82: 'DNS name',
  0xa4: 'directory name',
  0x86: 'URI',
  0x87: 'IP address',
  0x88: 'registered ID',
}

/** DER of the one request in `text`: PEM, or base64 of DER. Refused with ERR_CSR_UNREADABLE. */
export function decodeRequest(text: string): Result<Buffer> {
  if (text.length > 2 * LARGEST_REQUEST) return unreadable('it is too large')
  if (text.includes('-----BEGIN ')) {
    const blocks = parsePem(text).filter(({ label }) => /^(?:NEW )?CERTIFICATE REQUEST$/.test(label))
    const [block] = blocks
    if (block === undefined) return unreadable('there is no CERTIFICATE REQUEST block in it')
    return blocks.length === 1 ? ok(block.der) : unreadable('there is more than one CERTIFICATE REQUEST block in it')
  }
  if (!/^[A-Za-z0-9+/\s]+={0,2}\s*$/.test(text)) return unreadable('it is neither PEM nor base64')
  return ok(Buffer.from(text, 'base64'))
}

/**
 * The SubjectPublicKeyInfo of a request whose signature proves the key and that asks for nothing but `id`.
 * Refused with ERR_CSR_UNREADABLE, ERR_CSR_NAME, ERR_CSR_AUTHORITY, ERR_CSR_EXTENSION, ERR_KEY_WEAK, ERR_CSR_SIGNATURE.
 */
export function readSvidRequest(der: Buffer, id: string): Result<Buffer> {
  if (der.length > LARGEST_REQUEST) return unreadable('it is too large')
  const whole = openDer(der)
  const request = enter(whole, TAG.sequence)
  finish(whole)
  const signed = readElement(request, TAG.sequence)
  const algorithm = readElement(request, TAG.sequence)
  const signature = readOctetBits(request)
  finish(request)
  const content = openDer(signed)
  const info = enter(content, TAG.sequence)
  const version = readContent(info, TAG.integer)
  readElement(info, TAG.sequence) // the subject
  const spki = readElement(info, TAG.sequence)
  const wish = readAttributes(info, id)
  finish(info)
  if (isMalformed(whole) || isMalformed(content)) return unreadable('it is not the DER of one request')
  if (version.length !== 1 || version[0] !== 0) return unreadable('its version is not 1')
  if (wish !== undefined) return wish
  const unfit = checkPublicKey(spki)
  if (unfit !== undefined) return unfit
  if (isSignedBy(spki, signed, algorithm, signature)) return ok(spki)
  // Only now, since it costs as much again: whether it was the key that cannot be.
  const key = importPublicKey(spki)
  return key.ok ? refusal('ERR_CSR_SIGNATURE') : key
}

/** RFC 2986 §4.1: [0] IMPLICIT SET OF Attribute, which many tools leave out where it is empty. */
function readAttributes(info: DerCursor, id: string): Refusal | undefined {
  if (!hasMore(info)) return undefined
  const attributes = enter(info, 0xa0)
  let seen = false
  while (hasMore(attributes)) {
    const attribute = enter(attributes, TAG.sequence)
    const oid = readContent(attribute, TAG.oid).toString('hex')
    if (oid !== OID.extensionRequest) return refusal('ERR_CSR_EXTENSION', `the attribute ${dotted(oid)}`)
    if (seen) return unreadable('it has two lists of extensions')
    seen = true
    const fault = readWishes(attribute, id)
    if (fault !== undefined) return fault
  }
  return undefined
}

function readWishes(attribute: DerCursor, id: string): Refusal | undefined {
  const value = readElement(attribute, SET)
  finish(attribute)
  const list = enter(enter(openDer(value), SET), TAG.sequence)
  while (hasMore(list)) {
    const extension = enter(list, TAG.sequence)
    const oid = readContent(extension, TAG.oid).toString('hex')
    if (!isMalformed(list) && !HARMLESS.includes(oid)) return refusal('ERR_CSR_EXTENSION', `the extension ${dotted(oid)}`)
    if (oid === OID.subjectAltName) {
      const fault = readNames(extension, id)
      if (fault !== undefined) return fault
    }
  }
  if (isMalformed(list)) return unreadable('its extensions are not DER')
  const inner = openDer(value)
  const extensions = readExtensions(enter(inner, SET))
  if ('ok' in extensions) return refusal('ERR_CSR_NAME', `a name that deceives: ${extensions.detail}`)
  if (isMalformed(inner)) return unreadable('its extensions are not DER')
  return checkUsages(extensions)
}

function readNames(extension: DerCursor, id: string): Refusal | undefined {
  if (nextTag(extension) === TAG.boolean) skip(extension)
  const names = enter(openDer(readContent(extension, TAG.octetString)), TAG.sequence)
  while (hasMore(names)) {
    const tag = nextTag(names)
    const name = readContent(names, tag).toString('latin1')
    if (tag !== 0x86 || name !== id) return refusal('ERR_CSR_NAME', `the ${NAME_KINDS[tag] ?? 'name'} ${visible(name)}; its own is ${id}`)
  }
  return isMalformed(names) ? unreadable('its names are not DER') : undefined
}

function checkUsages({ basicConstraints, keyUsage, extendedKeyUsage }: CertificateExtensions): Refusal | undefined {
  if (basicConstraints?.ca === true) return refusal('ERR_CSR_AUTHORITY', 'basic constraints with cA')
  if (keyUsage?.keyCertSign === true) return refusal('ERR_CSR_AUTHORITY', 'the key usage keyCertSign')
  if (keyUsage?.cRLSign === true) return refusal('ERR_CSR_AUTHORITY', 'the key usage cRLSign')
  if (extendedKeyUsage !== undefined && !extendedKeyUsage.serverAuth && !extendedKeyUsage.clientAuth)
    return refusal('ERR_CSR_EXTENSION', 'an extended key usage other than for servers and clients of TLS')
  return undefined
}

/** Refused with ERR_KEY_WEAK unless peers take such a key. @param spki DER */
export function readPublicKey(spki: Buffer): Result<KeyObject> {
  return checkPublicKey(spki) ?? importPublicKey(spki)
}

function checkPublicKey(spki: Buffer): Refusal | undefined {
  const kind = acceptedKey(spki)
  if (kind === undefined) return refusal('ERR_KEY_WEAK', 'use P-256, or RSA of 2,048 to 4,096 bits with the usual exponent')
  const cursor = enter(openDer(spki), TAG.sequence)
  const algorithm = enter(cursor, TAG.sequence)
  const isEc = readContent(algorithm, TAG.oid).toString('hex') === OID.ec
  // RFC 5480 §2.2: the compressed form may be refused, and many verifiers do.
  const isCompressed = isEc && readOctetBits(cursor)[0] !== 0x04
  return isCompressed ? refusal('ERR_KEY_WEAK', 'give the point of the key in its uncompressed form') : undefined
}

function importPublicKey(spki: Buffer): Result<KeyObject> {
  try {
    return ok(createPublicKey({ key: spki, format: 'der', type: 'spki' }))
  } catch {
    return unreadable('its public key cannot be parsed')
  }
}

/** Whoever signs with SHA-1 proves nothing; RSA-PSS has parameters that only `csr` reads. */
function isSignedBy(spki: Buffer, signed: Buffer, algorithm: Buffer, signature: Buffer): boolean {
  const name = acceptedSignature(algorithm)
  if (name === undefined || name.startsWith('RSA-PSS')) return false
  try {
    return verify(name === 'Ed25519' ? null : `sha${name.slice(-3)}`, signed, { key: spki, format: 'der', type: 'spki' }, signature)
  } catch {
    return false // OpenSSL throws where the algorithm does not fit the key, or the key is none
  }
}

/** An object identifier for people. */
function dotted(hex: string): string {
  const [first = 0, ...rest] = Buffer.from(hex, 'hex')
  const arcs = [Math.min(2, Math.floor(first / 40)), first - 40 * Math.min(2, Math.floor(first / 40))]
  let arc = 0
  for (const octet of rest) {
    arc = arc * 128 + (octet & 0x7f)
    if (octet < 0x80) {
      arcs.push(arc)
      arc = 0
    }
  }
  return arcs.join('.')
}

function visible(name: string): string {
  return `\`${name.slice(0, 200).replaceAll(/[^ -~]/g, '?')}\``
}

function unreadable(detail: string): Refusal {
  return refusal('ERR_CSR_UNREADABLE', detail)
}
