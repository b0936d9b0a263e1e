/** The sidecar's document (SURFACE §2): its keys, what each takes, and from there to `SidecarConfig`. Every fault has its place. */
import { dirname } from 'node:path'
import { entryOf, type LocatedValue, type Problem } from '#base/located'
import { normaliseHost } from '#http/authority'
import { isTrustDomain } from '#identity/spiffe-id'
import { bundleEndpoint, checkEndpoints } from './federation.ts'
import { checkListeners } from './listeners.ts'
import { mesh, meshPolicies, probes } from './mesh-document.ts'
import { exactlyOne, list, map, named, oneOrMore, optional, type Place, type Reader, required } from './reader.ts'
import {
  address,
  filePath,
  flag,
  integer,
  localAddress,
  orOff,
  share,
  size,
  span,
  spiffeId,
  tcpListen,
  tcpTarget,
  text,
  trustDomainName,
  word,
} from './scalars.ts'
import {
  DEFAULTS,
  type IdentityConfig,
  type InboundConfig,
  type Limits,
  type OutboundConfig,
  PATH_OPT_INS,
  type PathsConfig,
  type SidecarConfig,
  type Timeouts,
} from './sidecar-config.ts'
import { tokenIssuers } from './token-document.ts'
import { checkWorkloadApi, workloadApiIdentity, workloadApiServer } from './workload-api-document.ts'

/** What OpenSSL 3.5 has for TLS 1.3. */
const GROUPS = ['X25519MLKEM768', 'SecP256r1MLKEM768', 'SecP384r1MLKEM1024', 'X25519', 'X448', 'P-256', 'P-384', 'P-521'] as const

const files = map({
  certificate: required(filePath),
  key: required(filePath),
  bundle: required(filePath),
})

const tokenFile = map({ file: required(filePath) })

const ca = map({
  address: required(tcpTarget),
  trustDomain: optional(trustDomainName),
  bundle: required(filePath),
  attest: required(exactlyOne({ joinToken: optional(tokenFile), serviceAccountToken: optional(tokenFile), oidc: optional(tokenFile) })),
  cache: optional(filePath),
})

export const identity = exactlyOne({
  files: optional(files),
  ca: optional(ca),
  workloadApi: optional(workloadApiIdentity),
})

/** What bounds callers and calls alike. */
const commonLimits = {
  connections: optional(integer(1, 1_000_000)),
  headBytes: optional(size('1KiB', '1MiB')),
  headers: optional(integer(1, 10_000)),
  streams: optional(integer(1, 10_000)),
}
const commonTimeouts = {
  head: optional(span('10ms', '10m')),
  idle: optional(span('10ms', '1d')),
  connect: optional(span('10ms', '1m')),
  halfClosed: optional(span('10ms', '1d')),
}
const inboundLimits = map({
  ...commonLimits,
  connectionsPerPeer: optional(integer(1, 1_000_000)),
  streamsPerPeer: optional(integer(1, 1_000_000)),
  bodyRate: optional(size('0B', '1MiB')),
  handshakes: optional(integer(1, 10_000)),
  handshakesPerSource: optional(integer(1, 10_000)),
  handshakesPerTurn: optional(integer(1, 1_000)),
  floodPenalty: optional(span('0s', '10m')),
})
const inboundTimeouts = map({ ...commonTimeouts, handshake: optional(span('10ms', '1m')) })

const paths = map({
  allow: optional(list(word(PATH_OPT_INS)), []),
  ignoreCase: optional(flag, DEFAULTS.paths.ignoreCase),
})

const protocol = word(['http1', 'http2', 'both', 'tcp'])

const assertion = map({
  audience: optional(text('an audience', /^[^\0]{1,2048}$/u)),
  bindRequest: optional(flag, false),
})

const inboundEntry = map({
  listen: required(tcpListen),
  app: required(address()),
  port: optional(integer(1, 65_535)),
  unsafeApp: optional(flag, false),
  protocol: optional(protocol, DEFAULTS.protocol),
  limits: optional(inboundLimits),
  timeouts: optional(inboundTimeouts),
  paths: optional(paths),
  unknownTokens: optional(word(['refuse', 'pass']), DEFAULTS.unknownTokens),
  assertion: optional(assertion),
  onExpiry: optional(word(['cut', 'drain']), DEFAULTS.onExpiry),
  plaintext: optional(
    map({ allow: optional(flag, DEFAULTS.plaintext.allow), report: optional(flag, DEFAULTS.plaintext.report) }),
    DEFAULTS.plaintext,
  ),
})

const outboundEntry = map({
  listen: required(localAddress('whoever reaches it calls with this service’s identity')),
  hosts: optional(list(host()), []),
  to: required(oneOrMore(tcpTarget)),
  peer: required(oneOrMore(spiffeId)),
  protocol: optional(protocol, DEFAULTS.protocol),
  connectionAge: optional(span('10ms', '1d'), DEFAULTS.connectionAge),
  limits: optional(map(commonLimits)),
  timeouts: optional(map(commonTimeouts)),
})

const spec = map({
  identity: required(identity),
  workloadApi: optional(workloadApiServer),
  federation: optional(
    named(exactlyOne({ bundle: optional(filePath), endpoint: optional(bundleEndpoint) }), (name) =>
      isTrustDomain(name) ? undefined : `\`${name}\` is no trust domain’s name`,
    ),
    [],
  ),
  revocations: optional(filePath),
  tls: optional(
    map({
      minVersion: optional(word(['TLSv1.3', 'TLSv1.2']), DEFAULTS.tls.minVersion),
      groups: optional(oneOrMore(word(GROUPS)), DEFAULTS.tls.groups),
    }),
    DEFAULTS.tls,
  ),
  inbound: optional(list(inboundEntry), []),
  outbound: optional(list(outboundEntry), []),
  tokens: optional(tokenIssuers, []),
  assertionKeys: optional(localAddress('it is for the app alone')),
  policies: optional(oneOrMore(filePath), []),
  forwarders: optional(list(spiffeId), []),
  records: optional(
    map({
      decisions: optional(word(['all', 'refused']), DEFAULTS.records.decisions),
      allowed: optional(share, DEFAULTS.records.allowed),
      onOverload: optional(word(['drop', 'refuse']), DEFAULTS.records.onOverload),
    }),
    DEFAULTS.records,
  ),
  admin: optional(orOff(localAddress('it answers without authentication'))),
  health: optional(orOff(address())),
  drain: optional(span('0s', '1h'), DEFAULTS.drain),
  mesh: optional(mesh),
  probes: optional(probes, []),
})

/** The whole document as a reader: its keys are what docs/configuration.md documents. */
export const sidecarReader = map({
  apiVersion: required(word(['postern.dev/v1'])),
  kind: required(word(['Sidecar'])),
  metadata: required(
    map({
      name: required(text('a name', /^[^\s/\0]{1,253}$/u)),
      namespace: optional(text('a name', /^[^\s/\0]{1,253}$/u), DEFAULTS.namespace),
      labels: optional(
        named(text('a string', /^[^\0]*$/u), () => undefined),
        [],
      ),
    }),
  ),
  spec: required(spec),
})

type Read<R> = R extends Reader<infer T> ? T : never

export interface SidecarDocument {
  /** Undefined if there is an error among the problems. */
  readonly config: SidecarConfig | undefined
  readonly problems: Problem[]
}

export interface SidecarDocumentOptions {
  /** Absolute path of the document: relative paths in it are relative to its folder. */
  readonly file: string
}

/** Reads a document of kind Sidecar and reports all its faults at once. */
export function readSidecarDocument(value: LocatedValue, { file }: SidecarDocumentOptions): SidecarDocument {
  const place: Place = { path: '', folder: dirname(file), problems: [] }
  const mistaken = kindProblem(value)
  if (mistaken !== undefined) return { config: undefined, problems: [mistaken] }
  const read = sidecarReader.read(value, place)
  const config = read === undefined ? undefined : toConfig(read, file, place)
  if (config !== undefined) {
    checkListeners(config, value, place.problems)
    checkWorkloadApi(config, value, place.problems)
    checkEndpoints(config, value, place.problems)
  }
  return { config: place.problems.length === 0 ? config : undefined, problems: place.problems }
}

/** One clear sentence instead of a complaint about every key of another kind of document. */
function kindProblem(value: LocatedValue): Problem | undefined {
  if (value.kind !== 'map') return undefined
  const kind = entryOf(value, 'kind')?.value
  if (kind?.kind !== 'scalar' || typeof kind.value !== 'string' || kind.value === 'Sidecar') return undefined
  if (kind.value !== 'Policy' && kind.value !== 'CertificateAuthority') return undefined
  const hint = kind.value === 'Policy' ? 'name its file under `spec.policies` of a Sidecar' : 'run it with `postern ca run`'
  return {
    severity: 'error',
    code: 'ERR_CONFIG_VALUE',
    message: `This is a document of kind ${kind.value}, not Sidecar; ${hint}.`,
    at: kind.at,
  }
}

function toConfig({ metadata, spec }: Read<typeof sidecarReader>, file: string, place: Place): SidecarConfig {
  return {
    file,
    name: metadata.name,
    namespace: metadata.namespace,
    labels: Object.freeze(Object.fromEntries(metadata.labels)),
    identity: toIdentity(spec.identity),
    workloadApi: spec.workloadApi,
    federation: spec.federation.flatMap(([trustDomain, { bundle }]) => (bundle === undefined ? [] : [{ trustDomain, bundle }])),
    federationEndpoints: spec.federation.flatMap(([trustDomain, { endpoint }]) =>
      endpoint === undefined ? [] : [{ trustDomain, ...endpoint }],
    ),
    revocations: spec.revocations,
    tls: spec.tls,
    inbound: spec.inbound.map(toInbound),
    outbound: spec.outbound.map(toOutbound),
    tokens: spec.tokens,
    assertionKeys: spec.assertionKeys,
    policies: spec.mesh === undefined ? spec.policies : [...spec.policies, meshPolicies(spec.mesh)],
    forwarders: spec.forwarders,
    records: spec.records,
    admin: spec.admin === 'off' ? undefined : (spec.admin ?? defaultAddress(DEFAULTS.admin, place)),
    health: spec.health === 'off' ? undefined : (spec.health ?? defaultAddress(DEFAULTS.health, place)),
    drain: spec.drain,
    mesh: spec.mesh,
    probes: spec.probes,
  }
}

/** The reader has seen to it that exactly one source is there. */
export function toIdentity({ files: fromFiles, ca: fromCa, workloadApi }: Read<typeof identity>): IdentityConfig {
  if (fromFiles !== undefined) return { kind: 'files', ...fromFiles }
  if (workloadApi !== undefined) return { kind: 'workloadApi', ...workloadApi }
  if (fromCa === undefined) throw new TypeError('An identity has a source.')
  const { attest, ...rest } = fromCa
  const [method, file] =
    attest.joinToken !== undefined
      ? (['joinToken', attest.joinToken.file] as const)
      : attest.serviceAccountToken !== undefined
        ? (['serviceAccountToken', attest.serviceAccountToken.file] as const)
        : (['oidc', attest.oidc?.file ?? ''] as const)
  return { kind: 'ca', ...rest, attest: { method, file } }
}

function defaultAddress(text: string, place: Place): SidecarConfig['health'] {
  return address().read({ kind: 'scalar', value: text, at: { file: '', line: 1, column: 1 } }, place)
}

function toInbound(entry: Read<typeof inboundEntry>): InboundConfig {
  const { listen, app, port, unsafeApp, protocol, unknownTokens, assertion: asserted, onExpiry, plaintext } = entry
  const ours = { unknownTokens, assertion: asserted, onExpiry, plaintext }
  return { listen, app, ...(port !== undefined && { port }), unsafeApp, protocol, ...toBounds(entry), paths: toPaths(entry.paths), ...ours }
}

function toOutbound(entry: Read<typeof outboundEntry>): OutboundConfig {
  const { listen, hosts, to, peer, protocol, connectionAge } = entry
  return { listen, hosts, to, peer, protocol, connectionAge, ...toBounds(entry) }
}

function toPaths(read: Read<typeof paths> | undefined): PathsConfig {
  const allow: PathsConfig['allow'] = new Set((read?.allow ?? []).filter((name) => name !== 'override-headers'))
  return {
    allow,
    ignoreCase: read?.ignoreCase ?? DEFAULTS.paths.ignoreCase,
    overrideHeaders: read?.allow.includes('override-headers') ?? false,
  }
}

function toBounds(entry: { readonly limits: Partly<Limits>; readonly timeouts: Partly<Timeouts> }): {
  readonly limits: Limits
  readonly timeouts: Timeouts
} {
  return { limits: withDefaults(DEFAULTS.limits, entry.limits), timeouts: withDefaults(DEFAULTS.timeouts, entry.timeouts) }
}

type Partly<T> = { readonly [K in keyof T]?: T[K] | undefined } | undefined

function withDefaults<K extends string>(
  defaults: Readonly<Record<K, number>>,
  read: Partly<Record<K, number>>,
): Readonly<Record<K, number>> {
  const values: Record<K, number> = { ...defaults }
  for (const key of Object.keys(defaults) as K[]) values[key] = read?.[key] ?? defaults[key]
  return values
}

function host(): Reader<string> {
  const name = text('a host without port', /^(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])$/)
  return {
    read(value, place) {
      const found = name.read(value, place)
      return found === undefined ? undefined : normaliseHost(found)
    },
  }
}
