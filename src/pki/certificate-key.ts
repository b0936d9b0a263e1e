/** Which public keys and signature algorithms a certificate may have (RFC 3279, 4055, 5480, 8410). */
import { type DerCursor, enter, finish, hasMore, nextTag, openDer, readContent, readOctetBits, readUnsigned, skip, TAG } from './der.ts'

/** Object identifiers as hex of their DER content. */
const RSA = '2a864886f70d010101'
const RSA_PSS = '2a864886f70d01010a'
const EC = '2a8648ce3d0201'
const ED25519 = '2b6570'

const CURVES: Readonly<Record<string, string>> = { '2a8648ce3d030107': 'P-256', '2b81040022': 'P-384', '2b81040023': 'P-521' }

const SIGNATURES: Readonly<Record<string, string>> = {
  '2a8648ce3d040302': 'ECDSA-SHA256',
  '2a8648ce3d040303': 'ECDSA-SHA384',
  '2a8648ce3d040304': 'ECDSA-SHA512',
  '2a864886f70d01010b': 'RSA-SHA256',
  '2a864886f70d01010c': 'RSA-SHA384',
  '2a864886f70d01010d': 'RSA-SHA512',
  [ED25519]: 'Ed25519',
}

const PSS_HASHES: Readonly<Record<string, string>> = {
  '608648016503040201': 'RSA-PSS-SHA256',
  '608648016503040202': 'RSA-PSS-SHA384',
  '608648016503040203': 'RSA-PSS-SHA512',
}

const SHORTEST_RSA = 2048
/** Longer ones cost the verifier more than they give: CVE-2023-29409. */
const LONGEST_RSA = 4096

/** Name of an accepted public key (`P-256`, `RSA-2048`, `Ed25519`), from its SubjectPublicKeyInfo; undefined for any other. */
export function acceptedKey(spki: Buffer): string | undefined {
  const cursor = openDer(spki)
  const info = enter(cursor, TAG.sequence)
  const algorithm = enter(info, TAG.sequence)
  const oid = readContent(algorithm, TAG.oid).toString('hex')
  if (oid === EC) return CURVES[nextTag(algorithm) === TAG.oid ? readContent(algorithm, TAG.oid).toString('hex') : '']
  if (oid === ED25519) return 'Ed25519'
  if (oid !== RSA) return undefined
  return acceptedRsaKey(openDer(readOctetBits(info)))
}

function acceptedRsaKey(cursor: DerCursor): string | undefined {
  const key = enter(cursor, TAG.sequence)
  const modulus = readUnsigned(key)
  const exponent = readUnsigned(key)
  finish(key)
  finish(cursor)
  if (cursor.document.malformed) return undefined
  const bits = modulus.length * 8 - (Math.clz32(modulus[0] ?? 0) - 24)
  const isOdd = ((exponent[exponent.length - 1] ?? 0) & 1) === 1
  const isSmall = exponent.length <= 4 && (exponent.length > 1 || (exponent[0] ?? 0) >= 3)
  return bits >= SHORTEST_RSA && bits <= LONGEST_RSA && isOdd && isSmall ? `RSA-${bits}` : undefined
}

/** Name of an accepted signature algorithm (`ECDSA-SHA256`), from its AlgorithmIdentifier; undefined for any other, SHA-1 above all. */
export function acceptedSignature(algorithmIdentifier: Buffer): string | undefined {
  const algorithm = enter(openDer(algorithmIdentifier), TAG.sequence)
  const oid = readContent(algorithm, TAG.oid).toString('hex')
  return oid === RSA_PSS ? acceptedPss(algorithm) : SIGNATURES[oid]
}

// RFC 4055 §3.1: where the hash is not named it is SHA-1.
function acceptedPss(algorithm: DerCursor): string | undefined {
  const parameters = enter(algorithm, TAG.sequence)
  const hash = enter(enter(parameters, 0xa0), TAG.sequence)
  const name = PSS_HASHES[readContent(hash, TAG.oid).toString('hex')]
  while (hasMore(parameters)) skip(parameters)
  return algorithm.document.malformed ? undefined : name
}
