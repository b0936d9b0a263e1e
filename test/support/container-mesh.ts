/**
 * A mesh of containers: an authority, and for each service what a pod is, a sidecar and an app in one network namespace. The app listens on
 * loopback alone, so nobody reaches it but through its sidecar; it calls others at its sidecar's port.
 */
import { execFileSync } from 'node:child_process'
import {
  appendFileSync,
  chmodSync,
  chownSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { Network, type StartedTestContainer, Wait } from 'testcontainers'
import { caCommand } from '#cli/ca'
import { RestrictedContainer } from './restricted-container.ts'
import { runInProcess } from './run-command.ts'

const ROOT = join(import.meta.dirname, '../..')
const TRUST_DOMAIN = 'example.org'
const IN_CONTAINER = '/etc/postern'

export interface ContainerService {
  readonly name: string
  /** Whom it calls, by the name of the service. */
  readonly calls: string
  /** Rules of its policy, YAML. */
  readonly rules: string
}

export interface ContainerPod {
  readonly app: StartedTestContainer
  readonly sidecar: StartedTestContainer
  /** What the app gets at the address: status and body, or what went wrong. */
  get(url: string): Promise<string>
  /** Records of the sidecar's decisions. */
  records(): readonly Readonly<Record<string, unknown>>[]
}

export interface ContainerMesh extends AsyncDisposable {
  readonly pods: ReadonlyMap<string, ContainerPod>
}

export async function startContainerMesh(services: readonly ContainerService[]): Promise<ContainerMesh> {
  await using stack = new AsyncDisposableStack()
  const folder = mkdtempSync(join(tmpdir(), 'postern-containers-'))
  stack.defer(() => rmSync(folder, { recursive: true, force: true }))
  chmodSync(folder, 0o755)
  // A wait that fails ends by its time, not by an event loop with nothing to do.
  const awake = setInterval(() => {}, 1000)
  stack.defer(() => clearInterval(awake))
  const network = await new Network().start()
  stack.defer(() => network.stop().then(() => undefined))
  // One that did not come up is nobody's to stop, and would hold the network.
  stack.defer(() => removeContainers(network.getName()))
  // Names by a file: Docker's own DNS needs packet filters, which not every engine may make.
  const hosts = join(folder, 'hosts')
  writeFileSync(hosts, '127.0.0.1 localhost\n', { mode: 0o644 })
  const named = (started: StartedTestContainer, name: string): void =>
    appendFileSync(hosts, `${started.getIpAddress(network.getName())} ${name}\n`)
  const mounted = (container: RestrictedContainer, own: string): RestrictedContainer =>
    container.withUser(`${USER.uid}:${USER.gid}`).withBindMounts([
      { source: own, target: IN_CONTAINER, mode: 'rw' },
      { source: hosts, target: '/etc/hosts', mode: 'ro' },
    ])
  const keep = async (container: RestrictedContainer): Promise<Kept> => {
    let said = ''
    container.withLogConsumer((stream) => stream.on('data', (chunk: Buffer) => (said += chunk.toString())))
    const started = await container.start().catch((error: unknown) => {
      throw new Error(`${String(error)}\n${said}`, { cause: error })
    })
    stack.defer(() => started.stop().then(() => undefined))
    return { started, said: () => said }
  }

  const config = join(folder, 'ca', 'ca.yaml')
  await ca(folder, 'init', 'ca', '--trust-domain', TRUST_DOMAIN, '--listen', '0.0.0.0:7100', '--health', '0.0.0.0:7120')
  const tokens = new Map<string, string>()
  for (const { name } of services) tokens.set(name, await ca(folder, 'token', '--config', config, '--id', idOf(name)))
  giveAway(join(folder, 'ca'))
  const authority = mounted(new RestrictedContainer(['ca', 'run', '--config', `${IN_CONTAINER}/ca.yaml`], READY), join(folder, 'ca'))
  named((await keep(authority.withNetworkMode(network.getName()))).started, 'postern-ca')

  const pods = new Map<string, ContainerPod>()
  for (const service of services) {
    const own = join(folder, service.name)
    writePod(own, service, tokens.get(service.name) ?? '', readFileSync(join(folder, 'ca/keys/bundle.pem'), 'utf8'))
    const container = mounted(new RestrictedContainer(['sidecar', '--config', `${IN_CONTAINER}/sidecar.yaml`], READY), own)
    const { started: sidecar, said } = await keep(container.withNetworkMode(network.getName()))
    named(sidecar, service.name)
    const app = mounted(new RestrictedContainer([`${IN_CONTAINER}/app.js`], Wait.forListeningPorts()), own)
      .withEntrypoint(['node'])
      .withEnvironment({ HOST: '127.0.0.1' })
      // What makes a pod of the two.
      .withNetworkMode(`container:${sidecar.getId()}`)
    const { started: running } = await keep(app)
    const get = async (url: string): Promise<string> => {
      const { output } = await running.exec(['node', `${IN_CONTAINER}/app.js`, 'get', url])
      return output.trim()
    }
    // The app says nothing when it listens, and there is no shell to ask with.
    while (!(await get('http://127.0.0.1:8080/healthz')).startsWith('200 '));
    pods.set(service.name, { app: running, sidecar, records: () => recordsIn(said()), get })
  }
  const kept = stack.move()
  return { pods, [Symbol.asyncDispose]: () => kept.disposeAsync() }
}

function removeContainers(network: string): void {
  const docker = (...args: string[]): string => execFileSync('docker', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
  const left = docker('ps', '--all', '--quiet', '--filter', `network=${network}`)
    .split('\n')
    .filter((id) => id !== '')
  if (left.length > 0) docker('rm', '--force', ...left)
}

interface Kept {
  readonly started: StartedTestContainer
  readonly said: () => string
}

/** Whole lines of decisions. */
function recordsIn(text: string): Readonly<Record<string, unknown>>[] {
  return text
    .split('\n')
    .slice(0, -1)
    .filter((line) => line.includes('"decision":'))
    .map((line) => JSON.parse(line) as Record<string, unknown>)
}

const READY = Wait.forLogMessage(/"msg":"ready"/)

export function idOf(service: string): string {
  return `spiffe://${TRUST_DOMAIN}/ns/shop/sa/${service}`
}

async function ca(folder: string, ...args: readonly string[]): Promise<string> {
  const { status, stdout, stderr } = await runInProcess(caCommand, args, { cwd: folder })
  if (status !== 0) throw new Error(stderr)
  return stdout.trim()
}

function writePod(folder: string, { name, calls, rules }: ContainerService, token: string, bundle: string): void {
  mkdirSync(join(folder, 'policies'), { recursive: true })
  writeFileSync(join(folder, 'token'), token)
  writeFileSync(join(folder, 'bundle.pem'), bundle)
  cpSync(join(ROOT, 'test/cluster/app.js'), join(folder, 'app.js'))
  writeFileSync(
    join(folder, 'policies/own.yaml'),
    `apiVersion: postern.dev/v1\nkind: Policy\nmetadata: { name: own, namespace: shop }\nspec:\n  rules:\n${rules}`,
  )
  writeFileSync(
    join(folder, 'sidecar.yaml'),
    `apiVersion: postern.dev/v1
kind: Sidecar
metadata: { name: ${name}, namespace: shop }
spec:
  identity:
    ca: { address: "postern-ca:7100", bundle: bundle.pem, attest: { joinToken: { file: token } } }
  inbound:
    - { listen: "0.0.0.0:7443", app: "127.0.0.1:8080" }
  outbound:
    - { listen: "127.0.0.1:7001", to: "${calls}:7443", peer: "${idOf(calls)}" }
  policies: [policies/]
  admin: "unix:admin.sock"
  health: "127.0.0.1:7020"
`,
  )
  giveAway(folder)
}

/** The image's user, who owns what it is given; where only root may give files away, ours. */
const USER = process.getuid?.() === 0 ? { uid: 65_532, gid: 65_532 } : { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 }

function giveAway(path: string): void {
  if (process.getuid?.() !== 0) return
  chownSync(path, USER.uid, USER.gid)
  if (!statSync(path).isDirectory()) return
  for (const name of readdirSync(path)) giveAway(join(path, name))
}
