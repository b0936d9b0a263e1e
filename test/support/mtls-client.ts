/** A caller with a certificate: raw bytes over mutual TLS for what no HTTP client would send, and a plain request for the rest. */
import { Agent, type AgentOptions, request as httpsRequest, type RequestOptions } from 'node:https'
import type { Socket } from 'node:net'
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls'
import type { TestSvid } from './authority.ts'

export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly body: string
  readonly trailers: Readonly<Record<string, string | undefined>>
}

type Credentials = Pick<TestSvid, 'certificatePem' | 'keyPem' | 'bundlePem'>

/** Resolves when the handshake is done. `socket` errors are the test's to expect. */
export async function dial(port: number, svid: Credentials | undefined, options: ConnectionOptions = {}): Promise<TLSSocket> {
  const socket = connect({
    host: '127.0.0.1',
    port,
    ...(svid === undefined ? {} : { cert: svid.certificatePem, key: svid.keyPem, ca: svid.bundlePem }),
    rejectUnauthorized: false,
    allowHalfOpen: true,
    ...options,
  } as ConnectionOptions)
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  socket.once('secureConnect', resolve)
  socket.once('error', reject)
  await promise
  socket.removeListener('error', reject)
  socket.on('error', () => {})
  return socket
}

/** Everything that is received until the other side ends or resets, as latin1. */
export async function readToEnd(socket: Socket): Promise<string> {
  let text = ''
  socket.setEncoding('latin1')
  const { promise, resolve } = Promise.withResolvers<string>()
  socket.on('data', (chunk: string) => {
    text += chunk
  })
  socket.once('end', () => {
    socket.end()
    resolve(text)
  })
  socket.once('close', () => resolve(text))
  return promise
}

/** Sends `bytes` on a connection of its own and reads until it is closed; `bytes` should ask for that, or be malformed. */
export async function sendRaw(port: number, svid: Credentials, bytes: string | Buffer): Promise<string> {
  const socket = await dial(port, svid)
  const answer = readToEnd(socket)
  socket.write(bytes, 'latin1')
  return answer
}

/** Waits until what was received contains `mark`; the rest stays unread in the returned text. */
export async function readUntil(socket: Socket, mark: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  let text = ''
  const onData = (chunk: Buffer): void => {
    text += chunk.toString('latin1')
    if (!text.includes(mark)) return
    socket.removeListener('data', onData)
    socket.removeListener('close', onClose)
    resolve(text)
  }
  const onClose = (): void => reject(new Error(`closed before ${JSON.stringify(mark)}; received ${JSON.stringify(text)}`))
  socket.on('data', onData)
  socket.on('close', onClose)
  return promise
}

/** An agent that keeps connections; `using` it ends them with the test, however that ends. */
export function createMtlsAgent(svid: Credentials, options: AgentOptions = {}): Agent & Disposable {
  const agent = new Agent({
    cert: svid.certificatePem,
    key: svid.keyPem,
    ca: svid.bundlePem,
    rejectUnauthorized: false,
    keepAlive: true,
    maxCachedSessions: 0,
    ...options,
  })
  return Object.assign(agent, { [Symbol.dispose]: () => agent.destroy() })
}

export interface CallOptions extends RequestOptions {
  readonly body?: string | Buffer | AsyncIterable<Buffer>
}

/** One request through Node's own client. */
export async function call(port: number, agent: Agent, path: string, { body, ...options }: CallOptions = {}): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>()
  const request = httpsRequest({ host: '127.0.0.1', port, path, agent, ...options }, (response) => {
    const chunks: Buffer[] = []
    response.on('data', (chunk: Buffer) => chunks.push(chunk))
    response.on('error', reject)
    response.on('end', () =>
      resolve({
        status: response.statusCode ?? 0,
        headers: response.headers,
        body: Buffer.concat(chunks).toString(),
        trailers: response.trailers,
      }),
    )
  })
  request.on('error', reject)
  if (body === undefined || typeof body === 'string' || Buffer.isBuffer(body)) request.end(body)
  else {
    for await (const chunk of body) {
      if (!request.write(chunk)) await new Promise((drained) => void request.once('drain', drained))
    }
    request.end()
  }
  return promise
}
