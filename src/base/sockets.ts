/** Small facts about sockets that both directions need. */
import type { Server } from 'node:net'
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
  else server.listen({ host: address.host === POD_HOST ? podAddress(key) : address.host, port: address.port, backlog: 4096 }, resolve)
  try {
    await promise
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? String(error)
    throw new PosternError('ERR_LISTEN', `Cannot listen on ${formatAddress(address)} (${key}): ${explainListen(code)}`, { cause: error })
  } finally {
    server.removeListener('error', reject)
  }
}

/** As a host to listen on: the address by which others reach this one, so that loopback stays the app's. */
export const POD_HOST = 'pod'

/** @throws PosternError ERR_LISTEN where there is none */
function podAddress(key: string): string {
  const found = Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .filter(({ internal, address }) => !internal && !address.startsWith('fe80:'))
    .toSorted((a, b) => a.family.localeCompare(b.family))
  const [first] = found
  if (first !== undefined) return first.address
  throw new PosternError('ERR_LISTEN', `Cannot listen on pod (${key}): this host has no address but loopback.`)
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
