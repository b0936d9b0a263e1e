/** What `postern sidecar` does in a cluster: follows the controller. */
import { hostname } from 'node:os'
import { systemClock } from '#base/clock'
import type { MeshConfig } from '#config/mesh-document'
import type { SnapshotSource } from '#config/snapshot'
import { startMeshAgent } from '#mesh-agent/agent'
import { createControllerClient } from '#mesh-agent/controller-client'
import type { ServiceTable } from '#mesh-agent/service-table'
import type { Log } from '#telemetry/log'

export interface Mesh {
  readonly services: ServiceTable
  /** Why there is no snapshot yet; undefined once there is one. */
  readonly missing: string | undefined
  close(): void
}

export async function openMesh(config: MeshConfig, source: SnapshotSource, log: Log): Promise<Mesh> {
  const client = createControllerClient({
    address: config.controller,
    peer: config.peer,
    identity: () => source.current,
    clock: systemClock,
  })
  const agent = await startMeshAgent({
    ask: client.ask,
    folder: config.folder,
    instance: hostname().replace(/[^\w.-]/g, '-'),
    apply: async () => void (await source.reload()),
    clock: systemClock,
    random: Math.random,
    log,
  })
  return {
    get services() {
      return agent.services
    },
    get missing() {
      if (agent.digest !== '') return undefined
      return agent.fault ?? 'the controller was not heard of yet'
    },
    close() {
      agent.close()
      client.close()
    },
  }
}
