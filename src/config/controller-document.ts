/** The controller's document (docs/kubernetes.md): what it injects, where it listens, who it is. Every fault has its place. */
import { dirname } from 'node:path'
import type { LocatedValue, Problem } from '#base/located'
import { type Address, formatAddress, type TcpAddress } from '#base/units'
import { locationOf } from './listeners.ts'
import { complain, list, map, optional, type Place, type Reader, required } from './reader.ts'
import { address, flag, orOff, tcpListen, tcpTarget, text, trustDomainName, word } from './scalars.ts'
import { identity, toIdentity } from './sidecar-document.ts'
import type { IdentityConfig } from './sidecar-config.ts'
import { type Loaded, loadSingleDocument } from './single-document.ts'

export interface ControllerConfig {
  readonly trustDomain: string
  readonly identity: IdentityConfig
  /** Where the API server sends reviews. */
  readonly webhook: TcpAddress
  /** Where sidecars ask for their snapshots. */
  readonly snapshots: TcpAddress
  readonly health: Address | undefined
  readonly injection: InjectionConfig
}

export interface InjectionConfig {
  readonly image: string
  /** Where CA and controller run. */
  readonly namespace: string
  /** As injected sidecars reach them. */
  readonly ca: string
  readonly controller: string
  readonly interception: 'redirect' | 'loopback'
  readonly passThrough: 'allow' | 'refuse'
  readonly excludeNetworks: readonly string[]
  /** Signer of the ClusterTrustBundles that hold our bundle; undefined: the ConfigMap `postern-ca-bundle` of each namespace. */
  readonly trustBundle: string | undefined
  /** Certificates of that signer come by PodCertificateRequests, which the controller answers; no token then. */
  readonly podCertificate?: boolean
}

const name: Reader<string> = text('a name of Kubernetes', /^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/)

const injection = map({
  image: required(
    text(
      'an image with its tag, such as `ghcr.io/postern/postern:1.0`',
      /^[^\s:@]+(?::\d+)?(?:\/[^\s:@]+)*(?::[\w.-]+|@sha256:[0-9a-f]{64})$/,
    ),
  ),
  ca: optional(tcpTarget),
  controller: optional(tcpTarget),
  interception: optional(word(['redirect', 'loopback']), 'redirect'),
  passThrough: optional(word(['allow', 'refuse']), 'allow'),
  excludeNetworks: optional(list(text('a network such as `10.96.0.1/32`', /^[0-9a-f.:]+(?:\/\d{1,3})?$/)), []),
  podCertificate: optional(flag, false),
  trustBundle: optional(text('a signer, such as `postern.dev/identity`', /^[a-z0-9.-]+\/[a-z0-9.-]+$/)),
})

const DEFAULTS = {
  webhook: { kind: 'tcp', host: '::', port: 7200 },
  snapshots: { kind: 'tcp', host: '::', port: 7201 },
  health: { kind: 'tcp', host: '::', port: 7020 },
} as const

/** The whole document as a reader: its keys are what docs/kubernetes.md documents. */
export const controllerReader = map({
  apiVersion: required(word(['postern.dev/v1'])),
  kind: required(word(['Controller'])),
  metadata: optional(map({ name: optional(name), namespace: optional(name, 'postern-system') })),
  spec: required(
    map({
      trustDomain: required(trustDomainName),
      identity: required(identity),
      webhook: optional(map({ listen: optional(tcpListen, DEFAULTS.webhook) })),
      snapshots: optional(map({ listen: optional(tcpListen, DEFAULTS.snapshots) })),
      health: optional(orOff(address())),
      injection: required(injection),
    }),
  ),
})

export function readControllerDocument(value: LocatedValue, { file }: { readonly file: string }): Loaded<ControllerConfig> {
  const problems: Problem[] = []
  const place: Place = { path: '', folder: dirname(file), problems }
  const read = controllerReader.read(value, place)
  if (read === undefined || problems.length > 0) return { config: undefined, problems }
  const { spec, metadata } = read
  const namespace = metadata?.namespace ?? 'postern-system'
  const { injection: said } = spec
  if (said.podCertificate && (said.trustBundle === undefined || spec.identity.ca === undefined)) {
    const missing =
      said.trustBundle === undefined ? '`spec.injection.trustBundle`, the signer' : '`spec.identity.ca`, the authority that signs'
    const at = locationOf(value, ['spec', 'injection', 'podCertificate'])
    complain(place, at, 'ERR_CONFIG_MISSING_KEY', `\`spec.injection.podCertificate\` needs ${missing}.`)
    return { config: undefined, problems }
  }
  return {
    config: {
      trustDomain: spec.trustDomain,
      identity: toIdentity(spec.identity),
      webhook: spec.webhook?.listen ?? DEFAULTS.webhook,
      snapshots: spec.snapshots?.listen ?? DEFAULTS.snapshots,
      health: spec.health === 'off' ? undefined : (spec.health ?? DEFAULTS.health),
      injection: {
        ...said,
        namespace,
        ca: said.ca === undefined ? `postern-ca.${namespace}.svc:7100` : formatAddress(said.ca),
        controller: said.controller === undefined ? `postern-controller.${namespace}.svc:7201` : formatAddress(said.controller),
      },
    },
    problems,
  }
}

/** What is wrong with the file or the document is in the result. */
export function loadControllerConfiguration(options: {
  readonly file: string
  readonly displayFolder: string
}): Promise<Loaded<ControllerConfig>> {
  return loadSingleDocument({ ...options, kind: 'Controller' }, (document) => readControllerDocument(document, options))
}
