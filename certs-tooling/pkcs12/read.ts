/** Reads a PKCS#12 file: its private keys and certificates, of whatever kind OpenSSL knows. */
import { createPrivateKey, type KeyObject } from 'node:crypto'
import { PosternError } from '#base/errors'
import { countOf, malformed, members, type Node, octetsOf, OID, oidOf, parse, serialize, unwrap } from './asn1.ts'
import { decrypt, macHolds, type Password } from './encryption.ts'

export interface Pkcs12Content {
  readonly keys: readonly KeyObject[]
  /** DER, in the file's order. */
  readonly certificates: readonly Buffer[]
}

/**
 * Opens the file. Its integrity is checked before anything in it is used.
 * @param password undefined where none was given: tried as the empty one
 * @throws ERR_PASSWORD_MISSING, ERR_PASSWORD_WRONG, ERR_PKCS12_UNSUPPORTED, ERR_PKCS12_MALFORMED
 */
export function readPkcs12(der: Buffer, password: string | undefined): Pkcs12Content {
  const [version, authSafe, macData] = members(parse(der), 'the outer structure')
  if (countOf(version, 'its version') !== 3) throw malformed('it is not of version 3')
  const [contentType, content] = members(authSafe, 'its content')
  if (oidOf(contentType, 'its content type') !== OID.data) {
    throw new PosternError(
      'ERR_PKCS12_UNSUPPORTED',
      'The PKCS#12 file is protected by a signature instead of a password, which is not read here.',
    )
  }
  const safe = octetsOf(unwrap(content, 'its content'), 'its content')
  try {
    const opening = { password: passwordFor(macData, safe, password), verified: macData !== undefined }
    const bags = members(parse(safe), 'the list of its parts').flatMap((part) => bagsOf(part, opening))
    return collect(bags, opening, 0)
  } catch (cause) {
    if (password !== undefined || !(cause instanceof PosternError) || cause.code !== 'ERR_PASSWORD_WRONG') throw cause
    throw new PosternError(
      'ERR_PASSWORD_MISSING',
      'The PKCS#12 file has a password: give it with --password-file FILE or --password-env NAME.',
      { cause },
    )
  }
}

interface Opening {
  readonly password: Password
  /** By the MAC: what cannot be parsed after decryption is then broken, and not the noise of a wrong password whose padding happened to fit. */
  readonly verified: boolean
}

// "No password" is written as an empty string by some programs and as no string by others.
function passwordFor(macData: Node | undefined, safe: Buffer, password: string | undefined): Password {
  const candidates: readonly Password[] = password === undefined || password === '' ? ['', null] : [password]
  if (macData === undefined) return candidates[0] ?? ''
  const found = candidates.find((candidate) => macHolds(macData, safe, candidate))
  if (found === undefined)
    throw new PosternError(
      'ERR_PASSWORD_WRONG',
      'The password does not open the PKCS#12 file, or the file was changed since it was written.',
    )
  return found
}

function bagsOf(part: Node, opening: Opening): readonly Node[] {
  const [contentType, wrapped] = members(part, 'a part')
  const kind = oidOf(contentType, "a part's type")
  const content = unwrap(wrapped, "a part's content")
  if (kind === OID.data) return safeBags(octetsOf(content, "a part's content"))
  if (kind !== OID.encryptedData) {
    throw new PosternError(
      'ERR_PKCS12_UNSUPPORTED',
      'The PKCS#12 file holds a part that is encrypted to a public key, which is not read here.',
    )
  }
  const [, info] = members(content, 'an encrypted part')
  const [, algorithm, encrypted] = members(info, 'an encrypted part')
  const ciphertext = octetsOf(encrypted, 'an encrypted part')
  return parseDecrypted(opening, () => safeBags(decrypt(algorithm, ciphertext, opening.password)))
}

function safeBags(der: Buffer): readonly Node[] {
  return members(parse(der), 'a list of bags')
}

function parseDecrypted<T>(opening: Opening, read: () => T): T {
  try {
    return read()
  } catch (cause) {
    if (opening.verified || !(cause instanceof PosternError) || cause.code === 'ERR_PKCS12_UNSUPPORTED') throw cause
    throw new PosternError('ERR_PASSWORD_WRONG', 'The password does not open the PKCS#12 file.', { cause })
  }
}

/** RFC 7292 nests bags without limit; nobody writes more than one level. */
const MAX_DEPTH = 4

function collect(bags: readonly Node[], opening: Opening, depth: number): Pkcs12Content {
  const keys: KeyObject[] = []
  const certificates: Buffer[] = []
  for (const bag of bags) {
    const [bagId, wrapped] = members(bag, 'a bag')
    const value = unwrap(wrapped, "a bag's value")
    switch (oidOf(bagId, "a bag's type")) {
      case OID.keyBag:
        keys.push(privateKey(serialize(value)))
        break
      case OID.shroudedKeyBag: {
        const [algorithm, encrypted] = members(value, 'an encrypted key')
        const ciphertext = octetsOf(encrypted, 'an encrypted key')
        keys.push(parseDecrypted(opening, () => privateKey(decrypt(algorithm, ciphertext, opening.password))))
        break
      }
      case OID.certBag: {
        const [kind, certificate] = members(value, 'a certificate')
        if (oidOf(kind, "a certificate's kind") === OID.x509Certificate)
          certificates.push(octetsOf(unwrap(certificate, 'a certificate'), 'a certificate'))
        break
      }
      case OID.safeContentsBag: {
        if (depth === MAX_DEPTH) throw malformed('its bags are nested too deeply')
        const inner = collect(members(value, 'a nested list of bags'), opening, depth + 1)
        keys.push(...inner.keys)
        certificates.push(...inner.certificates)
        break
      }
      default: // revocation lists and secrets are not ours to convert
    }
  }
  return { keys, certificates }
}

function privateKey(pkcs8: Buffer): KeyObject {
  try {
    return createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' })
  } catch (cause) {
    throw new PosternError('ERR_KEY_UNREADABLE', 'The private key in the PKCS#12 file cannot be read: OpenSSL does not know its kind.', {
      cause,
    })
  }
}
