/**
 * What it costs that calls are redirected: the same requests through the same sidecar, sent to the service's own address and taken by the
 * kernel, and sent to the sidecar's listener for that service. In a network namespace, as a pod has it; root's matter.
 */
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, copyFileSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import process from 'node:process'
import { text } from 'node:stream/consumers'
import type { Readable } from 'node:stream'
import { writeGeneration } from '#mesh-agent/generation-folder'
import { createNetworkNamespace, linkToHost, NAMESPACES_MISSING, type NetworkNamespace } from '../../test/support/network-namespace.ts'
import { running, type Running } from '../contenders/contender.ts'
import { SERVER_ID } from '../environment/certificates.ts'
import { CORES } from '../environment/cores.ts'
import { freePort, waitUntil } from '../environment/ports.ts'
import { end, start } from '../environment/processes.ts'
import { REQUEST_PATH, type Upstream } from '../environment/upstream.ts'
import type { Load } from '../load/wrk.ts'
import type { Bench } from './compare.ts'
import { type CpuResult, measureCpu } from './cpu.ts'

export const REDIRECT_MISSING = NAMESPACES_MISSING

export interface RedirectResult {
  /** Direct, then redirected: CPU on kept connections, the same with a connection for each request, and one request at a time. */
  readonly kept: readonly CpuResult[]
  readonly fresh: readonly CpuResult[]
  readonly alone: readonly CpuResult[]
}

const APP = 1000
const SIDECAR = 1337
const DIRECT = 7101
const REDIRECTED = 7001
const HEALTH = 7020

export async function measureRedirect(bench: Bench, folder: string): Promise<RedirectResult> {
  const third = `${64 + (process.pid % 64)}.${process.pid % 250}`
  const subnet = `10.${third}`
  using pod = createNetworkNamespace()
  linkToHost(pod, subnet)
  reusePorts(pod)
  await using stack = new AsyncDisposableStack()
  const server = await startServer(bench, folder, `${subnet}.1`)
  stack.defer(() => server.close())
  const sidecar = await startSidecar(bench, folder, pod, subnet, server.port)
  stack.defer(() => end(sidecar.child))
  const seconds = bench.quick ? 1 : 3
  const measured = (connections: number, closeEach: boolean, rounds: number): Promise<CpuResult[]> =>
    measureCpu([sidecar.direct, sidecar.redirected], {
      load: createPodLoad(pod, `${subnet}.1`),
      upstream: server.counter,
      rounds: bench.quick ? 1 : rounds,
      seconds,
      warmUp: bench.quick ? 0.25 : 1,
      connections,
      closeEach,
      patience: bench.quick ? 0 : 15,
    })
  return { kept: await measured(16, false, 7), fresh: await measured(8, true, 3), alone: await measured(1, false, 5) }
}

/**
 * Linux gives the port of a call in TIME_WAIT to the next one on loopback alone: with a connection for each request, calls of the service's
 * own address would soon wait for the kernel to find a port, and those of the sidecar's listener would not.
 */
function reusePorts(pod: NetworkNamespace): void {
  const { status, stderr } = pod.run('sh', '-c', 'echo 1 > /proc/sys/net/ipv4/tcp_tw_reuse')
  if (status !== 0) throw new Error(`The namespace's ports cannot be used again: ${stderr.trim()}`)
}

/** Plain HTTP from within the pod, as the app's user: to the sidecar's own listener, or to the service. */
function createPodLoad(pod: NetworkNamespace, host: string): Load {
  return async ({ port, seconds, connections, closeEach = false }) => {
    const target = port === DIRECT ? `127.0.0.1:${DIRECT}` : `${host}:${port}`
    const close = closeEach ? ['-H', 'Connection: close'] : []
    const args = [...close, '-t', '1', '-c', String(connections), '-d', `${seconds}s`, '--timeout', '5s', `http://${target}${REQUEST_PATH}`]
    const child = start('ip', inPod(pod, APP, 'wrk', ...args), { core: CORES.load, stdio: ['ignore', 'pipe', 'inherit'] })
    const closed = once(child, 'close')
    const output = await text(child.stdout as Readable)
    await closed
    const requests = Number(/^\s*(\d+) requests in /m.exec(output)?.[1] ?? Number.NaN)
    const errors = /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(output)?.slice(1) ?? []
    const refused = /Non-2xx or 3xx responses: (\d+)/.exec(output)?.[1] ?? '0'
    if (Number.isNaN(requests)) throw new Error(`wrk failed: ${output.trim()}`)
    return { requests, handshakes: 0, failures: [...errors, refused].reduce((sum, count) => sum + Number(count), 0) }
  }
}

function inPod({ name }: NetworkNamespace, uid: number, ...command: string[]): string[] {
  return ['netns', 'exec', name, 'setpriv', '--reuid', String(uid), '--regid', String(uid), '--clear-groups', ...command]
}

interface Server {
  readonly port: number
  readonly counter: Upstream
  close(): Promise<void>
}

/** The service's own end: nginx, which demands a certificate and answers 1 KB from memory. */
async function startServer({ certificates, upstream }: Bench, folder: string, host: string): Promise<Server> {
  const [port, statusPort] = [await freePort(), await freePort()]
  const file = join(folder, 'server.conf')
  writeFileSync(
    file,
    `user root; daemon off; worker_processes 1; pid ${folder}/server.pid; error_log ${folder}/server.log warn;
events { worker_connections 8192; }
http {
  access_log off; keepalive_requests 1000000000; keepalive_timeout 3600s;
  server {
    listen ${host}:${port} ssl backlog=4096;
    ssl_certificate ${certificates.server.certificate}; ssl_certificate_key ${certificates.server.key};
    ssl_client_certificate ${certificates.bundle}; ssl_verify_client on; ssl_verify_depth 3; ssl_protocols TLSv1.3;
    location / { default_type application/json; return 200 "${'x'.repeat(1024)}"; }
  }
  server { listen 127.0.0.1:${statusPort}; location / { stub_status; } }
}
`,
  )
  const child = start('nginx', ['-p', folder, '-c', file], { core: CORES.load, stdio: ['ignore', 'ignore', 'inherit'] })
  await waitUntil(() => answers(host, port), child, 'the service')
  let asked = 0
  const counter: Upstream = {
    ...upstream,
    async requests() {
      const status = await (await fetch(`http://127.0.0.1:${statusPort}/`)).text()
      asked += 1
      return Number(/^ \d+ \d+ (\d+) $/m.exec(status)?.[1]) - asked
    },
  }
  return { port, counter, close: () => end(child) }
}

async function startSidecar(
  { program, certificates }: Bench,
  folder: string,
  pod: NetworkNamespace,
  subnet: string,
  servicePort: number,
): Promise<{ readonly child: Running['child']; readonly direct: Running; readonly redirected: Running }> {
  // Another user's: it reads its files, and writes into its own folder alone.
  const home = join(folder, 'pod')
  mkdirSync(join(home, 'mesh'), { recursive: true })
  for (const [name, from] of [
    ['svid.pem', certificates.client.certificate],
    ['key.pem', certificates.client.key],
    ['bundle.pem', certificates.bundle],
  ] as const) {
    copyFileSync(from, join(home, name))
    chmodSync(join(home, name), 0o644)
  }
  const service = `${subnet}.1:${servicePort}`
  await writeGeneration(join(home, 'mesh'), {
    digest: 'a'.repeat(64),
    policies: [],
    bundles: new Map<string, string>(),
    services: [{ name: 'catalog.shop', addresses: [service], peers: [SERVER_ID], protocol: 'http1' }],
  })
  const document = join(home, 'sidecar.yaml')
  writeFileSync(
    document,
    JSON.stringify({
      apiVersion: 'postern.dev/v1',
      kind: 'Sidecar',
      metadata: { name: 'cart', namespace: 'shop' },
      spec: {
        identity: { files: { certificate: 'svid.pem', key: 'key.pem', bundle: 'bundle.pem' } },
        // Nobody answers there: what it said last is in force.
        mesh: {
          controller: `${subnet}.1:9`,
          peer: SERVER_ID,
          folder: join(home, 'mesh'),
          redirect: { listen: `127.0.0.1:${REDIRECTED}`, passThrough: 'refuse' },
        },
        outbound: [{ listen: `127.0.0.1:${DIRECT}`, to: service, peer: SERVER_ID, protocol: 'both' }],
        admin: 'off',
        health: `${subnet}.2:${HEALTH}`,
      },
    }),
  )
  execFileSync('chown', ['-R', `${SIDECAR}:${SIDECAR}`, home])
  // The scratch folder is root's alone: to pass through it is enough.
  for (const path of [folder, join(folder, '..')]) chmodSync(path, 0o711)
  const flags = (readFileSync(program, 'utf8').split('\n', 1)[0] ?? '').split(' ').filter((word) => word.startsWith('--'))
  const log = openSync(join(folder, 'sidecar.log'), 'w')
  const records = openSync('/dev/null', 'w')
  const begun = performance.now()
  const redirected = pod.run(process.execPath, program, 'redirect', '--outbound', String(REDIRECTED), '--uid', String(SIDECAR))
  if (redirected.status !== 0) throw new Error(`The pod's calls cannot be redirected: ${redirected.stderr}`)
  const child = start('ip', inPod(pod, SIDECAR, process.execPath, ...flags, program, 'sidecar', '--config', document), {
    core: CORES.proxy,
    stdio: ['ignore', records, log],
  })
  await waitUntil(() => answers(`${subnet}.2`, HEALTH), child, 'the sidecar').catch((error: unknown) => {
    throw new Error(`The sidecar did not start:\n${readFileSync(join(folder, 'sidecar.log'), 'utf8')}`, { cause: error })
  })
  const as = (name: string, port: number): Running => running(name, port, child, begun, 4)
  return { child, direct: as('the sidecar’s listener', DIRECT), redirected: as('redirected', servicePort) }
}

function answers(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, host)
    socket.once('error', () => resolve(false))
    socket.once('connect', () => {
      resolve(true)
      socket.destroy()
    })
  })
}
