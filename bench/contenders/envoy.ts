/** Envoy as meshes run it: mutual TLS, RBAC on the URI SAN, x-forwarded-client-cert set by it alone; one worker, no access log. */
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { CALLER_ID } from '../environment/certificates.ts'
import { CORES } from '../environment/cores.ts'
import { accepts, freePort, waitUntil } from '../environment/ports.ts'
import { start } from '../environment/processes.ts'
import type { Protocol } from '../environment/upstream.ts'
import { type Contender, running, type Setup } from './contender.ts'

const TYPES = 'type.googleapis.com/envoy.extensions'

export function envoy(binary: string): Contender {
  return {
    name: 'Envoy',
    version: /\/(\d+\.\d+\.\d+)\//.exec(spawnSync(binary, ['--version'], { encoding: 'utf8' }).stdout)?.[1] ?? 'unknown',
    async start(setup) {
      const port = await freePort()
      const file = join(setup.folder, 'envoy.json')
      writeFileSync(file, JSON.stringify(configuration(setup, port), null, 1))
      const begun = performance.now()
      const args = ['-c', file, '--concurrency', '1', '--disable-hot-restart', '--log-level', 'error']
      const child = start(binary, args, { core: CORES.proxy, stdio: ['ignore', 'ignore', 'inherit'] })
      await waitUntil(() => accepts(port), child, 'Envoy')
      return running('Envoy', port, child, begun)
    },
  }
}

function configuration({ certificates, protocol, upstreamPort }: Setup, port: number): object {
  const address = (port_value: number): object => ({ socket_address: { address: '127.0.0.1', port_value } })
  return {
    static_resources: {
      listeners: [
        {
          name: 'inbound',
          address: address(port),
          filter_chains: [
            {
              transport_socket: {
                name: 'envoy.transport_sockets.tls',
                typed_config: {
                  '@type': `${TYPES}.transport_sockets.tls.v3.DownstreamTlsContext`,
                  require_client_certificate: true,
                  disable_stateless_session_resumption: true,
                  disable_stateful_session_resumption: true,
                  common_tls_context: {
                    ...(protocol === 'http2' ? { alpn_protocols: ['h2'] } : {}),
                    tls_params: { tls_minimum_protocol_version: 'TLSv1_3', tls_maximum_protocol_version: 'TLSv1_3' },
                    tls_certificates: [
                      {
                        certificate_chain: { filename: certificates.server.certificate },
                        private_key: { filename: certificates.server.key },
                      },
                    ],
                    validation_context: { trusted_ca: { filename: certificates.bundle } },
                  },
                },
              },
              filters: protocol === 'tcp' ? [networkRbac(), tcpProxy()] : [connectionManager(protocol)],
            },
          ],
        },
      ],
      clusters: [
        {
          name: 'app',
          connect_timeout: '2s',
          type: 'STATIC',
          ...(protocol === 'http2' ? HTTP2_UPSTREAM : {}),
          load_assignment: { cluster_name: 'app', endpoints: [{ lb_endpoints: [{ endpoint: { address: address(upstreamPort) } }] }] },
        },
      ],
    },
  }
}

const HTTP2_UPSTREAM = {
  typed_extension_protocol_options: {
    'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
      '@type': `${TYPES}.upstreams.http.v3.HttpProtocolOptions`,
      explicit_http_config: { http2_protocol_options: {} },
    },
  },
}

function connectionManager(protocol: Protocol): object {
  return {
    name: 'envoy.filters.network.http_connection_manager',
    typed_config: {
      '@type': `${TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
      stat_prefix: 'inbound',
      codec_type: protocol === 'http2' ? 'HTTP2' : 'HTTP1',
      forward_client_cert_details: 'SANITIZE_SET',
      set_current_client_cert_details: { uri: true },
      route_config: {
        virtual_hosts: [{ name: 'app', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster: 'app' } }] }],
      },
      http_filters: [
        { name: 'rbac', typed_config: { '@type': `${TYPES}.filters.http.rbac.v3.RBAC`, rules: rules() } },
        { name: 'router', typed_config: { '@type': `${TYPES}.filters.http.router.v3.Router` } },
      ],
    },
  }
}

function networkRbac(): object {
  const typed_config = { '@type': `${TYPES}.filters.network.rbac.v3.RBAC`, stat_prefix: 'inbound', rules: rules() }
  return { name: 'envoy.filters.network.rbac', typed_config }
}

function tcpProxy(): object {
  const typed_config = { '@type': `${TYPES}.filters.network.tcp_proxy.v3.TcpProxy`, stat_prefix: 'inbound', cluster: 'app' }
  return { name: 'envoy.filters.network.tcp_proxy', typed_config }
}

function rules(): object {
  return {
    action: 'ALLOW',
    policies: {
      cart: {
        permissions: [{ any: true }],
        principals: [{ authenticated: { principal_name: { exact: CALLER_ID } } }],
      },
    },
  }
}
