/**
 * The one place where TLS is configured. Start and every reload use the same full set of options: node's
 * `setSecureContext({ key, cert, ca })` alone forgets the rest, and brings back session tickets and TLS 1.2.
 */
import { constants } from 'node:crypto'
import * as tls from 'node:tls'
import { PosternError } from '#base/errors'
import type { TrustStore } from './trust-store.ts'
import type { WorkloadIdentity } from './workload-identity.ts'

export type MinVersion = 'TLSv1.2' | 'TLSv1.3'

export interface TlsChoices {
  /** `TLSv1.3` unless said. */
  readonly minVersion?: MinVersion
  /** Key exchange groups by preference; `DEFAULT_GROUPS` unless said. */
  readonly groups?: readonly string[]
  /** By preference; none unless said. */
  readonly alpnProtocols?: readonly string[]
}

/** Post-quantum first; the others for peers that do not know it. */
export const DEFAULT_GROUPS: readonly string[] = ['X25519MLKEM768', 'X25519', 'P-256']

const TLS13_SUITES = ['TLS_AES_128_GCM_SHA256', 'TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256']
/** AEAD with forward secrecy alone (RFC 9325 §4.2). */
const TLS12_SUITES = [
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
]
/** For handshakes and certificates: those that the path verdict takes, nothing with SHA-1. */
const SIGNATURE_ALGORITHMS = [
  'ecdsa_secp256r1_sha256',
  'ed25519',
  'ecdsa_secp384r1_sha384',
  'ecdsa_secp521r1_sha512',
  'rsa_pss_rsae_sha256',
  'rsa_pss_rsae_sha384',
  'rsa_pss_rsae_sha512',
  'rsa_pkcs1_sha256',
  'rsa_pkcs1_sha384',
  'rsa_pkcs1_sha512',
]

// A resumed session is one in which the certificate, its end and its bundle were not looked at. Without tickets TLS 1.3 still sends references
// to sessions kept by the server; node keeps none unless a listener of `newSession` and `resumeSession` does, which nothing here may be.
const NEVER_RESUME = constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION | constants.SSL_OP_NO_COMPRESSION

/** Options made by `serverTlsOptions`, and by nothing else. */
export type ServerTlsOptions = tls.TlsOptions & { readonly madeBy: typeof MADE_HERE }

const MADE_HERE = Symbol('serverTlsOptions')

/**
 * All options of a listener's `tls.createServer`. Unverified clients get through the handshake, so that they can be refused with a reason:
 * every connection must be judged by `verifyPeerSocket` before its first byte is used.
 * @throws ERR_BUNDLE_EMPTY where there is no root: node would take the public ones
 */
export function serverTlsOptions(identity: WorkloadIdentity, trust: TrustStore, choices: TlsChoices = {}): ServerTlsOptions {
  return {
    ...contextOptions(identity, trust, choices),
    requestCert: true,
    rejectUnauthorized: false,
    ...(choices.alpnProtocols === undefined ? {} : { ALPNProtocols: [...choices.alpnProtocols] }),
    madeBy: MADE_HERE,
  }
}

/**
 * All options of an outbound `tls.connect` but the address. They hold a ready-made context: make them once for each snapshot, not for each
 * connection. The server is judged by `verifyPeerSocket` with role `server`, not by its host name.
 * @param identity undefined: who has none yet, and shows no certificate
 * @throws ERR_BUNDLE_EMPTY
 */
export function clientTlsOptions(identity: WorkloadIdentity | undefined, trust: TrustStore, choices: TlsChoices = {}): ClientTlsOptions {
  return {
    secureContext: tls.createSecureContext(contextOptions(identity, trust, choices)),
    rejectUnauthorized: false,
    // A SPIFFE ID names the server; a mismatch of host names would read as `not authorized`.
    checkServerIdentity: () => undefined,
    ...(choices.alpnProtocols === undefined ? {} : { ALPNProtocols: [...choices.alpnProtocols] }),
  }
}

/** Options made by `clientTlsOptions`. */
export type ClientTlsOptions = Required<Pick<tls.ConnectionOptions, 'secureContext' | 'rejectUnauthorized' | 'checkServerIdentity'>> & {
  readonly ALPNProtocols?: string[]
}

/** Gives a listener new key, certificate or roots; connections that stand keep the old ones. ALPN and what else is not of the context stays as it was. */
export function reloadServerContext(server: tls.Server, options: ServerTlsOptions): void {
  server.setSecureContext(options)
}

function contextOptions(identity: WorkloadIdentity | undefined, trust: TrustStore, choices: TlsChoices): tls.SecureContextOptions {
  if (trust.allRoots.length === 0) throw new PosternError('ERR_BUNDLE_EMPTY', 'There is no root to verify peers against; give a bundle.')
  const minVersion = choices.minVersion ?? 'TLSv1.3'
  return {
    ...(identity === undefined ? {} : { key: identity.keyPem, cert: identity.certificatePem }),
    ca: trust.allRoots.map((root) => root.pem),
    minVersion,
    maxVersion: 'TLSv1.3',
    ciphers: [...TLS13_SUITES, ...(minVersion === 'TLSv1.2' ? TLS12_SUITES : [])].join(':'),
    ecdhCurve: (choices.groups ?? DEFAULT_GROUPS).join(':'),
    sigalgs: SIGNATURE_ALGORITHMS.join(':'),
    honorCipherOrder: true,
    secureOptions: NEVER_RESUME,
  }
}

/**
 * All options of a server that asks nobody for a certificate: what it says is public. TLS 1.2 too, for clients of other makes.
 * @param identity leaf first, then intermediates
 */
export function webServerTlsOptions({ certificatePem, keyPem }: Pick<WorkloadIdentity, 'certificatePem' | 'keyPem'>): tls.TlsOptions {
  return {
    key: keyPem,
    cert: certificatePem,
    minVersion: 'TLSv1.2',
    maxVersion: 'TLSv1.3',
    ciphers: [...TLS13_SUITES, ...TLS12_SUITES].join(':'),
    ecdhCurve: DEFAULT_GROUPS.join(':'),
    sigalgs: SIGNATURE_ALGORITHMS.join(':'),
    honorCipherOrder: true,
    secureOptions: NEVER_RESUME,
  }
}
