/** Apps behind a sidecar: an ordinary one that tells what it received, and ones that misbehave on the wire. */
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer, type AddressInfo, type Socket } from 'node:net'

export interface App extends AsyncDisposable {
  readonly port: number
  /** Heads of all requests received, in order. */
  readonly received: readonly ReceivedRequest[]
}

export interface ReceivedRequest {
  readonly method: string
  readonly url: string
  readonly rawHeaders: readonly string[]
  readonly headers: IncomingMessage['headers']
  body: string
  trailers: readonly string[]
}

type Respond = (request: IncomingMessage, response: ServerResponse, received: ReceivedRequest) => void

/** By default answers 200 with `ok`, once the request's body is read. */
export async function startApp(
  respond: Respond = (_request, response) => void response.end('ok'),
  listen: { path?: string } = {},
): Promise<App> {
  const received: ReceivedRequest[] = []
  const server = createHttpServer({ keepAliveTimeout: 60_000 }, (request, response) => {
    const entry: ReceivedRequest = {
      method: request.method ?? '',
      url: request.url ?? '',
      rawHeaders: request.rawHeaders,
      headers: request.headers,
      body: '',
      trailers: [],
    }
    received.push(entry)
    request.setEncoding('latin1')
    request.on('data', (chunk: string) => {
      if (entry.body.length < 1 << 20) entry.body += chunk
    })
    request.on('error', () => {})
    request.on('end', () => {
      entry.trailers = request.rawTrailers
      respond(request, response, entry)
    })
  })
  await new Promise<void>(
    (resolve) => void (listen.path === undefined ? server.listen(0, '127.0.0.1', resolve) : server.listen(listen.path, resolve)),
  )
  const address = server.address()
  return {
    port: typeof address === 'object' && address !== null ? address.port : 0,
    received,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise<void>((resolve) => void server.close(() => resolve()))
    },
  }
}

export interface RawApp extends AsyncDisposable {
  readonly port: number
  /** All bytes of each connection, in order of connecting. */
  readonly connections: readonly { text: string; readonly socket: Socket }[]
}

/** An app on bare sockets: `onData` is called with all bytes received so far on the connection. */
export async function startRawApp(
  onData: (socket: Socket, text: string) => void,
  onConnect: (socket: Socket) => void = () => {},
): Promise<RawApp> {
  const connections: { text: string; readonly socket: Socket }[] = []
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    const connection = { text: '', socket }
    connections.push(connection)
    socket.on('error', () => {})
    onConnect(socket)
    socket.on('data', (chunk) => {
      connection.text += chunk.toString('latin1')
      onData(socket, connection.text)
    })
    socket.on('end', () => socket.end())
  })
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    connections,
    async [Symbol.asyncDispose]() {
      for (const { socket } of connections) socket.destroy()
      await new Promise<void>((resolve) => void server.close(() => resolve()))
    },
  }
}
