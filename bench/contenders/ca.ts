/** The certificate authority as it ships: the bundle with its production flags, a durable SQLite store, records to a file. */
import { execFileSync } from 'node:child_process'
import { openSync, readFileSync, writeFileSync } from 'node:fs'
import { get } from 'node:http'
import { join } from 'node:path'
import process from 'node:process'
import { CORES } from '../environment/cores.ts'
import { freePort, waitUntil } from '../environment/ports.ts'
import { end, start } from '../environment/processes.ts'

export interface RunningServer extends AsyncDisposable {
  readonly port: number
  readonly pid: number
}

export interface RunningAuthority extends RunningServer {
  readonly readyMs: number
}

export interface AuthorityFolder {
  readonly config: string
  readonly database: string
  /** PEM of the root. */
  readonly bundlePem: string
  start(): Promise<RunningAuthority>
}

export const AUTHORITY_DOMAIN = 'bench.example'

/** They stand in the first line of the program. */
export function productionFlags(text: string): string[] {
  const [first = ''] = text.split('\n', 1)
  return first.split(' ').filter((word) => word.startsWith('--'))
}

function command(program: string, ...args: string[]): string[] {
  return [...productionFlags(readFileSync(program, 'utf8')), program, ...args]
}

/** Makes an authority whose limits per caller do not limit: what is measured is what it can do. */
export async function makeAuthorityFolder(program: string, folder: string): Promise<AuthorityFolder> {
  const [port, health] = [await freePort(), await freePort()]
  const dir = join(folder, 'ca')
  const options = ['--trust-domain', AUTHORITY_DOMAIN, '--listen', `127.0.0.1:${port}`, '--health', `127.0.0.1:${health}`]
  execFileSync(process.execPath, command(program, 'ca', 'init', dir, ...options), { stdio: 'ignore' })
  const config = join(dir, 'ca.yaml')
  writeFileSync(config, `${readFileSync(config, 'utf8')}  limits: { issuancesPerMinute: 1000000, burst: 1000000 }\n`)
  return {
    config,
    database: join(dir, 'ca.db'),
    bundlePem: readFileSync(join(dir, 'keys/bundle.pem'), 'utf8'),
    async start() {
      const log = openSync(join(folder, 'ca.log'), 'a')
      const begun = performance.now()
      const child = start(process.execPath, command(program, 'ca', 'run', '--config', config), {
        core: CORES.proxy,
        stdio: ['ignore', openSync(join(folder, 'ca.records'), 'a'), log],
      })
      await waitUntil(() => isReady(health), child, 'postern ca')
      return { port, pid: child.pid ?? 0, readyMs: performance.now() - begun, [Symbol.asyncDispose]: () => end(child) }
    },
  }
}

function isReady(port: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>()
  get({ host: '127.0.0.1', port, path: '/readyz', agent: false }, (response) => {
    response.resume()
    resolve(response.statusCode === 200)
  }).on('error', () => resolve(false))
  return promise
}
