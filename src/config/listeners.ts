/** What the addresses of one document must be to one another: no way around the sidecar, no loop, no address twice. */
import { isDeepStrictEqual } from 'node:util'
import { entryOf, type LocatedValue, type Location, type Problem } from '#base/located'
import { type Address, formatAddress, isLoopback } from '#base/units'
import type { OutboundConfig, SidecarConfig } from './sidecar-config.ts'

interface Listener {
  readonly name: string
  readonly address: Address
  readonly at: Location
}

/** Reports the faults that only show when the whole document is read. */
export function checkListeners(config: SidecarConfig, document: LocatedValue, problems: Problem[]): void {
  const at = (...path: readonly (string | number)[]): Location => locationOf(document, path)
  const complain = (code: Problem['code'], where: Location, message: string): void =>
    void problems.push({ severity: 'error', code, message, at: where })

  if (config.inbound.length === 0 && config.outbound.length === 0 && config.mesh?.redirect === undefined) {
    complain('ERR_CONFIG_MISSING_KEY', at('spec'), 'There is neither `spec.inbound` nor `spec.outbound`: the sidecar would do nothing.')
  }
  for (const [index, { app, unsafeApp, plaintext, protocol }] of config.inbound.entries()) {
    const where = at('spec', 'inbound', index, 'app')
    const path = `spec.inbound[${index}].app`
    if (!unsafeApp && !isLoopback(app)) {
      const others =
        'others can reach it there around the sidecar. Bind it to 127.0.0.1, or set `unsafeApp: true` if the network keeps them away'
      complain('ERR_CONFIG_UNSAFE', where, `\`${path}\` is \`${formatAddress(app)}\`, neither loopback nor a Unix socket: ${others}.`)
    }
    if (plaintext.allow && protocol === 'tcp') {
      const message = `\`spec.inbound[${index}].plaintext\` is for listeners of HTTP: of opaque bytes nobody can tell whether they are meant to be TLS.`
      complain('ERR_CONFIG_VALUE', at('spec', 'inbound', index, 'plaintext'), message)
    }
    if (app.kind === 'tcp' && app.port === 0) complain('ERR_CONFIG_VALUE', where, `\`${path}\` needs a port from 1 to 65535.`)
  }

  const listeners = listListeners(config, at)
  for (const [index, { app }] of config.inbound.entries()) {
    const loop = listeners.find(({ address }) => reaches(app, address))
    if (loop !== undefined) {
      const message = `\`spec.inbound[${index}].app\` is \`${formatAddress(app)}\`, where \`${loop.name}\` listens: the sidecar would call itself.`
      complain('ERR_CONFIG_VALUE', at('spec', 'inbound', index, 'app'), message)
    }
  }
  for (const [index, listener] of listeners.entries()) {
    const first = listeners.slice(0, index).find(({ address }) => overlap(address, listener.address))
    if (first === undefined) continue
    complain(
      'ERR_CONFIG_VALUE',
      listener.at,
      `\`${listener.name}\` is \`${formatAddress(listener.address)}\`, where \`${first.name}\` listens already.`,
    )
  }
  checkSharedOutbound(config, at, complain)
}

/** Entries of `outbound` with the same `listen` are one listener; `checkSharedOutbound` sees to them. */
function listListeners(config: SidecarConfig, at: (...path: readonly (string | number)[]) => Location): Listener[] {
  const listeners = config.inbound.map(({ listen }, index): Listener => ({
    name: `spec.inbound[${index}].listen`,
    address: listen,
    at: at('spec', 'inbound', index, 'listen'),
  }))
  const seen = new Set<string>()
  for (const [index, { listen }] of config.outbound.entries()) {
    if (seen.has(formatAddress(listen))) continue
    seen.add(formatAddress(listen))
    listeners.push({ name: `spec.outbound[${index}].listen`, address: listen, at: at('spec', 'outbound', index, 'listen') })
  }
  if (config.mesh?.redirect !== undefined) {
    const address = config.mesh.redirect.listen
    listeners.push({ name: 'spec.mesh.redirect.listen', address, at: at('spec', 'mesh', 'redirect', 'listen') })
  }
  if (config.admin !== undefined) listeners.push({ name: 'spec.admin', address: config.admin, at: at('spec', 'admin') })
  if (config.assertionKeys !== undefined) {
    listeners.push({ name: 'spec.assertionKeys', address: config.assertionKeys, at: at('spec', 'assertionKeys') })
  }
  if (config.workloadApi !== undefined) {
    const address = config.workloadApi.listen
    listeners.push({ name: 'spec.workloadApi.listen', address, at: at('spec', 'workloadApi', 'listen') })
  }
  if (config.health !== undefined) listeners.push({ name: 'spec.health', address: config.health, at: at('spec', 'health') })
  return listeners
}

/** What entries that share a listener must agree on. How long a destination may take to answer is each one's own. */
const LISTENER_KEYS = ['protocol', 'limits', 'timeouts'] as const

function boundsOf(entry: OutboundConfig, key: (typeof LISTENER_KEYS)[number]): unknown {
  return key === 'timeouts' ? { ...entry.timeouts, connect: undefined } : entry[key]
}

function checkSharedOutbound(
  config: SidecarConfig,
  at: (...path: readonly (string | number)[]) => Location,
  complain: (code: Problem['code'], where: Location, message: string) => void,
): void {
  for (const [index, { protocol, hosts }] of config.outbound.entries()) {
    if (protocol !== 'tcp' || hosts.length === 0) continue
    const message = `\`spec.outbound[${index}].hosts\`: opaque TCP names no host. Give the entry a \`listen\` of its own and no \`hosts\`.`
    complain('ERR_CONFIG_VALUE', at('spec', 'outbound', index, 'hosts'), message)
  }
  const byListen = Map.groupBy(config.outbound.entries(), ([, { listen }]) => formatAddress(listen))
  for (const [listen, entries] of byListen) {
    const first = entries[0]
    if (entries.length < 2 || first === undefined) continue
    const hosts = new Set<string>()
    for (const [index, entry] of entries) {
      if (entry.hosts.length === 0) {
        const message = `\`spec.outbound[${index}]\` shares \`${listen}\` with another entry: each needs \`hosts\` to be told apart by.`
        complain('ERR_CONFIG_MISSING_KEY', at('spec', 'outbound', index), message)
      }
      for (const key of LISTENER_KEYS) {
        if (isDeepStrictEqual(boundsOf(entry, key), boundsOf(first[1], key))) continue
        const message = `\`spec.outbound[${index}].${key}\` is of the listener on \`${listen}\` as a whole: give the same as in \`spec.outbound[${first[0]}]\`.`
        complain('ERR_CONFIG_VALUE', at('spec', 'outbound', index, key), message)
      }
      for (const [position, host] of entry.hosts.entries()) {
        if (hosts.has(host)) {
          const message = `\`${host}\` is among the hosts of \`${listen}\` already.`
          complain('ERR_CONFIG_VALUE', at('spec', 'outbound', index, 'hosts', position), message)
        }
        hosts.add(host)
      }
    }
  }
}

/** Whether a call to `app` arrives at `listener`. A host beyond this one is not taken for a wildcard of ours. */
function reaches(app: Address, listener: Address): boolean {
  if (!overlap(app, listener)) return false
  return isLoopback(app) || formatAddress(app) === formatAddress(listener)
}

/** Whether binding both would fail. Port 0 is any port, so it meets none. */
export function overlap(a: Address, b: Address): boolean {
  if (a.kind === 'unix' || b.kind === 'unix') return a.kind === 'unix' && b.kind === 'unix' && a.path === b.path
  if (a.port !== b.port || a.port === 0) return false
  const [hostA, hostB] = [plainHost(a.host), plainHost(b.host)]
  return hostA === hostB || isWildcard(hostA) || isWildcard(hostB)
}

function plainHost(host: string): string {
  return host.toLowerCase() === 'localhost' ? '127.0.0.1' : host.toLowerCase()
}

function isWildcard(host: string): boolean {
  return host === '0.0.0.0' || host === '::'
}

/** Where a path of keys and indexes stands; of what is absent, where its nearest ancestor does. */
export function locationOf(value: LocatedValue, path: readonly (string | number)[]): Location {
  let found = value
  for (const step of path) {
    const next: LocatedValue | undefined =
      typeof step === 'number'
        ? found.kind === 'list'
          ? found.items[step]
          : undefined
        : found.kind === 'map'
          ? entryOf(found, step)?.value
          : undefined
    if (next === undefined) return found.at
    found = next
  }
  return found.at
}
