/** Checks of the app: that the sidecar reaches it, and that nobody else does. */
import { networkInterfaces } from 'node:os'
import { POD_HOST } from '#base/sockets'
import { type Address, formatAddress, isLoopback, type TcpAddress } from '#base/units'
import type { SidecarConfig } from '#config/sidecar-config'
import { type CheckResult, judged, skipped } from './catalogue.ts'
import { explainConnect, probe } from './probe.ts'

/** @param running an absent app is a fault where a sidecar runs already, and worth a word where none does */
export async function checkApp(config: SidecarConfig, running: boolean): Promise<readonly CheckResult[]> {
  if (config.inbound.length === 0) return []
  const apps = new Map(config.inbound.map(({ app }) => [formatAddress(app), app]))
  const silent: string[] = []
  const bypasses: string[] = []
  let answering = 0
  for (const [name, app] of apps) {
    const code = await probe(app)
    if (code !== undefined) {
      silent.push(`${name}: ${explainConnect(code)}.`)
      continue
    }
    answering++
    bypasses.push(...(await findBypasses(app, config)))
  }
  return [
    judged('app-answers', silent, running ? 'failed' : 'warning'),
    answering === 0 ? skipped('app-bypass', 'no app answers') : judged('app-bypass', bypasses, 'warning'),
  ]
}

/** Addresses of this host, seen by others, on which the port of an app takes connections that the sidecar has not let through. */
async function findBypasses(app: Address, config: SidecarConfig): Promise<string[]> {
  if (app.kind === 'unix') return []
  const found: string[] = []
  for (const host of isLoopback(app) ? publicAddresses() : [app.host]) {
    const address: TcpAddress = { kind: 'tcp', host, port: app.port }
    if (isOwnListener(address, config)) continue
    if ((await probe(address)) === undefined)
      found.push(`${formatAddress(address)} takes connections from others, without a certificate and past every policy.`)
  }
  return found
}

/** Link-local addresses need a zone and reach no further than the link; those of the other family are there besides. */
function publicAddresses(): string[] {
  return Object.values(networkInterfaces())
    .flatMap((interfaces) => interfaces ?? [])
    .filter(({ internal, address }) => !internal && !address.startsWith('fe80:'))
    .map(({ address }) => address)
}

/** Where the sidecar takes the app's own port on the host's addresses, it is the sidecar that answers. */
function isOwnListener(address: TcpAddress, config: SidecarConfig): boolean {
  return config.inbound.some(
    ({ listen }) => listen.port === address.port && [address.host, POD_HOST, '0.0.0.0', '::'].includes(listen.host),
  )
}
