import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { networkInterfaces } from 'node:os'
import { test } from 'node:test'
import { askApp } from '#proxy/app-probes'
import { call, createMtlsAgent } from '../support/mtls-client.ts'
import { ALLOW_ALL, runSidecar } from '../support/sidecar.ts'

const hasIpv6 = Object.values(networkInterfaces()).some((addresses) => addresses?.some(({ address }) => address === '::1') === true)

test(
  'a listener and an app on [::1] serve callers, and policy and app see the address',
  { skip: !hasIpv6 && 'this host has no IPv6 loopback' },
  async () => {
    const app = createServer(
      (request, response) =>
        void response.end(
          `${request.socket.remoteAddress} ${request.headers['forwarded']} ${request.headers['x-forwarded-for'] as string} ${request.headers['host']}`,
        ),
    )
    app.listen(0, '::1')
    await once(app, 'listening')
    await using sidecar = await runSidecar({
      listen: '[::1]:0',
      app: `[::1]:${(app.address() as AddressInfo).port}`,
      policy: '- allow: { and: [source_ip: "::1/128", http_path: /allowed] }\n- allow: { and: [source_ip: 127.0.0.0/8] }\n',
    })
    using agent = createMtlsAgent(await sidecar.mesh.issue('/ns/test/sa/caller'))
    const answer = await call(sidecar.port, agent, '/allowed', { host: '::1' })
    assert.equal(answer.status, 200)
    assert.equal(answer.body, `::1 for="[::1]";host="[::1]:${sidecar.port}";proto=https ::1 [::1]:${sidecar.port}`)
    assert.equal((await call(sidecar.port, agent, '/other', { host: '::1' })).status, 403)
    const record = await sidecar.record((entry) => entry['path'] === '/allowed')
    assert.deepEqual([record['source_ip'], record['listener'], record['host']], ['::1', '[::1]:0', '[::1]'])
    app.closeAllConnections()
    app.close()
  },
)

test('on [::] callers over IPv4 are known by their IPv4 address', { skip: !hasIpv6 && 'this host has no IPv6 loopback' }, async () => {
  await using sidecar = await runSidecar({ listen: '[::]:0', policy: 'allow: { and: [source_ip: 10.0.0.0/8] }\n' })
  using agent = createMtlsAgent(await sidecar.mesh.issue('/ns/test/sa/caller'))
  assert.equal((await call(sidecar.port, agent, '/')).status, 403)
  assert.equal((await sidecar.record((entry) => entry['path'] === '/'))['source_ip'], '127.0.0.1')
})

for (const family of ['127.0.0.1', '::1'] as const) {
  test(
    `an app that takes ${family} alone is reached as localhost, over HTTP and TCP, and asked by probes`,
    { skip: !hasIpv6 && 'this host has no IPv6 loopback' },
    async () => {
      const app = createServer((request, response) => void response.end(`${request.socket.localAddress} ${request.headers.host}`))
      app.listen({ port: 0, host: family, ipv6Only: true })
      await once(app, 'listening')
      const { port } = app.address() as AddressInfo
      await using sidecar = await runSidecar({ app: `localhost:${port}`, policy: ALLOW_ALL })
      using agent = createMtlsAgent(await sidecar.mesh.issue('/ns/test/sa/caller'))
      assert.deepEqual((await call(sidecar.port, agent, '/')).body.split(' ')[0], family)
      await using opaque = await runSidecar({ app: `localhost:${port}`, policy: ALLOW_ALL, inbound: '      protocol: tcp\n' })
      using other = createMtlsAgent(await opaque.mesh.issue('/ns/test/sa/caller'))
      assert.deepEqual((await call(opaque.port, other, '/')).body.split(' ')[0], family)
      for (const ask of [
        { kind: 'http', port, path: '/', headers: [] },
        { kind: 'tcp', port },
      ] as const) {
        assert.deepEqual(await askApp({ path: '/app-health/app/readiness', ask, timeout: 5000 }), { ok: true, detail: '' })
      }
      app.closeAllConnections()
      app.close()
      await once(app, 'close')
      const gone = await call(sidecar.port, agent, '/gone')
      assert.equal(gone.status, 502)
      assert.equal((await sidecar.record((entry) => entry['path'] === '/gone'))['reason'], 'ERR_UPSTREAM_UNREACHABLE')
      const silent = await askApp({ path: '/app-health/app/readiness', ask: { kind: 'tcp', port }, timeout: 5000 })
      assert.deepEqual(silent, { ok: false, detail: 'the app cannot be asked: ECONNREFUSED' })
    },
  )
}
