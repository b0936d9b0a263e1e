/** The small HTTP server behind health, metrics and admin: a table of exact routes, and limits that suit nothing larger. */
import { createServer } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Log } from './log.ts'

export interface SmallRequest {
  /** What `{name}` segments of the route stood for, percent-decoded. */
  readonly params: Readonly<Record<string, string>>
  readonly query: URLSearchParams
  /** The body of a POST as parsed JSON; undefined if there was none. */
  readonly body: unknown
}

export interface SmallResponse {
  readonly status: number
  readonly contentType?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly text: string
}

export interface Route {
  /** Default GET. HEAD is answered wherever GET is. */
  readonly method?: 'GET' | 'POST'
  /** `/v1/decisions/{id}`; a segment in braces stands for one whole segment. */
  readonly path: string
  answer(request: SmallRequest): SmallResponse | Promise<SmallResponse>
}

export interface SmallServerOptions {
  readonly routes: readonly Route[]
  readonly log: Log
  /** Only requests whose Host is a loopback name are answered, which keeps web pages that rebind their name out. Default false. */
  readonly loopbackHostOnly?: boolean
  /** Connections at once; a new one beyond that takes the place of the oldest. Default 64. */
  readonly connections?: number
}

const LONGEST_BODY = 4096
const HEAD_BYTES = 8192
const TIMEOUT = 5000
const LOOPBACK_HOST = /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?$/i

/** Not listening yet. Each connection carries one request. */
export function createSmallServer({ routes, log, loopbackHostOnly = false, connections = 64 }: SmallServerOptions): Server {
  const server = createServer(
    {
      maxHeaderSize: HEAD_BYTES,
      headersTimeout: TIMEOUT,
      requestTimeout: TIMEOUT,
      connectionsCheckingInterval: 1000,
      requireHostHeader: true,
    },
    (request, response) => void serve(request, response),
  )
  keepNewest(server, connections)
  server.timeout = 2 * TIMEOUT
  server.maxRequestsPerSocket = 1
  server.on('clientError', (_error, socket) => void socket.destroy())

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.shouldKeepAlive = false
    try {
      send(request, response, await answer(request))
    } catch (error) {
      log.error({ err: error, path: request.url?.split('?', 1)[0] }, 'a request for health, metrics or admin could not be answered')
      send(request, response, problem(500, 'Internal Server Error'))
    }
  }

  async function answer(request: IncomingMessage): Promise<SmallResponse> {
    if (loopbackHostOnly && !LOOPBACK_HOST.test(request.headers.host ?? ''))
      return problem(403, 'Forbidden: the Host must be a loopback address')
    const target = request.url ?? ''
    if (!target.startsWith('/')) return problem(400, 'Bad Request')
    const [path = '', search = ''] = target.split(/\?(.*)/s, 2)
    const found = routes.flatMap((route) => {
      const params = matchRoute(route.path, path)
      return params === undefined ? [] : [{ route, params }]
    })
    if (found.length === 0) return problem(404, 'Not Found')
    const method = request.method === 'HEAD' ? 'GET' : request.method
    const match = found.find(({ route }) => (route.method ?? 'GET') === method)
    if (match === undefined) {
      const allow = found.map(({ route }) => route.method ?? 'GET').join(', ')
      return { ...problem(405, 'Method Not Allowed'), headers: { allow } }
    }
    const body = method === 'POST' ? await readBody(request) : { value: undefined }
    if (body === undefined) return problem(400, `Bad Request: the body must be JSON of at most ${LONGEST_BODY} bytes`)
    return match.route.answer({ params: match.params, query: new URLSearchParams(search), body: body.value })
  }

  return server
}

/** Whoever holds connections open cannot keep a probe out: were new ones turned away, the process would be taken for dead. */
function keepNewest(server: Server, limit: number): void {
  const open = new Set<Socket>()
  server.on('connection', (socket) => {
    const [oldest] = open
    if (oldest !== undefined && open.size >= limit) {
      open.delete(oldest)
      oldest.destroy()
    }
    open.add(socket)
    socket.once('close', () => open.delete(socket))
  })
}

export function json(value: unknown, status = 200): SmallResponse {
  return { status, contentType: 'application/json', text: `${JSON.stringify(value)}\n` }
}

/** An error as RFC 9457 has it. */
export function problem(status: number, title: string): SmallResponse {
  return { status, contentType: 'application/problem+json', text: `${JSON.stringify({ title, status })}\n` }
}

function send(request: IncomingMessage, response: ServerResponse, { status, contentType, headers, text }: SmallResponse): void {
  response.writeHead(status, {
    'content-type': contentType ?? 'text/plain; charset=utf-8',
    'content-length': Buffer.byteLength(text),
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    ...headers,
  })
  response.end(request.method === 'HEAD' ? undefined : text)
}

function matchRoute(pattern: string, path: string): Record<string, string> | undefined {
  const wanted = pattern.split('/')
  const given = path.split('/')
  if (wanted.length !== given.length) return undefined
  const params: Record<string, string> = {}
  for (const [index, want] of wanted.entries()) {
    const segment = given[index] ?? ''
    if (want.startsWith('{')) {
      const value = decodeSegment(segment)
      if (value === undefined || value === '') return undefined
      params[want.slice(1, -1)] = value
    } else if (want !== segment) return undefined
  }
  return params
}

function decodeSegment(segment: string): string | undefined {
  try {
    return decodeURIComponent(segment)
  } catch {
    return undefined
  }
}

/** Undefined if it is no JSON or too long. */
async function readBody(request: IncomingMessage): Promise<{ readonly value: unknown } | undefined> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > LONGEST_BODY) return undefined
    chunks.push(chunk)
  }
  if (size === 0) return { value: undefined }
  try {
    return { value: JSON.parse(Buffer.concat(chunks).toString()) as unknown }
  } catch {
    return undefined
  }
}
