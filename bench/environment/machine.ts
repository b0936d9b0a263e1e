/** The machine a run was made on. */
import { execFileSync } from 'node:child_process'
import { cpus, totalmem } from 'node:os'
import process from 'node:process'
import { setTimeout as delay } from 'node:timers/promises'
import { readFileSync } from 'node:fs'
import { CORES } from './cores.ts'
import { TICKS_PER_SECOND } from './processes.ts'

export function machine(): string {
  const all = cpus()
  const kernel = execFileSync('uname', ['-r'], { encoding: 'utf8' }).trim()
  return `${all.length} cores (${all[0]?.model.trim() ?? 'unknown'}), ${(totalmem() / 1e9).toFixed(0)} GB, Linux ${kernel}`
}

/** Seconds of all cores together, since the machine started. */
export interface MachineTime {
  readonly busy: number
  readonly all: number
}

export function machineTime(): MachineTime {
  const [, ...fields] = (readFileSync('/proc/stat', 'latin1').split('\n', 1)[0] ?? '').split(/\s+/)
  const times = fields.slice(0, 8).map((ticks) => Number(ticks) / TICKS_PER_SECOND)
  const all = times.reduce((sum, time) => sum + time, 0)
  return { busy: all - (times[3] ?? 0) - (times[4] ?? 0), all }
}

/** Share of the processors that is in use while the benchmark itself does nothing, 0 to 1. */
export async function busyShare(milliseconds: number): Promise<number> {
  const from = machineTime()
  await delay(milliseconds)
  const to = machineTime()
  return (to.busy - from.busy) / (to.all - from.all)
}

/** Puts this process, which opens connections and polls, on the core of the load. */
export function moveToLoadCore(): void {
  execFileSync('taskset', ['-acp', CORES.load, String(process.pid)], { stdio: 'ignore' })
}
