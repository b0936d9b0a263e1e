/** `postern ca run` as a process of its own on a fresh authority, which can be killed and started again on the same port. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { createInterface } from 'node:readline'
import { makeJoinToken } from '#ca/attest/join-token'
import { openStore } from '#ca/store/open-store'
import { caCommand } from '#cli/ca'
import { parseSpiffeId } from '#identity/spiffe-id'
import { type CommandRun, runInProcess } from './run-command.ts'

const MAIN = join(import.meta.dirname, '..', '..', 'src', 'cli', 'main.ts')
const live = new Set<ChildProcess>()
process.once('exit', () => {
  for (const child of live) child.kill('SIGKILL')
})

export interface CaProcess extends AsyncDisposable {
  readonly dir: string
  readonly port: number
  /** Of its bundle endpoint (`https_spiffe`); 0 where it has none. */
  readonly bundlePort: number
  readonly bundlePem: string
  /** The file of `bundlePem`. */
  readonly bundleFile: string
  /** Join tokens for these paths of the trust domain, in their order. */
  tokens(paths: readonly string[]): Promise<readonly string[]>
  /** `postern ca ACTION --config … args`. */
  ca(...args: readonly string[]): Promise<CommandRun>
  /** YAML for `SidecarFiles.identity`: a token for the path is written into the folder of the authority. @param more further keys, with a leading comma */
  identityFor(path: string, more?: string): Promise<string>
  /** SIGKILL. */
  kill(): Promise<void>
  /** SIGSTOP: it stands still wherever it is. */
  suspend(): void
  /** SIGCONT. */
  resume(): void
  /** Of its store. */
  readonly database: string
  /** Resolves when it is ready. */
  start(): Promise<void>
}

export interface CaSetup {
  /** Life of certificates: `8h` unless said. */
  readonly x509?: string
  /** `300ms` unless said. */
  readonly poll?: string
  /** `example.org` unless said. */
  readonly trustDomain?: string
  /** Where it has a bundle endpoint; `any` for a free port. None unless said. */
  readonly bundlePort?: number | 'any'
  /** Where its folder is made; the system's folder for what is temporary unless said. */
  readonly in?: string
  /** Whether it has its health address, `health.sock` in its folder; off unless said. */
  readonly health?: boolean
}

export async function startCaProcess(setup: CaSetup = {}): Promise<CaProcess> {
  const { x509 = '8h', poll = '300ms', trustDomain = 'example.org' } = setup
  const dir = mkdtempSync(join(setup.in ?? tmpdir(), 'postern-authority-'))
  const config = join(dir, 'ca', 'ca.yaml')
  const port = await freePort()
  const bundlePort = setup.bundlePort === 'any' ? await freePort() : (setup.bundlePort ?? 0)
  const endpoint = bundlePort === 0 ? '' : `\n  bundleEndpoint: { listen: 127.0.0.1:${bundlePort}, profile: https_spiffe }`
  let child: ChildProcess | undefined

  async function ca(...args: readonly string[]): Promise<CommandRun> {
    const run = await runInProcess(caCommand, args, { cwd: dir })
    if (run.status === 2) throw new Error(run.stderr)
    return run
  }

  async function start(): Promise<void> {
    const started = spawn(process.execPath, [MAIN, 'ca', 'run', '--config', config], { cwd: dir, stdio: ['ignore', 'ignore', 'pipe'] })
    child = started
    live.add(started)
    started.once('exit', () => live.delete(started))
    const lines = createInterface({ input: started.stderr })
    const said: string[] = []
    const ready = new Promise<void>((resolve) => {
      lines.on('line', (line) => {
        said.push(line)
        if (line.includes('"msg":"ready"')) resolve()
      })
    })
    const ended = once(started, 'exit').then(() => {
      if (!said.some((line) => line.includes('"msg":"ready"'))) throw new Error(`The authority ended: ${said.join('\n')}`)
    })
    await Promise.race([ready, ended])
  }

  async function kill(): Promise<void> {
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const exited = once(child, 'exit')
    child.kill('SIGKILL')
    await exited
  }

  async function tokens(paths: readonly string[]): Promise<readonly string[]> {
    await using store = await openStore({ kind: 'sqlite', file: join(dir, 'ca', 'ca.db'), keep: 86_400_000 }, { role: 'tool' })
    const made = paths.map((path) => {
      const id = parseSpiffeId(`spiffe://${trustDomain}${path}`)
      if (!id.ok) throw new Error(path)
      return makeJoinToken(id.value, Date.now(), 600_000)
    })
    await Promise.all(made.map(({ record }) => store.createJoinToken(record)))
    return made.map(({ text }) => text)
  }

  await ca('init', 'ca', '--trust-domain', trustDomain, '--listen', `127.0.0.1:${port}`)
  const document = readFileSync(config, 'utf8')
    .replace(/svid: .*/, `svid: { x509: ${x509}, jwt: 5m, max: 24h }\n  poll: ${poll}\n  refreshHint: 1s${endpoint}`)
    .replace(/health: .*/, setup.health === true ? `health: 'unix:${join(dir, 'health.sock')}'` : 'health: off')
  writeFileSync(config, document)
  await start()

  return {
    dir,
    port,
    bundlePort,
    bundlePem: readFileSync(join(dir, 'ca', 'keys', 'bundle.pem'), 'utf8'),
    bundleFile: join(dir, 'ca', 'keys', 'bundle.pem'),
    tokens,
    ca,
    async identityFor(path, more = '') {
      const file = join(dir, `token${path.replaceAll('/', '-')}`)
      const [token = ''] = await tokens([path])
      writeFileSync(file, token)
      const bundle = join(dir, 'ca', 'keys', 'bundle.pem')
      return `{ ca: { address: "127.0.0.1:${port}", bundle: "${bundle}", attest: { joinToken: { file: "${file}" } }${more} } }`
    },
    kill,
    suspend: () => void child?.kill('SIGSTOP'),
    resume: () => void child?.kill('SIGCONT'),
    database: join(dir, 'ca', 'ca.db'),
    start,
    async [Symbol.asyncDispose]() {
      await kill()
      rmSync(dir, { recursive: true, force: true })
    },
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}
