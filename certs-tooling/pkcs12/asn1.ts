/** The ASN.1 of PKCS#12 (RFC 7292), read and written node by node with node-forge, whose own PKCS#12 knows no EC keys. */
import forge from 'node-forge'
import { PosternError } from '#base/errors'

const { asn1 } = forge

export type Node = forge.asn1.Asn1

export const OID = {
  data: '1.2.840.113549.1.7.1',
  encryptedData: '1.2.840.113549.1.7.6',
  keyBag: '1.2.840.113549.1.12.10.1.1',
  shroudedKeyBag: '1.2.840.113549.1.12.10.1.2',
  certBag: '1.2.840.113549.1.12.10.1.3',
  safeContentsBag: '1.2.840.113549.1.12.10.1.6',
  x509Certificate: '1.2.840.113549.1.9.22.1',
  friendlyName: '1.2.840.113549.1.9.20',
  localKeyId: '1.2.840.113549.1.9.21',
  /** Oracle's: Java lists a certificate without a key only where it carries this. */
  javaTrustedKeyUsage: '2.16.840.1.113894.746875.1.1',
  anyExtendedKeyUsage: '2.5.29.37.0',
  pbes2: '1.2.840.113549.1.5.13',
  pbkdf2: '1.2.840.113549.1.5.12',
  hmacSha256: '1.2.840.113549.2.9',
  aes256Cbc: '2.16.840.1.101.3.4.1.42',
  sha256: '2.16.840.1.101.3.4.2.1',
} as const

export function malformed(what: string, cause?: unknown): PosternError {
  return new PosternError('ERR_PKCS12_MALFORMED', `The PKCS#12 file is not well-formed: ${what}.`, { cause })
}

/** BER is taken: some programs write PKCS#12 with indefinite lengths. @throws ERR_PKCS12_MALFORMED */
export function parse(der: Uint8Array): Node {
  try {
    return asn1.fromDer(forge.util.createBuffer(Buffer.from(der).toString('binary')), true)
  } catch (cause) {
    throw malformed('its ASN.1 cannot be parsed', cause)
  }
}

export function serialize(node: Node): Buffer {
  return Buffer.from(asn1.toDer(node).getBytes(), 'binary')
}

/** The members of a SEQUENCE or SET. */
export function members(node: Node | undefined, what: string): readonly Node[] {
  if (node === undefined || !Array.isArray(node.value) || node.tagClass !== asn1.Class.UNIVERSAL) throw malformed(`${what} is missing`)
  return node.value
}

/** What an explicit tag wraps. */
export function unwrap(node: Node | undefined, what: string): Node {
  const inner = node !== undefined && node.tagClass === asn1.Class.CONTEXT_SPECIFIC && Array.isArray(node.value) ? node.value[0] : undefined
  if (inner === undefined) throw malformed(`${what} is missing`)
  return inner
}

export function oidOf(node: Node | undefined, what: string): string {
  if (node === undefined || node.type !== asn1.Type.OID || typeof node.value !== 'string') throw malformed(`${what} is missing`)
  return asn1.derToOid(node.value)
}

/** An OCTET STRING's bytes; of one in pieces (BER), all of them. */
export function octetsOf(node: Node | undefined, what: string): Buffer {
  if (node === undefined) throw malformed(`${what} is missing`)
  if (typeof node.value === 'string') return Buffer.from(node.value, 'binary')
  return Buffer.concat(node.value.map((piece) => octetsOf(piece, what)))
}

/** A non-negative INTEGER that fits a count. */
export function countOf(node: Node | undefined, what: string): number {
  if (node === undefined || node.type !== asn1.Type.INTEGER || typeof node.value !== 'string' || node.value.length > 5)
    throw malformed(`${what} is missing or out of range`)
  const count = Number.parseInt(Buffer.from(node.value, 'binary').toString('hex'), 16)
  if (node.value.charCodeAt(0) > 0x7f) throw malformed(`${what} is negative`)
  return count
}

export function sequence(...nodes: Node[]): Node {
  return asn1.create(asn1.Class.UNIVERSAL, asn1.Type.SEQUENCE, true, nodes)
}

/** SET OF: its members go in the order of their encodings (X.690 §11.6). */
export function setOf(...nodes: Node[]): Node {
  const sorted = nodes.map((node) => [serialize(node), node] as const).sort(([a], [b]) => Buffer.compare(a, b))
  return asn1.create(
    asn1.Class.UNIVERSAL,
    asn1.Type.SET,
    true,
    sorted.map(([, node]) => node),
  )
}

export function oid(value: string): Node {
  return asn1.create(asn1.Class.UNIVERSAL, asn1.Type.OID, false, asn1.oidToDer(value).getBytes())
}

export function integer(value: number): Node {
  return asn1.create(asn1.Class.UNIVERSAL, asn1.Type.INTEGER, false, asn1.integerToDer(value).getBytes())
}

export function octets(value: Uint8Array): Node {
  return asn1.create(asn1.Class.UNIVERSAL, asn1.Type.OCTETSTRING, false, Buffer.from(value).toString('binary'))
}

export function nothing(): Node {
  return asn1.create(asn1.Class.UNIVERSAL, asn1.Type.NULL, false, '')
}

export function bmpString(value: string): Node {
  return asn1.create(asn1.Class.UNIVERSAL, asn1.Type.BMPSTRING, false, value)
}

/** `[0] EXPLICIT`. */
export function explicit(node: Node): Node {
  return asn1.create(asn1.Class.CONTEXT_SPECIFIC, asn1.Type.NONE, true, [node])
}

/** `[0] IMPLICIT OCTET STRING`. */
export function implicitOctets(value: Uint8Array): Node {
  return asn1.create(asn1.Class.CONTEXT_SPECIFIC, asn1.Type.NONE, false, Buffer.from(value).toString('binary'))
}
