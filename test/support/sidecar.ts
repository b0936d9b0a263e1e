/** A whole sidecar in this process, on real files, real certificates and real sockets; records are kept in memory. */
import { randomFillSync } from 'node:crypto'
import { createDecisionLog } from '#audit/decision-log'
import { createRing, type Ring } from '#audit/ring'
import { type Clock, systemClock } from '#base/clock'
import { openTokenReview } from '#cli/token-review'
import { createSnapshotSource } from '#config/snapshot-source'
import type { SnapshotSource } from '#config/snapshot'
import { createRandomHex } from '#http/random-hex'
import { type Sidecar, startSidecar } from '#proxy/sidecar'
import { openSvidSource } from '#svid-source/open'
import { createLog } from '#telemetry/log'
import { createMetrics, type Metrics } from '#telemetry/metrics'
import type { TestMesh } from './authority.ts'
import { createSidecarFolder, type SidecarFiles } from './sidecar-folder.ts'

export { ALLOW_ALL } from './sidecar-folder.ts'

export type JsonRecord = Readonly<Record<string, unknown>>

export interface RunningSidecar extends AsyncDisposable {
  readonly dir: string
  readonly mesh: TestMesh
  readonly sidecar: Sidecar
  readonly source: SnapshotSource
  readonly metrics: Metrics
  readonly ring: Ring
  /** Of the first inbound listener. */
  readonly port: number
  /** Of the first outbound listener. */
  readonly outboundPort: number
  /** Everything recorded so far, after what waits has been written. */
  records(): Promise<readonly JsonRecord[]>
  /** Resolves with the first record that `match` takes, past or coming. */
  record(match: (record: JsonRecord) => boolean): Promise<JsonRecord>
  write(name: string, text: string): void
  /** Writes the policy and waits until it is in force. */
  setPolicy(text: string): Promise<void>
}

export interface SidecarSetup extends SidecarFiles {
  readonly clock?: Clock
}

/** The sidecar of `createSidecarFolder`. */
export async function runSidecar(setup: SidecarSetup = {}): Promise<RunningSidecar> {
  const clock = setup.clock ?? systemClock
  const folder = await createSidecarFolder(setup)
  const { dir, file, mesh, write } = folder
  const log = createLog({ name: 'test', clock: systemClock, random: Math.random, level: 'silent' })
  const source = await createSnapshotSource({
    file,
    clock,
    log,
    openIdentity: (config) => openSvidSource(config, { clock, log }),
    openReview: openTokenReview(clock, log),
    interval: 50,
  }).catch((error: unknown) => {
    folder[Symbol.dispose]()
    throw error
  })
  const lines: JsonRecord[] = []
  const waiting: { match: (record: JsonRecord) => boolean; resolve: (record: JsonRecord) => void }[] = []
  function take(text: string): void {
    for (const line of text.split('\n')) {
      if (line === '') continue
      const record = JSON.parse(line) as JsonRecord
      lines.push(record)
      for (const waiter of waiting) if (waiter.match(record)) waiter.resolve(record)
    }
  }
  const decisions = createDecisionLog({
    target: {
      write(chunk, offset, done) {
        take(Buffer.from(chunk.subarray(offset)).toString())
        setImmediate(done, null, chunk.length - offset)
      },
      writeSync(chunk, offset) {
        take(Buffer.from(chunk.subarray(offset)).toString())
        return chunk.length - offset
      },
    },
    clock,
    random: Math.random,
    log,
  })
  const metrics = createMetrics()
  const ring = createRing()
  const sidecar = await startSidecar({
    source,
    decisions,
    ring,
    metrics,
    log,
    clock,
    random: Math.random,
    randomHex: createRandomHex(randomFillSync),
  })

  async function applied(change: () => void): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    const unsubscribe = source.subscribe(() => resolve())
    change()
    await promise
    unsubscribe()
  }

  return {
    dir,
    mesh,
    sidecar,
    source,
    metrics,
    ring,
    port: sidecar.inbound[0]?.port ?? 0,
    outboundPort: sidecar.outbound[0]?.port ?? 0,
    async records() {
      await decisions.flush()
      return lines
    },
    async record(match) {
      const found = lines.find(match)
      if (found !== undefined) return found
      const { promise, resolve } = Promise.withResolvers<JsonRecord>()
      waiting.push({ match, resolve })
      return promise
    },
    write,
    setPolicy: (text) => applied(() => write('policy.yaml', text)),
    async [Symbol.asyncDispose]() {
      sidecar.close()
      source.close()
      metrics.close()
      await decisions.close()
      folder[Symbol.dispose]()
    },
  }
}
