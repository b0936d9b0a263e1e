/** The Workload API on a socket in a folder of its own. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Clock, systemClock } from '#base/clock'
import type { SocketAccess } from '#telemetry/private-socket'
import { serveWorkloadApi, type WorkloadApi } from '#workload-api/serve'
import type { WorkloadSource } from '#workload-api/source'
import { createRecordingLog, type RecordingLog } from './recording-log.ts'

export interface TestWorkloadApi extends AsyncDisposable {
  /** Path. */
  readonly socket: string
  readonly dir: string
  readonly log: RecordingLog
  readonly api: WorkloadApi
  /** As after a restart: on the same socket. */
  restart(source?: WorkloadSource): Promise<void>
}

export async function startWorkloadApi(
  source: WorkloadSource,
  { clock = systemClock, access = 'owner' }: { readonly clock?: Clock; readonly access?: SocketAccess } = {},
): Promise<TestWorkloadApi> {
  const dir = mkdtempSync(join(tmpdir(), 'postern-workload-'))
  const socket = join(dir, 'w.sock')
  const log = createRecordingLog()
  const start = (from: WorkloadSource): Promise<WorkloadApi> => serveWorkloadApi({ socket, access, key: 'test', source: from, clock, log })
  let api = await start(source)
  return {
    socket,
    dir,
    log,
    get api() {
      return api
    },
    async restart(next = source) {
      await api.close()
      api = await start(next)
    },
    async [Symbol.asyncDispose]() {
      await api.close()
      rmSync(dir, { recursive: true, force: true })
    },
  }
}
