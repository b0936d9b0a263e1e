/** What a new mutual TLS connection costs in Node itself, with the certificates of the authority: below it no authority on Node can be. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import process from 'node:process'
import { CORES } from '../environment/cores.ts'
import { accepts, freePort, waitUntil } from '../environment/ports.ts'
import { end, start } from '../environment/processes.ts'
import type { AuthorityCredentials } from '../load/authority.ts'
import { productionFlags, type RunningServer } from './ca.ts'

/** @param program as it ships, whose flags are taken */
export async function startAuthorityFloor(
  program: string,
  folder: string,
  bundlePem: string,
  { certificatePem, keyPem }: AuthorityCredentials,
): Promise<RunningServer> {
  const port = await freePort()
  const files = Object.entries({ 'floor.pem': certificatePem, 'floor-key.pem': keyPem, 'floor-bundle.pem': bundlePem }).map(
    ([name, text]) => {
      writeFileSync(join(folder, name), text)
      return join(folder, name)
    },
  )
  const server = join(import.meta.dirname, 'ca-floor-server.ts')
  const child = start(process.execPath, [...productionFlags(readFileSync(program, 'utf8')), server, String(port), ...files], {
    core: CORES.proxy,
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  await waitUntil(() => accepts(port), child, 'Node alone')
  return { port, pid: child.pid ?? 0, [Symbol.asyncDispose]: () => end(child) }
}
