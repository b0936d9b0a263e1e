/** `postern sidecar` as a process of its own, with the flags it ships with: signals, standard streams and memory are real. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import process from 'node:process'
import { createInterface } from 'node:readline'
import { RUNTIME_FLAGS } from '../../scripts/build.ts'
import type { TestMesh } from './authority.ts'
import type { JsonRecord } from './sidecar.ts'
import { createSidecarFolder, type SidecarFiles } from './sidecar-folder.ts'
import { ask } from './small-client.ts'

const MAIN = join(import.meta.dirname, '..', '..', 'src', 'cli', 'main.ts')

const live = new Set<ChildProcess>()
process.once('exit', () => {
  for (const child of live) child.kill('SIGKILL')
})
// The runner's way to end a file that takes too long: what was started must not outlive it.
process.once('SIGTERM', () => process.exit(143))

export interface SidecarProcess extends AsyncDisposable {
  readonly dir: string
  readonly mesh: TestMesh
  readonly child: ChildProcess
  /** Of its inbound listeners, in order. */
  readonly ports: readonly number[]
  /** Of the first. */
  readonly port: number
  /** Of its outbound listeners, in order. */
  readonly outboundPorts: readonly number[]
  /** Status, or the signal that ended it. */
  readonly exited: Promise<number | NodeJS.Signals>
  /** Lines of stdout so far; none where stdout is not ours. */
  readonly records: readonly JsonRecord[]
  /** Resolves with the first record that `match` takes, past or coming. */
  readonly record: (match: (record: JsonRecord) => boolean) => Promise<JsonRecord>
  /** The same for lines of the operational log. */
  readonly logged: (match: (line: JsonRecord) => boolean) => Promise<JsonRecord>
  readonly write: (name: string, text: string) => void
  /** The sum of all samples of a metric whose labels contain `labels`. */
  metric(name: string, labels?: string): Promise<number>
  /** Resident memory, in bytes. */
  residentBytes(): number
}

export interface ProcessSetup extends SidecarFiles {
  /** A descriptor to take the place of a pipe that is read. */
  readonly stdout?: number
}

/** Resolves when it is ready. Health and admin are on Unix sockets in its folder, `health.sock` and `admin.sock`. */
export async function startSidecarProcess(setup: ProcessSetup = {}): Promise<SidecarProcess> {
  const folder = await createSidecarFolder({ health: 'unix:health.sock', admin: 'unix:admin.sock', ...setup })
  const child = spawn(process.execPath, [...RUNTIME_FLAGS, MAIN, 'sidecar', '--config', folder.file], {
    cwd: folder.dir,
    stdio: ['ignore', setup.stdout ?? 'pipe', 'pipe'],
  })
  live.add(child)
  const exited = once(child, 'exit').then(([code, signal]) => {
    live.delete(child)
    return (code ?? signal) as number | NodeJS.Signals
  })
  const log = collect(child.stderr)
  const records = collect(child.stdout)
  const ready = log.first((line) => line['msg'] === 'ready')
  const status = await Promise.race([ready, exited])
  if (typeof status !== 'object') {
    folder[Symbol.dispose]()
    throw new Error(`The sidecar ended with ${status}: ${log.other.join('\n')}`)
  }
  const ports = log.lines.filter((line) => line['msg'] === 'takes callers').map((line) => Number(line['port']))
  return {
    dir: folder.dir,
    mesh: folder.mesh,
    child,
    ports,
    port: ports[0] ?? 0,
    outboundPorts: log.lines.filter((line) => line['msg'] === 'takes calls of the app').map((line) => Number(line['port'])),
    exited,
    records: records.lines,
    record: records.first,
    logged: log.first,
    write: folder.write,
    async metric(name, labels = '') {
      const { text } = await ask(join(folder.dir, 'health.sock'), '/metrics')
      const samples = text
        .split('\n')
        .filter((line) => line.startsWith(name) && /^[{ ]/.test(line.slice(name.length)) && line.includes(labels))
      return samples.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0)
    },
    residentBytes: () => 1024 * Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${child.pid}/status`, 'latin1'))?.[1] ?? 0),
    async [Symbol.asyncDispose]() {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
      await exited
      folder[Symbol.dispose]()
    },
  }
}

interface Lines {
  readonly lines: readonly JsonRecord[]
  /** What is no JSON. */
  readonly other: readonly string[]
  readonly first: (match: (line: JsonRecord) => boolean) => Promise<JsonRecord>
}

function collect(stream: NodeJS.ReadableStream | null): Lines {
  const lines: JsonRecord[] = []
  const other: string[] = []
  const waiting = new Set<(line: JsonRecord) => void>()
  if (stream !== null) {
    createInterface({ input: stream }).on('line', (text) => {
      let line: JsonRecord
      try {
        line = JSON.parse(text) as JsonRecord
      } catch {
        other.push(text)
        return
      }
      lines.push(line)
      for (const look of waiting) look(line)
    })
  }
  return {
    lines,
    other,
    first(match) {
      const found = lines.find(match)
      if (found !== undefined) return Promise.resolve(found)
      return new Promise((resolve) => {
        const look = (line: JsonRecord): void => {
          if (!match(line)) return
          waiting.delete(look)
          resolve(line)
        }
        waiting.add(look)
      })
    },
  }
}
