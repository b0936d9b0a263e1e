/** The X.509 profile of the Workload API, asked with @grpc/grpc-js (SPIFFE_Workload_API §4, §5, §8). */
import assert from 'node:assert/strict'
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { test } from 'node:test'
import { status } from '@grpc/grpc-js'
import { createTestMesh } from '../support/authority.ts'
import { fixedClock } from '../support/fixed-clock.ts'
import { workloadApiClient } from '../support/workload-api-client.ts'
import { startWorkloadApi } from '../support/workload-api-server.ts'
import { createWorkloadSource, stateOf } from '../support/workload-source.ts'

const mesh = await createTestMesh()
const partner = await createTestMesh('partner.example')
const [cart, admin] = await Promise.all([mesh.issue('/ns/shop/sa/cart'), mesh.issue('/ns/shop/sa/admin')])
const rootOf = ({ bundlePem }: { readonly bundlePem: string }): string => new X509Certificate(bundlePem).raw.toString('hex')

test('W-1, W-6, W-12, W-13, W-14: the first message comes at once, and has every identity with its chain, leaf first, its PKCS#8 key and its bundle', async () => {
  const source = createWorkloadSource(
    stateOf(
      [
        { ...cart, hint: 'internal' },
        { ...admin, hint: 'external' },
      ],
      [mesh, partner],
    ),
  )
  await using served = await startWorkloadApi(source)
  using client = workloadApiClient(served.socket)
  await using stream = client.open('FetchX509SVID')
  const message = await stream.next()
  assert.equal(message.svids.length, 2)
  for (const [index, svid] of [cart, admin].entries()) {
    const got = message.svids[index]
    assert.equal(got.spiffe_id, svid.id)
    assert.deepEqual(got.x509_svid, Buffer.concat(svid.chain))
    assert.ok(svid.chain.length > 1, 'there is an intermediate')
    const leaf = new X509Certificate(got.x509_svid)
    assert.equal(leaf.subjectAltName, `URI:${svid.id}`)
    assert.ok(leaf.checkPrivateKey(createPrivateKey({ key: got.x509_svid_key, format: 'der', type: 'pkcs8' })))
    assert.equal(got.bundle.toString('hex'), rootOf(mesh))
  }
  assert.deepEqual(
    message.svids.map(({ hint }: { hint: string }) => hint),
    ['internal', 'external'],
  )
  assert.deepEqual(message.crl, [])
  assert.deepEqual(Object.keys(message.federated_bundles), ['spiffe://partner.example'])
  assert.equal(message.federated_bundles['spiffe://partner.example'].toString('hex'), rootOf(partner))
})

test('W-4, W-5: a renewal is sent when it happens, and the message is the whole state: what is gone is absent', async () => {
  const source = createWorkloadSource(stateOf([cart, admin], [mesh, partner]))
  await using served = await startWorkloadApi(source)
  using client = workloadApiClient(served.socket)
  await using stream = client.open('FetchX509SVID')
  await stream.next()
  const renewed = await mesh.issue('/ns/shop/sa/cart')
  source.set(stateOf([renewed], [mesh]))
  const { svids, federated_bundles } = await stream.next()
  assert.equal(svids.length, 1)
  assert.deepEqual(svids[0].x509_svid, Buffer.concat(renewed.chain))
  assert.deepEqual(federated_bundles, {})
})

test('what has not changed is not sent again', async () => {
  const source = createWorkloadSource(stateOf([cart], [mesh]))
  await using served = await startWorkloadApi(source)
  using client = workloadApiClient(served.socket)
  await using stream = client.open('FetchX509SVID')
  await stream.next()
  source.set(stateOf([cart], [mesh]))
  source.set(stateOf([admin], [mesh]))
  assert.equal((await stream.next()).svids[0].spiffe_id, admin.id)
})

test('W-19: bundles hold our own trust domain and the federated ones, and follow their changes', async () => {
  const source = createWorkloadSource(stateOf([cart], [mesh]))
  await using served = await startWorkloadApi(source)
  using client = workloadApiClient(served.socket)
  await using stream = client.open('FetchX509Bundles')
  assert.deepEqual(Object.keys((await stream.next()).bundles), ['spiffe://example.org'])
  source.set(stateOf([cart], [mesh, partner]))
  const { bundles } = await stream.next()
  assert.equal(bundles['spiffe://example.org'].toString('hex'), rootOf(mesh))
  assert.equal(bundles['spiffe://partner.example'].toString('hex'), rootOf(partner))
})

test('W-15, W-32: a hint stands at one identity only, and none is longer than 1,024 bytes', async () => {
  const hinted = [
    { ...cart, hint: 'same' },
    { ...admin, hint: 'same' },
    { ...cart, hint: 'é'.repeat(513) },
  ]
  await using served = await startWorkloadApi(createWorkloadSource(stateOf(hinted, [mesh])))
  using client = workloadApiClient(served.socket)
  await using stream = client.open('FetchX509SVID')
  const { svids } = await stream.next()
  assert.deepEqual(
    svids.map(({ hint }: { hint: string }) => hint),
    ['same', '', ''],
  )
})

const WATCHES = ['FetchX509SVID', 'FetchX509Bundles', 'FetchJWTBundles']

for (const method of WATCHES) {
  test(`W-17, W-20, E-15: ${method} of a workload without identity is PermissionDenied, in words that clients look for`, async () => {
    await using served = await startWorkloadApi(createWorkloadSource(stateOf([], [mesh])))
    using client = workloadApiClient(served.socket)
    const { code, details } = await client.open(method).failure()
    assert.equal(code, status.PERMISSION_DENIED)
    assert.match(details, /no identity issued/)
  })

  test(`E-14: ${method} is Unavailable while the identity is on its way`, async () => {
    await using served = await startWorkloadApi(createWorkloadSource(undefined))
    using client = workloadApiClient(served.socket)
    assert.equal((await client.open(method).failure()).code, status.UNAVAILABLE)
  })

  test(`${method} never ends well: with Unavailable when the server ends, so that clients come back`, async () => {
    const source = createWorkloadSource(stateOf([cart], [mesh]))
    await using served = await startWorkloadApi(source)
    using client = workloadApiClient(served.socket)
    await using stream = client.open(method)
    await stream.next()
    const [{ code }] = await Promise.all([stream.failure(), served.api.close()])
    assert.equal(code, status.UNAVAILABLE)
    assert.equal(source.listeners, 0)
  })

  test(`${method} ends with PermissionDenied when the workload loses its identity`, async () => {
    const source = createWorkloadSource(stateOf([cart], [mesh]))
    await using served = await startWorkloadApi(source)
    using client = workloadApiClient(served.socket)
    await using stream = client.open(method)
    await stream.next()
    source.set(stateOf([], [mesh]))
    assert.equal((await stream.failure()).code, status.PERMISSION_DENIED)
  })

  test(`${method} holds on while there is nothing newer yet`, async () => {
    const source = createWorkloadSource(stateOf([cart], [mesh]))
    await using served = await startWorkloadApi(source)
    using client = workloadApiClient(served.socket)
    await using stream = client.open(method)
    await stream.next()
    source.set(undefined)
    source.set(stateOf([admin], [mesh, partner]))
    assert.ok(await stream.next())
  })
}

test('a certificate that has ended is not given out: Unavailable, with when it ended', async () => {
  const { identities } = stateOf([cart], [mesh])
  const clock = fixedClock(identities[0]!.identity.facts.notAfter)
  await using served = await startWorkloadApi(createWorkloadSource(stateOf([cart], [mesh])), { clock })
  using client = workloadApiClient(served.socket)
  const { code, details } = await client.open('FetchX509SVID').failure()
  assert.equal(code, status.UNAVAILABLE)
  assert.match(details, /spiffe:\/\/example\.org\/ns\/shop\/sa\/cart ended at \d{4}-/)
  await using bundles = client.open('FetchX509Bundles')
  assert.ok((await bundles.next()).bundles['spiffe://example.org'], 'peers can be verified all the same')
})

test('nothing is left of a watch whose client has gone', async () => {
  const source = createWorkloadSource(stateOf([cart], [mesh]))
  await using served = await startWorkloadApi(source)
  using client = workloadApiClient(served.socket)
  const streams = Array.from({ length: 20 }, () => client.open('FetchX509SVID'))
  await Promise.all(streams.map((stream) => stream.next()))
  assert.equal(source.listeners, 20)
  for (const stream of streams) stream.cancel()
  // The next call on the same connection is answered after the resets were read.
  await using last = client.open('FetchX509SVID')
  await last.next()
  assert.equal(source.listeners, 1)
})

test('a client that does not read gets the newest state, not every one', async () => {
  const source = createWorkloadSource(stateOf([cart], [mesh]))
  await using served = await startWorkloadApi(source)
  using client = workloadApiClient(served.socket)
  await using stream = client.open('FetchX509SVID')
  await stream.next()
  const svids = await Promise.all(Array.from({ length: 5 }, () => mesh.issue('/ns/shop/sa/cart')))
  for (const svid of svids) source.set(stateOf([svid], [mesh]))
  assert.deepEqual((await stream.next()).svids[0].x509_svid, Buffer.concat(svids.at(-1)!.chain))
})
