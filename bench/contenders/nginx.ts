/** nginx `proxy_pass`, `grpc_pass` or its stream module behind mutual TLS: one worker, pooled upstream connections, no policy and no access log. */
import { spawnSync } from 'node:child_process'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { CORES } from '../environment/cores.ts'
import { accepts, freePort, waitUntil } from '../environment/ports.ts'
import { start } from '../environment/processes.ts'
import { type Contender, running, type Setup } from './contender.ts'

export function nginx(): Contender {
  return {
    name: 'nginx',
    version: /nginx\/(\S+)/.exec(spawnSync('nginx', ['-v'], { encoding: 'utf8' }).stderr)?.[1] ?? 'unknown',
    async start(setup) {
      const { folder, protocol } = setup
      const port = await freePort()
      const file = join(folder, 'nginx.conf')
      writeFileSync(
        file,
        `${protocol === 'tcp' ? `load_module ${STREAM_MODULE};` : ''}
daemon off; worker_processes 1; pid ${folder}/nginx.pid; error_log ${folder}/error.log warn;
events { worker_connections 8192; }
${protocol === 'tcp' ? tcp(setup, port) : http(setup, port)}`,
      )
      const begun = performance.now()
      const child = start('nginx', ['-p', folder, '-c', file], { core: CORES.proxy, stdio: ['ignore', 'ignore', 'inherit'] })
      await waitUntil(() => accepts(port), child, 'nginx')
      return running('nginx', port, child, begun)
    },
  }
}

const STREAM_MODULE = '/usr/lib/nginx/modules/ngx_stream_module.so'

/** Whether it can take part as a proxy of TCP: Debian's package `libnginx-mod-stream`. */
export function nginxHasStream(): boolean {
  return existsSync(STREAM_MODULE)
}

function tls({ certificates }: Setup): string {
  return `ssl_certificate ${certificates.server.certificate}; ssl_certificate_key ${certificates.server.key};
    ssl_client_certificate ${certificates.bundle}; ssl_verify_client on; ssl_verify_depth 3;
    ssl_protocols TLSv1.3; ssl_session_tickets off; ssl_session_cache off;`
}

function tcp(setup: Setup, port: number): string {
  return `stream {
  server { listen 127.0.0.1:${port} ssl backlog=4096; ${tls(setup)} proxy_pass 127.0.0.1:${setup.upstreamPort}; proxy_timeout 3600s; }
}
`
}

/** Bodies are passed on as they come, as by everybody else. */
function http(setup: Setup, port: number): string {
  const pass =
    setup.protocol === 'http2'
      ? `grpc_pass grpc://app; grpc_set_header X-Forwarded-For $remote_addr;
      grpc_set_header X-Forwarded-Client-Cert $ssl_client_fingerprint;`
      : `proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Client-Cert $ssl_client_fingerprint; proxy_request_buffering off; proxy_max_temp_file_size 0;`
  return `http {
  access_log off; keepalive_requests 1000000000; keepalive_timeout 3600s; client_max_body_size 0;
  upstream app { server 127.0.0.1:${setup.upstreamPort}; keepalive 128; keepalive_requests 1000000000; keepalive_timeout 3600s; }
  server {
    listen 127.0.0.1:${port} ssl ${setup.protocol === 'http2' ? 'http2 ' : ''}backlog=4096;
    ${tls(setup)}
    location / {
      ${pass}
    }
  }
}
`
}
