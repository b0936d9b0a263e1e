/**
 * Who is at the other end of a TLS connection. OpenSSL must say that it verified a path; who that makes the peer, and why not, is worked out here.
 * `getPeerX509Certificate()` and its `issuerCertificate`s are what the peer *sent*, in its order: candidates, never a verified chain.
 */
import type { X509Certificate } from 'node:crypto'
import type { TLSSocket } from 'node:tls'
import { ok, refusal, type Refusal, type Result } from '#base/result'
import { readLeafFacts } from './leaf-facts.ts'
import { LONGEST_CHAIN, type PeerVerdict, presentedBy, verifyCertificates } from './path-verdict.ts'
import type { PeerRole } from './svid-rules.ts'
import type { MinVersion } from './tls-options.ts'
import type { Certificate, TrustStore } from './trust-store.ts'

export interface SocketVerdictOptions {
  /** What the peer is in this connection; `client` unless said. */
  readonly role?: PeerRole
  /** `TLSv1.3` unless said; the one that `serverTlsOptions` was given. */
  readonly minVersion?: MinVersion
  /**
   * The TLS context of this handshake was made from this `trust`, and not from one before a reload: what OpenSSL verified against it need not be
   * verified again, which saves the cost of a signature. False unless said.
   */
  readonly contextIsCurrent?: boolean
}

/**
 * To be called once the handshake is over, before the first application byte is used.
 * @param now ms since the epoch
 */
export function verifyPeerSocket(
  socket: TLSSocket,
  trust: TrustStore,
  now: number,
  { role = 'client', minVersion = 'TLSv1.3', contextIsCurrent = false }: SocketVerdictOptions = {},
): PeerVerdict {
  const leaf = socket.getPeerX509Certificate()
  if (leaf === undefined) return { ...refusal('ERR_TLS_NO_CERTIFICATE'), presented: undefined }
  const chain = chainOf(leaf)
  const key = memoryKey(chain, role)
  const fault = checkConnection(socket, minVersion)
  if (fault === undefined && socket.authorized) {
    const known = trust.peers.get(key, now)
    if (known !== undefined && now >= known.validFrom) return known
  }
  const sent = readChain(chain, trust)
  if (!sent.ok) return { ...sent, presented: undefined }
  const presented = presentedBy(sent.value)
  if (fault !== undefined) return { ...fault, presented }
  const verdict = verifyCertificates(sent.value, { trust, now, role, signaturesVerified: contextIsCurrent && socket.authorized })
  if (!verdict.ok) return verdict
  // Last, since our reasons say more than OpenSSL's, which are only the last it met; but nobody passes whom it did not verify.
  if (!socket.authorized) return { ...refusal('ERR_TLS_UNVERIFIED', String(socket.authorizationError)), presented }
  trust.peers.set(key, verdict, verdict.validUntil + 1)
  return verdict
}

function checkConnection(socket: TLSSocket, minVersion: MinVersion): Refusal | undefined {
  if (socket.isSessionReused()) return refusal('ERR_TLS_SESSION_REUSED')
  const version = socket.getProtocol()
  if (version === 'TLSv1.3' || version === minVersion) return undefined
  return refusal('ERR_TLS_VERSION', String(version))
}

/** What was sent, up to one certificate more than is taken. */
function chainOf(leaf: X509Certificate): readonly X509Certificate[] {
  const chain: X509Certificate[] = []
  for (let x509: X509Certificate | undefined = leaf; x509 !== undefined && chain.length <= LONGEST_CHAIN; x509 = x509.issuerCertificate) {
    chain.push(x509)
  }
  return chain
}

/** Peers come back with the same certificates. A fingerprint is OpenSSL's own SHA-256 of the DER: it costs a third of copying the DER out to hash it here. */
function memoryKey(chain: readonly X509Certificate[], role: PeerRole): string {
  let key: string = role
  for (const { fingerprint256 } of chain) key += ` ${fingerprint256}`
  return key
}

function readChain(chain: readonly X509Certificate[], trust: TrustStore): Result<readonly Certificate[]> {
  if (chain.length > LONGEST_CHAIN) return refusal('ERR_SVID_TOO_LARGE', `more than ${LONGEST_CHAIN} certificates were sent`)
  const sent: Certificate[] = []
  for (const [index, x509] of chain.entries()) {
    const certificate = index === 0 ? readCertificate(x509) : readIssuer(x509, trust)
    if (!certificate.ok) return certificate
    sent.push(certificate.value)
  }
  return ok(sent)
}

function readIssuer(x509: X509Certificate, trust: TrustStore): Result<Certificate> {
  const fingerprint = x509.fingerprint256.replaceAll(':', '').toLowerCase()
  const known = trust.roots.get(fingerprint) ?? trust.intermediates.get(fingerprint, 0)
  return known === undefined ? readCertificate(x509) : ok(known)
}

function readCertificate(x509: X509Certificate): Result<Certificate> {
  const facts = readLeafFacts(x509.raw)
  return facts.ok ? ok({ x509, facts: facts.value }) : facts
}
