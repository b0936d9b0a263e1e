/** The source of identity that the document asks for. */
import { randomInt } from 'node:crypto'
import type { Clock } from '#base/clock'
import type { ReasonCode } from '#base/reasons'
import { meshBundles } from '#config/mesh-document'
import type { SidecarConfig } from '#config/sidecar-config'
import type { Log } from '#telemetry/log'
import { createFileSvidSource } from './files.ts'
import type { IdentityObserver, SvidSource } from './source.ts'

export interface OpenSvidSourceOptions {
  readonly clock: Clock
  readonly log: Log
  /** [0, 1), for jitter. Default: of the system's generator. */
  readonly random?: () => number
  /** `SPIFFE_ENDPOINT_SOCKET`: where the Workload API is if the document does not say. */
  readonly endpointSocket?: string | undefined
  /** Ends the wait for an identity that must be asked for. */
  readonly signal?: AbortSignal
  readonly observe?: IdentityObserver
  /** Is told of every answer of a bundle endpoint. */
  readonly observeFederation?: (trustDomain: string, result: 'ok' | ReasonCode) => void
  /** Ms after which an identity that was not given is an error; waits for as long as it takes unless said. */
  readonly patience?: number
}

const PRECISION = 2 ** 32
const random = (): number => randomInt(PRECISION) / PRECISION

type Wanted = Pick<SidecarConfig, 'identity' | 'federation'> & Partial<Pick<SidecarConfig, 'federationEndpoints' | 'revocations' | 'mesh'>>

/** What `createSnapshotSource` takes as `openIdentity`. @throws ERR_CONFIG_INVALID where there is no usable identity to begin with */
export async function openSvidSource(config: Wanted, options: OpenSvidSourceOptions): Promise<SvidSource> {
  const base = await openBase(config, options)
  const { federationEndpoints: endpoints = [], revocations, mesh } = config
  if (endpoints.length === 0 && revocations === undefined && mesh === undefined) return base
  const { addTrust } = await import('./added-trust.ts')
  return addTrust({
    base,
    endpoints,
    revocations,
    folder: mesh && meshBundles(mesh),
    random,
    ...options,
    observe: options.observeFederation,
  })
}

async function openBase({ identity, federation }: Wanted, options: OpenSvidSourceOptions): Promise<SvidSource> {
  const { clock, log } = options
  if (identity.kind === 'files') return createFileSvidSource({ files: identity, federation, clock, log })
  if (identity.kind === 'workloadApi') {
    const { createWorkloadApiSvidSource } = await import('./workload-api.ts')
    return createWorkloadApiSvidSource({ random, ...options, config: identity })
  }
  const { createCaSvidSource } = await import('./ca.ts')
  return createCaSvidSource({ random, ...options, ca: identity, federation })
}
