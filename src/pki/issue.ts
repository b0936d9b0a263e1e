/** Issues X509-SVIDs: one profile, by the letter of X509-SVID §2–4. */
import 'reflect-metadata'
import type { KeyObject } from 'node:crypto'
import {
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
} from '@peculiar/x509'
import { PosternError } from '#base/errors'
import { type Authority, organisation } from './authority.ts'
import { generatePrivateKey, type KeyAlgorithm, privateKeyPem, publicKeyOf } from './keys.ts'
import { certificatesPem } from './pem.ts'
import { authorityKeyIdentifier, randomSerial, signCertificate, subjectKeyIdentifier } from './sign-certificate.ts'

/** How far a leaf's life begins in the past, for peers whose clock is behind ours. */
export const BACKDATE_MS = 60_000

export interface SvidRequest {
  readonly authority: Authority
  /** SPIFFE ID with a path, of the authority's trust domain. */
  readonly id: string
  /** Ms since the epoch. */
  readonly now: number
  /** Ms from `now` on; cut where the authority ends earlier. */
  readonly ttl: number
  /** The workload's public key (from its CSR); without one a key is made. */
  readonly publicKey?: KeyObject
  /** Kind of the key to make; P-256 unless said. */
  readonly keyAlgorithm?: KeyAlgorithm
  /** DNS names beside the SPIFFE ID, for peers that know no SPIFFE; none unless said. */
  readonly dnsNames?: readonly string[]
  /** Without a subject the SAN is critical (X509-SVID §3.1); with one, it is the trust domain as organization. */
  readonly emptySubject?: boolean
}

export interface IssuedSvid {
  /** The leaf, DER. */
  readonly certificate: Buffer
  /** Leaf, then intermediates; never the root. */
  readonly certificatePem: string
  /** PKCS#8 PEM; undefined where the request brought a public key. */
  readonly keyPem: string | undefined
  readonly serial: string
  readonly notBefore: number
  readonly notAfter: number
  /** The authority's end came before the time asked for. */
  readonly clamped: boolean
}

/**
 * Issues one X509-SVID.
 * @throws ERR_ISSUE_ID where the ID is not one the authority may give, ERR_AUTHORITY_UNUSABLE where the authority's time is not now
 */
export async function issueSvid(request: SvidRequest): Promise<IssuedSvid> {
  const { authority, id, now } = request
  checkId(id, authority.trustDomain)
  if (now < authority.notBefore || now >= authority.notAfter) {
    const when = now < authority.notBefore ? 'not begun' : 'ended'
    throw new PosternError('ERR_AUTHORITY_UNUSABLE', `The authority cannot be used: its own time has ${when}.`)
  }
  const privateKey = request.publicKey === undefined ? await generatePrivateKey(request.keyAlgorithm) : undefined
  const publicKey = request.publicKey ?? publicKeyOf(privateKey as KeyObject)
  const emptySubject = request.emptySubject ?? false
  const serial = randomSerial()
  const notBefore = Math.max(now - BACKDATE_MS, authority.notBefore)
  const notAfter = Math.min(now + request.ttl, authority.notAfter)
  const certificate = await signCertificate(
    {
      serial,
      subject: emptySubject ? [] : [['O', organisation(authority.trustDomain)]],
      issuer: authority.subject,
      notBefore,
      notAfter,
      publicKey,
      extensions: [
        new BasicConstraintsExtension(false, undefined, true),
        new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
        new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth, ExtendedKeyUsage.clientAuth]),
        subjectKeyIdentifier(publicKey),
        authorityKeyIdentifier(authority.keyId),
        new SubjectAlternativeNameExtension(
          [{ type: 'url', value: id }, ...(request.dnsNames ?? []).map((value) => ({ type: 'dns' as const, value }))],
          emptySubject,
        ),
      ],
    },
    authority.privateKey,
  )
  return {
    certificate,
    certificatePem: certificatesPem([certificate, ...authority.chain]),
    keyPem: privateKey === undefined ? undefined : privateKeyPem(privateKey),
    serial,
    notBefore: Math.floor(notBefore / 1000) * 1000,
    notAfter: Math.floor(notAfter / 1000) * 1000,
    clamped: now + request.ttl > authority.notAfter,
  }
}

const WORKLOAD_ID = /^spiffe:\/\/([a-z0-9._-]{1,255})((?:\/(?!\.{1,2}(?:\/|$))[A-Za-z0-9._-]+)+)$/

function checkId(id: string, trustDomain: string): void {
  const match = WORKLOAD_ID.exec(id)
  if (match === null || id.length > 2048) {
    throw new PosternError('ERR_ISSUE_ID', `\`${id}\` is not the SPIFFE ID of a workload: write \`spiffe://${trustDomain}/some/path\`.`)
  }
  if (match[1] !== trustDomain) {
    throw new PosternError('ERR_ISSUE_ID', `\`${id}\` belongs to another trust domain: this authority signs for \`${trustDomain}\` alone.`)
  }
}
