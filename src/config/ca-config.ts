/** The CA's document in typed form: what `spec` of kind CertificateAuthority says, with defaults filled in and paths made absolute. */
import type { Address, TcpAddress, UnixAddress } from '#base/units'
import type { IdTemplate } from '#identity/id-template'
import type { SpiffeId } from '#identity/spiffe-id'
import type { SocketAccess } from '#telemetry/private-socket'

/** Every default of the document, in one place; docs/ca-configuration.md states the same. Times in ms. */
export const CA_DEFAULTS = {
  listen: '0.0.0.0:7100',
  health: '0.0.0.0:7120',
  keep: 30 * 86_400_000,
  svid: { x509: 8 * 3_600_000, jwt: 300_000, max: 86_400_000 },
  joinToken: { max: 86_400_000 },
  serviceAccountId: 'spiffe://{trustDomain}/ns/{namespace}/sa/{serviceAccount}',
  limits: { issuancesPerMinute: 60, burst: 30, inFlight: 256, connections: 10_000 },
  refreshHint: 300_000,
  poll: 5_000,
  /** Where Kubernetes puts what a pod needs to call its API server. */
  kubernetes: {
    server: 'https://kubernetes.default.svc',
    token: '/var/run/secrets/kubernetes.io/serviceaccount/token',
    ca: '/var/run/secrets/kubernetes.io/serviceaccount/ca.crt',
  },
} as const

/** One replica. */
export interface SqliteStoreConfig {
  readonly kind: 'sqlite'
  /** Absolute path of the database. */
  readonly file: string
  /** How long an issuance is remembered after its end, ms. */
  readonly keep: number
}

/** Several replicas. */
export interface PostgresStoreConfig {
  readonly kind: 'postgres'
  /** `postgres://user@host:port/database`, or `postgres:///database?host=/folder/of/socket`. */
  readonly url: string
  /** Absolute path of a file that holds the password. */
  readonly passwordFile: string | undefined
  /** `verify`: the server's certificate and name, against `ca` or the public roots. `off` by default where the server is on this host. */
  readonly tls: 'verify' | 'off'
  /** Absolute path, PEM. */
  readonly ca: string | undefined
  readonly keep: number
}

export type StoreConfig = SqliteStoreConfig | PostgresStoreConfig

/** Where private keys of authorities are: a folder. */
export interface KeysConfig {
  readonly kind: 'file'
  /** Absolute path. */
  readonly folder: string
}

export type JwksConfig =
  | { readonly kind: 'file'; readonly file: string }
  /** `ca`: PEM file of the roots to trust instead of the public ones; `token`: file with a bearer token to send. */
  | { readonly kind: 'url'; readonly url: string; readonly ca: string | undefined; readonly token: string | undefined }
  /** From `<issuer>/.well-known/openid-configuration`. */
  | { readonly kind: 'discovery' }

/** Asks the API server about each token. */
export interface TokenReviewConfig {
  readonly kind: 'tokenReview'
  readonly server: string
  /** Absolute path of a file with the token to call it with; read again when it changes. */
  readonly token: string
  /** Absolute path, PEM. */
  readonly ca: string
}

export interface ServiceAccountTokenConfig {
  /** Undefined only with TokenReview, where the API server knows its own issuers. */
  readonly issuer: string | undefined
  readonly verifiedBy: JwksConfig | TokenReviewConfig
  readonly audience: string
  /** Gaps: `namespace`, `serviceAccount`. */
  readonly id: IdTemplate
}

export interface OidcConfig {
  readonly issuer: string
  readonly jwks: JwksConfig
  readonly audience: string
  /** Claims that a token must have, by path (`a.b`): one of these values each. */
  readonly require: readonly { readonly claim: string; readonly values: readonly string[] }[]
  /** Gaps: `claims.NAME`. */
  readonly id: IdTemplate
}

/** What proves who a workload is. What is undefined or empty is refused. */
export interface AttestConfig {
  /** `max`: the longest life a join token may be given, ms. */
  readonly joinToken: { readonly max: number } | undefined
  readonly serviceAccountToken: readonly ServiceAccountTokenConfig[]
  readonly oidc: readonly OidcConfig[]
  readonly podCertificate?: PodCertificateConfig
}

/** Who may ask in the name of pods (PodCertificateRequests of Kubernetes), and what pods are called. */
export interface PodCertificateConfig {
  /** SPIFFE IDs: whoever holds one can be every workload that `id` makes. */
  readonly by: readonly string[]
  /** Gaps: `namespace`, `serviceAccount`. */
  readonly id: IdTemplate
}

export interface CaLimits {
  /** Certificates and JWT-SVIDs that one caller gets: what flows back a minute, and how many at once. */
  readonly issuancesPerMinute: number
  readonly burst: number
  /** Requests in work at once, of all callers. */
  readonly inFlight: number
  /** Open connections. */
  readonly connections: number
}

export interface BundleEndpointConfig {
  readonly listen: TcpAddress
  readonly profile: 'https_web' | 'https_spiffe'
  /** Of `https_web`: absolute paths, PEM; undefined with `https_spiffe`, where the CA's own SVID serves. */
  readonly files: { readonly certificate: string; readonly key: string } | undefined
}

/** Where workloads on the machine of the authority find their identity. */
export interface WorkloadSocketConfig {
  readonly id: SpiffeId
  /** Absolute path. */
  readonly listen: UnixAddress
  readonly access: SocketAccess
}

export interface CaConfig {
  /** Absolute path of the document. */
  readonly file: string
  readonly trustDomain: string
  readonly listen: TcpAddress
  /** Undefined: off. */
  readonly health: Address | undefined
  readonly store: StoreConfig
  readonly keys: KeysConfig
  /** Folder of the first authority, from which it is taken over; undefined: that of the keys. Absolute. */
  readonly authority?: string
  /** Lives in ms. `max`: what a caller may ask for at most. */
  readonly svid: {
    readonly x509: number
    readonly jwt: number
    readonly max: number
    /** By SPIFFE ID: names that its certificates bear beside it. */
    readonly dnsNames?: ReadonlyMap<string, readonly string[]>
  }
  readonly attest: AttestConfig
  readonly limits: CaLimits
  /** How often verifiers should ask for a newer bundle, ms; whole seconds. */
  readonly refreshHint: number
  /** How often sidecars ask for bundle and revocations, ms. */
  readonly poll: number
  readonly bundleEndpoint: BundleEndpointConfig | undefined
  /** Undefined: none is served. */
  readonly workloadApi?: readonly WorkloadSocketConfig[]
}
