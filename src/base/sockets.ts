/** Small facts about sockets that both directions need. */
import type { IpcNetConnectOpts, LookupFunction, Server, TcpNetConnectOpts } from 'node:net'
import { networkInterfaces } from 'node:os'
import type { TLSSocket } from 'node:tls'
import { PosternError } from './errors.ts'
import { type Address, formatAddress } from './units.ts'

/**
 * @param key of the document, for the message
 * @throws PosternError ERR_LISTEN
 */
export async function listen(server: Server, address: Address, key: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  server.once('error', reject)
  if (address.kind === 'unix') server.listen({ path: address.path, backlog: 4096 }, resolve)
  else server.listen({ host: address.host, port: address.port, backlog: 4096 }, resolve)
  try {
    await promise
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? String(error)
    throw new PosternError('ERR_LISTEN', `Cannot listen on ${formatAddress(address)} (${key}): ${explainListen(code)}`, { cause: error })
  } finally {
    server.removeListener('error', reject)
  }
}

/** IPv4's first: most apps take that. */
const LOOPBACKS = [
  { address: '127.0.0.1', family: 4 },
  { address: '::1', family: 6 },
]

/** Nobody is asked: whatever a resolver says, `localhost` is this host. */
const lookupLoopback: LookupFunction = (_, { all }, callback) => {
  if (all === true) callback(null, LOOPBACKS)
  else callback(null, '127.0.0.1', 4)
}

/** For `connect`. `localhost` is both loopbacks, one after the other: an app may listen on either. */
export function connectTarget(address: Address): IpcNetConnectOpts | TcpNetConnectOpts {
  if (address.kind === 'unix') return { path: address.path }
  const { host, port } = address
  return isLocalhost(host) ? { host, port, lookup: lookupLoopback, autoSelectFamily: true } : { host, port }
}

export function isLocalhost(host: string): boolean {
  return host.toLowerCase() === 'localhost'
}

/** Whether there was no connection at all. Of several addresses each has its own error. */
export function isConnectFault(error: NodeJS.ErrnoException): boolean {
  return error.syscall === 'connect' || error.syscall === 'getaddrinfo' || error instanceof AggregateError
}

/** As a host to listen on: the addresses by which others reach this one, so that loopback stays the app's. */
export const POD_HOST = 'pod'

/** @throws PosternError ERR_LISTEN where there is none */
function podAddresses(key: string): readonly string[] {
  const found = Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .filter(({ internal, address }) => !internal && !address.startsWith('fe80:'))
    .toSorted((a, b) => a.family.localeCompare(b.family))
  if (found.length > 0) return found.map(({ address }) => address)
  throw new PosternError('ERR_LISTEN', `Cannot listen on pod (${key}): this host has no address but loopback.`)
}

/**
 * One server for each address that `host` means: `pod` all of this host's, `localhost` the loopbacks of both families; else the one.
 * @param make a server that does not listen yet
 * @returns at least one, all with the same port
 * @throws PosternError ERR_LISTEN if any of them cannot be had; a host without IPv6 has one loopback
 */
export async function listenOnEach(make: () => Server, address: Address, key: string): Promise<readonly [Server, ...Server[]]> {
  const open = async (at: Address): Promise<Server> => {
    const server = make()
    await listen(server, at, key)
    return server
  }
  if (address.kind === 'unix') return [await open(address)]
  const local = isLocalhost(address.host)
  const [host = '', ...others] = address.host === POD_HOST ? podAddresses(key) : local ? ['127.0.0.1', '::1'] : [address.host]
  const servers: [Server, ...Server[]] = [await open({ ...address, host })]
  try {
    for (const other of others) servers.push(await open({ kind: 'tcp', host: other, port: boundPort(servers[0]) }))
    return servers
  } catch (error) {
    const { code } = (error as { readonly cause?: NodeJS.ErrnoException }).cause ?? {}
    if (local && (code === 'EADDRNOTAVAIL' || code === 'EAFNOSUPPORT')) return servers
    for (const server of servers) server.close()
    throw error
  }
}

function explainListen(code: string): string {
  switch (code) {
    case 'EADDRINUSE':
      return 'something else listens there already. Stop it, or choose another address.'
    case 'EACCES':
      return 'permission denied. Ports below 1024 need privileges; choose a higher one.'
    case 'EADDRNOTAVAIL':
      return 'this host has no such address. Use one of its own, or 0.0.0.0.'
    default:
      return `${code}.`
  }
}

/** 0 for Unix sockets. */
export function boundPort(server: Server): number {
  const address = server.address()
  return address === null || typeof address === 'string' ? 0 : address.port
}

/** IPv4-mapped addresses as IPv4; `''` once the socket is gone, and for Unix sockets. */
export function plainAddress(address: string | undefined): string {
  if (address === undefined) return ''
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address
}

/** Name of the key exchange group, as `X25519MLKEM768`; `''` where TLS does not tell. */
export function keyExchangeGroup(socket: TLSSocket): string {
  const info = socket.getEphemeralKeyInfo()
  return info !== null && 'name' in info && typeof info.name === 'string' ? info.name : ''
}
