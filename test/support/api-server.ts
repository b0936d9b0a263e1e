/** A real API server for tests that need no pods to run: the cluster that KUBECONFIG names, or one of our own (`start.sh`: etcd, API server, controllers) on loopback. */
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { type KubeAccess, readKubeconfig } from '#kube/access'
import { KUBE_BIN, KUBE_SOURCES } from '../../scripts/kube-node.ts'
import { freePort } from '../../bench/environment/ports.ts'

export interface ApiServer extends Disposable {
  readonly access: KubeAccess
  /** Can call what listens on this machine's loopback. */
  readonly isHere: boolean
}

/** Why there is none; false if there is. */
export const API_SERVER_MISSING: string | false = missing()

function missing(): string | false {
  if (process.env['KUBECONFIG'] !== undefined) return false
  const absent = ['etcd', 'apiserver', 'controllers'].filter((name) => !existsSync(join(KUBE_BIN, name)))
  if (absent.length > 0) return `needs a cluster by KUBECONFIG, or ${absent.join(', ')} in ${KUBE_BIN}: npm run kube-node`
  const tools = ['openssl', 'curl', 'setsid'].filter((tool) => spawnSync('sh', ['-c', `command -v ${tool}`]).status !== 0)
  return tools.length > 0 ? `needs ${tools.join(', ')}` : false
}

export async function openApiServer(): Promise<ApiServer> {
  const given = process.env['KUBECONFIG']
  if (given !== undefined) {
    const access = await readKubeconfig(given)
    const isHere = ['127.0.0.1', 'localhost', '[::1]'].includes(new URL(access.server).hostname)
    return { access, isHere, [Symbol.dispose]() {} }
  }
  const dir = mkdtempSync(join(tmpdir(), 'postern-api-server-'))
  const run = (script: string, env: NodeJS.ProcessEnv = {}): string =>
    execFileSync('bash', [join(KUBE_SOURCES, script), dir], { encoding: 'utf8', env: { ...process.env, BIN: KUBE_BIN, ...env } })
  const end = (): void => {
    run('stop.sh')
    rmSync(dir, { recursive: true, force: true })
  }
  try {
    // It takes the two ports behind it, too.
    run('start.sh', { PORT: String(await freePort()) })
    return { access: await readKubeconfig(join(dir, 'kubeconfig')), isHere: true, [Symbol.dispose]: end }
  } catch (error) {
    end()
    throw error
  }
}
