import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { createInterface } from 'node:readline'
import { text } from 'node:stream/consumers'
import { test } from 'node:test'
import { systemClock } from '#base/clock'
import type { IdentityFeed } from '#config/snapshot'
import { startController } from '#controller/controller'
import { RESOURCES } from '#controller/snapshot/objects'
import { createKubeClient } from '#kube/client'
import { createMetrics } from '#telemetry/metrics'
import { startKubeApi } from '../fakes/kube-api.ts'
import { createTestMesh } from '../support/authority.ts'
import { createNetworkNamespace, linkToHost, NAMESPACES_MISSING } from '../support/network-namespace.ts'
import { createRecordingLog } from '../support/recording-log.ts'
import { identityOf, trustIn } from '../support/trust.ts'

const MAIN = join(import.meta.dirname, '..', '..', 'src/cli/main.ts')
const skip = NAMESPACES_MISSING || (spawnSync('nft', ['--version']).status === 0 ? false : 'needs nft; apt-get install nftables')
const APP = 1000
const SIDECAR = 1337

/** Waits for a line that holds a text. */
async function lineWith(stream: NodeJS.ReadableStream, text: string): Promise<string> {
  for await (const line of createInterface({ input: stream })) if (line.includes(text)) return line
  throw new Error(`the output ended before \`${text}\``)
}

async function serve(host: string, answer: string): Promise<{ readonly port: number } & AsyncDisposable> {
  const server = createServer((request, response) =>
    response.end(`${answer} ${String(request.headers['x-postern-principal'] ?? 'nobody')}`),
  )
  server.listen(0, host)
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

test(
  'an app calls by plain HTTP: a service of the mesh is reached by mutual TLS under the policy of the cluster, the rest as it was',
  { skip },
  async (t) => {
    const subnet = `10.${100 + Math.floor(Math.random() * 100)}.${Math.floor(Math.random() * 250)}`
    using pod = createNetworkNamespace()
    linkToHost(pod, subnet)
    const host = `${subnet}.1`
    const mesh = await createTestMesh('example.org')
    await using catalog = await serve('127.0.0.1', 'catalog for')
    await using outside = await serve(host, 'outside for')
    const host6 = `fd${subnet.replaceAll('.', ':')}::1`
    await using outside6 = await serve(host6, 'outside over IPv6 for')

    // The cluster: a service whose pods have sidecars, and a policy for its callers.
    await using api = await startKubeApi(100)
    api.intercept = (request, response) => request.method === 'PATCH' && (response.end('{}'), true)
    const at = (name: string): { name: string; namespace: string } => ({ name, namespace: 'shop' })
    api.put(RESOURCES.pods, {
      metadata: { ...at('catalog-1'), annotations: { 'postern.dev/injected': '1' } },
      spec: { serviceAccountName: 'catalog' },
    })
    api.put(RESOURCES.services, {
      metadata: at('catalog'),
      spec: { clusterIP: host, selector: { app: 'catalog' }, ports: [{ port: 7443 }] },
    })
    api.put(RESOURCES.endpointSlices, {
      metadata: { ...at('catalog-x'), labels: { 'kubernetes.io/service-name': 'catalog' } },
      endpoints: [{ addresses: [host], targetRef: { kind: 'Pod', name: 'catalog-1' } }],
      ports: [{ port: 7443 }],
    })
    const policy = (path: string): Parameters<typeof api.put>[1] => ({
      metadata: { ...at('readers'), generation: Math.random() },
      spec: { rules: [{ name: 'cart-reads', allow: { and: [{ service_account: 'cart' }, { http_path: path }, { port: 8080 }] } }] },
    })
    api.put(RESOURCES.policies, policy('/items'))
    const svid = await mesh.issue('/ns/postern-system/sa/postern-controller')
    const current = { identity: identityOf(svid), trust: trustIn([mesh]) }
    const metrics = createMetrics()
    const controller = await startController({
      config: {
        trustDomain: 'example.org',
        identity: { kind: 'files', certificate: '', key: '', bundle: '' },
        webhook: { kind: 'tcp', host: '127.0.0.1', port: 0 },
        snapshots: { kind: 'tcp', host, port: 0 },
        health: undefined,
        injection: {
          image: 'x:1',
          namespace: 'postern-system',
          ca: '',
          controller: '',
          interception: 'redirect',
          passThrough: 'allow',
          excludeNetworks: [],
          trustBundle: undefined,
        },
      },
      client: createKubeClient(api.access, systemClock),
      feed: { current, subscribe: () => () => {} } as unknown as IdentityFeed,
      metrics,
      log: createRecordingLog(),
      clock: systemClock,
      random: Math.random,
      replica: 'one',
      version: '1',
    })
    const folder = mkdtempSync(join(tmpdir(), 'postern-pod-'))
    chmodSync(folder, 0o777)
    try {
      async function sidecar(name: string, service: string, more: object): Promise<string> {
        const home = join(folder, name)
        const files = await mesh.writeTo(home, `/ns/shop/sa/${service}`)
        chmodSync(files.key, 0o644)
        chmodSync(home, 0o777)
        const document = {
          apiVersion: 'postern.dev/v1',
          kind: 'Sidecar',
          metadata: { name: service, namespace: 'shop' },
          spec: {
            identity: { files },
            mesh: { controller: `${host}:${controller.snapshotPort}`, peer: svid.id, folder: join(home, 'mesh'), ...more },
            ...(service === 'catalog' && { inbound: [{ listen: `${host}:7443`, port: 8080, app: `127.0.0.1:${catalog.port}` }] }),
            admin: 'off',
            health: 'off',
          },
        }
        writeFileSync(join(home, 'sidecar.yaml'), JSON.stringify(document))
        return join(home, 'sidecar.yaml')
      }
      const run = [process.execPath, '--disable-warning=ExperimentalWarning', MAIN] as const
      // The server's sidecar is outside of the pod: its network is the machine's.
      const { spawn } = await import('node:child_process')
      const server = spawn(run[0], [...run.slice(1), 'sidecar', '--config', await sidecar('server', 'catalog', {})], {
        stdio: ['ignore', 'pipe', 'pipe'],
      })
      t.after(() => server.kill('SIGKILL'))
      const client = pod.spawn(
        SIDECAR,
        ...run,
        'sidecar',
        '--config',
        await sidecar('client', 'cart', { redirect: { listen: 'localhost:7001' } }),
      )
      assert.ok(server.stderr && client.stderr && client.stdout)
      await Promise.all([
        lineWith(server.stderr, 'a snapshot of the controller is in force'),
        lineWith(client.stderr, 'a snapshot of the controller is in force'),
      ])
      const records = createInterface({ input: client.stdout })[Symbol.asyncIterator]()

      const redirect = pod.run(run[0], ...run.slice(1), 'redirect', '--outbound', '7001', '--tool', 'nft')
      assert.equal(redirect.status, 0, redirect.stderr)
      // Not synchronously: controller and apps are in this process.
      const call = async (url: string): Promise<string> => {
        const program = `fetch('${url}').then(async (r) => console.log(r.status, await r.text()), (e) => console.log(e.cause.code))`
        const child = pod.spawn(APP, process.execPath, '-e', program)
        assert.ok(child.stdout)
        return (await text(child.stdout)).trim()
      }

      assert.equal(await call(`http://${host}:7443/items`), '200 catalog for spiffe://example.org/ns/shop/sa/cart')
      assert.match(await call(`http://${host}:7443/secret`), /^403 /)
      assert.equal(await call(`http://${host}:${outside.port}/`), '200 outside for nobody')
      assert.equal(await call(`http://[${host6}]:${outside6.port}/`), '200 outside over IPv6 for nobody')
      const record = async (): Promise<Record<string, unknown>> =>
        JSON.parse((await records.next()).value as string) as Record<string, unknown>
      const first = await record()
      assert.deepEqual(
        [first['direction'], (first['peer'] as { id: string }).id, first['status']],
        ['outbound', 'spiffe://example.org/ns/shop/sa/catalog', 200],
      )
      await record()
      const third = await record()
      assert.deepEqual([third['detail'], third['host']], ['outside of the mesh: passed through', `${host}:${outside.port}`])
      const fourth = await record()
      assert.deepEqual([fourth['detail'], fourth['host']], ['outside of the mesh: passed through', `[${host6}]:${outside6.port}`])

      // A policy written to the cluster is in force a moment later.
      api.put(RESOURCES.policies, policy('/secret'))
      let answer = ''
      for (let tries = 0; tries < 50 && !answer.startsWith('200'); tries++) answer = await call(`http://${host}:7443/secret`)
      assert.equal(answer, '200 catalog for spiffe://example.org/ns/shop/sa/cart')
    } finally {
      await controller.close()
      metrics.close()
      rmSync(folder, { recursive: true, force: true })
    }
  },
)
