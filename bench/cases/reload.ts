/** Reloads of 10,000 rules and of the SVID under load: requests that failed, and the longest turn of the event loop. */
import { once } from 'node:events'
import type { ChildProcess } from 'node:child_process'
import { get, type IncomingMessage } from 'node:http'
import { join } from 'node:path'
import { json } from 'node:stream/consumers'
import { setTimeout as delay } from 'node:timers/promises'
import { postern, type RunningPostern, writePolicies } from '../contenders/postern.ts'
import type { Certificates } from '../environment/certificates.ts'
import type { Load } from '../load/wrk.ts'
import type { LoopReport } from './loop-monitor.ts'

export interface ReloadOptions {
  readonly program: string
  readonly rules: number
  readonly folder: string
  readonly upstreamPort: number
  readonly certificates: Certificates
  readonly load: Load
}

export interface ReloadResult {
  readonly requests: number
  readonly failures: number
  /** Longest turn of the event loop: with load alone, while policies were reloaded, while the SVID was. */
  readonly quiet: LoopReport
  readonly policies: LoopReport
  readonly svid: LoopReport
  /** From the change of the files until they were in force. */
  readonly policiesInForceMs: number
}

/** At most; it ends with the reloads. */
const LOAD_SECONDS = 60
/** Keeps the core busy without filling it, as production does. */
const CONNECTIONS = 4

export async function measureReload(options: ReloadOptions): Promise<ReloadResult> {
  const { program, rules, folder, upstreamPort, certificates, load } = options
  const contender = postern({ program, rules, preload: join(import.meta.dirname, 'loop-monitor.ts') })
  await using running = await contender.start({ folder, certificates, protocol: 'http1', upstreamPort })
  await load({ port: running.port, seconds: 2, connections: CONNECTIONS })

  const done = new AbortController()
  const loading = load({ port: running.port, seconds: LOAD_SECONDS, connections: CONNECTIONS, signal: done.signal })
  const begun = performance.now()
  await delay(500)
  const quiet = await longestTurn(running.child, () => delay(1000))
  const policyChange = performance.now()
  const policies = await longestTurn(running.child, () => reloaded(running, 'policy', () => writePolicies(running.policies, rules, 1)))
  const policiesInForceMs = performance.now() - policyChange
  const svid = await longestTurn(running.child, () => reloaded(running, 'certificate', () => certificates.renewServer()))
  if (performance.now() - begun > LOAD_SECONDS * 1000) throw new Error('The reloads took longer than the load; nothing was measured.')
  done.abort()
  const { requests, failures } = await loading
  return { requests, failures, quiet, policies, svid, policiesInForceMs }
}

async function longestTurn(child: ChildProcess, during: () => Promise<void>): Promise<LoopReport> {
  child.send('reset')
  await during()
  const answer = once(child, 'message')
  child.send('report')
  const [report] = (await answer) as [LoopReport]
  return report
}

/** Makes a change and waits until the sidecar says that every file of it is in force. */
async function reloaded({ adminSocket, child }: RunningPostern, kind: string, change: () => void | Promise<void>): Promise<void> {
  const before = await inputsInForce(adminSocket, kind)
  await change()
  for (;;) {
    const now = await inputsInForce(adminSocket, kind)
    if ([...before].every(([input, digest]) => now.get(input) !== digest)) break
    if (child.exitCode !== null) throw new Error('The sidecar ended during a reload.')
    await delay(50)
  }
  // What was replaced is collected after the swap.
  await delay(1000)
}

interface RunningConfig {
  readonly inputs: readonly { readonly input: string; readonly kind: string; readonly digest?: string; readonly error?: string }[]
}

/** Digests by file. */
async function inputsInForce(socketPath: string, kind: string): Promise<Map<string, string | undefined>> {
  const [response] = (await once(get({ socketPath, path: '/v1/config', agent: false }), 'response')) as [IncomingMessage]
  const { inputs } = (await json(response)) as RunningConfig
  const refused = inputs.find(({ error }) => error !== undefined)
  if (refused !== undefined) throw new Error(`The sidecar refused ${refused.input}: ${refused.error}`)
  return new Map(inputs.filter((input) => input.kind === kind).map(({ input, digest }) => [input, digest]))
}
