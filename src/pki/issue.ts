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
import { parseSpiffeId } from '#identity/spiffe-id'
import type { Authority } from './authority.ts'
import { generatePrivateKey, type KeyAlgorithm, keyWeakness, privateKeyPem, publicKeyOf } from './keys.ts'
import { certificatesPem } from './pem.ts'
import { authorityKeyIdentifier, randomSerial, signCertificate, subjectKeyIdentifier } from './sign-certificate.ts'
import { BACKDATE_MS, organisation } from './svid-profile.ts'

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
 * @throws ERR_ISSUE_ID where the ID is not one the authority may give, ERR_AUTHORITY_UNUSABLE where the authority's time is not now, ERR_KEY_WEAK, ERR_ISSUE_TTL
 */
export async function issueSvid(request: SvidRequest): Promise<IssuedSvid> {
  const { authority, id, now } = request
  checkId(id, authority.trustDomain)
  if (now < authority.notBefore || now >= authority.notAfter) {
    const when = now < authority.notBefore ? 'not begun' : 'ended'
    throw new PosternError('ERR_AUTHORITY_UNUSABLE', `The authority cannot be used: its own time has ${when}.`)
  }
  if (!(request.ttl > 0))
    throw new PosternError('ERR_ISSUE_TTL', 'A certificate must live longer than no time at all: give a span such as `8h`.')
  const { publicKey, privateKey } = await keysOf(request)
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

async function keysOf(request: SvidRequest): Promise<{ readonly publicKey: KeyObject; readonly privateKey?: KeyObject }> {
  if (request.publicKey === undefined) {
    const privateKey = await generatePrivateKey(request.keyAlgorithm)
    return { privateKey, publicKey: publicKeyOf(privateKey) }
  }
  const weakness = keyWeakness(request.publicKey)
  if (weakness !== undefined) throw new PosternError('ERR_KEY_WEAK', `The public key is refused: ${weakness}.`)
  return { publicKey: request.publicKey }
}

function checkId(text: string, trustDomain: string): void {
  const id = parseSpiffeId(text)
  const example = `spiffe://${trustDomain}/ns/shop/sa/cart`
  if (!id.ok) throw new PosternError('ERR_ISSUE_ID', `\`${text}\` is not a SPIFFE ID: ${id.detail}. One looks like \`${example}\`.`)
  if (id.value.path === '') {
    throw new PosternError('ERR_ISSUE_ID', `\`${text}\` names the trust domain itself, not a workload: add a path, as in \`${example}\`.`)
  }
  if (id.value.trustDomain !== trustDomain) {
    throw new PosternError(
      'ERR_ISSUE_ID',
      `\`${text}\` belongs to another trust domain: this authority signs for \`${trustDomain}\` alone.`,
    )
  }
}
