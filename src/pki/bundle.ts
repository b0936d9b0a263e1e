/** The trust bundle of one trust domain: PEM roots, or a SPIFFE bundle (Trust Domain and Bundle §4, X509-SVID §6, JWT-SVID §6). */
import { X509Certificate } from 'node:crypto'
import { PosternError } from '#base/errors'
import { isTrustDomain, parseSpiffeId } from '#identity/spiffe-id'
import { type LeafFacts, readLeafFacts } from './leaf-facts.ts'
import { formatPem, hasBrokenBlock, parsePem } from './pem.ts'
import { readSpiffeBundle } from './spiffe-bundle.ts'
import { checkAuthority } from './svid-rules.ts'

/** A certificate that ends paths: self-signed, and in the bundle of one trust domain. */
export interface Root {
  readonly trustDomain: string
  /** SHA-256 of the DER, 64 lower-case hex digits. */
  readonly fingerprint: string
  readonly x509: X509Certificate
  readonly der: Buffer
  readonly pem: string
  readonly facts: LeafFacts
}

export interface Bundle {
  readonly trustDomain: string
  /** At least one; no two alike; in the order of the document. */
  readonly roots: readonly Root[]
  /** JWKs of use `jwt-svid`, as they stand in the document. Each has a `kid`. */
  readonly jwtKeys: readonly Readonly<Record<string, unknown>>[]
  /** `spiffe_sequence`; it has 64 bits. */
  readonly sequence: bigint | undefined
  readonly refreshHintSeconds: number | undefined
}

const LONGEST_DOCUMENT = 1024 * 1024
const MOST_ROOTS = 256

/**
 * Reads a bundle document, telling the two forms apart by their first character.
 * @param fileName named in what is thrown
 * @throws ERR_BUNDLE_MALFORMED, ERR_BUNDLE_EMPTY, ERR_BUNDLE_AUTHORITY
 */
export function readBundle(text: string, trustDomain: string, fileName: string): Bundle {
  const malformed = (why: string): PosternError =>
    new PosternError('ERR_BUNDLE_MALFORMED', `The bundle ${fileName} of ${trustDomain} cannot be read: ${why}.`, {
      facts: { file: fileName, trustDomain },
    })
  if (!isTrustDomain(trustDomain)) throw malformed(`\`${trustDomain}\` is not the name of a trust domain`)
  if (text.length > LONGEST_DOCUMENT) throw malformed(`it is larger than ${LONGEST_DOCUMENT} bytes`)
  const content = /^\s*\{/.test(text)
    ? readSpiffeBundle(text, malformed)
    : { certificates: readPemRoots(text, malformed), jwtKeys: [], sequence: undefined, refreshHintSeconds: undefined }
  const roots = new Map<string, Root>()
  for (const der of content.certificates) {
    const root = readRoot(der, trustDomain, fileName)
    roots.set(root.fingerprint, root)
  }
  if (roots.size > MOST_ROOTS) throw malformed(`it has more than ${MOST_ROOTS} authorities`)
  if (roots.size === 0) {
    throw new PosternError('ERR_BUNDLE_EMPTY', `The bundle ${fileName} of ${trustDomain} holds no X.509 authority; put its root into it.`, {
      facts: { file: fileName, trustDomain },
    })
  }
  const { jwtKeys, sequence, refreshHintSeconds } = content
  return { trustDomain, roots: [...roots.values()], jwtKeys, sequence, refreshHintSeconds }
}

/** The trust domain that the first authority in a bundle document names as its own; undefined where it names none, or cannot be read. */
export function trustDomainNamedIn(text: string): string | undefined {
  const unreadable = (why: string): PosternError => new PosternError('ERR_BUNDLE_MALFORMED', why)
  try {
    const [der] = /^\s*\{/.test(text) ? readSpiffeBundle(text, unreadable).certificates : readPemRoots(text, unreadable)
    const facts = der === undefined ? undefined : readLeafFacts(der)
    const id = facts?.ok === true ? parseSpiffeId(facts.value.extensions.uris[0] ?? '') : undefined
    return id?.ok === true && id.value.path === '' ? id.value.trustDomain : undefined
  } catch (error) {
    if (error instanceof PosternError) return undefined
    throw error
  }
}

function readPemRoots(text: string, malformed: (why: string) => PosternError): Buffer[] {
  const blocks = parsePem(text)
  if (hasBrokenBlock(text, blocks)) throw malformed('a PEM block in it is broken off')
  if (blocks.length === 0 && text.trim() !== '') throw malformed('it is neither PEM nor a SPIFFE bundle')
  return blocks.map(({ label, der }) => {
    if (label.endsWith('PRIVATE KEY')) throw malformed('it holds a private key, which must never be in a bundle')
    if (label !== 'CERTIFICATE') throw malformed(`it holds a block of kind ${label}; only CERTIFICATE belongs there`)
    return der
  })
}

function readRoot(der: Buffer, trustDomain: string, fileName: string): Root {
  const unfit = (why: string, cause?: unknown): PosternError =>
    new PosternError('ERR_BUNDLE_AUTHORITY', `A certificate in the bundle ${fileName} cannot be an authority of ${trustDomain}: ${why}.`, {
      cause,
      facts: { file: fileName, trustDomain },
    })
  const facts = readLeafFacts(der)
  if (!facts.ok) throw unfit(`${facts.reason} (${facts.detail})`)
  const fault = checkAuthority(facts.value, trustDomain)
  if (fault !== undefined) throw unfit(`${fault.reason} (${fault.detail})`)
  const { key, extensions } = facts.value
  if (key === undefined) throw unfit('its key is not accepted; use P-256, P-384, P-521, Ed25519, or RSA of 2,048 to 4,096 bits')
  if (extensions.unevaluated !== undefined) throw unfit('it has name constraints or a critical extension that Postern does not evaluate')
  const x509 = parse(der, unfit)
  // Node cannot tell OpenSSL to end paths elsewhere on every reload (setSecureContext drops allowPartialTrustChain).
  if (!isSelfSigned(x509))
    throw unfit('it is not self-signed; put the root above it here, and let its workloads send it as an intermediate')
  return {
    trustDomain,
    fingerprint: facts.value.certificate.fingerprint,
    x509,
    der,
    pem: formatPem('CERTIFICATE', der),
    facts: facts.value,
  }
}

function parse(der: Buffer, unfit: (why: string, cause: unknown) => PosternError): X509Certificate {
  try {
    return new X509Certificate(der)
  } catch (cause) {
    throw unfit('OpenSSL cannot parse it', cause)
  }
}

function isSelfSigned(x509: X509Certificate): boolean {
  try {
    return x509.checkIssued(x509) && x509.verify(x509.publicKey)
  } catch {
    return false
  }
}
