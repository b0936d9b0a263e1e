/** Serves the Workload API and Envoy's SDS to the app, from the sidecar's snapshots. Loaded where the document asks for it. */
import { systemClock } from '#base/clock'
import type { WorkloadApiConfig } from '#config/sidecar-config'
import type { SnapshotSource } from '#config/snapshot'
import { lapsedLease } from '#proxy/identity-lease'
import type { SvidSource } from '#svid-source/source'
import type { Log } from '#telemetry/log'
import { serveWorkloadApi, type WorkloadApi } from '#workload-api/serve'
import type { IssueJwtSvid, WorkloadSource } from '#workload-api/source'

/**
 * @param feed the source of identity in force
 * @throws PosternError ERR_LISTEN
 */
export function openWorkloadApi(
  { listen, access }: WorkloadApiConfig,
  snapshots: SnapshotSource,
  feed: () => SvidSource | undefined,
  log: Log,
): Promise<WorkloadApi> {
  const source: WorkloadSource = {
    get current() {
      const { current } = snapshots
      // What we would not show to peers ourselves, and trust that we do not act on, is not for the app either.
      if (lapsedLease(current, systemClock.now()) !== undefined) return undefined
      return { identities: [{ identity: current.identity, hint: '' }], trust: current.trust }
    },
    subscribe: (listener) => snapshots.subscribe(listener),
    get issueJwtSvid(): IssueJwtSvid | undefined {
      const issue = feed()?.issueJwtSvid
      return issue === undefined ? undefined : (_id, audience, signal) => issue(audience, signal)
    },
  }
  return serveWorkloadApi({ socket: listen.path, access, key: 'spec.workloadApi.listen', source, clock: systemClock, log })
}
