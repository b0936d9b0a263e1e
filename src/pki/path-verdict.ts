/**
 * Whether a chain of certificates makes its holder a known peer (X509-SVID §5, RFC 5280 §6; trust domains are never merged).
 * `judge` reads from top to bottom as the list of what must hold.
 */
import { X509Certificate } from 'node:crypto'
import { ok, refusal, type Refusal, type Result } from '#base/result'
import type { Peer } from '#identity/peer'
import type { SpiffeId } from '#identity/spiffe-id'
import { findIssuer, type IssuerSearch } from './issuer-search.ts'
import { readLeafFacts } from './leaf-facts.ts'
import { checkCryptography, checkLeaf, checkSigner, checkSignerPurpose, type PeerRole } from './svid-rules.ts'
import type { AcceptedPeer, Certificate, TrustStore } from './trust-store.ts'

/** What a peer showed, verified or not: for records only. */
export interface PresentedIdentity {
  /** The first URI of its leaf; `''` if there is none. */
  readonly id: string
  readonly serial: string
  /** Ms since the epoch. */
  readonly notAfter: number
}

export type PeerVerdict = AcceptedPeer | (Refusal & { readonly presented: PresentedIdentity | undefined })

/** Leaf and intermediates, and the root if the peer sends it too. */
export const LONGEST_CHAIN = 4

/**
 * Judges a chain from its DER, signatures included; needs no connection.
 * @param chain leaf first, as sent
 * @param now ms since the epoch
 */
export function verifyChain(chain: readonly Buffer[], trust: TrustStore, now: number, role: PeerRole): PeerVerdict {
  const sent: Certificate[] = []
  for (const der of chain.slice(0, LONGEST_CHAIN + 1)) {
    const certificate = readCertificate(der)
    if (!certificate.ok) return { ...certificate, presented: presentedBy(sent) }
    sent.push(certificate.value)
  }
  return verifyCertificates(sent, { trust, now, role, signaturesVerified: false })
}

export interface VerdictOptions {
  readonly trust: TrustStore
  /** Ms since the epoch. */
  readonly now: number
  readonly role: PeerRole
  /**
   * OpenSSL has verified a path from these certificates to the roots of `trust`. Where only one path can be meant, and no other trust domain
   * is known whose path it could have been, its signatures are not verified once more.
   */
  readonly signaturesVerified: boolean
}

/** Judges certificates that are parsed already, leaf first, as sent. */
export function verifyCertificates(sent: readonly Certificate[], options: VerdictOptions): PeerVerdict {
  const verdict = judge(sent, options)
  return verdict.ok ? verdict : { ...verdict, presented: presentedBy(sent) }
}

function judge(sent: readonly Certificate[], { trust, now, role, signaturesVerified }: VerdictOptions): AcceptedPeer | Refusal {
  const [leaf] = sent
  if (leaf === undefined) return refusal('ERR_TLS_NO_CERTIFICATE')
  if (sent.length > LONGEST_CHAIN) return refusal('ERR_SVID_TOO_LARGE', `more than ${LONGEST_CHAIN} certificates were sent`)
  const id = checkLeaf(leaf.facts)
  if (!id.ok) return id
  const { trustDomain } = id.value
  if (!trust.bundles.has(trustDomain)) return refusal('ERR_SVID_TRUST_DOMAIN_UNKNOWN', trustDomain)
  // Before any signature is computed: keys are bounded, and issuers named, on everything that was sent.
  const badSent = checkSent(sent, trust)
  if (badSent !== undefined) return badSent
  const search = { sent, trust, signaturesVerified }
  const path = findPath(leaf, search)
  if (!path.ok) return path
  const fault =
    checkAnchor(path.value, trustDomain, trust) ??
    checkSigners(path.value, trustDomain, role) ??
    checkPathLengths(path.value) ??
    checkStrays(path.value, search) ??
    checkValidity(path.value, now)
  if (fault !== undefined) return fault
  const peer = peerOf(id.value, path.value)
  if (trust.revocations.isRevoked(peer)) return refusal('ERR_SVID_REVOKED', peer.id.uri)
  remember(path.value, trust)
  const times = path.value.map(({ facts }) => facts.certificate)
  return {
    ok: true,
    value: peer,
    validFrom: Math.max(...times.map(({ notBefore }) => notBefore)),
    validUntil: Math.min(...times.map(({ notAfter }) => notAfter)),
  }
}

/** Roots that a peer sends along are known already, and not asked again. */
function checkSent(sent: readonly Certificate[], trust: TrustStore): Refusal | undefined {
  for (const certificate of sent) {
    if (isRoot(certificate, trust)) continue
    const fault = checkCryptography(certificate.facts)
    if (fault !== undefined) return fault
    const { extensions, certificate: facts } = certificate.facts
    if (trust.federated && extensions.authorityKeyId === undefined) return refusal('ERR_SVID_NO_ISSUER_KEY_ID', `serial ${facts.serial}`)
  }
  return undefined
}

/** From the leaf up to the first root of any bundle, both included. */
function findPath(leaf: Certificate, search: IssuerSearch): Result<readonly Certificate[]> {
  const path = [leaf]
  let child = leaf
  while (path.length <= LONGEST_CHAIN) {
    const issuer = findIssuer(child, search)
    if (!issuer.ok) return issuer
    path.push(issuer.value)
    if (isRoot(issuer.value, search.trust)) return ok(path)
    child = issuer.value
  }
  return refusal('ERR_SVID_ISSUER_UNKNOWN', 'the certificates that were sent sign each other in a circle')
}

function checkAnchor(path: readonly Certificate[], trustDomain: string, trust: TrustStore): Refusal | undefined {
  const root = trust.roots.get(path.at(-1)?.facts.certificate.fingerprint ?? '')
  if (root?.trustDomain === trustDomain) return undefined
  return refusal('ERR_SVID_AUTHORITY_OF_OTHER_DOMAIN', `an authority of ${root?.trustDomain} under an ID of ${trustDomain}`)
}

function checkSigners(path: readonly Certificate[], trustDomain: string, role: PeerRole): Refusal | undefined {
  for (const [index, { facts }] of path.entries()) {
    if (index === 0) continue
    const isLast = index === path.length - 1 // the root, whose own rules were held when its bundle was read
    const fault = isLast ? checkSignerPurpose(facts, role) : checkSigner(facts, trustDomain, role)
    if (fault !== undefined) return fault
  }
  return undefined
}

/** RFC 5280 §4.2.1.9: how many intermediates stand below each issuer; those issued under their own name do not count. */
function checkPathLengths(path: readonly Certificate[]): Refusal | undefined {
  let below = 0
  for (const { facts } of path.slice(1)) {
    const limit = facts.extensions.basicConstraints?.pathLength
    if (limit !== undefined && below > limit) {
      return refusal('ERR_SVID_PATH_LENGTH', `${below} below serial ${facts.certificate.serial}, which allows ${limit}`)
    }
    if (!facts.selfIssued) below++
  }
  return undefined
}

/** Where trust is federated, what was sent beside the path must have exactly one issuer too: nothing may offer OpenSSL another way up. */
function checkStrays(path: readonly Certificate[], search: IssuerSearch): Refusal | undefined {
  if (!search.trust.federated) return undefined
  for (const certificate of search.sent) {
    if (path.includes(certificate) || isRoot(certificate, search.trust)) continue
    const issuer = findIssuer(certificate, search)
    if (!issuer.ok) return issuer
  }
  return undefined
}

function checkValidity(path: readonly Certificate[], now: number): Refusal | undefined {
  for (const [index, { facts }] of path.entries()) {
    const { notBefore, notAfter, serial } = facts.certificate
    if (now >= notBefore && now <= notAfter) continue
    const detail = `serial ${serial} is valid from ${new Date(notBefore).toISOString()} to ${new Date(notAfter).toISOString()}`
    if (index > 0) return refusal('ERR_SVID_ISSUER_EXPIRED', detail)
    return refusal(now < notBefore ? 'ERR_SVID_NOT_YET_VALID' : 'ERR_SVID_EXPIRED', detail)
  }
  return undefined
}

function peerOf(id: SpiffeId, path: readonly Certificate[]): Peer {
  const [leaf, issuer] = path
  if (leaf === undefined) throw new TypeError('A path has a leaf.')
  return {
    id,
    certificate: { ...leaf.facts.certificate, issuerKeyId: issuer?.facts.extensions.subjectKeyId ?? leaf.facts.extensions.authorityKeyId },
    authorities: path.slice(1).map(({ facts }) => facts.certificate.fingerprint),
  }
}

/** Intermediates are the same for thousands of peers. Only accepted ones are kept, so that nobody can fill the memory with made-up ones. */
function remember(path: readonly Certificate[], trust: TrustStore): void {
  for (const certificate of path.slice(1, -1)) trust.intermediates.set(certificate.facts.certificate.fingerprint, certificate, Infinity)
}

function isRoot({ facts }: Certificate, trust: TrustStore): boolean {
  return trust.roots.has(facts.certificate.fingerprint)
}

function readCertificate(der: Buffer): Result<Certificate> {
  const facts = readLeafFacts(der)
  if (!facts.ok) return facts
  try {
    return ok({ x509: new X509Certificate(der), facts: facts.value })
  } catch {
    return refusal('ERR_SVID_MALFORMED', 'OpenSSL cannot parse it')
  }
}

/** What whoever sent these certificates claims to be. */
export function presentedBy([leaf]: readonly Certificate[]): PresentedIdentity | undefined {
  if (leaf === undefined) return undefined
  const { sanUris, serial, notAfter } = leaf.facts.certificate
  return { id: sanUris[0] ?? '', serial, notAfter }
}
