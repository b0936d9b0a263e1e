/** SPIFFE clients of others, where `npm run spiffe-clients` put them; and a run of one, as its lines of JSON. */
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, globSync } from 'node:fs'
import { join } from 'node:path'
import process from 'node:process'
import { createInterface } from 'node:readline'

const ROOT = join(import.meta.dirname, '../..')
const CACHE = join(ROOT, '.cache')

export const PY_SPIFFE = { folder: join(CACHE, 'py-spiffe'), python: join(CACHE, 'py-spiffe/bin/python') } as const
export const GO_SPIFFE = join(CACHE, 'go-spiffe-client')
export const ENVOY = join(CACHE, 'envoy/envoy/_bin/envoy')

const HOW = 'is not there; `npm run spiffe-clients` fetches it'

/** Why there are none; false if there are. As `skip` of a test takes it. */
export const absent = {
  pySpiffe: isPySpiffeThere() ? false : `py-spiffe ${HOW}`,
  goSpiffe: existsSync(GO_SPIFFE) ? false : `go-spiffe ${HOW}`,
  envoy: existsSync(ENVOY) ? false : `Envoy ${HOW}`,
} as const

export function isPySpiffeThere(): boolean {
  return globSync(join(PY_SPIFFE.folder, 'lib/python*/site-packages/spiffe/__init__.py')).length > 0
}

export type ClientEvent = Readonly<Record<string, unknown>> & { readonly event: string }

export interface RunningClient extends AsyncDisposable {
  /** The first event, past or coming, that `match` takes. @throws if the client ends before, with what it said */
  event(match: (event: ClientEvent) => boolean): Promise<ClientEvent>
}

/** @param command with its arguments @param socket of the Workload API */
export function runClient([command = '', ...args]: readonly string[], socket: string): RunningClient {
  const child: ChildProcess = spawn(command, args, {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, SPIFFE_ENDPOINT_SOCKET: `unix://${socket}` },
  })
  const events: ClientEvent[] = []
  const waiting = new Set<() => void>()
  let errors = ''
  let ended = false
  const wake = (): void => waiting.forEach((look) => look())
  child.stderr?.on('data', (bytes: Buffer) => (errors += bytes.toString()))
  createInterface({ input: child.stdout! }).on('line', (line) => {
    events.push(JSON.parse(line) as ClientEvent)
    wake()
  })
  const closed = new Promise<void>((resolve) =>
    child.once('close', () => {
      ended = true
      wake()
      resolve()
    }),
  )
  return {
    event(match) {
      const { promise, resolve, reject } = Promise.withResolvers<ClientEvent>()
      const look = (): void => {
        const found = events.find(match)
        if (found !== undefined) resolve(found)
        else if (ended) reject(new Error(`The client ended. It said: ${errors}${JSON.stringify(events)}`))
        else return
        waiting.delete(look)
      }
      waiting.add(look)
      look()
      return promise
    },
    async [Symbol.asyncDispose]() {
      child.stdin?.end()
      const kill = setTimeout(() => child.kill('SIGKILL'), 5_000)
      await closed
      clearTimeout(kill)
    },
  }
}
