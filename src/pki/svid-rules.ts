/** What the certificates of an X509-SVID must and must not say (X509-SVID §2–5), whoever signed them. Each function reads as that list. */
import { refusal, type Refusal, type Result } from '#base/result'
import { parseSpiffeId, type SpiffeId } from '#identity/spiffe-id'
import type { LeafFacts } from './leaf-facts.ts'

/** What the holder of a leaf is in the connection at hand. */
export type PeerRole = 'client' | 'server'

/** The rules of a leaf. @returns its SPIFFE ID */
export function checkLeaf(facts: LeafFacts): Result<SpiffeId> {
  const { extensions } = facts
  const [uri] = extensions.uris
  if (uri === undefined) return refusal('ERR_SVID_NO_ID')
  if (extensions.uris.length > 1) return refusal('ERR_SVID_SEVERAL_IDS', `${extensions.uris.length} URIs`)
  const id = parseSpiffeId(uri)
  if (!id.ok) return id
  if (id.value.path === '') return refusal('ERR_SVID_LEAF_WITHOUT_PATH')
  if (facts.subjectIsEmpty && !extensions.sanCritical) return refusal('ERR_SVID_SAN_NOT_CRITICAL')
  if (extensions.basicConstraints?.ca === true) return refusal('ERR_SVID_LEAF_IS_CA')
  const { keyUsage, extendedKeyUsage } = extensions
  if (keyUsage === undefined) return refusal('ERR_SVID_NO_KEY_USAGE', 'the leaf')
  if (!keyUsage.critical) return refusal('ERR_SVID_KEY_USAGE_NOT_CRITICAL', 'the leaf')
  if (!keyUsage.digitalSignature) return refusal('ERR_SVID_LEAF_NO_DIGITAL_SIGNATURE')
  if (keyUsage.keyCertSign) return refusal('ERR_SVID_LEAF_CERT_SIGN')
  if (keyUsage.cRLSign) return refusal('ERR_SVID_LEAF_CRL_SIGN')
  if (extendedKeyUsage !== undefined && !(extendedKeyUsage.serverAuth && extendedKeyUsage.clientAuth)) {
    return refusal('ERR_SVID_EXTENDED_KEY_USAGE', 'the leaf')
  }
  return checkCryptography(facts) ?? id
}

/** The rules of a certificate that stands between a leaf of `trustDomain` and the authority in the bundle. */
export function checkSigner(facts: LeafFacts, trustDomain: string, role: PeerRole): Refusal | undefined {
  const { keyUsage } = facts.extensions
  if (keyUsage === undefined) return refusal('ERR_SVID_NO_KEY_USAGE', nameOf(facts))
  if (!keyUsage.critical) return refusal('ERR_SVID_KEY_USAGE_NOT_CRITICAL', nameOf(facts))
  return checkAuthority(facts, trustDomain) ?? checkSignerPurpose(facts, role) ?? checkCryptography(facts)
}

/** The rules of an authority in the bundle of `trustDomain`. Its key usage may be absent: roots need not be SVIDs (§3.2, a SHOULD). */
export function checkAuthority(facts: LeafFacts, trustDomain: string): Refusal | undefined {
  const mayNotSign = checkMaySign(facts)
  if (mayNotSign !== undefined) return mayNotSign
  const { uris } = facts.extensions
  if (uris.length > 1) return refusal('ERR_SVID_SEVERAL_IDS', nameOf(facts))
  const [uri] = uris
  if (uri === undefined || !/^spiffe:/i.test(uri)) return undefined
  const id = parseSpiffeId(uri)
  if (!id.ok) return id
  if (id.value.path !== '') return refusal('ERR_SVID_SIGNER_HAS_PATH', uri)
  if (id.value.trustDomain !== trustDomain) return refusal('ERR_SVID_SIGNER_TRUST_DOMAIN', `${uri} above an ID of ${trustDomain}`)
  return undefined
}

/** Whether a certificate says that its key may sign others. */
export function checkMaySign(facts: LeafFacts): Refusal | undefined {
  const { basicConstraints, keyUsage } = facts.extensions
  if (basicConstraints?.ca !== true) return refusal('ERR_SVID_SIGNER_NOT_CA', nameOf(facts))
  if (keyUsage !== undefined && !keyUsage.keyCertSign) return refusal('ERR_SVID_SIGNER_NO_CERT_SIGN', nameOf(facts))
  return undefined
}

/** OpenSSL holds the extended key usage of issuers against the purpose too (`-purpose sslclient`), authorities included. */
export function checkSignerPurpose(facts: LeafFacts, role: PeerRole): Refusal | undefined {
  const usage = facts.extensions.extendedKeyUsage
  if (usage === undefined || (role === 'client' ? usage.clientAuth : usage.serverAuth)) return undefined
  return refusal('ERR_SVID_EXTENDED_KEY_USAGE', nameOf(facts))
}

/** Key, signature algorithm, and nothing critical that is not understood: before any signature is computed over it. */
export function checkCryptography(facts: LeafFacts): Refusal | undefined {
  if (facts.key === undefined) return refusal('ERR_SVID_KEY', nameOf(facts))
  if (facts.signature === undefined) return refusal('ERR_SVID_SIGNATURE_ALGORITHM', nameOf(facts))
  const { unevaluated } = facts.extensions
  if (unevaluated !== undefined) return refusal('ERR_SVID_CRITICAL_EXTENSION', `OID (DER, hex) ${unevaluated}`)
  return undefined
}

/** How details name a certificate. */
function nameOf({ certificate }: LeafFacts): string {
  return `the certificate with serial ${certificate.serial}`
}
