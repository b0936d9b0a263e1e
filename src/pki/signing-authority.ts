/** An authority that was made before, taken up to sign with: read by our own reader, so that a server that only issues loads no library for it. */
import { type KeyObject, X509Certificate } from 'node:crypto'
import { PosternError } from '#base/errors'
import { ok, refusal, type Result } from '#base/result'
import { parseSpiffeId } from '#identity/spiffe-id'
import { enter, openDer, readElement, skip, TAG } from './der.ts'
import { keyIdentifier, parsePrivateKey } from './keys.ts'
import { type LeafFacts, readLeafFacts } from './leaf-facts.ts'
import { certificatesOfPem } from './pem.ts'
import { checkMaySign } from './svid-rules.ts'

/** Who signs certificates of one trust domain. Times are ms since the epoch. */
export interface SigningAuthority {
  readonly trustDomain: string
  /** DER. */
  readonly certificate: Buffer
  readonly privateKey: KeyObject
  /** What a leaf's chain must hold besides the leaf, nearest first: this authority and those above it, without the root. */
  readonly chain: readonly Buffer[]
  /** The authority that ends every path, DER. */
  readonly root: Buffer
  readonly notBefore: number
  /** Nothing it signs may live longer: the earliest end among itself and those above it. */
  readonly notAfter: number
  /** DER of its subject, byte for byte what goes into `issuer`. */
  readonly subject: Buffer
  /** Hex of its subject key identifier. */
  readonly keyId: string
}

export interface AuthorityChain {
  /** Its own certificate, then those above it, nearest first, the root last. */
  readonly certificatesPem: string
  /** Of the trust domain it signs for, which it may leave unnamed: then this is taken. */
  readonly trustDomain: string
  /** Unencrypted. */
  readonly keyPem: string
}

/** @throws ERR_AUTHORITY_UNUSABLE, ERR_KEY_UNREADABLE */
export function loadSigningAuthority({ certificatesPem, trustDomain, keyPem }: AuthorityChain): SigningAuthority {
  const path = readAuthorityPath(certificatesPem, trustDomain)
  const [own] = path
  const root = path.at(-1)
  if (own === undefined || root === undefined) throw unusable('there is no certificate in its file')
  const privateKey = parsePrivateKey(keyPem)
  if (!own.x509.checkPrivateKey(privateKey)) throw unusable('its key is not the one in its certificate')
  return {
    trustDomain,
    certificate: own.der,
    privateKey,
    chain: path.slice(0, -1).map(({ der }) => der),
    root: root.der,
    notBefore: Math.max(...path.map(({ facts }) => facts.certificate.notBefore)),
    notAfter: Math.min(...path.map(({ facts }) => facts.certificate.notAfter)),
    subject: subjectOf(own.der),
    keyId: own.facts.extensions.subjectKeyId ?? keyIdentifier(privateKey),
  }
}

export interface PathMember {
  readonly der: Buffer
  readonly x509: X509Certificate
  readonly facts: LeafFacts
}

/**
 * The certificates of an authority, itself first, each signed by the next, the last by itself, all of them fit to sign for the trust domain.
 * @throws ERR_AUTHORITY_UNUSABLE
 */
export function readAuthorityPath(certificatesPem: string, trustDomain: string): readonly PathMember[] {
  const path = certificatesOfPem(certificatesPem).map(readMember)
  for (const [index, each] of path.entries()) {
    const issuer = path[index + 1] ?? each
    const name = oneLine(each.x509.subject)
    const unfit = checkMaySign(each.facts)
    if (unfit !== undefined) throw unusable(`\`${name}\` is not an authority (${unfit.reason})`)
    const domain = trustDomainOf(each.facts)
    if (!domain.ok) throw unusable(`\`${name}\` ${domain.detail}`)
    if (domain.value !== undefined && domain.value !== trustDomain)
      throw unusable(`\`${name}\` is of the trust domain \`${domain.value}\`, not of \`${trustDomain}\``)
    if (!each.x509.checkIssued(issuer.x509) || !each.x509.verify(issuer.x509.publicKey)) {
      throw unusable(
        issuer === each
          ? `\`${name}\` is not self-signed: the root must be the last of its certificates`
          : `\`${name}\` was not signed by \`${oneLine(issuer.x509.subject)}\``,
      )
    }
  }
  return path
}

function readMember(der: Buffer): PathMember {
  const facts = readLeafFacts(der)
  if (!facts.ok) throw unusable(`a certificate cannot be read (${facts.reason})`)
  try {
    return { der, x509: new X509Certificate(der), facts: facts.value }
  } catch (cause) {
    throw unusable('a certificate cannot be parsed', cause)
  }
}

/** An existing root may say nothing of SPIFFE (X509-SVID §3.2 only recommends it); what it says must be a trust domain. */
function trustDomainOf({ extensions }: LeafFacts): Result<string | undefined> {
  const uris = extensions.uris.filter((uri) => uri.startsWith('spiffe:'))
  const [uri] = uris
  if (uri === undefined) return ok(undefined)
  const id = parseSpiffeId(uri)
  if (uris.length > 1 || !id.ok || id.value.path !== '')
    return refusal('ERR_AUTHORITY_UNUSABLE', 'does not carry exactly one SPIFFE ID without a path')
  return ok(id.value.trustDomain)
}

function subjectOf(der: Buffer): Buffer {
  const signed = enter(enter(openDer(der), TAG.sequence), TAG.sequence)
  // version, serialNumber, signature, issuer, validity (RFC 5280 §4.1)
  for (let field = 0; field < 5; field++) skip(signed)
  return readElement(signed, TAG.sequence)
}

function oneLine(name: string): string {
  return name.replaceAll('\n', ', ')
}

function unusable(why: string, cause?: unknown): PosternError {
  return new PosternError('ERR_AUTHORITY_UNUSABLE', `The authority cannot be used: ${why}.`, { cause })
}
