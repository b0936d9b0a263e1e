/** A server with a certificate of the mesh that does whatever the test does with the bytes. */
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { createServer, type TLSSocket } from 'node:tls'
import type { TestSvid } from './authority.ts'

export interface BareTlsServer extends AsyncDisposable {
  readonly port: number
  readonly sockets: TLSSocket[]
  /** All that was read of all connections. */
  readonly received: () => Buffer
}

/** @param alpn undefined for none */
export async function startBareTlsServer(
  svid: TestSvid,
  alpn: string[] | undefined,
  onSocket?: (socket: TLSSocket) => void,
): Promise<BareTlsServer> {
  const chunks: Buffer[] = []
  const sockets: TLSSocket[] = []
  const server = createServer(
    {
      cert: svid.certificatePem,
      key: svid.keyPem,
      ca: svid.bundlePem,
      requestCert: true,
      ...(alpn === undefined ? {} : { ALPNProtocols: alpn }),
    },
    (socket) => {
      sockets.push(socket)
      socket.on('data', (chunk: Buffer) => chunks.push(chunk))
      socket.on('error', () => {})
      onSocket?.(socket)
    },
  )
  await once(server.listen(0, '127.0.0.1'), 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    sockets,
    received: () => Buffer.concat(chunks),
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      await new Promise<void>((resolve) => void server.close(() => resolve()))
    },
  }
}
