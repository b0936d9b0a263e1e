/** The sidecar's document in typed form: what `spec` of kind Sidecar says, with defaults filled in and paths made absolute. */
import type { Address, TcpAddress, UnixAddress } from '#base/units'
import type { PathRules } from '#http/canonical-path'
import type { SpiffeId } from '#identity/spiffe-id'
import type { MeshConfig, ProbeConfig } from './mesh-document.ts'
import type { SocketAccess } from '#telemetry/private-socket'
import type { TokenKind } from '#token/principal'

/** No protocol is translated into another. */
export type Protocol = 'http1' | 'http2' | 'both' | 'tcp'
export type MinTlsVersion = 'TLSv1.3' | 'TLSv1.2'

/** What a listener may be told to let through although it is ambiguous (`paths.allow`). */
export const PATH_OPT_INS = ['encoded-slash', 'double-slash', 'params', 'double-encoding', 'override-headers'] as const

/** Every default of the document, in one place; docs/configuration.md states the same. Times in ms, sizes in bytes. */
export const DEFAULTS = {
  namespace: 'default',
  tls: { minVersion: 'TLSv1.3', groups: ['X25519MLKEM768', 'X25519', 'P-256'] },
  protocol: 'http1',
  connectionAge: 600_000,
  limits: {
    connections: 10_000,
    connectionsPerPeer: 5_000,
    headBytes: 65_536,
    headers: 100,
    streams: 128,
    streamsPerPeer: 10_000,
    bodyRate: 16,
    handshakes: 64,
    handshakesPerSource: 16,
    handshakesPerTurn: 2,
    floodPenalty: 5_000,
  },
  timeouts: { handshake: 5_000, head: 10_000, idle: 60_000, connect: 2_000, halfClosed: 30_000 },
  paths: { allow: [], ignoreCase: false },
  unknownTokens: 'refuse',
  workloadApi: { access: 'owner' },
  /** Ms between two looks at keys that are fetched, and for how long the last good ones are used without new ones. */
  jwks: { refresh: 300_000, keep: 43_200_000 },
  /** Ms between two questions about one token, and for how long the last good answer counts without another. */
  review: { refresh: 5_000, keep: 60_000 },
  records: { decisions: 'all', allowed: 1, onOverload: 'drop' },
  onExpiry: 'cut',
  plaintext: { allow: false, report: true },
  /** Beside the document. */
  admin: 'unix:postern-admin.sock',
  health: '0.0.0.0:7020',
  drain: 30_000,
} as const

/** What bounds calls that no entry of the document is about. */
export const DEFAULT_OUTBOUND = {
  connectionAge: DEFAULTS.connectionAge,
  limits: DEFAULTS.limits,
  timeouts: DEFAULTS.timeouts,
} as const

/** Where our own SVID and bundle come from. Paths are absolute. */
export interface FileIdentityConfig {
  readonly kind: 'files'
  /** PEM: leaf first, then intermediates. */
  readonly certificate: string
  /** PEM, PKCS#8 or SEC 1. */
  readonly key: string
  /** PEM, or a SPIFFE bundle (`*.json`). */
  readonly bundle: string
}

/** How a workload shows the authority who it is. */
export type AttestationMethod = 'joinToken' | 'serviceAccountToken' | 'oidc'

/** An identity that the authority (`postern ca`) issues and renews. Paths are absolute. */
export interface CaIdentityConfig {
  readonly kind: 'ca'
  readonly address: TcpAddress
  /** Undefined: the one that the authorities in the bundle name. */
  readonly trustDomain: string | undefined
  /** What the authority itself is verified against before it has been spoken to: PEM, or a SPIFFE bundle (`*.json`). */
  readonly bundle: string
  readonly attest: { readonly method: AttestationMethod; readonly file: string }
  /** Folder in which the last good identity is kept; undefined: in memory only. */
  readonly cache: string | undefined
}

/** An identity that a SPIFFE Workload API gives, such as SPIRE's agent. */
export interface WorkloadApiIdentityConfig {
  readonly kind: 'workloadApi'
  /** Undefined: where `SPIFFE_ENDPOINT_SOCKET` says. */
  readonly socket: Address | undefined
  /** Which of several identities is ours; undefined: the one with `hint`, or the only one. */
  readonly id: SpiffeId | undefined
  readonly hint: string | undefined
}

export type IdentityConfig = FileIdentityConfig | CaIdentityConfig | WorkloadApiIdentityConfig

/** Where the app finds the Workload API and Envoy's SDS. */
export interface WorkloadApiConfig {
  readonly listen: UnixAddress
  /** Who may open the socket. */
  readonly access: SocketAccess
}

export interface FederatedBundleConfig {
  readonly trustDomain: string
  /** Absolute path: PEM, or a SPIFFE bundle (`*.json`). */
  readonly bundle: string
}

/** Where another trust domain publishes its bundle. */
export type FederationEndpointConfig = {
  readonly trustDomain: string
  /** https */
  readonly url: string
  /** Absolute path of the bundle to begin with; required where the endpoint is of the trust domain itself and shows its SVID. */
  readonly bundle: string | undefined
} & (
  | {
      readonly profile: 'https_web'
      /** Absolute path of PEM: the roots that the server is verified against, instead of the system's. */
      readonly ca: string | undefined
    }
  | { readonly profile: 'https_spiffe'; readonly spiffeId: SpiffeId }
)

export interface TlsConfig {
  readonly minVersion: MinTlsVersion
  /** Key exchange groups, preferred first. */
  readonly groups: readonly string[]
}

export interface Limits {
  /** Open connections of the listener. */
  readonly connections: number
  /** Of those, how many may be of one SPIFFE ID. */
  readonly connectionsPerPeer: number
  /** Bytes of a request's head, or of a decoded HTTP/2 header list. */
  readonly headBytes: number
  /** Header lines of one head. */
  readonly headers: number
  /** HTTP/2 streams at once on one connection. */
  readonly streams: number
  /** HTTP/2 streams at once on all connections of one SPIFFE ID. */
  readonly streamsPerPeer: number
  /** Bytes a second at which a request's body must come, averaged over `timeouts.idle`; 0: a byte within that time is enough. */
  readonly bodyRate: number
  /** TLS handshakes in flight. */
  readonly handshakes: number
  /** Of those, how many may be from one source address. */
  readonly handshakesPerSource: number
  /** TLS handshakes begun in one turn of the event loop. */
  readonly handshakesPerTurn: number
  /** Ms for which an identity that flooded is refused at that address; twice as long each time. */
  readonly floodPenalty: number
}

/** Milliseconds. */
export interface Timeouts {
  readonly handshake: number
  readonly head: number
  readonly idle: number
  readonly connect: number
  /** How long a tunnel may stay closed on one side. */
  readonly halfClosed: number
}

export interface PathsConfig extends PathRules {
  /** The app may receive headers that override path or method (`override-headers` in `paths.allow`). */
  readonly overrideHeaders: boolean
}

/** Callers without mutual TLS, while a fleet moves to it. */
export interface PlaintextConfig {
  /** They are let in as unauthenticated, for policy to decide. */
  readonly allow: boolean
  /** Who they are is kept and counted. */
  readonly report: boolean
}

export interface InboundConfig {
  readonly listen: TcpAddress
  readonly app: Address
  /** By which callers know the service, where the kernel sends what comes there to `listen`; undefined: that of `listen`. */
  readonly port?: number
  /** `app` may be beyond this host. */
  readonly unsafeApp: boolean
  readonly protocol: Protocol
  readonly limits: Limits
  readonly timeouts: Timeouts
  readonly paths: PathsConfig
  /** What is done with a bearer token of an issuer that is not configured: refused, or left to the app. */
  readonly unknownTokens: 'refuse' | 'pass'
  /** The app is told who calls in a signed assertion too. */
  readonly assertion: AssertionConfig | undefined
  /** What becomes of that which runs when the reason it was admitted for is gone: cut at once, or given the time of `drain` to finish. */
  readonly onExpiry: 'cut' | 'drain'
  readonly plaintext: PlaintextConfig
}

export interface AssertionConfig {
  /** Undefined: our own SPIFFE ID. */
  readonly audience: string | undefined
  /** Each assertion is of one request, which it names. */
  readonly bindRequest: boolean
}

/** An issuer whose bearer tokens are understood. Paths are absolute, times in ms. */
export interface TokenIssuerConfig {
  readonly issuer: string
  readonly audiences: readonly string[]
  readonly kind: TokenKind
  /** Whose workloads the tokens are about; undefined: for kind serviceAccount our own. */
  readonly trustDomain: string | undefined
  readonly jwks: {
    /** Without it and `url`: discovery from the issuer. */
    readonly file: string | undefined
    readonly url: string | undefined
    /** PEM: the roots that the server of the keys is verified against. */
    readonly ca: string | undefined
    /** A bearer token for that server. */
    readonly tokenFile: string | undefined
    readonly refresh: number
    readonly keep: number
  }
  /** Undefined: tokens count until they end. Of kind serviceAccount only. */
  readonly review: TokenReviewSettings | undefined
  readonly forwardToken: boolean
}

/** Which API server says whether service-account tokens still count, and how often it is asked. Paths are absolute, times in ms. */
export interface TokenReviewSettings {
  readonly server: string
  /** A file with the token to call it with. */
  readonly token: string
  /** PEM. */
  readonly ca: string
  readonly refresh: number
  readonly keep: number
}

export interface OutboundConfig {
  /** Loopback or a Unix socket. */
  readonly listen: Address
  /** Lower-case authorities without port that this entry serves; empty where it has its `listen` to itself. */
  readonly hosts: readonly string[]
  /** At least one. */
  readonly to: readonly TcpAddress[]
  /** Who the server may be; at least one. */
  readonly peer: readonly SpiffeId[]
  readonly protocol: Protocol
  /** Ms after which an HTTP/2 connection to the destination takes no more requests, ± 10 %. */
  readonly connectionAge: number
  readonly limits: Limits
  readonly timeouts: Timeouts
}

export interface RecordsConfig {
  readonly decisions: 'all' | 'refused'
  /** Share of allowed requests that are recorded, 0 to 1. */
  readonly allowed: number
  /** When stdout cannot take more: refuse requests, or drop records of allowed ones. */
  readonly onOverload: 'refuse' | 'drop'
}

export interface SidecarConfig {
  /** Absolute path of the document. */
  readonly file: string
  readonly name: string
  readonly namespace: string
  /** What `spec.selector` of policies is compared with. */
  readonly labels: Readonly<Record<string, string>>
  readonly identity: IdentityConfig
  /** Undefined: it is not served. */
  readonly workloadApi: WorkloadApiConfig | undefined
  /** Those from files. */
  readonly federation: readonly FederatedBundleConfig[]
  readonly federationEndpoints: readonly FederationEndpointConfig[]
  /** Absolute path: who is revoked, beside what the source of our identity says. */
  readonly revocations: string | undefined
  readonly tls: TlsConfig
  readonly inbound: readonly InboundConfig[]
  readonly outbound: readonly OutboundConfig[]
  readonly tokens: readonly TokenIssuerConfig[]
  /** Where the app finds the keys of assertions. Undefined: at the admin address alone. Loopback or a Unix socket. */
  readonly assertionKeys: Address | undefined
  /** Absolute paths of files and folders. */
  readonly policies: readonly string[]
  /** Peers whose own x-forwarded-client-cert is kept and appended to. */
  readonly forwarders: readonly SpiffeId[]
  readonly records: RecordsConfig
  /** Undefined: off. A Unix socket (absolute path) or loopback. */
  readonly admin: Address | undefined
  /** Undefined: off. */
  readonly health: Address | undefined
  /** Longest drain, ms. */
  readonly drain: number
  /** Undefined: there is no controller. */
  readonly mesh: MeshConfig | undefined
  /** Asked on the health port, and of the app. */
  readonly probes: readonly ProbeConfig[]
}
