/** The source of identity that the document asks for. */
import type { Clock } from '#base/clock'
import type { SidecarConfig } from '#config/sidecar-config'
import type { Log } from '#telemetry/log'
import { createFileSvidSource } from './files.ts'
import type { SvidSource } from './source.ts'

export interface OpenSvidSourceOptions {
  readonly clock: Clock
  readonly log: Log
}

/** What `createSnapshotSource` takes as `openIdentity`. @throws ERR_CONFIG_INVALID where there is no usable identity to begin with */
export function openSvidSource({ identity, federation }: SidecarConfig, { clock, log }: OpenSvidSourceOptions): Promise<SvidSource> {
  return createFileSvidSource({ files: identity, federation, clock, log })
}
