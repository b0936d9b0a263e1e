/** Which certificate issued another, among those that were sent and the roots of every bundle. Names are OpenSSL's to compare, signatures to verify. */
import { ok, refusal, type Refusal, type Result } from '#base/result'
import type { Root } from './bundle.ts'
import { checkMaySign } from './svid-rules.ts'
import type { Certificate, TrustStore } from './trust-store.ts'

export interface IssuerSearch {
  /** As sent, leaf first. */
  readonly sent: readonly Certificate[]
  readonly trust: TrustStore
  /** See `VerdictOptions`; of no effect where trust is federated. */
  readonly signaturesVerified: boolean
}

/** Of a name, this much goes into details. */
const LONGEST_NAME = 200

/**
 * The certificate that issued `child`. Where trust is federated there must be exactly one, since with two OpenSSL could have taken either path,
 * also one that ends in another trust domain. Refused: `ERR_SVID_ISSUER_UNKNOWN`, `ERR_SVID_SIGNATURE`, `ERR_SVID_ISSUER_AMBIGUOUS`.
 */
export function findIssuer(child: Certificate, { sent, trust, signaturesVerified }: IssuerSearch): Result<Certificate> {
  const named = namedIssuers(child, sent, trust)
  const [first] = named
  if (first === undefined) return noIssuer(child, sent, trust)
  if (named.length === 1 && signaturesVerified && !trust.federated) return ok(first)
  const isLeaf = child === sent[0]
  const issuers = named.filter((issuer) => isSignedBy(child, issuer, isLeaf ? undefined : trust))
  const [issuer] = issuers
  if (issuer === undefined) return refusal('ERR_SVID_SIGNATURE', describe(child))
  if (trust.federated && issuers.length > 1) return refusal('ERR_SVID_ISSUER_AMBIGUOUS', `${issuers.length} issuers of ${describe(child)}`)
  return ok(issuer)
}

/** Whose name, key identifier and key usage fit (`X509_check_issued`), roots first, as OpenSSL prefers them. */
function namedIssuers(child: Certificate, sent: readonly Certificate[], trust: TrustStore): Certificate[] {
  const named: Certificate[] = []
  for (const root of rootsFor(child, trust)) {
    if (child.x509.checkIssued(root.x509)) named.push(root)
  }
  for (const certificate of sent) {
    if (certificate === child || trust.roots.has(fingerprintOf(certificate))) continue
    if (named.some((known) => fingerprintOf(known) === fingerprintOf(certificate))) continue
    if (child.x509.checkIssued(certificate.x509)) named.push(certificate)
  }
  return named
}

/** Roots that may have issued `child`: those with the key identifier it names, and those with none. */
function rootsFor(child: Certificate, trust: TrustStore): readonly Root[] {
  const keyId = child.facts.extensions.authorityKeyId
  if (keyId === undefined) return trust.allRoots
  return trust.rootsByKeyId.get(keyId) ?? trust.rootsWithoutKeyId
}

/** Says why OpenSSL took none: the one that is named may not sign, or not with its kind of key, or there is none. */
function noIssuer(child: Certificate, sent: readonly Certificate[], trust: TrustStore): Refusal {
  const keyId = child.facts.extensions.authorityKeyId
  const named = [...sent, ...trust.allRoots].find(
    ({ x509, facts: { extensions } }) =>
      x509 !== child.x509 &&
      x509.subject === child.x509.issuer &&
      (keyId === undefined || extensions.subjectKeyId === undefined || extensions.subjectKeyId === keyId),
  )
  if (named === undefined) return refusal('ERR_SVID_ISSUER_UNKNOWN', describe(child))
  return checkMaySign(named.facts) ?? refusal('ERR_SVID_SIGNATURE', `of another kind than the key of its issuer: ${describe(child)}`)
}

/** With `memory`, a signature that was found right is not verified again. */
function isSignedBy(child: Certificate, issuer: Certificate, memory: TrustStore | undefined): boolean {
  const pair = `${fingerprintOf(child)} ${fingerprintOf(issuer)}`
  if (memory?.signatures.get(pair, 0) === true) return true
  const isRight = verifySignature(child, issuer)
  if (isRight) memory?.signatures.set(pair, true, Infinity)
  return isRight
}

function verifySignature(child: Certificate, issuer: Certificate): boolean {
  try {
    return child.x509.verify(issuer.x509.publicKey)
  } catch {
    return false // OpenSSL throws where the algorithm does not fit the key
  }
}

function fingerprintOf(certificate: Certificate): string {
  return certificate.facts.certificate.fingerprint
}

function describe({ facts, x509 }: Certificate): string {
  const issuer = (x509.issuer ?? '').slice(0, LONGEST_NAME).replaceAll('\n', ', ')
  return `serial ${facts.certificate.serial}, issuer ${issuer}, key identifier ${facts.extensions.authorityKeyId ?? 'none'}`
}
