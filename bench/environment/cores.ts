/** Where processes run: what is measured on one core, everything that drives it on the other; before everybody else's where that is allowed. */
import { availableParallelism } from 'node:os'
import process from 'node:process'

export const CORES = availableParallelism() > 1 ? ({ proxy: '1', load: '0' } as const) : ({ proxy: '0', load: '0' } as const)

/** Every core, for what is to be seen without a pin. */
export const ALL_CORES = `0-${availableParallelism() - 1}`

/** Only root may raise a priority. */
const PRIORITY = process.getuid?.() === 0 ? ['nice', '-n', '-20'] : []

/** The arguments that run `command` on a core: `spawn('taskset', onCore(…))`. taskset becomes the command, so the process id is the command's. */
export function onCore(core: string, command: string, args: readonly string[]): string[] {
  return ['-c', core, ...PRIORITY, command, ...args]
}
