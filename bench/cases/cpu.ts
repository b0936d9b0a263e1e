/** CPU per request or per handshake: contenders take turns, round after round, so that what disturbs the machine disturbs them all. */
import { setTimeout as delay } from 'node:timers/promises'
import type { Running } from '../contenders/contender.ts'
import type { Upstream } from '../environment/upstream.ts'
import type { Load } from '../load/wrk.ts'
import { median } from '../median.ts'

export interface CpuOptions {
  readonly load: Load
  readonly upstream: Upstream
  readonly rounds: number
  /** Of one turn; whole. */
  readonly seconds: number
  readonly connections: number
  readonly closeEach: boolean
}

export interface CpuResult {
  readonly name: string
  /** Of the proxy's processes, µs a request: median over the rounds. */
  readonly micros: number
  readonly lowest: number
  readonly highest: number
  /** Requests a second, median. */
  readonly rate: number
}

/** The load's beginning and end, with its handshakes, are outside of what is counted. */
const HEAD_SECONDS = 0.4
const TAIL_SECONDS = 0.2

async function turn(
  contender: Running,
  { load, upstream, seconds, connections, closeEach }: CpuOptions,
): Promise<{ micros: number; rate: number }> {
  const loading = load({ port: contender.port, seconds, connections, closeEach })
  const counted = (async () => {
    await delay(HEAD_SECONDS * 1000)
    const from = { cpu: contender.cpuSeconds(), requests: await upstream.requests(), at: performance.now() }
    await delay((seconds - HEAD_SECONDS - TAIL_SECONDS) * 1000)
    const to = { cpu: contender.cpuSeconds(), requests: await upstream.requests(), at: performance.now() }
    const requests = to.requests - from.requests
    return { micros: ((to.cpu - from.cpu) / requests) * 1e6, rate: requests / ((to.at - from.at) / 1000) }
  })()
  const [{ failures }, result] = await Promise.all([loading, counted])
  if (failures > 0) throw new Error(`${contender.name}: ${failures} requests failed; nothing comparable was measured.`)
  return result
}

/** The first round warms up and is not counted. */
export async function measureCpu(contenders: readonly Running[], options: CpuOptions): Promise<CpuResult[]> {
  const turns = contenders.map((contender) => ({ contender, micros: [] as number[], rates: [] as number[] }))
  for (let round = 0; round <= options.rounds; round++) {
    for (const { contender, micros, rates } of turns) {
      const result = await turn(contender, options)
      if (round === 0) continue
      micros.push(result.micros)
      rates.push(result.rate)
    }
  }
  return turns.map(({ contender, micros, rates }) => ({
    name: contender.name,
    micros: median(micros),
    lowest: Math.min(...micros),
    highest: Math.max(...micros),
    rate: median(rates),
  }))
}
