/** The source of identity that the document asks for. */
import { randomInt } from 'node:crypto'
import type { Clock } from '#base/clock'
import type { SidecarConfig } from '#config/sidecar-config'
import type { Log } from '#telemetry/log'
import { createFileSvidSource } from './files.ts'
import type { IdentityObserver, SvidSource } from './source.ts'

export interface OpenSvidSourceOptions {
  readonly clock: Clock
  readonly log: Log
  /** [0, 1), for jitter. Default: of the system's generator. */
  readonly random?: () => number
  /** Ends the wait for an identity that must be asked for. */
  readonly signal?: AbortSignal
  readonly observe?: IdentityObserver
}

const PRECISION = 2 ** 32

/** What `createSnapshotSource` takes as `openIdentity`. @throws ERR_CONFIG_INVALID where there is no usable identity to begin with */
export async function openSvidSource({ identity, federation }: SidecarConfig, options: OpenSvidSourceOptions): Promise<SvidSource> {
  const { clock, log } = options
  if (identity.kind === 'files') return createFileSvidSource({ files: identity, federation, clock, log })
  const { createCaSvidSource } = await import('./ca.ts')
  return createCaSvidSource({ random: () => randomInt(PRECISION) / PRECISION, ...options, ca: identity, federation })
}
