/** Processes of a benchmark: started on a core, accounted by the kernel's own figures (proc(5)), ended with the benchmark. */
import { type ChildProcess, execFileSync, spawn, type StdioOptions } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import process from 'node:process'
import { onCore } from './cores.ts'

const live = new Set<ChildProcess>()
process.once('exit', () => {
  // Not SIGKILL: nginx's master would leave its worker behind.
  for (const child of live) child.kill('SIGTERM')
})
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130))

export interface SpawnOptions {
  readonly core: string
  readonly stdio?: StdioOptions
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
}

/** Starts a command on a core. @throws nothing: a command that is absent ends at once */
export function start(command: string, args: readonly string[], { core, stdio = 'ignore', env = {}, cwd }: SpawnOptions): ChildProcess {
  const child = spawn('taskset', onCore(core, command, args), {
    stdio,
    env: { ...process.env, ...env },
    ...(cwd === undefined ? {} : { cwd }),
  })
  live.add(child)
  child.once('close', () => live.delete(child))
  return child
}

/** SIGTERM, then SIGKILL for who has not gone after 5 s. */
export async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const closed = new Promise<void>((resolve) => child.once('close', () => resolve()))
  child.kill('SIGTERM')
  const last = setTimeout(() => child.kill('SIGKILL'), 5000)
  await closed
  clearTimeout(last)
}

interface Stat {
  readonly parent: number
  readonly ticks: number
}

function stat(pid: number | string): Stat | undefined {
  let text: string
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'latin1')
  } catch {
    return undefined
  }
  // The name, second, is in parentheses and may hold anything; fields are counted behind it.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  return { parent: Number(fields[1]), ticks: Number(fields[11]) + Number(fields[12]) }
}

/** The process and everything below it: nginx's workers are its children. */
export function tree(root: number): number[] {
  const parents = new Map<number, number>()
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const found = stat(name)
    if (found !== undefined) parents.set(Number(name), found.parent)
  }
  const pids = [root]
  for (const pid of pids) for (const [child, parent] of parents) if (parent === pid) pids.push(child)
  return pids
}

export const TICKS_PER_SECOND = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }))

/** User and system time of all threads of these processes, in seconds. */
export function cpuSeconds(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + (stat(pid)?.ticks ?? 0), 0) / TICKS_PER_SECOND
}

/** Resident memory of these processes, in MB (10^6 bytes). */
export function residentMegabytes(pids: readonly number[]): number {
  const kibibytes = pids.map((pid) => Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1] ?? 0))
  return kibibytes.reduce((sum, size) => sum + size, 0) * 1.024e-3
}
