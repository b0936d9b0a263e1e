/** Envoy, as it comes: it takes its certificate and authorities by SDS, calls a sidecar and is called by one over mutual TLS, and follows renewals. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { startApp } from '../fakes/apps.ts'
import { createTestMesh } from '../support/authority.ts'
import { runSidecar } from '../support/sidecar.ts'
import { absent, ENVOY } from '../support/spiffe-clients.ts'
import { identityOf } from '../support/trust.ts'
import { startWorkloadApi } from '../support/workload-api-server.ts'
import { createWorkloadSource, stateOf } from '../support/workload-source.ts'

const TYPES = 'type.googleapis.com/envoy.extensions'

interface Setup {
  readonly socket: string
  /** Takes plain HTTP and carries it to the sidecar. */
  readonly port: number
  /** Takes mutual TLS and answers itself. */
  readonly tlsPort: number
  readonly sidecarPort: number
  readonly sidecarId: string
  /** The ID of Envoy's own certificate. */
  readonly ownId: string
  readonly apiType: 'GRPC' | 'DELTA_GRPC'
}

/** As docs/workload-api.md shows it. */
function configuration({ socket, port, tlsPort, sidecarPort, sidecarId, ownId, apiType }: Setup): object {
  const at = (port_value: number): object => ({ socket_address: { address: '127.0.0.1', port_value } })
  const sds = (name: string): object => ({
    name,
    sds_config: {
      resource_api_version: 'V3',
      api_config_source: {
        api_type: apiType,
        transport_api_version: 'V3',
        grpc_services: [{ envoy_grpc: { cluster_name: 'workload_api' } }],
      },
    },
  })
  const tls = (type: string, certificate: string, authorities: string, expected?: string, more: object = {}): object => ({
    name: 'envoy.transport_sockets.tls',
    typed_config: {
      '@type': `${TYPES}.transport_sockets.tls.v3.${type}`,
      ...more,
      common_tls_context: {
        tls_params: { tls_minimum_protocol_version: 'TLSv1_3', tls_maximum_protocol_version: 'TLSv1_3' },
        tls_certificate_sds_secret_configs: [sds(certificate)],
        ...(expected === undefined
          ? { validation_context_sds_secret_config: sds(authorities) }
          : {
              combined_validation_context: {
                default_validation_context: { match_typed_subject_alt_names: [{ san_type: 'URI', matcher: { exact: expected } }] },
                validation_context_sds_secret_config: sds(authorities),
              },
            }),
      },
    },
  })
  const http = (name: string, route: object): object => ({
    filters: [
      {
        name: 'envoy.filters.network.http_connection_manager',
        typed_config: {
          '@type': `${TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
          stat_prefix: name,
          route_config: { virtual_hosts: [{ name, domains: ['*'], routes: [{ match: { prefix: '/' }, ...route }] }] },
          http_filters: [{ name: 'router', typed_config: { '@type': `${TYPES}.filters.http.router.v3.Router` } }],
        },
      },
    ],
  })
  return {
    node: { id: 'envoy', cluster: 'test' },
    static_resources: {
      listeners: [
        { name: 'plain', address: at(port), filter_chains: [http('plain', { route: { cluster: 'sidecar' } })] },
        {
          name: 'tls',
          address: at(tlsPort),
          filter_chains: [
            {
              ...http('tls', { direct_response: { status: 200, body: { inline_string: 'from Envoy' } } }),
              transport_socket: tls('DownstreamTlsContext', ownId, 'ALL', undefined, { require_client_certificate: true }),
            },
          ],
        },
      ],
      clusters: [
        {
          name: 'sidecar',
          connect_timeout: '2s',
          load_assignment: { cluster_name: 'sidecar', endpoints: [{ lb_endpoints: [{ endpoint: { address: at(sidecarPort) } }] }] },
          transport_socket: tls('UpstreamTlsContext', 'default', 'ROOTCA', sidecarId),
          // Each call on a connection of its own, so that each shows the certificate of its time.
          typed_extension_protocol_options: {
            'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
              '@type': `${TYPES}.upstreams.http.v3.HttpProtocolOptions`,
              common_http_protocol_options: { max_requests_per_connection: 1 },
              explicit_http_config: { http_protocol_options: {} },
            },
          },
        },
        {
          name: 'workload_api',
          connect_timeout: '2s',
          typed_extension_protocol_options: {
            'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
              '@type': `${TYPES}.upstreams.http.v3.HttpProtocolOptions`,
              explicit_http_config: { http2_protocol_options: {} },
            },
          },
          load_assignment: {
            cluster_name: 'workload_api',
            endpoints: [{ lb_endpoints: [{ endpoint: { address: { pipe: { path: socket } } } }] }],
          },
        },
      ],
    },
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** @returns 0 if the connection fails */
function statusOf(port: number): Promise<number> {
  return new Promise((resolve) => {
    const asked = request({ host: '127.0.0.1', port, agent: false }, (response) => {
      response.resume()
      response.once('end', () => resolve(response.statusCode ?? 0))
    })
    asked.once('error', () => resolve(0))
    asked.end()
  })
}

for (const apiType of ['GRPC', 'DELTA_GRPC'] as const) {
  test(
    `Envoy takes its certificates by SDS (${apiType}), and talks mutual TLS to a sidecar both ways over a renewal`,
    { skip: absent.envoy },
    async () => {
      const mesh = await createTestMesh()
      const svid = await mesh.issue('/ns/test/sa/envoy')
      const source = createWorkloadSource(stateOf([svid], [mesh]))
      await using served = await startWorkloadApi(source)
      await using app = await startApp()
      const [port, tlsPort] = [await freePort(), await freePort()]
      await using sidecar = await runSidecar({
        mesh,
        app: app.port,
        outbound: `    - { listen: "127.0.0.1:0", to: "127.0.0.1:${tlsPort}", peer: "${svid.id}" }\n`,
      })
      const sidecarId = sidecar.source.current.identity.id.uri
      const file = join(served.dir, 'envoy.json')
      const setup = { socket: served.socket, port, tlsPort, sidecarPort: sidecar.port, sidecarId, ownId: svid.id, apiType }
      writeFileSync(file, JSON.stringify(configuration(setup)))
      const envoy = spawn(ENVOY, ['-c', file, '--concurrency', '1', '--disable-hot-restart', '--log-level', 'warning'], {
        stdio: ['ignore', 'ignore', 'pipe'],
      })
      let said = ''
      envoy.stderr.on('data', (bytes: Buffer) => (said += bytes.toString()))
      const exited = once(envoy, 'exit')
      try {
        /** Asks until it is answered well, and Envoy lives. */
        const answered = async (port: number): Promise<void> => {
          while ((await statusOf(port)) !== 200) assert.equal(envoy.exitCode, null, said)
        }
        const serialSeen = (serial: string): Promise<unknown> =>
          sidecar.record(
            ({ msg, decision, peer }) => msg === 'decision' && decision === 'allow' && (peer as { serial: string }).serial === serial,
          )

        await answered(port)
        await serialSeen(identityOf(svid).facts.serial)
        await answered(sidecar.outboundPort)

        const renewed = await mesh.issue('/ns/test/sa/envoy')
        source.set(stateOf([renewed], [mesh]))
        const seen = serialSeen(identityOf(renewed).facts.serial)
        let isSeen = false
        void seen.then(() => (isSeen = true))
        while (!isSeen) await answered(port)
        await answered(sidecar.outboundPort)

        // Trust follows too: under the authorities of another domain neither takes the other.
        const stranger = await createTestMesh('stranger.example')
        source.set(stateOf([renewed], [stranger]))
        while ((await statusOf(port)) === 200) assert.equal(envoy.exitCode, null, said)
        assert.deepEqual(
          served.log.lines.filter(({ message }) => /Envoy refused/.test(message)),
          [],
        )
      } finally {
        envoy.kill('SIGKILL')
        await exited
      }
    },
  )
}
