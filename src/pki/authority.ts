/** Signing authorities of a trust domain: a root, and intermediates below it (X509-SVID §3.2, §4). */
import 'reflect-metadata'
import { X509Certificate as NodeCertificate, type KeyObject } from 'node:crypto'
import {
  BasicConstraintsExtension,
  type Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
} from '@peculiar/x509'
import { PosternError } from '#base/errors'
import { isTrustDomain, parseSpiffeId } from '#identity/spiffe-id'
import { generatePrivateKey, keyIdentifier, type KeyAlgorithm, parsePrivateKey, privateKeyPem, publicKeyOf } from './keys.ts'
import { certificatesOfPem, formatPem } from './pem.ts'
import { authorityKeyIdentifier, type NameParts, randomSerial, signCertificate, subjectKeyIdentifier } from './sign-certificate.ts'
import { organisation } from './svid-profile.ts'

/** Who signs certificates of one trust domain. Times are ms since the epoch. */
export interface Authority {
  readonly trustDomain: string
  /** DER. */
  readonly certificate: Buffer
  readonly certificatePem: string
  readonly privateKey: KeyObject
  readonly keyPem: string
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

export interface AuthorityOptions {
  readonly trustDomain: string
  readonly kind: 'root' | 'intermediate'
  /** Ms since the epoch. */
  readonly notBefore: number
  /** Brought down to the issuer's end where it is later. */
  readonly notAfter: number
  /** Who signs an intermediate. */
  readonly issuer?: Authority
  /** P-256 unless said. */
  readonly keyAlgorithm?: KeyAlgorithm
  /** An existing key instead of a new one. */
  readonly privateKey?: KeyObject
  /** Authorities that may follow below; 1 for a root, 0 for an intermediate unless said. */
  readonly pathLength?: number
}

/**
 * Makes an authority and its key.
 * @throws ERR_AUTHORITY_TRUST_DOMAIN where the name is none, ERR_AUTHORITY_UNUSABLE where the issuer is of another trust domain
 */
export async function createAuthority(options: AuthorityOptions): Promise<Authority> {
  const { trustDomain, kind, issuer } = options
  if (!isTrustDomain(trustDomain)) {
    throw new PosternError(
      'ERR_AUTHORITY_TRUST_DOMAIN',
      `\`${trustDomain}\` is not a trust domain: write lower-case letters, digits, \`.\`, \`-\` and \`_\`, as in \`example.org\`.`,
    )
  }
  if (issuer !== undefined && issuer.trustDomain !== trustDomain)
    throw unusable(`it is of \`${issuer.trustDomain}\`, not of \`${trustDomain}\``)
  if (kind === 'intermediate' && issuer === undefined) throw new TypeError('An intermediate needs an issuer.')
  const privateKey = options.privateKey ?? (await generatePrivateKey(options.keyAlgorithm))
  const publicKey = publicKeyOf(privateKey)
  const keyId = keyIdentifier(publicKey)
  const subject = authorityName(trustDomain, kind, keyId)
  const certificate = await signCertificate(
    {
      serial: randomSerial(),
      subject,
      issuer: issuer?.subject ?? subject,
      notBefore: Math.max(options.notBefore, issuer?.notBefore ?? -Infinity),
      notAfter: Math.min(options.notAfter, issuer?.notAfter ?? Infinity),
      publicKey,
      extensions: [
        new BasicConstraintsExtension(true, options.pathLength ?? (kind === 'root' ? 1 : 0), true),
        new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
        subjectKeyIdentifier(publicKey),
        authorityKeyIdentifier(issuer?.keyId ?? keyId),
        trustDomainName(trustDomain),
      ],
    },
    issuer?.privateKey ?? privateKey,
  )
  return assemble(certificate, privateKey, issuer === undefined ? [] : [...issuer.chain, issuer.root])
}

export interface AuthorityFiles {
  /** Its own certificate. */
  readonly certificatePem: string
  /** Unencrypted. */
  readonly keyPem: string
  /** The certificates above it, nearest first, the root last; none for a root. */
  readonly abovePem?: string
}

/**
 * Takes up an authority that was made before.
 * @throws ERR_AUTHORITY_UNUSABLE, ERR_KEY_UNREADABLE
 */
export function loadAuthority({ certificatePem, keyPem, abovePem = '' }: AuthorityFiles): Authority {
  const [certificate] = certificatesOfPem(certificatePem)
  if (certificate === undefined) throw unusable('there is no certificate in its file')
  const above = certificatesOfPem(abovePem)
  const privateKey = parsePrivateKey(keyPem)
  const path = [certificate, ...above].map(readCertificate)
  for (const [index, each] of path.entries()) {
    const issuer = path[index + 1] ?? each
    if (!each.ca) throw unusable(`\`${oneLine(each.subject)}\` is not an authority (cA is not set)`)
    if (!each.checkIssued(issuer) || !each.verify(issuer.publicKey)) {
      throw unusable(`\`${oneLine(each.subject)}\` was not signed by \`${oneLine(issuer.subject)}\``)
    }
  }
  if (path[0]?.checkPrivateKey(privateKey) !== true) throw unusable('its key is not the one in its certificate')
  return assemble(certificate, privateKey, above)
}

function readCertificate(der: Buffer): NodeCertificate {
  try {
    return new NodeCertificate(der)
  } catch (cause) {
    throw unusable('a certificate cannot be parsed', cause)
  }
}

function oneLine(name: string): string {
  return name.replaceAll('\n', ', ')
}

function assemble(certificate: Buffer, privateKey: KeyObject, above: readonly Buffer[]): Authority {
  const read = new X509Certificate(certificate)
  const path = [read, ...above.map((der) => new X509Certificate(der))]
  return {
    trustDomain: trustDomainOf(read),
    certificate,
    certificatePem: formatPem('CERTIFICATE', certificate),
    privateKey,
    keyPem: privateKeyPem(privateKey),
    chain: [certificate, ...above].slice(0, -1),
    root: above.at(-1) ?? certificate,
    notBefore: Math.max(...path.map((each) => each.notBefore.getTime())),
    notAfter: Math.min(...path.map((each) => each.notAfter.getTime())),
    subject: Buffer.from(read.subjectName.toArrayBuffer()),
    keyId: read.getExtension(SubjectKeyIdentifierExtension)?.keyId ?? keyIdentifier(privateKey),
  }
}

function trustDomainOf(certificate: X509Certificate): string {
  const names = certificate.getExtension(SubjectAlternativeNameExtension)?.names.items ?? []
  const uris = names.filter((name) => name.type === 'url').map((name) => name.value)
  const id = parseSpiffeId(uris[0] ?? '')
  if (uris.length !== 1 || !id.ok || id.value.path !== '')
    throw unusable('its certificate does not carry exactly one SPIFFE ID without a path')
  return id.value.trustDomain
}

/** The SPIFFE ID of the trust domain itself: an authority is an SVID too, without a path (X509-SVID §3.2). */
function trustDomainName(trustDomain: string): Extension {
  return new SubjectAlternativeNameExtension([{ type: 'url', value: `spiffe://${trustDomain}` }])
}

// The key's own digits keep the names of successive authorities distinct: paths are found by name.
function authorityName(trustDomain: string, kind: 'root' | 'intermediate', keyId: string): NameParts {
  return [
    ['O', organisation(trustDomain)],
    ['CN', `Postern ${kind} ${keyId.slice(0, 16)}`],
  ]
}

function unusable(why: string, cause?: unknown): PosternError {
  return new PosternError('ERR_AUTHORITY_UNUSABLE', `The authority cannot be used: ${why}.`, { cause })
}
