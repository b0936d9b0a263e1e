/** Figures of single functions, from the programs in `bench/micro/`. */
import { execFileSync } from 'node:child_process'
import { globSync } from 'node:fs'
import { join } from 'node:path'
import process from 'node:process'
import { RUNTIME_FLAGS } from '../../scripts/build.ts'
import { CORES, onCore } from '../environment/cores.ts'

export interface MicroResult {
  /** File without `.ts`. */
  readonly program: string
  readonly name: string
  readonly nanoseconds: number
}

const FOLDER = join(import.meta.dirname, '../micro')

/** Runs the programs whose names are given, all of them without any, with the flags of the program as it ships. */
export function measureMicro(programs: readonly string[] = []): MicroResult[] {
  const files = globSync('*.ts', { cwd: FOLDER })
    .toSorted()
    .filter((file) => programs.length === 0 || programs.includes(file.replace(/\.ts$/, '')))
  return files.flatMap((file) => {
    const output = execFileSync('taskset', onCore(CORES.proxy, process.execPath, [...RUNTIME_FLAGS, join(FOLDER, file)]), {
      encoding: 'utf8',
    })
    return parseMicro(file.replace(/\.ts$/, ''), output)
  })
}

/** Understands `<ns> ns  <name>` and `<name>: <µs> µs a decision …`. */
export function parseMicro(program: string, output: string): MicroResult[] {
  return output.split('\n').flatMap((line) => {
    const [, nanoseconds, what] = /^\s*([\d.]+) ns\s+(.+)$/.exec(line) ?? []
    if (nanoseconds !== undefined && what !== undefined) return [{ program, name: what.trim(), nanoseconds: Number(nanoseconds) }]
    const [, name, micros] = /^(.+?): ([\d.]+) µs a \w+/.exec(line) ?? []
    return name === undefined ? [] : [{ program, name, nanoseconds: Number(micros) * 1000 }]
  })
}
