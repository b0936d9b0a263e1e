/** Reloads of 10,000 rules and of the SVID under load: requests that failed, and the longest time the event loop was held up. */
import { once } from 'node:events'
import type { ChildProcess } from 'node:child_process'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { postern, type RunningPostern, writePolicies } from '../contenders/postern.ts'
import type { Certificates } from '../environment/certificates.ts'
import type { Load } from '../load/wrk.ts'

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
  /** Longest block of the event loop, ms: with load alone, while policies were reloaded, while the SVID was. */
  readonly quiet: number
  readonly policies: number
  readonly svid: number
  /** From the change of the files until they were in force. */
  readonly policiesInForceMs: number
}

const LOAD_SECONDS = 16
/** Keeps the core busy without filling it, as production does. */
const CONNECTIONS = 4

export async function measureReload(options: ReloadOptions): Promise<ReloadResult> {
  const { program, rules, folder, upstreamPort, certificates, load } = options
  const contender = postern({ program, rules, preload: join(import.meta.dirname, 'loop-monitor.ts') })
  await using running = await contender.start({ folder, certificates, upstreamPort })
  await load({ port: running.port, seconds: 2, connections: CONNECTIONS })

  const loading = load({ port: running.port, seconds: LOAD_SECONDS, connections: CONNECTIONS })
  const begun = performance.now()
  await delay(500)
  const quiet = await longestBlock(running.child, () => delay(1000))
  const policyChange = performance.now()
  const policies = await longestBlock(running.child, () => reloaded(running, () => writePolicies(running.policies, rules, 1)))
  const policiesInForceMs = performance.now() - policyChange
  const svid = await longestBlock(running.child, () => reloaded(running, () => certificates.renewServer()))
  if (performance.now() - begun > LOAD_SECONDS * 1000) throw new Error('The reloads took longer than the load; nothing was measured.')
  const { requests, failures } = await loading
  return { requests, failures, quiet, policies, svid, policiesInForceMs }
}

async function longestBlock(child: ChildProcess, during: () => Promise<void>): Promise<number> {
  child.send('reset')
  await during()
  const answer = once(child, 'message')
  child.send('report')
  const [{ longestMs }] = (await answer) as [{ longestMs: number }]
  return longestMs
}

/** Makes a change and waits until the sidecar's metrics say that it is in force. */
async function reloaded(running: RunningPostern, change: () => void | Promise<void>): Promise<void> {
  const before = await lastReload(running.healthPort)
  // The metric counts in seconds: two reloads within one would look like one.
  await delay(1100)
  await change()
  while ((await lastReload(running.healthPort)) === before) {
    if (running.child.exitCode !== null) throw new Error('The sidecar ended during a reload.')
    await delay(50)
  }
  // What was replaced is collected after the swap.
  await delay(1000)
}

async function lastReload(healthPort: number): Promise<string> {
  const metrics = await (await fetch(`http://127.0.0.1:${healthPort}/metrics`)).text()
  const value = /^postern_config_last_reload_success_timestamp_seconds(?:\{[^}]*\})? (\S+)$/m.exec(metrics)?.[1]
  if (value === undefined) throw new Error('/metrics lacks postern_config_last_reload_success_timestamp_seconds.')
  if (/^postern_config_last_reload_successful(?:\{[^}]*\})? 0$/m.test(metrics)) throw new Error('The sidecar refused the reload.')
  return value
}
