/** Callers of the authority's API: connections that are kept, one request at a time on each, as little work of their own as can be. */
import { connect, type TLSSocket } from 'node:tls'

export interface AuthorityCredentials {
  readonly certificatePem: string
  readonly keyPem: string
}

export interface AuthorityCaller {
  /** @returns the body of a 200 @throws Error with the answer for anything else */
  post(path: string, body: string): Promise<string>
  close(): void
}

export async function openAuthorityCaller(port: number, bundlePem: string, as?: AuthorityCredentials): Promise<AuthorityCaller> {
  const socket: TLSSocket = connect({
    host: '127.0.0.1',
    port,
    ca: bundlePem,
    // The server is named by its SPIFFE ID, which this client does not read: what is measured is the server.
    checkServerIdentity: () => undefined,
    minVersion: 'TLSv1.3',
    ...(as === undefined ? {} : { cert: as.certificatePem, key: as.keyPem }),
  })
  socket.setNoDelay(true)
  const opened = Promise.withResolvers<void>()
  socket.once('secureConnect', () => opened.resolve())
  socket.on('error', (error) => opened.reject(error))
  await opened.promise
  let received = ''
  let waiting: PromiseWithResolvers<string> | undefined
  socket.on('data', (chunk: Buffer) => {
    received += chunk.toString('latin1')
    const head = received.indexOf('\r\n\r\n')
    const length = Number(/\r\ncontent-length: (\d+)/.exec(received)?.[1] ?? Number.NaN)
    if (head === -1 || received.length < head + 4 + length) return
    const [answer, body] = [received, received.slice(head + 4)]
    received = ''
    if (answer.startsWith('HTTP/1.1 200 ')) waiting?.resolve(body)
    else waiting?.reject(new Error(answer))
  })
  socket.on('close', () => waiting?.reject(new Error('closed')))
  return {
    post(path, body) {
      waiting = Promise.withResolvers<string>()
      socket.write(`POST ${path} HTTP/1.1\r\nhost: ca\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`)
      return waiting.promise
    },
    close: () => socket.destroy(),
  }
}
