/** Who is calling: the principal of the certificate and the principal of the token. */
import type { SpiffeId } from './spiffe-id.ts'

/** What policy and records need of a leaf certificate. Times are ms since the epoch. */
export interface CertificateFacts {
  /** SHA-256 of the DER, 64 lower-case hex digits. */
  readonly fingerprint: string
  /** SHA-256 of the SubjectPublicKeyInfo, base64. */
  readonly spkiHash: string
  /** Lower-case hex without leading zeros. */
  readonly serial: string
  readonly notBefore: number
  readonly notAfter: number
  readonly sanUris: readonly string[]
  readonly sanDns: readonly string[]
  readonly sanEmails: readonly string[]
  /** Key identifier of the issuer, lower-case hex; absent where neither the leaf nor its issuer names one. With `serial` it names what revocations name. */
  readonly issuerKeyId?: string | undefined
}

/** The verified holder of an X509-SVID. */
export interface Peer {
  readonly id: SpiffeId
  readonly certificate: CertificateFacts
  /** SHA-256 fingerprints (lower-case hex) of the authorities on its path, issuer first, root of the bundle last. */
  readonly authorities: readonly string[]
}

/** The subject of a verified bearer token. */
export interface TokenPrincipal {
  readonly issuer: string
  readonly subject: string
  readonly audiences: readonly string[]
  /** Of Kubernetes service-account tokens, and of JWT-SVIDs whose SPIFFE ID has them; else undefined. */
  readonly namespace: string | undefined
  readonly serviceAccount: string | undefined
  /** Whose workloads the service accounts of the issuer are; undefined where nobody said. */
  readonly trustDomain?: string | undefined
  /** The pod and the node that a service-account token is bound to. */
  readonly pod?: NamedObject | undefined
  readonly node?: NamedObject | undefined
  /**
   * SHA-256 of the certificate that the token is bound to (RFC 8705), 64 lower-case hex digits; `''` where it is bound in a way that is not
   * understood, and so good for nobody. Undefined where it is bound to none.
   */
  readonly boundTo?: string | undefined
  /** RFC 7638 thumbprint of the key that it was verified with; undefined where nobody verified it, as in `explain`. */
  readonly verifiedBy?: string | undefined
  /** All claims as verified, without prototype. */
  readonly claims: Readonly<Record<string, unknown>>
  /** ms since the epoch. */
  readonly expiresAt: number
}

/** An object of Kubernetes. */
export interface NamedObject {
  readonly name: string
  readonly uid: string | undefined
}
