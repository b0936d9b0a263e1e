/** CPU per request or per handshake: contenders take turns, round after round, so that what disturbs the machine disturbs them all. */
import process from 'node:process'
import { setTimeout as delay } from 'node:timers/promises'
import type { Running } from '../contenders/contender.ts'
import { busyShare, type MachineTime, machineTime } from '../environment/machine.ts'
import { cpuSeconds, tree } from '../environment/processes.ts'
import type { Upstream } from '../environment/upstream.ts'
import type { Load } from '../load/wrk.ts'
import { median } from '../median.ts'

export interface CpuOptions {
  readonly load: Load
  readonly upstream: Upstream
  readonly rounds: number
  /** Of one turn; whole. */
  readonly seconds: number
  /** Share of what contenders ask for to warm up, 0 to 1. */
  readonly warmUp: number
  readonly connections: number
  readonly closeEach: boolean
  /** How long to wait, all in all, for others to leave the machine alone, and to repeat turns they disturbed; seconds. */
  readonly patience: number
}

export interface CpuResult {
  readonly name: string
  /** Of the proxy's processes, µs a request: median over the turns that count. */
  readonly micros: number
  readonly lowest: number
  readonly highest: number
  /** Requests a second, median. */
  readonly rate: number
}

export interface Turn {
  readonly micros: number
  readonly rate: number
  /** What processes that are not the benchmark's took of the processors meanwhile, 0 to 1. */
  readonly foreign: number
}

/** The load's beginning and end, with its handshakes, are outside of what is counted. */
const HEAD_SECONDS = 0.4
const TAIL_SECONDS = 0.2

interface Reading {
  readonly cpu: number
  readonly requests: number
  readonly at: number
  readonly machine: MachineTime
  readonly bench: number
}

async function read(contender: Running, upstream: Upstream): Promise<Reading> {
  return {
    cpu: contender.cpuSeconds(),
    requests: await upstream.requests(),
    at: performance.now(),
    machine: machineTime(),
    bench: cpuSeconds(tree(process.pid)),
  }
}

async function turn(contender: Running, { load, upstream, seconds, connections, closeEach }: CpuOptions): Promise<Turn> {
  const loading = load({ port: contender.port, seconds, connections, closeEach })
  const counted = (async () => {
    await delay(HEAD_SECONDS * 1000)
    const from = await read(contender, upstream)
    await delay((seconds - HEAD_SECONDS - TAIL_SECONDS) * 1000)
    const to = await read(contender, upstream)
    const requests = to.requests - from.requests
    const foreign = to.machine.busy - from.machine.busy - (to.bench - from.bench)
    return {
      micros: ((to.cpu - from.cpu) / requests) * 1e6,
      rate: requests / ((to.at - from.at) / 1000),
      foreign: Math.max(0, foreign / (to.machine.all - from.machine.all)),
    }
  })()
  const [{ failures }, result] = await Promise.all([loading, counted])
  if (failures > 0) throw new Error(`${contender.name}: ${failures} requests failed; nothing comparable was measured.`)
  return result
}

/** Above this share of the machine others disturb what is measured. */
const QUIET = 0.08

/** Waits for a quiet moment while there is time, and takes another turn where it did not last. */
function createPatientTurn(options: CpuOptions): (contender: Running) => Promise<Turn> {
  let left = options.patience * 1000
  return async (contender) => {
    for (;;) {
      const begun = performance.now()
      while (left > performance.now() - begun && (await busyShare(250)) > QUIET);
      const waited = performance.now() - begun
      const result = await turn(contender, options)
      left -= waited
      if (result.foreign <= QUIET || left <= 0) return result
      left -= performance.now() - begun - waited
    }
  }
}

/** The half of the turns in which others did least: what they do to caches and to the core shared by two threads is not the contender's. */
export function quieterHalf(turns: readonly Turn[]): Turn[] {
  return turns.toSorted((a, b) => a.foreign - b.foreign).slice(0, Math.ceil(turns.length / 2))
}

/** Each is warmed up before the first round. */
export async function measureCpu(contenders: readonly Running[], options: CpuOptions): Promise<CpuResult[]> {
  const all = contenders.map((contender) => ({ contender, turns: [] as Turn[] }))
  const take = createPatientTurn(options)
  const seconds = (contender: Running): number => Math.ceil(contender.warmUpSeconds * options.warmUp)
  for (const { contender } of all) await turn(contender, { ...options, seconds: seconds(contender) })
  for (let round = 0; round < options.rounds; round++) {
    for (const { contender, turns } of all) {
      turns.push(await take(contender))
    }
  }
  return all.map(({ contender, turns }) => {
    const counted = quieterHalf(turns)
    const micros = counted.map((turn) => turn.micros)
    return {
      name: contender.name,
      micros: median(micros),
      lowest: Math.min(...micros),
      highest: Math.max(...micros),
      rate: median(counted.map(({ rate }) => rate)),
    }
  })
}
