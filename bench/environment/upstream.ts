/** The app behind every contender: nginx answering 1 KB from memory on the load's core. Its cost is not counted, but it counts requests. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { CORES } from './cores.ts'
import { accepts, freePort, waitUntil } from './ports.ts'
import { end, start } from './processes.ts'

export interface Upstream extends AsyncDisposable {
  readonly port: number
  /** Requests answered so far. */
  requests(): Promise<number>
}

export async function startUpstream(folder: string): Promise<Upstream> {
  const port = await freePort()
  const statusPort = await freePort()
  const file = join(folder, 'upstream.conf')
  writeFileSync(
    file,
    `daemon off; worker_processes 1; pid ${folder}/upstream.pid; error_log ${folder}/upstream.log warn;
events { worker_connections 8192; }
http {
  access_log off; keepalive_requests 1000000000; keepalive_timeout 3600s;
  server { listen 127.0.0.1:${port} backlog=4096; location / { default_type application/json; return 200 "${'x'.repeat(1024)}"; } }
  server { listen 127.0.0.1:${statusPort}; location / { stub_status; } }
}
`,
  )
  const child = start('nginx', ['-p', folder, '-c', file], { core: CORES.load, stdio: ['ignore', 'ignore', 'inherit'] })
  await waitUntil(() => accepts(port), child, 'the upstream')
  let asked = 0
  return {
    port,
    async requests() {
      const text = await (await fetch(`http://127.0.0.1:${statusPort}/`)).text()
      asked += 1
      return Number(/^ \d+ \d+ (\d+) $/m.exec(text)?.[1]) - asked
    },
    [Symbol.asyncDispose]: () => end(child),
  }
}
