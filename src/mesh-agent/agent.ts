/**
 * Keeps up with the controller: asks for the snapshot that differs from the one in force, writes it where the sidecar reads, and asks again.
 * While the controller is away the last one stays in force; before the first, the sidecar is not ready, and refuses for want of policies.
 *
 *   asking ──200──▶ written, in force ──▶ asking (with its digest: the acknowledgement)
 *      ▲──304 after the wait──┘
 *      └──backoff◀── no answer, no sense
 */
import { backoffDelay } from '#base/backoff'
import type { Clock } from '#base/clock'
import { PosternError } from '#base/errors'
import type { Log } from '#telemetry/log'
import { nextBundles } from './bundles.ts'
import { openGenerations, type ReceivedPolicy, writeGeneration } from './generation-folder.ts'
import { createServiceTable, type MeshService, readServices, type ServiceTable } from './service-table.ts'

/** What was asked and answered; `undefined`: nothing new. @throws whatever keeps it from an answer */
export type AskController = (asked: { readonly digest: string; readonly instance: string }, signal: AbortSignal) => Promise<unknown>

export interface MeshAgent {
  readonly services: ServiceTable
  /** Of the snapshot in force; `''` before the first. */
  readonly digest: string
  /** Why the controller cannot be followed at the moment; undefined while it can. */
  readonly fault: string | undefined
  close(): void
}

export interface MeshAgentOptions {
  readonly ask: AskController
  /** Where snapshots are kept (`generation-folder.ts`). */
  readonly folder: string
  /** Tells this sidecar from others of its identity. */
  readonly instance: string
  /** Puts what was written in force; resolves when it is. */
  readonly apply: () => Promise<void>
  readonly clock: Clock
  readonly random: () => number
  readonly log: Log
  readonly backoff?: { readonly first: number; readonly max: number }
}

interface Received {
  readonly digest: string
  readonly policies: readonly ReceivedPolicy[]
  readonly services: readonly MeshService[]
  readonly federation: Readonly<Record<string, unknown>>
}

/** Starts from what was kept, if it can be read. */
export async function startMeshAgent(options: MeshAgentOptions): Promise<MeshAgent> {
  const { ask, folder, instance, apply, clock, random, log, backoff = { first: 250, max: 15_000 } } = options
  const ending = new AbortController()
  const kept = await openGenerations(folder)
  let { digest } = kept
  let services = createServiceTable(kept.services)
  let { bundles } = kept
  let fault: string | undefined
  let attempt = 0

  async function run(): Promise<void> {
    while (!ending.signal.aborted) {
      const since = clock.monotonic()
      try {
        const answer = await ask({ digest, instance }, ending.signal)
        if (answer !== undefined) await take(readSnapshot(answer))
        if (fault !== undefined) log.info({}, 'the controller can be followed again')
        fault = undefined
        attempt = 0
        // One that answers at once that there is nothing new must not be asked in a circle.
        if (answer === undefined && clock.monotonic() - since < SHORT) await pause(SHORT, ending.signal)
      } catch (error) {
        if (ending.signal.aborted) return
        const words = error instanceof Error ? error.message : String(error)
        if (fault !== words) log.warn({ error: words }, 'the controller cannot be followed; what it said last stays in force')
        fault = words
        await pause(backoffDelay(attempt++, { ...backoff, random }), ending.signal)
      }
    }
  }

  async function take(received: Received): Promise<void> {
    const next = nextBundles(received.federation, bundles)
    if (next.faults.length > 0) log.warn({ errors: next.faults }, 'bundles that the controller gave are not taken; those before stay')
    await writeGeneration(folder, { ...received, bundles: next.bundles })
    ;({ bundles } = next)
    await apply()
    services = createServiceTable(received.services)
    ;({ digest } = received)
    log.info(
      { digest: digest.slice(0, 12), policies: received.policies.length, services: services.size, trust_domains: [...bundles.keys()] },
      'a snapshot of the controller is in force',
    )
  }

  void run()
  return {
    get services() {
      return services
    },
    get digest() {
      return digest
    },
    get fault() {
      return fault
    },
    close: () => ending.abort(),
  }
}

const SHORT = 1000

function readSnapshot(answer: unknown): Received {
  const { digest, policies, services, federation = {} } = answer as Readonly<Record<string, unknown>>
  const known = readServices(services)
  if (typeof digest !== 'string' || digest === '' || !Array.isArray(policies) || !policies.every(isPolicy) || known === undefined) {
    throw noSnapshot()
  }
  if (typeof federation !== 'object' || federation === null) throw noSnapshot()
  return { digest, policies, services: known, federation: federation as Readonly<Record<string, unknown>> }
}

function noSnapshot(): PosternError {
  return new PosternError('ERR_CONTROLLER_ANSWER', 'the controller answered with something that is no snapshot')
}

function isPolicy(value: unknown): value is ReceivedPolicy {
  if (typeof value !== 'object' || value === null) return false
  const { name, kind, text } = value as Readonly<Record<string, unknown>>
  return typeof name === 'string' && typeof kind === 'string' && typeof text === 'string'
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const timer = setTimeout(resolve, ms)
  signal.addEventListener('abort', () => {
    clearTimeout(timer)
    resolve()
  })
  return promise
}
