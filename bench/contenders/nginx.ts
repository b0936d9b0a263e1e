/** nginx `proxy_pass` behind mutual TLS: one worker, pooled upstream connections, no policy and no access log. */
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { CORES } from '../environment/cores.ts'
import { accepts, freePort, waitUntil } from '../environment/ports.ts'
import { start } from '../environment/processes.ts'
import { type Contender, running } from './contender.ts'

export function nginx(): Contender {
  return {
    name: 'nginx',
    version: /nginx\/(\S+)/.exec(spawnSync('nginx', ['-v'], { encoding: 'utf8' }).stderr)?.[1] ?? 'unknown',
    async start({ folder, certificates, upstreamPort }) {
      const port = await freePort()
      const file = join(folder, 'nginx.conf')
      writeFileSync(
        file,
        `daemon off; worker_processes 1; pid ${folder}/nginx.pid; error_log ${folder}/error.log warn;
events { worker_connections 8192; }
http {
  access_log off; keepalive_requests 1000000000; keepalive_timeout 3600s;
  upstream app { server 127.0.0.1:${upstreamPort}; keepalive 128; keepalive_requests 1000000000; keepalive_timeout 3600s; }
  server {
    listen 127.0.0.1:${port} ssl backlog=4096;
    ssl_certificate ${certificates.server.certificate}; ssl_certificate_key ${certificates.server.key};
    ssl_client_certificate ${certificates.bundle}; ssl_verify_client on; ssl_verify_depth 3;
    ssl_protocols TLSv1.3; ssl_session_tickets off; ssl_session_cache off;
    location / {
      proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Client-Cert $ssl_client_fingerprint;
    }
  }
}
`,
      )
      const begun = performance.now()
      const child = start('nginx', ['-p', folder, '-c', file], { core: CORES.proxy, stdio: ['ignore', 'ignore', 'inherit'] })
      await waitUntil(() => accepts(port), child, 'nginx')
      return running('nginx', port, child, begun)
    },
  }
}
