/** A Docker engine for tests: the one that answers, or one started for them alone with everything in a temp folder. */
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { setTimeout as delay } from 'node:timers/promises'

export interface DockerEngine extends AsyncDisposable {
  /** For `DOCKER_HOST`; undefined where the default one answers. */
  readonly host: string | undefined
}

function answers(host?: string): boolean {
  const env = host === undefined ? process.env : { ...process.env, DOCKER_HOST: host }
  return spawnSync('docker', ['version', '--format', '{{.Server.Version}}'], { env, stdio: 'ignore', timeout: 10_000 }).status === 0
}

function isThere(command: string): boolean {
  return spawnSync('sh', ['-c', `command -v ${command}`], { stdio: 'ignore' }).status === 0
}

export interface EngineOptions {
  /** Whether one that is started here has a network of its own, where its containers reach each other whatever this machine filters, and `host` is not this machine. */
  readonly ownNetwork?: boolean
}

/** An engine, or why there is none. */
export async function openDockerEngine({ ownNetwork = false }: EngineOptions = {}): Promise<DockerEngine | string> {
  if (!isThere('docker')) return 'there is no docker command'
  if (answers()) return { host: undefined, [Symbol.asyncDispose]: async () => {} }
  if (!isThere('dockerd')) return 'no Docker engine answers and there is no dockerd to start'
  if (process.getuid?.() !== 0) return 'no Docker engine answers and only root may start one'
  return startEngine(ownNetwork)
}

/** The machine's bridges and packet filters stay untouched: containers have its network, or networks within one that goes with the engine. */
async function startEngine(ownNetwork: boolean): Promise<DockerEngine | string> {
  const folder = mkdtempSync(join(tmpdir(), 'postern-docker-'))
  const host = `unix://${folder}/docker.sock`
  const places = ['--data-root', `${folder}/data`, '--exec-root', `${folder}/exec`, '--pidfile', `${folder}/pid`, '--host', host]
  const engine = ['dockerd', ...places, '--bridge=none', '--iptables=false', '--ip6tables=false', '--log-level=error']
  const [command = '', ...args] = ownNetwork ? ['unshare', '--net', 'sh', '-c', 'ip link set lo up && exec "$@"', 'sh', ...engine] : engine
  const daemon = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'] })
  let log = ''
  daemon.stderr.on('data', (chunk: Buffer) => (log += chunk.toString()))
  const closed = once(daemon, 'close')
  const end = async (): Promise<void> => {
    if (daemon.exitCode === null) {
      daemon.kill('SIGTERM')
      await closed
    }
    unmountBelow(folder)
    rmSync(folder, { recursive: true, force: true })
  }
  for (let attempt = 0; attempt < 150; attempt++) {
    if (answers(host)) return { host, [Symbol.asyncDispose]: end }
    if (daemon.exitCode !== null) break
    await delay(200)
  }
  await end()
  return `a Docker engine could not be started: ${log.trim().split('\n').at(-1) ?? 'it says nothing'}`
}

/** What an engine leaves mounted when it ends. */
function unmountBelow(folder: string): void {
  const mounts = execFileSync('cat', ['/proc/self/mounts'], { encoding: 'utf8' })
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '')
    .filter((place) => place.startsWith(`${folder}/`))
  for (const place of mounts.toSorted((a, b) => b.length - a.length)) spawnSync('umount', [place])
}
