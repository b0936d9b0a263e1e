/**
 * A real Kubernetes cluster for tests: the one that KUBECONFIG names, with the image that POSTERN_IMAGE names; or a node of our own, whose pods
 * really run, made of `.cache/kube-bin` (`npm run kube-node`) and taken away afterwards.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import type { TestContext } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { KUBE_BIN, kubeProgramsMissing } from '../../scripts/kube-node.ts'
import { nodeScripts, type NodeVariant } from './node-scripts.ts'

const ROOT = join(import.meta.dirname, '..', '..')

export interface Ran {
  readonly status: number
  readonly stdout: string
  readonly stderr: string
}

export interface Cluster extends Disposable {
  /** Of Postern, and of an app that serves what `test/cluster/app.js` says. */
  readonly images: { readonly postern: string; readonly app: string }
  kubectl(args: readonly string[], input?: string): Promise<Ran>
  /** A command line of its own, for scripts. */
  readonly kubectlProgram: string
  /** A program of this machine, where the API server can be reached, with KUBECONFIG set. */
  beside(command: string, args: readonly string[]): Promise<Ran>
  /** From the node, outside of any pod; undefined where there is no way in. */
  readonly curl: ((url: string) => Promise<Ran>) | undefined
}

/** Why there is none; false if there is. */
export const CLUSTER_MISSING: string | false = missing()

function missing(): string | false {
  if (process.env['KUBECONFIG'] !== undefined) {
    return process.env['POSTERN_IMAGE'] !== undefined && process.env['POSTERN_TEST_APP_IMAGE'] !== undefined
      ? false
      : 'KUBECONFIG is set: name the images to run there by POSTERN_IMAGE and POSTERN_TEST_APP_IMAGE'
  }
  if (process.getuid?.() !== 0) return 'needs a cluster by KUBECONFIG, or root for a node of its own'
  if (kubeProgramsMissing()) return `needs a cluster by KUBECONFIG, or the programs of one in ${KUBE_BIN}: npm run kube-node`
  const tools = ['containerd', 'runc', 'iptables', 'nft', 'busybox'].filter((tool) => spawnSync('which', [tool]).status !== 0)
  if (tools.length > 0)
    return `needs ${tools.join(', ')}: apt-get install containerd runc containernetworking-plugins iptables nftables busybox-static`
  if (!existsSync('/usr/lib/cni/bridge')) return 'needs containernetworking-plugins'
  return existsSync(join(ROOT, 'dist', 'postern.js')) ? false : 'needs the program: npm run build'
}

/** Skips, with what the node's start printed, where there is none: kernels differ in what they let a node do. */
export async function clusterFor(t: Pick<TestContext, 'skip'>, variant: NodeVariant = {}): Promise<Cluster | undefined> {
  try {
    return await openCluster(variant)
  } catch (error) {
    const { stderr } = error as { readonly stderr?: string }
    // Of the scripts: whatever else goes wrong is a fault of the test.
    if (stderr === undefined) throw error
    t.skip(`the node does not come up here: ${stderr.slice(-500)}`)
    return undefined
  }
}

async function openCluster(variant: NodeVariant): Promise<Cluster> {
  if (process.env['KUBECONFIG'] !== undefined) {
    return {
      images: { postern: process.env['POSTERN_IMAGE'] ?? '', app: process.env['POSTERN_TEST_APP_IMAGE'] ?? '' },
      kubectl: (args, input) => run('kubectl', args, input),
      kubectlProgram: 'kubectl',
      beside: (command, args) => run(command, args),
      curl: undefined,
      [Symbol.dispose]() {},
    }
  }
  const dir = mkdtempSync(join(tmpdir(), 'postern-node-'))
  const node = join(dir, 'node')
  const scripts = nodeScripts(dir, variant)
  const environment = { ...process.env, BIN: KUBE_BIN, ...(variant.runtime !== undefined && { RUNTIME: variant.runtime }) }
  const script = (name: string, ...args: string[]): string =>
    execFileSync('bash', [join(scripts, name), ...args], { encoding: 'utf8', env: environment, stdio: ['ignore', 'pipe', 'pipe'] })
  const end = (): void => {
    spawnSync('bash', [join(scripts, 'node-down.sh'), node], { env: environment })
    rmSync(dir, { recursive: true, force: true })
  }
  try {
    script('node-up.sh', node)
    const root = join(dir, 'root')
    script('rootfs.sh', root, `${process.execPath}=/usr/local/bin/node`, 'nft')
    writeFileSync(join(root, 'etc/passwd'), 'root:x:0:0::/root:/bin/sh\npostern:x:1337:1337::/:/bin/sh\nnonroot:x:65532:65532::/:/bin/sh\n')
    symlinkSync('/bin/nft', join(root, 'usr/local/bin/nft'))
    mkdirSync(join(root, 'app'), { recursive: true })
    cpSync(join(ROOT, 'test/cluster/app.js'), join(root, 'app/app.js'))
    cpSync(join(ROOT, 'dist'), join(root, 'postern'), { recursive: true })
    const images = { postern: 'mesh.test/postern:1', app: 'mesh.test/app:1' }
    script(
      'image.sh',
      node,
      images.postern,
      root,
      '/usr/local/bin/node',
      '--max-semi-space-size=2',
      '--disable-warning=ExperimentalWarning',
      '/postern/postern.js',
    )
    script('image.sh', node, images.app, root, '/usr/local/bin/node', '/app/app.js')
    return {
      images,
      kubectl: (args, input) => run(join(node, 'kubectl'), args, input),
      kubectlProgram: join(node, 'kubectl'),
      beside: (command, args) => run('env', [`KUBECONFIG=${join(node, 'kubeconfig')}`, join(node, 'in'), command, ...args]),
      curl: (url) => run(join(node, 'in'), ['curl', '-s', '-S', '-m', '5', '-w', ' %{http_code}', url]),
      [Symbol.dispose]: end,
    }
  } catch (error) {
    end()
    throw error
  }
}

/** Asks again until it is so; fails with what it saw last. */
export async function eventually<T>(what: string, look: () => Promise<T>, isIt: (seen: T) => boolean, seconds = 60): Promise<T> {
  const until = performance.now() + seconds * 1000
  for (;;) {
    const seen = await look()
    if (isIt(seen)) return seen
    if (performance.now() > until) throw new Error(`${what}: not within ${seconds} s; seen last: ${JSON.stringify(seen)}`)
    await pause(200)
  }
}

function run(command: string, args: readonly string[], input = ''): Promise<Ran> {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'] })
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
  child.stdin.on('error', () => {})
  child.stdin.end(input)
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code) => resolve({ status: code ?? -1, stdout, stderr }))
  })
}
