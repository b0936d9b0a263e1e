/** The socket itself: who may speak on it, and what is said to those who may not (SPIFFE_Workload_Endpoint). */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { statSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { status } from '@grpc/grpc-js'
import { systemClock } from '#base/clock'
import { SOCKET_ACCESS } from '#telemetry/private-socket'
import { SpiffeWorkloadAPI } from '#workload-api/generated/spiffe/workload_pb'
import { serveWorkloadApi } from '#workload-api/serve'
import { createTestMesh } from '../support/authority.ts'
import { createRecordingLog } from '../support/recording-log.ts'
import { secretClient, workloadApiClient } from '../support/workload-api-client.ts'
import { startWorkloadApi } from '../support/workload-api-server.ts'
import { createWorkloadSource, stateOf } from '../support/workload-source.ts'

const mesh = await createTestMesh()
const source = createWorkloadSource(stateOf([await mesh.issue('/ns/shop/sa/cart')], [mesh]))

const METHODS = ['FetchX509SVID', 'FetchX509Bundles', 'FetchJWTSVID', 'FetchJWTBundles', 'ValidateJWTSVID', 'FetchWITSVID', 'Anything']

for (const method of METHODS) {
  test(`E-4, E-5, E-6: ${method} without the security header, or with another value, is InvalidArgument`, async () => {
    await using served = await startWorkloadApi(source)
    using client = workloadApiClient(served.socket)
    for (const header of ['', 'True', 'TRUE', 'false', '1', 'true, true']) {
      const { code, details } = await client.refused(`/SpiffeWorkloadAPI/${method}`, { header })
      assert.equal(code, status.INVALID_ARGUMENT, `with ${JSON.stringify(header)}`)
      assert.match(details, /workload\.spiffe\.io: true/)
    }
  })
}

for (const method of ['FetchWITSVID', 'FetchWITBundles', 'Anything']) {
  test(`W-31: ${method}, which is not implemented, is Unimplemented`, async () => {
    await using served = await startWorkloadApi(source)
    using client = workloadApiClient(served.socket)
    assert.equal((await client.refused(`/SpiffeWorkloadAPI/${method}`)).code, status.UNIMPLEMENTED)
  })
}

test('E-16, W-2: the service has the methods of the standard and no others', () => {
  assert.equal(SpiffeWorkloadAPI.typeName, 'SpiffeWorkloadAPI')
  assert.deepEqual(
    SpiffeWorkloadAPI.methods.map(({ name }) => name),
    ['FetchX509SVID', 'FetchX509Bundles', 'FetchJWTSVID', 'FetchJWTBundles', 'ValidateJWTSVID'],
  )
})

const AUTHORITIES: readonly (readonly [string, (socket: string) => string])[] = [
  ['localhost, as Go and Rust write it', () => 'localhost'],
  ['the path of the socket, as java-spiffe writes it', (socket) => socket],
  ['the path percent-encoded, as grpcio writes it', encodeURIComponent],
  ['a URI', (socket) => `unix://${socket}`],
  ['what is no authority at all', () => '?#[ @'],
]
for (const [what, authority] of AUTHORITIES) {
  test(`E-2, E-7, E-12: gRPC without TLS or credentials is served under the authority ${what}`, async () => {
    await using served = await startWorkloadApi(source)
    using client = workloadApiClient(served.socket, { authority: authority(served.socket) })
    await using stream = client.open('FetchX509SVID')
    assert.equal((await stream.next()).svids.length, 1)
  })
}

for (const access of SOCKET_ACCESS) {
  test(`E-3, E-13: the socket is the attestation, and its mode says who may open it: ${access}`, async () => {
    await using served = await startWorkloadApi(source, { access })
    const mode = statSync(served.socket).mode & 0o777
    assert.equal(mode, { owner: 0o600, group: 0o660, everyone: 0o666 }[access])
  })
}

test('the socket of a process that died is replaced, and that of one that lives is not', async () => {
  await using served = await startWorkloadApi(source)
  const options = { socket: served.socket, key: 'spec.workloadApi.listen', source, clock: systemClock, log: createRecordingLog() }
  await assert.rejects(serveWorkloadApi(options), {
    code: 'ERR_LISTEN',
    message: /spec\.workloadApi\.listen.*another process listens there/,
  })
  const stale = join(served.dir, 'stale.sock')
  const dead = createServer().listen(join(served.dir, 'other.sock'))
  await once(dead, 'listening')
  await import('node:fs/promises').then(({ rename }) => rename(join(served.dir, 'other.sock'), stale))
  await new Promise((resolve) => dead.close(resolve))
  const api = await serveWorkloadApi({ ...options, socket: stale })
  using client = workloadApiClient(stale)
  await using stream = client.open('FetchX509SVID')
  await stream.next()
  await api.close()
})

test('after a restart of the server clients find it under the same socket', async () => {
  await using served = await startWorkloadApi(source)
  using client = workloadApiClient(served.socket)
  const stream = client.open('FetchX509SVID')
  await stream.next()
  const [{ code }] = await Promise.all([stream.failure(), served.restart()])
  assert.equal(code, status.UNAVAILABLE)
  using another = workloadApiClient(served.socket)
  await using again = another.open('FetchX509SVID')
  assert.equal((await again.next()).svids.length, 1)
})

test('what is not HTTP/2 is cut, and others are served on', async () => {
  await using served = await startWorkloadApi(source)
  using client = workloadApiClient(served.socket)
  await using stream = client.open('FetchX509SVID')
  await stream.next()
  for (const bytes of [
    'GET / HTTP/1.1\r\nhost: x\r\n\r\n',
    '\x16\x03\x01\x00\x05hello',
    'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\x00\x00',
  ]) {
    const stranger = connect(served.socket)
    stranger.resume()
    stranger.end(Buffer.from(bytes, 'latin1'))
    await once(stranger, 'close')
  }
  await using other = client.open('FetchX509Bundles')
  assert.ok(await other.next())
})

test('a request that is larger than any that makes sense is refused', async () => {
  await using served = await startWorkloadApi(source)
  using client = workloadApiClient(served.socket)
  await assert.rejects(client.call('ValidateJWTSVID', { audience: 'a', svid: 'x'.repeat(300_000) }), { code: status.RESOURCE_EXHAUSTED })
})

test('requests on the other service need no security header: Envoy sends none', async () => {
  await using served = await startWorkloadApi(source)
  using client = secretClient(served.socket)
  const { resources } = await client.call('FetchSecrets', { resource_names: ['default'] })
  assert.equal(resources.length, 1)
})
