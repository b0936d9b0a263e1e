/** The extensions of a certificate that decide whether it is an X509-SVID, from their DER (RFC 5280 §4.2). */
import { refusal, type Refusal } from '#base/result'
import {
  type DerCursor,
  enter,
  finish,
  hasMore,
  markMalformed,
  nextTag,
  openDer,
  readContent,
  readNamedBits,
  readOptionalBoolean,
  readUnsigned,
  skip,
  TAG,
} from './der.ts'

export interface KeyUsage {
  readonly critical: boolean
  readonly digitalSignature: boolean
  readonly keyCertSign: boolean
  readonly cRLSign: boolean
}

export interface BasicConstraints {
  readonly ca: boolean
  /** How many intermediates may follow; undefined for any number. */
  readonly pathLength: number | undefined
}

export interface CertificateExtensions {
  readonly keyUsage: KeyUsage | undefined
  readonly basicConstraints: BasicConstraints | undefined
  readonly extendedKeyUsage: ExtendedKeyUsage | undefined
  readonly sanCritical: boolean
  /** Byte for byte, printable ASCII. */
  readonly uris: readonly string[]
  readonly dnsNames: readonly string[]
  readonly emails: readonly string[]
  /** Lower-case hex. */
  readonly authorityKeyId: string | undefined
  readonly subjectKeyId: string | undefined
  /** What no rule here evaluates although it would have to be: critical extensions of other kinds, and name constraints. Hex of the OID. */
  readonly unevaluated: string | undefined
}

/** Which ends of a TLS connection an extended key usage is for. */
export interface ExtendedKeyUsage {
  readonly serverAuth: boolean
  readonly clientAuth: boolean
}

/** Object identifiers as hex of their DER content. */
const OID = {
  subjectKeyId: '551d0e',
  keyUsage: '551d0f',
  subjectAltName: '551d11',
  basicConstraints: '551d13',
  nameConstraints: '551d1e',
  crlDistributionPoints: '551d1f',
  certificatePolicies: '551d20',
  authorityKeyId: '551d23',
  extendedKeyUsage: '551d25',
  serverAuth: '2b06010505070301',
  clientAuth: '2b06010505070302',
}

/** May be critical although nothing here reads them: they only narrow what others say about the certificate, not who holds it. */
const HARMLESS = [OID.crlDistributionPoints, OID.certificatePolicies]

/** RFC 5280 §4.2.1.6: GeneralName, context-specific tags. */
const SAN = { email: 0x81, dns: 0x82, uri: 0x86 }

type Draft = {
  -readonly [Key in keyof CertificateExtensions]: CertificateExtensions[Key]
}

/**
 * Reads the value of the [3] field of a certificate; without one there are no extensions.
 * What is not DER marks the document of `cursor`; a name that could deceive is a refusal with `ERR_SVID_SAN_MALFORMED`.
 */
export function readExtensions(cursor: DerCursor | undefined): CertificateExtensions | Refusal {
  const draft: Draft = {
    keyUsage: undefined,
    basicConstraints: undefined,
    extendedKeyUsage: undefined,
    sanCritical: false,
    uris: [],
    dnsNames: [],
    emails: [],
    authorityKeyId: undefined,
    subjectKeyId: undefined,
    unevaluated: undefined,
  }
  if (cursor === undefined) return draft
  const seen: string[] = []
  const list = enter(cursor, TAG.sequence)
  finish(cursor)
  while (hasMore(list)) {
    const extension = enter(list, TAG.sequence)
    const oid = readContent(extension, TAG.oid).toString('hex')
    const critical = readOptionalBoolean(extension)
    const value = openDer(readContent(extension, TAG.octetString))
    finish(extension)
    if (seen.includes(oid)) markMalformed(list) // RFC 5280 §4.2: at most one of each
    seen.push(oid)
    const fault = readExtension(draft, oid, critical, value)
    if (fault !== undefined) return fault
    if (value.document.malformed) markMalformed(list)
  }
  finish(list)
  return draft
}

function readExtension(draft: Draft, oid: string, critical: boolean, value: DerCursor): Refusal | undefined {
  switch (oid) {
    case OID.keyUsage:
      draft.keyUsage = readKeyUsage(value, critical)
      break
    case OID.basicConstraints:
      draft.basicConstraints = readBasicConstraints(value)
      break
    case OID.extendedKeyUsage:
      draft.extendedKeyUsage = readExtendedKeyUsage(value)
      break
    case OID.subjectKeyId:
      draft.subjectKeyId = readContent(value, TAG.octetString).toString('hex')
      break
    case OID.authorityKeyId:
      draft.authorityKeyId = readAuthorityKeyId(value)
      break
    case OID.subjectAltName:
      draft.sanCritical = critical
      return readNames(draft, value)
    default:
      if (oid === OID.nameConstraints || (critical && !HARMLESS.includes(oid))) draft.unevaluated ??= oid
      return undefined
  }
  finish(value)
  return undefined
}

function readKeyUsage(value: DerCursor, critical: boolean): KeyUsage {
  const bits = readNamedBits(value)
  return { critical, digitalSignature: (bits & 0x8000) !== 0, keyCertSign: (bits & 0x0400) !== 0, cRLSign: (bits & 0x0200) !== 0 }
}

function readBasicConstraints(value: DerCursor): BasicConstraints {
  const content = enter(value, TAG.sequence)
  const ca = readOptionalBoolean(content)
  if (nextTag(content) !== TAG.integer) {
    finish(content)
    return { ca, pathLength: undefined }
  }
  const octets = readUnsigned(content)
  finish(content)
  if (octets.length !== 1) markMalformed(value) // nobody stacks more than 255 authorities
  return { ca, pathLength: octets[0] }
}

function readExtendedKeyUsage(value: DerCursor): ExtendedKeyUsage {
  const content = enter(value, TAG.sequence)
  let serverAuth = false
  let clientAuth = false
  while (hasMore(content)) {
    const purpose = readContent(content, TAG.oid).toString('hex')
    if (purpose === OID.serverAuth) serverAuth = true
    if (purpose === OID.clientAuth) clientAuth = true
  }
  return { serverAuth, clientAuth }
}

function readAuthorityKeyId(value: DerCursor): string | undefined {
  const content = enter(value, TAG.sequence)
  const keyId = nextTag(content) === 0x80 ? readContent(content, 0x80).toString('hex') : undefined
  while (hasMore(content)) skip(content) // issuer and serial number
  return keyId
}

function readNames(draft: Draft, value: DerCursor): Refusal | undefined {
  const uris: string[] = []
  const dnsNames: string[] = []
  const emails: string[] = []
  const names = enter(value, TAG.sequence)
  finish(value)
  while (hasMore(names)) {
    const tag = nextTag(names)
    if (tag !== SAN.uri && tag !== SAN.dns && tag !== SAN.email) {
      skip(names)
      continue
    }
    const octets = readContent(names, tag)
    for (const octet of octets) {
      // RFC 5280 takes any IA5String; a NUL or a control has no use in a name but to make two parsers see two names.
      if (octet < 0x20 || octet > 0x7e) return refusal('ERR_SVID_SAN_MALFORMED', `the octet 0x${octet.toString(16).padStart(2, '0')}`)
    }
    const list = tag === SAN.uri ? uris : tag === SAN.dns ? dnsNames : emails
    list.push(octets.toString('latin1'))
  }
  draft.uris = uris
  draft.dnsNames = dnsNames
  draft.emails = emails
  return undefined
}
