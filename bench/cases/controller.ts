/**
 * One controller of a large cluster: what it takes to follow 10,000 pods and 1,000 policies, how soon a changed policy is at all sidecars that
 * it concerns, how often it was read on the way, and how large a sidecar's snapshot is.
 */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { RESOURCES } from '#controller/snapshot/objects'
import { type RunningController, startController } from '../contenders/controller.ts'
import { type ApiServer, type ClusterSize, namespaceOf, policyObject, startApiServer } from '../load/api-server.ts'
import { makeMeshIdentities, type MeshIdentities } from '../load/mesh-identities.ts'
import { openSidecar, type SimulatedSidecar } from '../load/sidecars.ts'
import { median } from '../median.ts'

export interface ControllerResult {
  readonly size: ClusterSize
  readonly sidecars: number
  readonly readyMs: number
  /** CPU seconds of the controller's process. */
  readonly syncCpu: number
  readonly settleCpu: number
  /** Statuses written until all policies say how many run them. */
  readonly statusWrites: number
  /** CPU with nothing to do, share of a core; calls of the API server a second. */
  readonly idle: number
  readonly idleCalls: number
  /** MB: all listed; with the sidecars. */
  readonly rssReady: number
  readonly rssServing: number
  /** Ms from the event until the last sidecar concerned has it: median and longest over the changes. */
  readonly policy: Spread
  readonly clusterPolicy: Spread
  /** How often a changed policy was read by the controller. */
  readonly readsPerChange: number
  /** Sidecars of other namespaces that were sent something by a change of one namespace's policy. */
  readonly unconcerned: number
  /** CPU µs for each pod that is made anew (5 events). */
  readonly podMicros: number
  /** Bytes. */
  readonly snapshot: number
}

export interface Spread {
  readonly median: number
  readonly longest: number
}

export interface ControllerOptions {
  readonly program: string
  readonly folder: string
  readonly quick: boolean
}

export async function measureController({ program, folder, quick }: ControllerOptions): Promise<ControllerResult> {
  const size = quick
    ? { namespaces: 10, services: 50, pods: 1_000, policies: 100 }
    : { namespaces: 50, services: 500, pods: 10_000, policies: 1_000 }
  const count = quick ? 20 : 200
  const identities = await makeMeshIdentities()
  await using run = await startRun(program, folder, 'large', size, identities)
  const { api, controller } = run
  const syncCpu = controller.cpuSeconds()
  const rssReady = controller.residentMegabytes()
  const mesh = await openMesh(run, size, identities, count)
  await settled(api, quick ? AFTER_CHANGE : STATUS_PASS)
  const settleCpu = controller.cpuSeconds() - syncCpu
  const statusWrites = api.calls.get('PATCH') ?? 0
  const quiet = await idle(run, quick ? 1_000 : 10_000)

  const reads = await controller.metric('postern_policies_read_total')
  const changes = quick ? 5 : 20
  const latencies: number[] = []
  let unconcerned = 0
  for (let change = 0; change < changes; change++) {
    const concerned = namespaceOf(change, size)
    const others = mesh.sidecars.filter(({ namespace }) => namespace !== concerned)
    const received = sum(others)
    latencies.push(await mesh.change(concerned, () => api.put(RESOURCES.policies, policyObject(change, size, 2))))
    await settled(api)
    unconcerned += sum(others) - received
  }
  const readsPerChange = ((await controller.metric('postern_policies_read_total')) - reads) / changes
  const clusterwide: number[] = []
  for (let change = 0; change < changes / 5; change++) {
    const { metadata, ...policy } = policyObject(0, size, change + 1)
    const { namespace: _, ...unbound } = { ...metadata, name: 'everywhere', uid: 'everywhere' }
    clusterwide.push(
      await mesh.change(undefined, () => api.put(RESOURCES.clusterPolicies, { ...policy, kind: 'ClusterPolicy', metadata: unbound })),
    )
    await settled(api)
  }
  const podMicros = await churn(run, quick ? 100 : 1_000)
  const result: ControllerResult = {
    size,
    sidecars: count,
    readyMs: controller.readyMs,
    syncCpu,
    settleCpu,
    statusWrites,
    ...quiet,
    rssReady,
    rssServing: controller.residentMegabytes(),
    policy: spread(latencies),
    clusterPolicy: spread(clusterwide),
    readsPerChange,
    unconcerned,
    podMicros,
    snapshot: mesh.sidecars[0]?.size ?? 0,
  }
  mesh.close()
  return result
}

interface Run extends AsyncDisposable {
  readonly api: ApiServer
  readonly controller: RunningController
}

async function startRun(
  program: string,
  folder: string,
  name: string,
  size: ClusterSize,
  identities: MeshIdentities,
  annotations?: Readonly<Record<string, string>>,
): Promise<Run> {
  const own = join(folder, name)
  mkdirSync(own)
  await using stack = new AsyncDisposableStack()
  const api = stack.use(await startApiServer({ ...size, ...identities.apiServer, ...(annotations && { annotations }) }))
  const controller = stack.use(
    await startController(program, own, { url: api.url, bundlePem: identities.bundlePem, ...identities.controller }),
  )
  const kept = stack.move()
  return { api, controller, [Symbol.asyncDispose]: () => kept.disposeAsync() }
}

interface OpenMesh {
  readonly sidecars: readonly SimulatedSidecar[]
  /** Ms from a change until the last of those concerned has what comes of it. @param namespace undefined: all */
  change(namespace: string | undefined, make: () => void): Promise<number>
  close(): void
}

async function openMesh({ controller }: Run, size: ClusterSize, identities: MeshIdentities, count: number): Promise<OpenMesh> {
  let onSnapshot = (): void => {}
  const sidecars: SimulatedSidecar[] = []
  for (let index = 0; index < count; index++) {
    const namespace = namespaceOf(index, size)
    const options = { port: controller.snapshotPort, bundlePem: identities.bundlePem, namespace, instance: `sidecar-${index}` }
    sidecars.push(await openSidecar({ ...options, credentials: await identities.sidecar(namespace, 'client-0') }, () => onSnapshot()))
  }
  while (sidecars.some(({ received }) => received === 0)) await delay(10)
  return {
    sidecars,
    async change(concerned, make) {
      const targets = sidecars.filter(({ namespace }) => concerned === undefined || namespace === concerned)
      const before = targets.map(({ received }) => received)
      const { promise, resolve, reject } = Promise.withResolvers<void>()
      onSnapshot = () => {
        if (targets.every(({ received }, index) => received > (before[index] ?? 0))) resolve()
      }
      const limit = setTimeout(() => reject(new Error('A changed policy was not out in 20 s.')), 20_000)
      const begun = performance.now()
      make()
      await promise
      clearTimeout(limit)
      onSnapshot = () => {}
      return Math.max(...targets.map(({ at }) => at)) - begun
    },
    close() {
      for (const sidecar of sidecars) sidecar.close()
    },
  }
}

/** Between two passes of the controller over all statuses, ms, and a little more. */
const STATUS_PASS = 5_500
/** Until statuses are written after a change, ms, and a little more. */
const AFTER_CHANGE = 1_300

/** Resolves when nothing was written to the API server for a while. */
async function settled(api: ApiServer, quiet = AFTER_CHANGE): Promise<void> {
  let last = -1
  for (let writes = api.calls.get('PATCH') ?? 0; writes !== last; writes = api.calls.get('PATCH') ?? 0) {
    last = writes
    await delay(quiet)
  }
}

async function idle({ api, controller }: Run, milliseconds: number): Promise<Pick<ControllerResult, 'idle' | 'idleCalls'>> {
  const total = (): number => [...api.calls.values()].reduce((all, one) => all + one, 0)
  const [cpu, calls] = [controller.cpuSeconds(), total()]
  await delay(milliseconds)
  return {
    idle: (controller.cpuSeconds() - cpu) / (milliseconds / 1000),
    idleCalls: (total() - calls) / (milliseconds / 1000),
  }
}

/** A rollout: 100 pods a second are made anew. */
async function churn({ api, controller }: Run, pods: number): Promise<number> {
  const before = controller.cpuSeconds()
  for (let index = 0; index < pods; index++) {
    api.replacePod(index)
    if (index % 10 === 9) await delay(100)
  }
  await settled(api)
  return ((controller.cpuSeconds() - before) / pods) * 1e6
}

/** The snapshot of a sidecar in a cluster of another size. @returns bytes */
export async function measureSnapshot(
  { program, folder }: ControllerOptions,
  name: string,
  size: ClusterSize,
  annotations?: Readonly<Record<string, string>>,
): Promise<number> {
  const identities = await makeMeshIdentities()
  await using run = await startRun(program, folder, name, size, identities, annotations)
  const mesh = await openMesh(run, size, identities, 1)
  const bytes = mesh.sidecars[0]?.size ?? 0
  mesh.close()
  return bytes
}

function spread(values: readonly number[]): Spread {
  return { median: median(values), longest: Math.max(...values) }
}

function sum(sidecars: readonly SimulatedSidecar[]): number {
  return sidecars.reduce((all, { received }) => all + received, 0)
}
