/** What a certificate says, read from its DER byte for byte (RFC 5280 §4.1): never from node's `subjectaltname`, which a name can forge. */
import { hash } from 'node:crypto'
import { ok, refusal, type Result } from '#base/result'
import type { CertificateFacts } from '#identity/peer'
import { type CertificateExtensions, readExtensions } from './certificate-extensions.ts'
import { acceptedKey, acceptedSignature } from './certificate-key.ts'
import {
  type DerCursor,
  enter,
  finish,
  isMalformed,
  markMalformed,
  nextTag,
  openDer,
  readContent,
  readElement,
  readOctetBits,
  readUnsigned,
  skip,
  TAG,
} from './der.ts'

/** Of one certificate, leaf or not. */
export interface LeafFacts {
  readonly certificate: CertificateFacts
  readonly subjectIsEmpty: boolean
  /** Its subject is its issuer. */
  readonly selfIssued: boolean
  /** `P-256`, `RSA-2048`…; undefined where the key is not one that is accepted. */
  readonly key: string | undefined
  /** `ECDSA-SHA256`…; undefined where the algorithm is not one that is accepted. */
  readonly signature: string | undefined
  readonly extensions: CertificateExtensions
}

/** No certificate may be larger, in octets. */
export const LARGEST_CERTIFICATE = 16 * 1024

/** RFC 5280 §4.1.2.2. */
const LONGEST_SERIAL = 20

/** Reads one certificate. Refused: `ERR_SVID_TOO_LARGE`, `ERR_SVID_MALFORMED`, `ERR_SVID_SAN_MALFORMED`. */
export function readLeafFacts(der: Buffer): Result<LeafFacts> {
  if (der.length > LARGEST_CERTIFICATE) return refusal('ERR_SVID_TOO_LARGE', `${der.length} bytes`)
  const cursor = openDer(der)
  const outer = enter(cursor, TAG.sequence)
  finish(cursor)
  const signed = enter(outer, TAG.sequence)
  const outerAlgorithm = readElement(outer, TAG.sequence)
  readOctetBits(outer)
  finish(outer)

  if (!readContent(enter(signed, 0xa0), TAG.integer).equals(VERSION_3)) markMalformed(signed)
  const serial = readUnsigned(signed)
  if (serial.length > LONGEST_SERIAL) markMalformed(signed)
  const algorithm = readElement(signed, TAG.sequence)
  if (!algorithm.equals(outerAlgorithm)) markMalformed(signed)
  const issuer = readElement(signed, TAG.sequence)
  const validity = enter(signed, TAG.sequence)
  const notBefore = readTime(validity)
  const notAfter = readTime(validity)
  finish(validity)
  const subject = readElement(signed, TAG.sequence)
  const spki = readElement(signed, TAG.sequence)
  if (nextTag(signed) === 0x81) skip(signed) // issuerUniqueID and subjectUniqueID say nothing we ask
  if (nextTag(signed) === 0x82) skip(signed)
  const extensions = readExtensions(nextTag(signed) === 0xa3 ? enter(signed, 0xa3) : undefined)
  finish(signed)

  if (isMalformed(cursor)) return refusal('ERR_SVID_MALFORMED', 'it is not the DER of an X.509 version 3 certificate')
  if ('ok' in extensions) return extensions
  return ok({
    certificate: {
      fingerprint: hash('sha256', der, 'hex'),
      spkiHash: hash('sha256', spki, 'base64'),
      serial: hexWithoutZeros(serial),
      notBefore,
      notAfter,
      sanUris: extensions.uris,
      sanDns: extensions.dnsNames,
      sanEmails: extensions.emails,
    },
    subjectIsEmpty: subject.length === 2,
    selfIssued: subject.equals(issuer),
    key: acceptedKey(spki),
    signature: acceptedSignature(algorithm),
    extensions,
  })
}

const VERSION_3 = Buffer.of(2)

function hexWithoutZeros(octets: Buffer): string {
  const hex = octets.toString('hex')
  return hex.startsWith('0') ? hex.slice(1) : hex
}

/** RFC 5280 §4.1.2.5: `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`, seconds and Z always there. */
function readTime(cursor: DerCursor): number {
  const tag = nextTag(cursor) === TAG.generalizedTime ? TAG.generalizedTime : TAG.utcTime
  const octets = readContent(cursor, tag)
  const yearDigits = tag === TAG.utcTime ? 2 : 4
  if (octets.length !== yearDigits + 11 || octets[yearDigits + 10] !== 0x5a) {
    markMalformed(cursor)
    return 0
  }
  const short = digits(octets, 0, yearDigits)
  const year = tag === TAG.generalizedTime ? short : short < 50 ? 2000 + short : 1900 + short
  const month = digits(octets, yearDigits, 2)
  const day = digits(octets, yearDigits + 2, 2)
  const hour = digits(octets, yearDigits + 4, 2)
  const minute = digits(octets, yearDigits + 6, 2)
  const second = digits(octets, yearDigits + 8, 2)
  const isReal = month >= 1 && month <= 12 && day >= 1 && day <= daysIn(year, month) && hour < 24 && minute < 60 && second < 60
  if (!isReal || year < 1900) markMalformed(cursor)
  return Date.UTC(year, month - 1, day, hour, minute, second)
}

/** Comparisons with what is no number are false, so that a time of other characters than digits is not a real one. */
function daysIn(year: number, month: number): number {
  if (month === 2) return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 29 : 28
  return month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31
}

function digits(octets: Buffer, at: number, count: number): number {
  let value = 0
  for (let index = at; index < at + count; index++) {
    const digit = (octets[index] ?? 0) - 0x30
    if (digit < 0 || digit > 9) return NaN
    value = value * 10 + digit
  }
  return value
}
