/** The least that Node takes: a `tls.Server` of a few lines without any module of ours, which answers whatever comes. For memory and starts. */
import process from 'node:process'
import { CORES } from '../environment/cores.ts'
import { accepts, freePort, waitUntil } from '../environment/ports.ts'
import { start } from '../environment/processes.ts'
import { type Contender, running } from './contender.ts'

const NAME = 'a bare tls.Server'

const PROGRAM = `const { readFileSync } = require('node:fs')
const [port, cert, key, ca] = process.argv.slice(1)
const answer = 'HTTP/1.1 200 OK\\r\\ncontent-length: 1024\\r\\n\\r\\n' + 'x'.repeat(1024)
const files = { cert: readFileSync(cert), key: readFileSync(key), ca: readFileSync(ca) }
const options = { ...files, minVersion: 'TLSv1.3', requestCert: true, rejectUnauthorized: true, ecdhCurve: 'X25519', ALPNProtocols: ['http/1.1'] }
require('node:tls').createServer(options, (caller) => caller.on('error', () => {}).on('data', () => caller.write(answer)))
  .listen({ host: '127.0.0.1', port, backlog: 4096 })`

/** Speaks HTTP/1.1 alone. */
export function bareNode(): Contender {
  return {
    name: NAME,
    version: process.versions.node,
    async start({ certificates: { server, bundle } }) {
      const port = await freePort()
      const begun = performance.now()
      const child = start(process.execPath, ['-e', PROGRAM, String(port), server.certificate, server.key, bundle], {
        core: CORES.proxy,
        stdio: ['ignore', 'ignore', 'inherit'],
      })
      await waitUntil(() => accepts(port), child, NAME)
      return running(NAME, port, child, begun)
    },
  }
}
