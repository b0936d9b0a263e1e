/** Password-based encryption and integrity of PKCS#12: PBES2 (RFC 8018), the older schemes for reading, and the MAC (RFC 7292 App. B, C). */
import { createCipheriv, createDecipheriv, createHmac, pbkdf2Sync, randomBytes, timingSafeEqual } from 'node:crypto'
import forge from 'node-forge'
import { PosternError } from '#base/errors'
import { countOf, integer, members, nothing, type Node, octets, octetsOf, OID, oid, oidOf, sequence } from './asn1.ts'

/** Rounds for what we write: a tenth of a second for each guess at a password. */
const ROUNDS = 100_000
/** Java's own limit; more would only keep the reader busy. */
const MAX_ROUNDS = 5_000_000

/** A password, or `null` for the absent one, which some programs write where others write an empty one. */
export type Password = string | null

function unsupported(what: string): PosternError {
  return new PosternError(
    'ERR_PKCS12_UNSUPPORTED',
    `The PKCS#12 file uses ${what}, which is not read here. Write it anew with AES-256 and HMAC-SHA-256.`,
  )
}

function roundsOf(node: Node | undefined): number {
  const rounds = countOf(node, 'an iteration count')
  if (rounds < 1 || rounds > MAX_ROUNDS) throw unsupported(`${rounds} rounds of key derivation`)
  return rounds
}

const PRFS: Readonly<Record<string, string>> = {
  '1.2.840.113549.2.7': 'sha1',
  '1.2.840.113549.2.8': 'sha224',
  '1.2.840.113549.2.9': 'sha256',
  '1.2.840.113549.2.10': 'sha384',
  '1.2.840.113549.2.11': 'sha512',
}

const CIPHERS: Readonly<Record<string, { readonly name: string; readonly keyBytes: number }>> = {
  '2.16.840.1.101.3.4.1.2': { name: 'aes-128-cbc', keyBytes: 16 },
  '2.16.840.1.101.3.4.1.22': { name: 'aes-192-cbc', keyBytes: 24 },
  '2.16.840.1.101.3.4.1.42': { name: 'aes-256-cbc', keyBytes: 32 },
  '1.2.840.113549.3.7': { name: 'des-ede3-cbc', keyBytes: 24 },
}

/** Schemes of RFC 7292 App. C that are still met in the field. */
const LEGACY: Readonly<Record<string, { readonly name: 'des-ede3-cbc' | 'des-ede-cbc' | 'rc2'; readonly keyBytes: number }>> = {
  '1.2.840.113549.1.12.1.3': { name: 'des-ede3-cbc', keyBytes: 24 },
  '1.2.840.113549.1.12.1.4': { name: 'des-ede-cbc', keyBytes: 16 },
  '1.2.840.113549.1.12.1.5': { name: 'rc2', keyBytes: 16 },
  '1.2.840.113549.1.12.1.6': { name: 'rc2', keyBytes: 5 },
}

/**
 * Opens what an AlgorithmIdentifier says how it was closed.
 * @throws ERR_PASSWORD_WRONG, ERR_PKCS12_UNSUPPORTED, ERR_PKCS12_MALFORMED
 */
export function decrypt(algorithm: Node | undefined, ciphertext: Buffer, password: Password): Buffer {
  const [scheme, parameters] = members(algorithm, 'an encryption algorithm')
  const id = oidOf(scheme, 'an encryption algorithm')
  const legacy = LEGACY[id]
  if (legacy !== undefined) return decryptLegacy(legacy, parameters, ciphertext, password)
  if (id !== OID.pbes2) throw unsupported(`encryption ${id}`)
  const [kdf, encryption] = members(parameters, 'the parameters of PBES2')
  const [cipherId, iv] = members(encryption, 'the cipher of PBES2')
  const cipher = CIPHERS[oidOf(cipherId, 'the cipher of PBES2')]
  if (cipher === undefined) throw unsupported(`cipher ${oidOf(cipherId, 'the cipher of PBES2')}`)
  const key = pbkdf2Key(kdf, cipher.keyBytes, password)
  return attempt(() => {
    const decipher = createDecipheriv(cipher.name, key, octetsOf(iv, 'the IV of PBES2'))
    return Buffer.concat([decipher.update(ciphertext), decipher.final()])
  })
}

function pbkdf2Key(kdf: Node | undefined, keyBytes: number, password: Password): Buffer {
  const [kdfId, parameters] = members(kdf, 'the key derivation of PBES2')
  if (oidOf(kdfId, 'the key derivation of PBES2') !== OID.pbkdf2) throw unsupported('a key derivation other than PBKDF2')
  const [salt, rounds, ...rest] = members(parameters, 'the parameters of PBKDF2')
  const prf = rest.find((node) => Array.isArray(node.value)) // an optional key length may stand before it
  const digest = prf === undefined ? 'sha1' : PRFS[oidOf(members(prf, 'the PRF of PBKDF2')[0], 'the PRF of PBKDF2')]
  if (digest === undefined) throw unsupported('an unknown PRF of PBKDF2')
  return pbkdf2Sync(Buffer.from(password ?? '', 'utf8'), octetsOf(salt, 'the salt of PBKDF2'), roundsOf(rounds), keyBytes, digest)
}

function decryptLegacy(cipher: (typeof LEGACY)[string], parameters: Node | undefined, ciphertext: Buffer, password: Password): Buffer {
  const [saltNode, roundsNode] = members(parameters, 'the parameters of the encryption')
  const salt = octetsOf(saltNode, 'a salt')
  const rounds = roundsOf(roundsNode)
  const key = pkcs12Key(password, salt, 1, rounds, cipher.keyBytes, 'sha1')
  const iv = pkcs12Key(password, salt, 2, rounds, 8, 'sha1')
  return attempt(() => {
    if (cipher.name !== 'rc2') {
      const decipher = createDecipheriv(cipher.name, key, iv)
      return Buffer.concat([decipher.update(ciphertext), decipher.final()])
    }
    // OpenSSL 3 has RC2 only in its legacy provider, which is not loaded here.
    const decipher = forge.rc2.createDecryptionCipher(key.toString('binary'), cipher.keyBytes * 8)
    decipher.start(iv.toString('binary'))
    decipher.update(forge.util.createBuffer(ciphertext.toString('binary')))
    if (!decipher.finish()) throw new Error('bad padding')
    return Buffer.from(decipher.output.getBytes(), 'binary')
  })
}

/** The padding of a wrong key is wrong but for one in 256 cases; those fail when what comes out is parsed. */
function attempt(open: () => Buffer): Buffer {
  try {
    return open()
  } catch (cause) {
    throw new PosternError('ERR_PASSWORD_WRONG', 'The password does not open the PKCS#12 file.', { cause })
  }
}

export interface Encrypted {
  readonly algorithm: Node
  readonly ciphertext: Buffer
}

/** PBES2: AES-256-CBC under PBKDF2 with HMAC-SHA-256, which OpenSSL 3, Java from 8u301 and Windows from 10 read. */
export function encrypt(plaintext: Buffer, password: string): Encrypted {
  const salt = randomBytes(16)
  const iv = randomBytes(16)
  const cipher = createCipheriv('aes-256-cbc', pbkdf2Sync(Buffer.from(password, 'utf8'), salt, ROUNDS, 32, 'sha256'), iv)
  const kdf = sequence(oid(OID.pbkdf2), sequence(octets(salt), integer(ROUNDS), sequence(oid(OID.hmacSha256), nothing())))
  return {
    algorithm: sequence(oid(OID.pbes2), sequence(kdf, sequence(oid(OID.aes256Cbc), octets(iv)))),
    ciphertext: Buffer.concat([cipher.update(plaintext), cipher.final()]),
  }
}

const DIGESTS: Readonly<Record<string, { readonly name: Digest; readonly bytes: number }>> = {
  '1.3.14.3.2.26': { name: 'sha1', bytes: 20 },
  '2.16.840.1.101.3.4.2.1': { name: 'sha256', bytes: 32 },
  '2.16.840.1.101.3.4.2.2': { name: 'sha384', bytes: 48 },
  '2.16.840.1.101.3.4.2.3': { name: 'sha512', bytes: 64 },
}

/**
 * True if the MAC over the content is right under the password.
 * @throws ERR_PKCS12_UNSUPPORTED, ERR_PKCS12_MALFORMED
 */
export function macHolds(macData: Node, content: Buffer, password: Password): boolean {
  const [digestInfo, salt, rounds] = members(macData, 'the MAC')
  const [algorithm, value] = members(digestInfo, 'the MAC')
  const id = oidOf(members(algorithm, 'the algorithm of the MAC')[0], 'the algorithm of the MAC')
  const digest = DIGESTS[id]
  if (digest === undefined) throw unsupported(id === '1.2.840.113549.1.5.14' ? 'a MAC of kind PBMAC1' : `MAC algorithm ${id}`)
  const count = rounds === undefined ? 1 : roundsOf(rounds)
  const key = pkcs12Key(password, octetsOf(salt, 'the salt of the MAC'), 3, count, digest.bytes, digest.name)
  const expected = createHmac(digest.name, key).update(content).digest()
  const given = octetsOf(value, 'the MAC')
  return given.length === expected.length && timingSafeEqual(given, expected)
}

/** MacData with HMAC-SHA-256. */
export function macOf(content: Buffer, password: string): Node {
  const salt = randomBytes(16)
  const key = pkcs12Key(password, salt, 3, ROUNDS, 32, 'sha256')
  const value = createHmac('sha256', key).update(content).digest()
  return sequence(sequence(sequence(oid(OID.sha256), nothing()), octets(value)), octets(salt), integer(ROUNDS))
}

type Digest = 'sha1' | 'sha256' | 'sha384' | 'sha512'

/** The key derivation of RFC 7292 App. B. @param purpose 1 key, 2 IV, 3 MAC */
function pkcs12Key(password: Password, salt: Buffer, purpose: 1 | 2 | 3, rounds: number, bytes: number, digest: Digest): Buffer {
  const derived = forge.pkcs12.generateKey(
    password,
    forge.util.createBuffer(salt.toString('binary')),
    purpose,
    rounds,
    bytes,
    forge.md[digest].create(),
  )
  return Buffer.from(derived.getBytes(), 'binary')
}
