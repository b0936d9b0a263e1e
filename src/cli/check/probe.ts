/** Tries of addresses: whether something takes connections there, and whether we could listen there ourselves. */
import { connect, createServer } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { connectTarget } from '#base/sockets'
import { type Address, formatAddress } from '#base/units'

/** Ms until a connection that is neither made nor refused counts as neither. */
const CONNECT_TIMEOUT = 2_000

/** The system's code, as `ECONNREFUSED`; undefined if the connection was made. It is closed at once. */
export function probe(address: Address): Promise<string | undefined> {
  const { promise, resolve } = Promise.withResolvers<string | undefined>()
  const socket = connect({ ...connectTarget(address), timeout: CONNECT_TIMEOUT })
  socket.once('connect', () => resolve(undefined))
  socket.once('timeout', () => resolve('ETIMEDOUT'))
  socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message))
  return promise.finally(() => socket.destroy())
}

/** Undefined once `event` came; the code of an error; `closed`; or `ETIMEDOUT` after `timeout` ms. */
export async function outcome(socket: TLSSocket, event: string | undefined, timeout: number): Promise<string | undefined> {
  const { promise, resolve } = Promise.withResolvers<string | undefined>()
  const timer = setTimeout(() => resolve('ETIMEDOUT'), timeout)
  if (event !== undefined) socket.once(event, () => resolve(undefined))
  socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message))
  socket.once('close', () => resolve('closed'))
  socket.once('end', () => resolve('closed'))
  // Without a reader neither alert nor end arrives.
  socket.resume()
  const found = await promise
  clearTimeout(timer)
  return found
}

/** Why nothing could listen there now; undefined if it could. TCP is tried, and let go again. */
export async function listenFault(address: Address): Promise<string | undefined> {
  if (address.kind === 'unix')
    return (await probe(address)) === undefined ? `${formatAddress(address)}: another process listens there.` : undefined
  const { promise, resolve } = Promise.withResolvers<string | undefined>()
  const server = createServer()
  server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message))
  server.listen({ host: address.host, port: address.port, exclusive: true }, () => server.close(() => resolve(undefined)))
  const code = await promise
  return code === undefined ? undefined : `${formatAddress(address)}: ${explainListen(code)}.`
}

function explainListen(code: string): string {
  if (code === 'EADDRINUSE') return 'another process listens there'
  if (code === 'EACCES') return 'this user may not listen there'
  if (code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND') return 'this host has no such address'
  return code
}

/** For people. */
export function explainConnect(code: string): string {
  if (code === 'ECONNREFUSED') return 'nothing listens there'
  if (code === 'ETIMEDOUT') return `no answer within ${CONNECT_TIMEOUT / 1000} s`
  if (code === 'ENOENT') return 'there is no such socket'
  if (code === 'EACCES') return 'this user may not connect to it'
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') return 'the name has no address'
  return code
}
