/** The endpoint of an issuer's keys, with its discovery document, that can be down, slow, huge, moved or behind a sign-in page. */
import { once } from 'node:events'
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'

export type Behaviour =
  | 'good'
  | 'error'
  | 'silent'
  | 'redirect'
  | 'html'
  | 'html without type'
  | 'huge'
  | 'endless'
  | 'cut'
  | 'compressed'
  | 'drips'

export interface KeyEndpoint extends AsyncDisposable {
  readonly origin: string
  readonly keysUrl: string
  behaviour: Behaviour
  /** The JWK Set. */
  keys: string
  /** What the discovery document says; set to lie. */
  discovery: Readonly<Record<string, unknown>>
  /** Paths asked for. */
  readonly asked: string[]
  readonly authorizations: (string | undefined)[]
  /** While set, answers wait for it. */
  gate: Promise<void> | undefined
}

/** @param tls makes it speak HTTPS */
export async function openKeyEndpoint(keys: string, tls?: { readonly key: string; readonly cert: string }): Promise<KeyEndpoint> {
  const listener: RequestListener = (request, response) => void answer(request, response)
  const server: Server = tls === undefined ? createServer(listener) : createTlsServer(tls, listener)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const origin = `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${(server.address() as AddressInfo).port}`

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    endpoint.asked.push(request.url ?? '')
    endpoint.authorizations.push(request.headers.authorization)
    await endpoint.gate
    const isDiscovery = request.url === '/.well-known/openid-configuration'
    const text = isDiscovery ? JSON.stringify(endpoint.discovery) : endpoint.keys
    const json = { 'content-type': 'application/json' }
    switch (isDiscovery && endpoint.behaviour !== 'redirect' ? 'good' : endpoint.behaviour) {
      case 'good':
        return void response.writeHead(200, json).end(text)
      case 'error':
        return void response.writeHead(503, json).end(text)
      case 'silent':
        return
      case 'redirect':
        return void response.writeHead(302, { location: `${origin}/elsewhere` }).end(text)
      case 'html':
        return void response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end('<!doctype html><title>Sign in</title>')
      case 'html without type':
        return void response.writeHead(200).end('<!doctype html><title>Sign in</title>')
      case 'huge':
        return void response.writeHead(200, json).end(`${text.slice(0, -1)}${' '.repeat(1 << 20)}}`)
      case 'endless': {
        response.writeHead(200, json)
        const chunk = ' '.repeat(65_536)
        const more = (): void => {
          while (!response.destroyed && response.write(chunk)) continue
        }
        response.on('drain', more)
        return more()
      }
      case 'cut':
        response.writeHead(200, { ...json, 'content-length': text.length })
        response.write(text.slice(0, 10), () => response.destroy())
        return
      case 'compressed':
        return void response.writeHead(200, { ...json, 'content-encoding': 'gzip' }).end('x')
      case 'drips': {
        response.writeHead(200, json)
        const timer = setInterval(() => void response.write(' '), 20)
        response.on('close', () => clearInterval(timer))
      }
    }
  }

  const endpoint: KeyEndpoint = {
    origin,
    keysUrl: `${origin}/keys`,
    behaviour: 'good',
    keys,
    discovery: { issuer: origin, jwks_uri: `${origin}/keys` },
    asked: [],
    authorizations: [],
    gate: undefined,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
  return endpoint
}
