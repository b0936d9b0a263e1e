/** Writes a PKCS#12 file that OpenSSL 3, Java and Windows read: a key with its chain, or authorities to trust. */
import { hash, type KeyObject } from 'node:crypto'
import { bmpString, explicit, implicitOctets, integer, type Node, octets, OID, oid, sequence, serialize, setOf } from './asn1.ts'
import { encrypt, macOf } from './encryption.ts'

export interface Pkcs12Options {
  /** The first certificate's private key; without one every certificate is marked as trusted, for Java. */
  readonly key: KeyObject | undefined
  /** DER, leaf first. */
  readonly certificates: readonly Buffer[]
  readonly password: string
  /** What programs call the entry (friendlyName; Java's alias). Of several trusted certificates, `name-2` is the second. */
  readonly name: string
}

/** @returns DER */
export function writePkcs12({ key, certificates, password, name }: Pkcs12Options): Buffer {
  // The attribute that pairs a key with its certificate; its bytes mean nothing else.
  const pairing = attribute(OID.localKeyId, octets(Buffer.from(hash('sha1', certificates[0] ?? Buffer.alloc(0), 'buffer'))))
  const certificateBags = certificates.map((der, index) => {
    if (key === undefined) return certificateBag(der, [friendlyName(index === 0 ? name : `${name}-${index + 1}`), trusted()])
    return certificateBag(der, index === 0 ? [friendlyName(name), pairing] : [])
  })
  const parts = [encryptedPart(serialize(sequence(...certificateBags)), password)]
  if (key !== undefined) parts.push(dataPart(serialize(sequence(keyBag(key, password, [friendlyName(name), pairing])))))
  const safe = serialize(sequence(...parts))
  return serialize(sequence(integer(3), dataPart(safe), macOf(safe, password)))
}

function dataPart(content: Buffer): Node {
  return sequence(oid(OID.data), explicit(octets(content)))
}

function encryptedPart(content: Buffer, password: string): Node {
  const { algorithm, ciphertext } = encrypt(content, password)
  const info = sequence(oid(OID.data), algorithm, implicitOctets(ciphertext))
  return sequence(oid(OID.encryptedData), explicit(sequence(integer(0), info)))
}

function keyBag(key: KeyObject, password: string, attributes: Node[]): Node {
  const { algorithm, ciphertext } = encrypt(key.export({ type: 'pkcs8', format: 'der' }), password)
  return sequence(oid(OID.shroudedKeyBag), explicit(sequence(algorithm, octets(ciphertext))), setOf(...attributes))
}

function certificateBag(der: Buffer, attributes: Node[]): Node {
  const bag = [oid(OID.certBag), explicit(sequence(oid(OID.x509Certificate), explicit(octets(der))))]
  return sequence(...bag, ...(attributes.length === 0 ? [] : [setOf(...attributes)]))
}

function friendlyName(name: string): Node {
  return attribute(OID.friendlyName, bmpString(name))
}

function trusted(): Node {
  return attribute(OID.javaTrustedKeyUsage, oid(OID.anyExtendedKeyUsage))
}

function attribute(type: string, value: Node): Node {
  return sequence(oid(type), setOf(value))
}
