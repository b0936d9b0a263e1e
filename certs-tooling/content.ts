/** Finds out what the bytes of a file are: certificates, keys, requests and bundles, in PEM, DER, PKCS#12 or JWKS. */
import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto'
import { PosternError } from '#base/errors'
import { describeCertificate, describeRequest, describeRevocationList } from '#pki/inspect'
import { formatPem, parsePem, type PemBlock } from '#pki/pem'
import { readSpiffeBundle } from '#pki/spiffe-bundle'
import { looksLikePkcs12 } from './pkcs12/recognise.ts'

export type ContentItem =
  | { readonly kind: 'certificate'; readonly der: Buffer }
  | { readonly kind: 'certificate request'; readonly der: Buffer }
  | { readonly kind: 'revocation list'; readonly der: Buffer }
  /** `key` is undefined where the key is encrypted and no password was given. */
  | { readonly kind: 'private key'; readonly key: KeyObject | undefined; readonly encrypted: boolean }
  | { readonly kind: 'public key'; readonly key: KeyObject }
  | { readonly kind: 'JWT key'; readonly jwk: Readonly<Record<string, unknown>> }
  | { readonly kind: 'unknown'; readonly label: string }

export interface Content {
  readonly format: 'PEM' | 'DER' | 'PKCS#12' | 'SPIFFE bundle'
  readonly items: readonly ContentItem[]
  /** Of SPIFFE bundles. */
  readonly sequence?: bigint
  readonly refreshHintSeconds?: number
}

/** DER of its certificates, in order. */
export function certificatesOf(content: Content): Buffer[] {
  return content.items.filter((item) => item.kind === 'certificate').map((item) => item.der)
}

/**
 * @param shown how messages call the file
 * @param password for PKCS#12 and encrypted keys; without it an encrypted key is told of, and an encrypted PKCS#12 file refused
 * @throws ERR_FILE_KIND, ERR_PASSWORD_MISSING, ERR_PASSWORD_WRONG, ERR_PKCS12_MALFORMED, ERR_PKCS12_UNSUPPORTED
 */
export async function recognise(bytes: Buffer, shown: string, password: string | undefined): Promise<Content> {
  if (bytes.length === 0) throw unknownKind(shown, 'it is empty')
  if (looksLikePkcs12(bytes)) return ofPkcs12(bytes, password)
  if (bytes[0] === 0x30) {
    const item = ofDer(bytes, password)
    if (item !== undefined) return { format: 'DER', items: [item] }
  }
  const text = bytes.toString('utf8').replace(/^\uFEFF/, '')
  if (/^\s*\{/.test(text)) return ofJwks(text, shown)
  const blocks = parsePem(text)
  if (blocks.length > 0) return { format: 'PEM', items: blocks.flatMap((block) => ofPemBlock(block, password)) }
  throw unknownKind(shown, text.includes('-----BEGIN ') ? 'its PEM block is broken off' : 'it holds none of PEM, DER, PKCS#12 or a JWK Set')
}

function unknownKind(shown: string, why: string): PosternError {
  return new PosternError('ERR_FILE_KIND', `${shown} is not a certificate, key, request or bundle: ${why}.`)
}

async function ofPkcs12(der: Buffer, password: string | undefined): Promise<Content> {
  const { readPkcs12 } = await import('./pkcs12/read.ts') // node-forge is loaded for whoever needs it
  const { keys, certificates } = readPkcs12(der, password)
  return {
    format: 'PKCS#12',
    items: [
      ...keys.map((key) => ({ kind: 'private key', key, encrypted: true }) as const),
      ...certificates.map((certificate) => ({ kind: 'certificate', der: certificate }) as const),
    ],
  }
}

function ofJwks(text: string, shown: string): Content {
  const bundle = readSpiffeBundle(text, (why) => unknownKind(shown, `it is JSON, but no SPIFFE bundle: ${why}`))
  return {
    format: 'SPIFFE bundle',
    items: [
      ...bundle.certificates.map((der) => ({ kind: 'certificate', der }) as const),
      ...bundle.jwtKeys.map((jwk) => ({ kind: 'JWT key', jwk }) as const),
    ],
    ...(bundle.sequence !== undefined && { sequence: bundle.sequence }),
    ...(bundle.refreshHintSeconds !== undefined && { refreshHintSeconds: bundle.refreshHintSeconds }),
  }
}

function ofPemBlock(block: PemBlock, password: string | undefined): readonly ContentItem[] {
  const { label, der, text } = block
  if (/^(X509 |TRUSTED )?CERTIFICATE$/.test(label)) return [{ kind: 'certificate', der }]
  if (/^(NEW )?CERTIFICATE REQUEST$/.test(label)) return [{ kind: 'certificate request', der }]
  if (/^(X509 )?CRL$/.test(label)) return [{ kind: 'revocation list', der }]
  if (label.endsWith('PRIVATE KEY')) {
    return [ofPrivateKey(text, label === 'ENCRYPTED PRIVATE KEY' || text.includes('Proc-Type: 4,ENCRYPTED'), password)]
  }
  if (label.endsWith('PUBLIC KEY')) {
    const key = attempt(() => createPublicKey(text))
    if (key !== undefined) return [{ kind: 'public key', key }]
  }
  // OpenSSL writes the curve of a key in a block of its own before it.
  return label === 'EC PARAMETERS' ? [] : [{ kind: 'unknown', label }]
}

function ofPrivateKey(pem: string, encrypted: boolean, password: string | undefined): ContentItem {
  if (encrypted && password === undefined) return { kind: 'private key', key: undefined, encrypted }
  try {
    return { kind: 'private key', key: createPrivateKey({ key: pem, ...(encrypted && { passphrase: password }) }), encrypted }
  } catch (cause) {
    if (encrypted) throw new PosternError('ERR_PASSWORD_WRONG', 'The password does not open the private key.', { cause })
    throw new PosternError('ERR_KEY_UNREADABLE', 'A private key cannot be read: OpenSSL does not know its form.', { cause })
  }
}

function ofDer(der: Buffer, password: string | undefined): ContentItem | undefined {
  if (attempt(() => describeCertificate(der)) !== undefined) return { kind: 'certificate', der }
  if (isEncryptedKey(der)) return ofPrivateKey(formatPem('ENCRYPTED PRIVATE KEY', der), true, password)
  for (const type of ['pkcs8', 'sec1', 'pkcs1'] as const) {
    const key = attempt(() => createPrivateKey({ key: der, format: 'der', type }))
    if (key !== undefined) return { kind: 'private key', key, encrypted: false }
  }
  const key = attempt(() => createPublicKey({ key: der, format: 'der', type: 'spki' }))
  if (key !== undefined) return { kind: 'public key', key }
  if (attempt(() => describeRequest(der)) !== undefined) return { kind: 'certificate request', der }
  return attempt(() => describeRevocationList(der)) === undefined ? undefined : { kind: 'revocation list', der }
}

// EncryptedPrivateKeyInfo begins with its algorithm, PBES2 or one of PKCS#12 (RFC 5958 §3).
function isEncryptedKey(der: Buffer): boolean {
  const head = der.subarray(0, 24).toString('hex')
  return head.includes('06092a864886f70d01050d') || head.includes('060a2a864886f70d010c01')
}

function attempt<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch {
    return undefined
  }
}
