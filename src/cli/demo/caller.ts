/** Calls of the demo: one request over mutual TLS, or the reason why there was no answer. */
import { Agent, request, type RequestOptions } from 'node:https'

export interface Credentials {
  readonly certificatePem: string
  readonly keyPem: string
  readonly bundlePem: string
}

export interface Answer {
  /** 0 where the connection was closed instead of an answer. */
  readonly status: number
  readonly body: string
  readonly requestId: string
}

export interface CallOptions {
  readonly port: number
  readonly path: string
  /** Undefined: without a certificate. */
  readonly credentials: Credentials | undefined
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly agent?: Agent
  /** Called for every piece of the body; the answer is resolved when it ends, however that happens. */
  readonly onData?: (text: string) => void
}

/** The demo's own calls do not check the server: its sidecars are addressed by loopback port. Calls between services do. */
export function createAgent(credentials: Credentials | undefined): Agent {
  return new Agent({
    keepAlive: true,
    rejectUnauthorized: false,
    maxCachedSessions: 0,
    ...(credentials === undefined ? {} : { cert: credentials.certificatePem, key: credentials.keyPem, ca: credentials.bundlePem }),
  })
}

export async function call({ port, path, credentials, method = 'GET', headers = {}, agent, onData }: CallOptions): Promise<Answer> {
  const ownAgent = agent ?? createAgent(credentials)
  const { promise, resolve } = Promise.withResolvers<Answer>()
  const options: RequestOptions = { host: '127.0.0.1', port, path, method, headers: { ...headers }, agent: ownAgent }
  const outgoing = request(options, (response) => {
    let body = ''
    const done = (): void => resolve({ status: response.statusCode ?? 0, body, requestId: String(response.headers['x-request-id'] ?? '') })
    response.setEncoding('utf8')
    response.on('data', (chunk: string) => {
      body += chunk
      onData?.(chunk)
    })
    response.on('end', done)
    response.on('error', done)
  })
  outgoing.on('error', (error) => resolve({ status: 0, body: error.message, requestId: '' }))
  outgoing.end()
  const answer = await promise
  if (agent === undefined) ownAgent.destroy()
  return answer
}
