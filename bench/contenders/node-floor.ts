/**
 * What Node alone costs: its `tls.Server` with the options of Postern's listeners, one plain connection to the app for each caller's, bytes passed on
 * unread. It asks for a certificate and looks at no more than `authorized`: what a proxy on Node pays before it knows who calls, decides or records.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import process from 'node:process'
import { CORES } from '../environment/cores.ts'
import { accepts, freePort, waitUntil } from '../environment/ports.ts'
import { start } from '../environment/processes.ts'
import { productionFlags } from './ca.ts'
import { type Contender, running } from './contender.ts'

const NAME = 'Node alone'

/** @param bundle of Postern, whose flags of Node it is given */
export function nodeFloor(bundle: string): Contender {
  return {
    name: NAME,
    version: process.versions.node,
    async start({ folder, certificates, upstreamPort }) {
      const port = await freePort()
      const options = join(folder, 'options.json')
      const { server } = certificates
      writeFileSync(
        options,
        JSON.stringify({ port, upstreamPort, certificate: server.certificate, key: server.key, bundle: certificates.bundle }),
      )
      const begun = performance.now()
      const program = join(import.meta.dirname, 'node-floor-server.ts')
      const child = start(process.execPath, [...productionFlags(readFileSync(bundle, 'utf8')), program, options], {
        core: CORES.proxy,
        stdio: ['ignore', 'ignore', 'inherit'],
      })
      await waitUntil(() => accepts(port), child, NAME)
      return running(NAME, port, child, begun, WARM_UP_SECONDS)
    },
  }
}

/** As Postern's: V8 has compiled what is hot. */
const WARM_UP_SECONDS = 4
