/** From the start of the process until it says that it is ready. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Contender, Setup } from '../contenders/contender.ts'
import { median } from '../median.ts'

export interface ReadyResult {
  readonly name: string
  readonly milliseconds: number
  /** Of all threads, until then. */
  readonly cpuMilliseconds: number
}

export async function measureReady(contender: Contender, setup: Setup, starts: number): Promise<ReadyResult> {
  const times: number[] = []
  const cpu: number[] = []
  for (let index = 0; index < starts; index++) {
    const folder = join(setup.folder, `start-${index}`)
    mkdirSync(folder)
    await using running = await contender.start({ ...setup, folder })
    times.push(running.readyMs)
    cpu.push(running.cpuSeconds() * 1000)
  }
  return { name: contender.name, milliseconds: median(times), cpuMilliseconds: median(cpu) }
}
