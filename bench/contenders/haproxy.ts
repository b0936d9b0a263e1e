/** HAProxy behind mutual TLS: one thread, pooled upstream connections, no access log. */
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { CORES } from '../environment/cores.ts'
import { accepts, freePort, waitUntil } from '../environment/ports.ts'
import { start } from '../environment/processes.ts'
import { type Contender, running } from './contender.ts'

export function haproxy(): Contender {
  return {
    name: 'HAProxy',
    version: /version (\d+\.\d+\.\d+)/.exec(spawnSync('haproxy', ['-v'], { encoding: 'utf8' }).stdout)?.[1] ?? 'unknown',
    async start({ folder, certificates, protocol, upstreamPort }) {
      const port = await freePort()
      const file = join(folder, 'haproxy.cfg')
      writeFileSync(
        file,
        `global
  nbthread 1
  maxconn 8192
  tune.ssl.cachesize 0
defaults
  mode ${protocol === 'tcp' ? 'tcp' : 'http'}
  timeout client 1h
  timeout server 1h
  timeout connect 2s
frontend inbound
  bind 127.0.0.1:${port} ssl crt ${certificates.server.both} ca-file ${certificates.bundle} verify required ssl-min-ver TLSv1.3 no-tls-tickets${protocol === 'http2' ? ' alpn h2' : ''}
${protocol === 'tcp' ? '' : HEADERS}  default_backend app
backend app
  ${protocol === 'tcp' ? '' : 'http-reuse always'}
  server app 127.0.0.1:${upstreamPort}${protocol === 'http2' ? ' proto h2' : ''}
`,
      )
      const begun = performance.now()
      const child = start('haproxy', ['-db', '-f', file], { core: CORES.proxy, stdio: ['ignore', 'ignore', 'inherit'] })
      await waitUntil(() => accepts(port), child, 'HAProxy')
      return running('HAProxy', port, child, begun)
    },
  }
}

const HEADERS = `  http-request set-header X-Forwarded-Client-Cert %{+Q}[ssl_c_sha1,hex]
  option forwardfor
`
