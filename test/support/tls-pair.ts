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
      const accepted = Promise.race([
        once(server, 'secureConnection').then(([socket]) => ({ server: socket as tls.TLSSocket, error: undefined })),
        once(server, 'tlsClientError').then(([error]) => ({ server: undefined, error: error as Error })),
      ])
      const client = tls.connect({ port, host: '127.0.0.1', ...clientOptions })
      sockets.add(client)
      const connected = new Promise<Error | undefined>((resolve) => {
        client.once('secureConnect', () => resolve(undefined))
        client.once('error', resolve)
      })
      client.on('error', () => {})
      const [end, clientError] = await Promise.all([accepted, connected])
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
