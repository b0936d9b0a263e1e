/** Both ends of real TLS handshakes on loopback. */
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import * as tls from 'node:tls'

export interface TlsListener {
  readonly server: tls.Server
  readonly port: number
  /** Connects; resolves once the server has its end (or has seen the handshake fail) and the client knows how it went. */
  connect(options: tls.ConnectionOptions): Promise<TlsPair>
  [Symbol.asyncDispose](): Promise<void>
}

export interface TlsPair {
  /** Undefined where the handshake failed on the server. */
  readonly server: tls.TLSSocket | undefined
  readonly client: tls.TLSSocket
  /** Of either end. */
  readonly error: Error | undefined
}

/** Listens on a port of the system's choice. Sockets stay open until the listener is disposed of. */
export async function listenTls(options: tls.TlsOptions): Promise<TlsListener> {
  const server = tls.createServer(options)
  const sockets = new Set<tls.TLSSocket>()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    server,
    port,
    async connect(clientOptions) {
      const { promise: accepted, resolve: settle } = Promise.withResolvers<Pick<TlsPair, 'server' | 'error'>>()
      const admit = (socket: tls.TLSSocket): void => settle({ server: socket, error: undefined })
      const fail = (error: Error): void => settle({ server: undefined, error })
      server.once('secureConnection', admit).once('tlsClientError', fail)
      const client = tls.connect({ port, host: '127.0.0.1', ...clientOptions })
      sockets.add(client)
      const connected = new Promise<Error | undefined>((resolve) => {
        client.once('secureConnect', () => resolve(undefined))
        client.once('error', resolve)
      })
      client.on('error', () => {})
      const [end, clientError] = await Promise.all([accepted, connected])
      server.off('secureConnection', admit).off('tlsClientError', fail)
      end.server?.on('error', () => {})
      if (end.server !== undefined) sockets.add(end.server)
      return { server: end.server, client, error: end.error ?? clientError }
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}
