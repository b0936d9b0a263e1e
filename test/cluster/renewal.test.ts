/**
 * Certificates of pods are renewed by the kubelet, on a real Kubernetes that serves PodCertificateRequests and ClusterTrustBundles as v1 and as v1beta1:
 * sidecars take the new ones up without a failed request.
 */
import assert from 'node:assert/strict'
import { generateKeyPairSync, sign, X509Certificate } from 'node:crypto'
import process from 'node:process'
import { test } from 'node:test'
import { CLUSTER_MISSING, clusterFor, eventually, type Ran } from '../support/cluster.ts'
import { installMesh, type PodRecord } from '../support/mesh-on-cluster.ts'
import { deployment, namespace, policy, service, serviceAccount } from '../support/workloads.ts'

const SIGNER = 'postern.dev/identity'
/** The kubelet looks for what is to be renewed once in one to two minutes. */
const WITHIN_SECONDS = 200
const SEGMENT_SECONDS = 15

interface Request {
  readonly metadata: { readonly name: string }
  readonly spec: { readonly podName: string }
  readonly status?: { readonly conditions?: readonly { readonly type: string }[]; readonly certificateChain?: string }
}

test('certificates that the kubelet renews', { skip: CLUSTER_MISSING, timeout: 420_000 }, async (t) => {
  if (process.env['KUBECONFIG'] !== undefined) return t.skip('a cluster by KUBECONFIG renews certificates in hours')
  using cluster = await clusterFor(t, { refreshSooner: true, runtime: 'certificates.k8s.io/v1beta1=true' })
  if (cluster === undefined) return
  const { app } = cluster.images
  const { kubectl, applied, ready, allowed, records } = await installMesh(cluster, ['--trust-bundle', SIGNER, '--pod-certificates'])
  await applied(
    [
      namespace('shop', { 'postern.dev/inject': 'enabled' }),
      ...['cart', 'catalog'].map((name) => serviceAccount('shop', name)),
      policy('shop', 'readers', {
        target: { service: 'catalog' },
        rules: [{ name: 'cart', allow: { and: [{ service_account: 'cart' }] } }],
      }),
      service('shop', 'catalog', {}),
      deployment('shop', 'cart', app),
      deployment('shop', 'catalog', app),
    ].join('---\n'),
  )
  for (const name of ['cart', 'catalog']) await ready('shop', `deployment/${name}`)
  const url = 'http://catalog.shop:8080/items'
  await allowed('shop', 'deploy/cart', url)
  const requests = async (version: string): Promise<readonly Request[]> =>
    (
      JSON.parse(await kubectl('-n', 'shop', 'get', `podcertificaterequests.${version}.certificates.k8s.io`, '-o', 'json')) as {
        items: Request[]
      }
    ).items

  await t.test('the trust bundle is there as v1 and as v1beta1, and the signer answers a request of either form', async () => {
    for (const version of ['v1', 'v1beta1']) {
      const bundle = await kubectl('get', `clustertrustbundles.${version}.certificates.k8s.io`, 'postern.dev:identity:bundle', '-o', 'json')
      assert.match((JSON.parse(bundle) as { spec: { trustBundle: string } }).spec.trustBundle, /BEGIN CERTIFICATE/)
    }
    const pod = JSON.parse(await kubectl('-n', 'shop', 'get', 'pod', '-l', 'app=catalog', '-o', 'json')) as {
      items: { metadata: { name: string; uid: string }; spec: { nodeName: string } }[]
    }
    const [{ metadata, spec } = assert.fail()] = pod.items
    const uid = (...of: readonly string[]): Promise<string> => kubectl(...of, '-o', 'jsonpath={.metadata.uid}')
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const older = (name: string, proof: Buffer, podUID = metadata.uid): Promise<object> =>
      Promise.all([uid('-n', 'shop', 'get', 'serviceaccount', 'catalog'), uid('get', 'node', spec.nodeName)]).then(
        ([serviceAccountUID, nodeUID]) => ({
          apiVersion: 'certificates.k8s.io/v1beta1',
          kind: 'PodCertificateRequest',
          metadata: { name, namespace: 'shop' },
          spec: {
            ...{ signerName: SIGNER, podName: metadata.name, podUID, serviceAccountName: 'catalog', serviceAccountUID },
            ...{ nodeName: spec.nodeName, nodeUID, maxExpirationSeconds: 3600 },
            pkixPublicKey: publicKey.export({ type: 'spki', format: 'der' }).toString('base64'),
            proofOfPossession: proof.toString('base64'),
          },
        }),
      )
    // What the kubelet writes goes past the schemas by which kubectl judges: those of the older form come and go while the server starts.
    const ask = (request: object): Promise<Ran> => cluster.kubectl(['apply', '--validate=false', '-f', '-'], JSON.stringify(request))
    const asked = async (request: object): Promise<void> => {
      const { status, stderr } = await ask(request)
      assert.equal(status, 0, stderr)
    }
    await asked(await older('older-form', sign('sha256', Buffer.from(metadata.uid), privateKey)))
    const issued = await eventually(
      'the certificate',
      async () => (await requests('v1beta1')).find((one) => one.metadata.name === 'older-form')?.status?.certificateChain ?? '',
      (chain) => chain !== '',
    )
    const leaf = new X509Certificate(issued)
    assert.equal(leaf.subjectAltName, 'URI:spiffe://example.org/ns/shop/sa/catalog')
    assert.ok(leaf.publicKey.equals(publicKey))
    assert.equal(leaf.validToDate.getTime() - leaf.validFromDate.getTime(), 3_600_000)
    // The key of somebody else: the API server refuses that by itself.
    const stolen = await ask(await older('stolen', sign('sha256', Buffer.from('another'), privateKey)))
    assert.match(stolen.stderr, /could not verify proof-of-possession signature/)
    // Of another pod of that name: proved to the API server, which does not look; the signer does.
    const gone = '00000000-0000-4000-8000-000000000000'
    await asked(await older('another-pod', sign('sha256', Buffer.from(gone), privateKey), gone))
    await eventually(
      'the denial',
      async () => JSON.stringify((await requests('v1beta1')).find((one) => one.metadata.name === 'another-pod')?.status ?? {}),
      (status) => /"reason":"PodMismatch".*"type":"Denied"/.test(status),
    )
  })

  await t.test('the kubelet asks anew when it is time, and both sidecars show the new certificate; no request failed', async (context) => {
    const serials = (all: readonly PodRecord[], direction: string): ReadonlySet<unknown> =>
      new Set(
        all.flatMap(({ direction: of, peer }) => (of === direction && peer !== undefined ? [(peer as { serial: string }).serial] : [])),
      )
    const answers: Record<string, number> = {}
    const segment = async (): Promise<void> => {
      const load = ['exec', 'deploy/cart', '-c', 'app', '--', 'node', '/app/app.js', 'load', url, String(SEGMENT_SECONDS), '10']
      const seen = JSON.parse(await kubectl('-n', 'shop', ...load)) as Record<string, number>
      for (const [status, count] of Object.entries(seen)) answers[status] = (answers[status] ?? 0) + count
    }
    const since = performance.now()
    for (;;) {
      await segment()
      // Either side knows the other by its certificate.
      const [ofCatalog, ofCart] = await Promise.all([
        records('shop', 'deploy/cart').then((all) => serials(all, 'outbound')),
        records('shop', 'deploy/catalog').then((all) => serials(all, 'inbound')),
      ])
      if (ofCatalog.size > 1 && ofCart.size > 1) break
      assert.ok(performance.now() - since < WITHIN_SECONDS * 1000, `seen of catalog ${ofCatalog.size}, of cart ${ofCart.size}`)
    }
    await segment()
    context.diagnostic(`renewed within ${Math.round((performance.now() - since) / 1000)} s; answers: ${JSON.stringify(answers)}`)
    assert.deepEqual(Object.keys(answers), ['200'])
    const made = (await requests('v1')).filter(({ status }) => status?.conditions?.some(({ type }) => type === 'Issued'))
    for (const name of ['cart', 'catalog']) assert.ok(made.filter(({ spec }) => spec.podName.startsWith(`${name}-`)).length >= 2, name)
  })
})
