/** What of a changed document can go into force at once, and what waits for a restart. */
import { isDeepStrictEqual } from 'node:util'
import type { InboundConfig, SidecarConfig } from './sidecar-config.ts'

/** Bound at start: sockets, and what their connections were made with. */
const FIXED = [
  'name',
  'namespace',
  'labels',
  'tls',
  'outbound',
  'records',
  'admin',
  'assertionKeys',
  'health',
  'workloadApi',
  'mesh',
  'probes',
] as const
const FIXED_INBOUND = ['listen', 'app', 'port', 'protocol'] as const

/** How messages call what is not directly under `spec`. */
const PATHS: Readonly<Record<string, string>> = { name: 'metadata.name', namespace: 'metadata.namespace', labels: 'metadata.labels' }

export interface LiveChange {
  /** `inForce` with those parts of `next` that can change while the sidecar runs. */
  readonly config: SidecarConfig
  /** The changed keys that wait for a restart. */
  readonly needsRestart: readonly string[]
}

/**
 * Live: identity, federation, tokens, policies, forwarders, drain, and of each inbound listener all but its address, app and protocol. If
 * listeners came, went or moved, all of `inbound` stays as it was: which of them keeps which limits would be a guess.
 */
export function applyLive(inForce: SidecarConfig, next: SidecarConfig): LiveChange {
  const needsRestart: string[] = []
  const kept: Record<string, unknown> = {}
  for (const key of FIXED) {
    if (!isDeepStrictEqual(inForce[key], next[key])) needsRestart.push(PATHS[key] ?? `spec.${key}`)
    kept[key] = inForce[key]
  }
  const moved = movedListeners(inForce.inbound, next.inbound)
  needsRestart.push(...moved)
  const inbound = moved.length > 0 ? inForce.inbound : next.inbound
  return { config: { ...next, ...kept, inbound }, needsRestart }
}

function movedListeners(inForce: readonly InboundConfig[], next: readonly InboundConfig[]): string[] {
  if (inForce.length !== next.length) return ['spec.inbound']
  return inForce.flatMap((before, index) => {
    const changed = FIXED_INBOUND.filter((key) => !isDeepStrictEqual(before[key], next[index]?.[key]))
    return changed.map((key) => `spec.inbound[${index}].${key}`)
  })
}
