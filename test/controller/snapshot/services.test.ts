import assert from 'node:assert/strict'
import { test } from 'node:test'
import { slimEndpointSlice, slimPod, slimService } from '#controller/snapshot/objects'
import { meshServices, type MeshService } from '#controller/snapshot/services'
import { snapshotFor } from '#controller/snapshot/snapshot'

function metadata(name: string, more: object = {}): { name: string; namespace: string; uid: string; resourceVersion: string } {
  return { name, namespace: 'shop', uid: name, resourceVersion: '1', ...more }
}

const pod = (name: string, serviceAccountName: string, injected = true) => ({
  metadata: metadata(name, injected ? { annotations: { 'postern.dev/injected': '1' } } : {}),
  spec: { serviceAccountName },
})

const service = (spec: object) => ({
  metadata: metadata('cart'),
  spec: { clusterIP: '10.0.0.7', clusterIPs: ['10.0.0.7', 'fd00::7'], selector: { app: 'cart' }, ...spec },
})

const slice = (pods: readonly string[], ports: readonly object[] = [{ name: 'http', port: 8080 }]) => ({
  metadata: metadata('cart-1', { labels: { 'kubernetes.io/service-name': 'cart' } }),
  endpoints: pods.map((name, index) => ({ addresses: [`10.1.0.${index + 1}`], targetRef: { kind: 'Pod', name } })),
  ports,
})

function table(pods: readonly object[], spec: object, slices: readonly object[]): MeshService[] {
  return meshServices(
    {
      pods: pods.map((object) => slimPod(object as never)),
      services: [slimService(service(spec))],
      endpointSlices: slices.map((object) => slimEndpointSlice(object as never)),
    },
    'example.org',
  )
}

const PORTS = { ports: [{ name: 'http', port: 80 }] }

test('a service is its addresses and the identities of the pods behind it', () => {
  const found = table([pod('a', 'cart'), pod('b', 'cart-next'), pod('c', 'other')], PORTS, [slice(['a', 'b'])])
  assert.deepEqual(found, [
    {
      name: 'cart.shop',
      addresses: ['10.0.0.7:80', '[fd00::7]:80'],
      peers: ['spiffe://example.org/ns/shop/sa/cart', 'spiffe://example.org/ns/shop/sa/cart-next'],
      protocol: 'http1',
    },
  ])
})

test('of a headless service the pods are dialled themselves, at their own port', () => {
  const found = table([pod('a', 'db'), pod('b', 'db')], { ...PORTS, clusterIP: 'None', clusterIPs: ['None'] }, [slice(['a', 'b'])])
  assert.deepEqual(found[0]?.addresses, ['10.1.0.1:8080', '10.1.0.2:8080'])
})

test('of a headless service each pod must be its own account, and one without a sidecar leaves the others in the mesh', () => {
  const pods = [pod('a', 'db'), pod('b', 'db-next'), pod('c', 'db', false), pod('d', 'db')]
  const found = table(pods, { ...PORTS, clusterIP: 'None', clusterIPs: ['None'] }, [slice(['a', 'b', 'c', 'd', 'gone'])])
  assert.deepEqual(
    found.map(({ name, addresses, peers }) => [name, addresses, peers]),
    [
      ['cart.shop', ['10.1.0.1:8080', '10.1.0.4:8080'], ['spiffe://example.org/ns/shop/sa/db']],
      ['cart.shop', ['10.1.0.2:8080'], ['spiffe://example.org/ns/shop/sa/db-next']],
    ],
  )
})

const OUTSIDE: readonly (readonly [string, readonly object[], object, readonly object[]])[] = [
  ['a pod behind it has no sidecar', [pod('a', 'cart'), pod('b', 'cart', false)], PORTS, [slice(['a', 'b'])]],
  ['something behind it is no pod', [pod('a', 'cart')], PORTS, [slice(['a', ''])]],
  ['nothing is behind it', [], PORTS, [slice([])]],
  ['it has no selector', [pod('a', 'cart')], { ...PORTS, selector: undefined }, [slice(['a'])]],
  ['its port is UDP', [pod('a', 'cart')], { ports: [{ port: 53, protocol: 'UDP' }] }, [slice(['a'])]],
]

test('what is outside of the mesh: no call to it is expected to be one of ours', () => {
  for (const [title, pods, spec, slices] of OUTSIDE) assert.deepEqual(table(pods, spec, slices), [], title)
})

test('a pod that is gone while its endpoint lingers does not make the service fall out of the mesh', () => {
  assert.equal(table([pod('a', 'cart')], PORTS, [slice(['a', 'gone'])]).length, 1)
})

const PROTOCOLS: readonly (readonly [object, MeshService['protocol']])[] = [
  [{ name: 'http' }, 'http1'],
  [{}, 'http1'],
  [{ name: 'grpc' }, 'http2'],
  [{ name: 'grpc-web' }, 'http2'],
  [{ name: 'web', appProtocol: 'kubernetes.io/h2c' }, 'http2'],
  [{ name: 'tcp-db' }, 'tcp'],
  [{ name: 'x', appProtocol: 'postgres' }, 'tcp'],
]

test('the protocol is said by appProtocol, or by the name of the port', () => {
  for (const [port, expected] of PROTOCOLS) {
    assert.equal(table([pod('a', 'cart')], { ports: [{ port: 80, ...port }] }, [slice(['a'])])[0]?.protocol, expected, JSON.stringify(port))
  }
})

test('a sidecar is told the policies of its namespace and of the mesh, without what the API server adds; the digest says whether anything changed', () => {
  const policy = (name: string, namespace: string | undefined, version: string) => ({
    metadata: { name, uid: name, resourceVersion: version, ...(namespace !== undefined && { namespace }) },
    spec: {},
    status: { anything: version },
  })
  const inputs = {
    policies: [policy('readers', 'shop', '1'), policy('foreign', 'bank', '1')],
    clusterPolicies: [policy('defaults', undefined, '1')],
    trustDomains: [{ metadata: metadata('partner.example'), spec: { bundle: { keys: [] } } }],
    services: [],
  }
  const snapshot = snapshotFor('shop', inputs)
  assert.deepEqual(
    snapshot.policies.map(({ name, kind }) => `${kind} ${name}`),
    ['ClusterPolicy defaults', 'Policy shop/readers'],
  )
  assert.equal(
    snapshot.policies[1]?.text,
    '{"apiVersion":"postern.dev/v1","kind":"Policy","metadata":{"name":"readers","namespace":"shop"},"spec":{}}',
  )
  assert.deepEqual(snapshot.federation, { 'partner.example': { keys: [] } })
  const later = { ...inputs, policies: [policy('foreign', 'bank', '9'), policy('readers', 'shop', '2')] }
  assert.equal(snapshotFor('shop', later).digest, snapshot.digest)
  assert.notEqual(snapshotFor('bank', later).digest, snapshot.digest)
})
