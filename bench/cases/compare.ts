/** What cases share: who takes part, and CPU per request side by side. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Contender, Running, Setup } from '../contenders/contender.ts'
import { envoy } from '../contenders/envoy.ts'
import { haproxy } from '../contenders/haproxy.ts'
import { nginx } from '../contenders/nginx.ts'
import type { Certificates } from '../environment/certificates.ts'
import type { Protocol, Upstream } from '../environment/upstream.ts'
import type { Load } from '../load/wrk.ts'
import type { Detail } from '../report.ts'
import { type CpuResult, measureCpu } from './cpu.ts'

export interface Bench {
  /** Bundle of Postern. */
  readonly program: string
  readonly quick: boolean
  /** Scratch. */
  readonly folder: string
  readonly certificates: Certificates
  readonly upstream: Upstream
  /** The library preloaded into wrk. */
  readonly shim: string
  /** Undefined where it could not be had. */
  readonly envoy: string | undefined
}

export const FEW_RULES = 10
export const MANY_RULES = 10_000

let folders = 0
/** A folder of its own for every start. */
export function setup({ folder, certificates, upstream }: Bench, protocol: Protocol = 'http1'): Setup {
  const own = join(folder, `contender-${++folders}`)
  mkdirSync(own)
  return { folder: own, certificates, protocol, upstreamPort: upstream.port(protocol) }
}

export function peers(bench: Bench): Contender[] {
  return [nginx(), haproxy(), ...(bench.envoy === undefined ? [] : [envoy(bench.envoy)])]
}

export async function compareCpu(
  { quick, upstream }: Bench,
  running: readonly Running[],
  load: Load,
  { connections, closeEach = false }: { readonly connections: number; readonly closeEach?: boolean },
): Promise<CpuResult[]> {
  return measureCpu(running, {
    load,
    upstream,
    rounds: quick ? 1 : 9,
    seconds: quick ? 1 : 3,
    warmUp: quick ? 0.5 : 1,
    connections,
    closeEach,
    patience: quick ? 0 : 240,
  })
}

export function cpuDetail(title: string, unit: string, results: readonly CpuResult[]): Detail {
  return {
    title,
    columns: ['', `CPU µs a ${unit}, median`, 'lowest – highest', `${unit}s a second`],
    rows: results.map(({ name, micros, lowest, highest, rate }) => [
      name,
      micros.toFixed(1),
      `${lowest.toFixed(1)} – ${highest.toFixed(1)}`,
      rate.toFixed(0),
    ]),
  }
}

export function byName(results: readonly CpuResult[]): Map<string, number> {
  return new Map(results.map(({ name, micros }) => [name, micros]))
}
