/** A mesh on a cluster of a test: installed, and the questions that tests ask of it. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { type Cluster, eventually, type Ran } from './cluster.ts'

const ROOT = join(import.meta.dirname, '..', '..')

export type PodRecord = Readonly<Record<string, unknown>>

export interface MeshOnCluster {
  /** Must succeed. */
  readonly kubectl: (...args: string[]) => Promise<string>
  readonly apply: (text: string) => Promise<Ran>
  /** Must succeed. */
  readonly applied: (text: string) => Promise<void>
  readonly ready: (namespace: string, what: string) => Promise<string>
  /** One call of the app in a pod: status and body, or the code of an error. @param from `deploy/cart` or `pod/x` */
  readonly call: (namespace: string, from: string, url: string) => Promise<string>
  /** The same until it is answered by 200. */
  readonly allowed: (namespace: string, from: string, url: string) => Promise<string>
  /** What the sidecar of a pod has written as records. */
  readonly records: (namespace: string, pod: string) => Promise<readonly PodRecord[]>
  /** The first record of a pod that `match` takes; waits for it. */
  readonly record: (namespace: string, pod: string, what: string, match: (record: PodRecord) => boolean) => Promise<PodRecord>
}

/** @param change of the manifests, before they are applied */
export async function installMesh(
  cluster: Cluster,
  options: readonly string[] = [],
  change = (manifests: string) => manifests,
): Promise<MeshOnCluster> {
  const kubectl = async (...args: string[]): Promise<string> => {
    const { status, stdout, stderr } = await cluster.kubectl(args)
    assert.equal(status, 0, `kubectl ${args.join(' ')}: ${stderr}`)
    return stdout.trim()
  }
  const apply = (text: string): Promise<Ran> => cluster.kubectl(['apply', '-f', '-'], text)
  const ready = (namespace: string, what: string): Promise<string> => kubectl('-n', namespace, 'rollout', 'status', what, '--timeout=90s')
  const call = async (namespace: string, from: string, url: string): Promise<string> =>
    (await cluster.kubectl(['-n', namespace, 'exec', from, '-c', 'app', '--', 'node', '/app/app.js', 'get', url])).stdout.trim()
  const records = async (namespace: string, pod: string): Promise<readonly PodRecord[]> =>
    (await kubectl('-n', namespace, 'logs', pod, '-c', 'postern'))
      .split('\n')
      .flatMap((line) => (line.includes('"direction"') || line.includes('"handshake_id"') ? [JSON.parse(line) as PodRecord] : []))

  const folder = mkdtempSync(join(tmpdir(), 'postern-cluster-'))
  try {
    const authority = join(folder, 'authority')
    postern('certs', 'init', authority, '--trust-domain', 'example.org')
    const manifests = change(
      postern(
        ...['install', '--authority', authority, '--trust-domain', 'example.org', '--image', cluster.images.postern],
        ...['--ca-storage', 'none', '--replicas', '1', ...options],
      ),
    )
    await eventually(
      'all manifests are taken',
      () => apply(manifests),
      ({ status }) => status === 0,
    )
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
  await ready('postern-system', 'statefulset/postern-ca')
  await ready('postern-system', 'deployment/postern-controller')
  return {
    kubectl,
    apply,
    async applied(text) {
      const { status, stderr } = await apply(text)
      assert.equal(status, 0, stderr)
    },
    ready,
    call,
    allowed: (namespace, from, url) =>
      eventually(
        `${from} is answered by ${url}`,
        () => call(namespace, from, url),
        (seen) => seen.startsWith('200'),
      ),
    records,
    async record(namespace, pod, what, match) {
      const found = await eventually(
        `${pod} has a record: ${what}`,
        () => records(namespace, pod),
        (seen) => seen.some(match),
        20,
      )
      return found.findLast(match) ?? {}
    },
  }
}

function postern(...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(ROOT, 'dist/postern.js'), ...args], { encoding: 'utf8' })
  assert.equal(status, 0, stderr)
  return stdout
}
