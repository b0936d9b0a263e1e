/** Postern as it ships: the bundle with its production flags, policy enforced, a record for every decision, metrics on. */
import { spawn, type ChildProcess, execFileSync, type StdioOptions } from 'node:child_process'
import { closeSync, mkdirSync, openSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { get } from 'node:http'
import { join } from 'node:path'
import process from 'node:process'
import { CALLER_ID, TRUST_DOMAIN } from '../environment/certificates.ts'
import { ALL_CORES, CORES } from '../environment/cores.ts'
import { freePort, waitUntil } from '../environment/ports.ts'
import { start } from '../environment/processes.ts'
import { GRPC_SERVICE } from '../environment/upstream.ts'
import { type Contender, running, type Running, type Setup } from './contender.ts'

export interface PosternOptions {
  /** The bundle to run. */
  readonly program: string
  readonly rules: number
  /** A module that Node loads first. */
  readonly preload?: string
  /** Runs on whichever core is free, instead of on one. */
  readonly unpinned?: boolean
}

export interface RunningPostern extends Running {
  readonly adminSocket: string
  /** The folder of policies it watches. */
  readonly policies: string
}

export interface Postern extends Contender {
  start(setup: Setup): Promise<RunningPostern>
}

export function postern({ program, rules, preload, unpinned = false }: PosternOptions): Postern {
  const name = `Postern, ${rules.toLocaleString('en')} rules${unpinned ? ', on any core' : ''}`
  return {
    name,
    version: `${packageVersion()} on Node ${process.versions.node}`,
    async start({ folder, certificates, protocol, upstreamPort }) {
      const port = await freePort()
      const healthPort = await freePort()
      const policies = join(folder, 'policies')
      mkdirSync(policies)
      if (protocol === 'tcp') writeTcpPolicy(policies, rules)
      else writePolicies(policies, rules)
      if (protocol === 'http2') writeGrpcPolicy(policies)
      const document = join(folder, 'sidecar.yaml')
      writeFileSync(
        document,
        `apiVersion: postern.dev/v1
kind: Sidecar
metadata: { name: catalog, namespace: shop }
spec:
  identity:
    files: { certificate: ${certificates.server.certificate}, key: ${certificates.server.key}, bundle: ${certificates.bundle} }
  inbound:
    - { listen: "127.0.0.1:${port}", app: "127.0.0.1:${upstreamPort}", protocol: ${protocol} }
  policies: [policies/]
  admin: unix:admin.sock
  health: 127.0.0.1:${healthPort}
`,
      )
      const flags = [...productionFlags(program), ...(preload === undefined ? [] : ['--import', preload])]
      const records = openRecords(folder)
      const log = openSync(join(folder, 'log'), 'w')
      const stdio: StdioOptions = ['ignore', records.fd, log, ...(preload === undefined ? [] : (['ipc'] as const))]
      const begun = performance.now()
      const child = start(process.execPath, [...flags, program, 'sidecar', '--config', document], {
        core: unpinned ? ALL_CORES : CORES.proxy,
        stdio,
      })
      records.handOver(child)
      closeSync(log)
      await waitUntil(() => isReady(healthPort), child, name).catch((error: unknown) => {
        throw new Error(`${name} did not start:\n${readFileSync(join(folder, 'log'), 'utf8')}`, { cause: error })
      })
      return { ...running(name, port, child, begun, WARM_UP_SECONDS), adminSocket: join(folder, 'admin.sock'), policies }
    },
  }
}

function packageVersion(): string {
  return (JSON.parse(readFileSync(join(import.meta.dirname, '../../package.json'), 'utf8')) as { version: string }).version
}

/** Those of the bundle's own first line. */
function productionFlags(program: string): string[] {
  const [first = ''] = readFileSync(program, 'utf8').split('\n', 1)
  return first.split(' ').filter((word) => word.startsWith('--'))
}

/** Decision records go into a pipe that is read, as a container's are. */
function openRecords(folder: string): { readonly fd: number; handOver(child: ChildProcess): void } {
  const fifo = join(folder, 'records')
  execFileSync('mkfifo', [fifo])
  const reader = spawn('taskset', ['-c', CORES.load, 'sh', '-c', `exec cat ${fifo} >/dev/null`], { stdio: 'ignore' })
  // Opened for both: an open for writing alone would wait for the reader.
  const fd = openSync(fifo, 'r+')
  return {
    fd,
    handOver(child) {
      closeSync(fd)
      child.once('close', () => reader.kill())
    },
  }
}

function isReady(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const request = get({ host: '127.0.0.1', port, path: '/readyz', agent: false }, (response) => {
      response.resume()
      resolve(response.statusCode === 200)
    })
    request.once('error', () => resolve(false))
  })
}

/** V8 has compiled the request path by then. */
const WARM_UP_SECONDS = 4

/** Rules of one file. */
const RULES_PER_FILE = 500

/**
 * `count` rules, of which the last one allows what is asked. A tenth is about the caller itself, so that an index by principal alone
 * would not do; the others are about a thousand callers.
 */
export function writePolicies(folder: string, count: number, generation = 0): void {
  for (let from = 0; from < count; from += RULES_PER_FILE) {
    const rules = []
    for (let index = from; index < Math.min(from + RULES_PER_FILE, count); index++)
      rules.push(index === count - 1 ? allowing() : other(index))
    const text = `apiVersion: postern.dev/v1
kind: Policy
metadata: { name: policies-${from} }
# generation ${generation}
spec:
  rules:
${rules.join('')}`
    const file = join(folder, `policies-${from}.yaml`)
    writeFileSync(`${file}.new`, text)
    renameSync(`${file}.new`, file)
  }
}

function writePolicy(folder: string, name: string, rules: string): void {
  const head = `apiVersion: postern.dev/v1\nkind: Policy\nmetadata: { name: ${name} }\nspec:\n  rules:\n`
  writeFileSync(join(folder, `${name}.yaml`), head + rules)
}

/** One rule more, for the calls that carry gRPC. */
function writeGrpcPolicy(folder: string): void {
  const criteria = `[{ spiffe_id: { is: ${CALLER_ID} } }, { grpc_service: { is: ${GRPC_SERVICE} } }]`
  writePolicy(folder, 'grpc', `    - { name: grpc, allow: { and: ${criteria} } }\n`)
}

/** Of a connection only the peer is known. */
function writeTcpPolicy(folder: string, count: number): void {
  const caller = (index: number): string => (index === count - 1 ? CALLER_ID : `spiffe://${TRUST_DOMAIN}/ns/shop/sa/client-${index}`)
  const rules = Array.from(
    { length: count },
    (_, index) => `    - { name: rule-${index}, allow: { and: [{ spiffe_id: { is: ${caller(index)} } }] } }\n`,
  )
  writePolicy(folder, 'tcp', rules.join(''))
}

function rule(name: string, caller: string, path: string): string {
  return `    - name: ${name}
      allow:
        and:
          - spiffe_id: { is: ${caller} }
          - http_method: { in: [GET, HEAD, POST] }
          - http_path: { starts_with: ${path} }
`
}

function allowing(): string {
  return rule('cart-reads', CALLER_ID, '/catalog/items/')
}

function other(index: number): string {
  const caller = index % 10 === 0 ? CALLER_ID : `spiffe://${TRUST_DOMAIN}/ns/shop/sa/client-${index % 1000}`
  return rule(`rule-${index}`, caller, `/resource-${index}/`)
}
