/** The controller as it ships: the bundle with its production flags, following an API server that its kubeconfig names. */
import { openSync, readFileSync, writeFileSync } from 'node:fs'
import { get } from 'node:http'
import { join } from 'node:path'
import process from 'node:process'
import { text } from 'node:stream/consumers'
import { CORES } from '../environment/cores.ts'
import { accepts, freePort, waitUntil } from '../environment/ports.ts'
import { cpuSeconds, end, residentMegabytes, start, tree } from '../environment/processes.ts'
import { MESH_DOMAIN } from '../load/pods.ts'

export interface ControllerFiles {
  /** Of the API server. */
  readonly url: string
  readonly bundlePem: string
  readonly certificatePem: string
  readonly keyPem: string
}

export interface RunningController extends AsyncDisposable {
  readonly webhookPort: number
  readonly snapshotPort: number
  /** Until everything was listed, ms. */
  readonly readyMs: number
  cpuSeconds(): number
  residentMegabytes(): number
  /** The sum over the labels of a metric. */
  metric(name: string): Promise<number>
}

export async function startController(program: string, folder: string, files: ControllerFiles): Promise<RunningController> {
  const [webhook, snapshots, health] = [await freePort(), await freePort(), await freePort()]
  const write = (name: string, content: string): string => {
    writeFileSync(join(folder, name), content)
    return join(folder, name)
  }
  const identity = {
    certificate: write('controller.pem', files.certificatePem),
    key: write('controller-key.pem', files.keyPem),
    bundle: write('bundle.pem', files.bundlePem),
  }
  const config = write(
    'controller.yaml',
    JSON.stringify({
      apiVersion: 'postern.dev/v1',
      kind: 'Controller',
      spec: {
        trustDomain: MESH_DOMAIN,
        identity: { files: identity },
        webhook: { listen: `127.0.0.1:${webhook}` },
        snapshots: { listen: `127.0.0.1:${snapshots}` },
        health: `127.0.0.1:${health}`,
        injection: { image: 'ghcr.io/postern/postern:1.0.0' },
      },
    }),
  )
  const kubeconfig = write(
    'kubeconfig',
    JSON.stringify({
      apiVersion: 'v1',
      kind: 'Config',
      'current-context': 'here',
      contexts: [{ name: 'here', context: { cluster: 'here', user: 'here' } }],
      clusters: [{ name: 'here', cluster: { server: files.url, 'certificate-authority': identity.bundle } }],
      users: [{ name: 'here', user: { token: 'bench' } }],
    }),
  )
  const [first = ''] = readFileSync(program, 'utf8').split('\n', 1)
  const flags = first.split(' ').filter((word) => word.startsWith('--'))
  const begun = performance.now()
  const log = openSync(join(folder, 'controller.log'), 'w')
  const child = start(process.execPath, [...flags, program, 'controller', '--config', config], {
    core: CORES.proxy,
    stdio: ['ignore', log, log],
    env: { KUBECONFIG: kubeconfig, POD_NAME: 'controller-0' },
  })
  // Each question costs it what it is measured by.
  const pace = { every: 25, seconds: 60 }
  const isReady = async (): Promise<boolean> => (await ask(health, '/readyz')).status === 200 && (await accepts(webhook))
  await waitUntil(isReady, child, 'postern controller', pace).catch((error: unknown) => {
    throw new Error(`The controller did not start:\n${readFileSync(join(folder, 'controller.log'), 'utf8')}`, { cause: error })
  })
  const pids = tree(child.pid ?? 0)
  return {
    webhookPort: webhook,
    snapshotPort: snapshots,
    readyMs: performance.now() - begun,
    cpuSeconds: () => cpuSeconds(pids),
    residentMegabytes: () => residentMegabytes(pids),
    async metric(name) {
      const { body } = await ask(health, '/metrics')
      const lines = body.split('\n').filter((line) => line.startsWith(name) && /^[{ ]/.test(line.slice(name.length)))
      return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0)
    },
    [Symbol.asyncDispose]: () => end(child),
  }
}

async function ask(port: number, path: string): Promise<{ readonly status: number; readonly body: string }> {
  const { promise, resolve } = Promise.withResolvers<{ readonly status: number; readonly body: string }>()
  get({ host: '127.0.0.1', port, path, agent: false }, (response) => {
    void text(response).then((body) => resolve({ status: response.statusCode ?? 0, body }))
  }).on('error', () => resolve({ status: 0, body: '' }))
  return promise
}
