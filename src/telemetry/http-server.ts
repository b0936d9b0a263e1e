/**
 * The small HTTP server behind health, metrics and admin: a table of exact routes, one request a connection, and limits that suit nothing
 * larger. On our own codec: node:http alone would be a sixth of the memory of a sidecar.
 */
import { createServer, type Server, type Socket } from 'node:net'
import { httpStatusOf } from '#http/refusal-status'
import { reasonPhrase } from '#http/reason-phrases'
import { type BodyReader, createBodyReader } from '#wire/http1/body-reader'
import { findHeadEnd, oversizedHead } from '#wire/http1/head-end'
import type { Http1Request } from '#wire/http1/message'
import { readRequestHead } from '#wire/http1/request-reader'
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
const LIMITS = { bytes: 8192, headers: 100 }
/** Ms for a whole request, and for its answer to be taken. */
const TIMEOUT = 5000
const LOOPBACK_HOST = /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?$/i

export type SmallServer = Server & {
  /** Ends those that are open. */
  closeAllConnections(): void
}

/** Not listening yet. Each connection carries one request. */
export function createSmallServer({ routes, log, loopbackHostOnly = false, connections = 64 }: SmallServerOptions): SmallServer {
  const open = new Set<Socket>()

  async function answer(request: Http1Request, body: Buffer): Promise<SmallResponse> {
    // No proxy is asked here.
    if (!request.target.startsWith('/')) return problem(400, 'Bad Request')
    if (loopbackHostOnly && !LOOPBACK_HOST.test(request.authority)) return problem(403, 'Forbidden: the Host must be a loopback address')
    const found = routes.flatMap((route) => {
      const params = matchRoute(route.path, request.path)
      return params === undefined ? [] : [{ route, params }]
    })
    if (found.length === 0) return problem(404, 'Not Found')
    const method = request.method === 'HEAD' ? 'GET' : request.method
    const match = found.find(({ route }) => (route.method ?? 'GET') === method)
    if (match === undefined) {
      const allow = found.map(({ route }) => route.method ?? 'GET').join(', ')
      return { ...problem(405, 'Method Not Allowed'), headers: { allow } }
    }
    const read = method === 'POST' ? readBody(body) : { value: undefined }
    if (read === undefined) return problem(400, `Bad Request: the body must be JSON of at most ${LONGEST_BODY} bytes`)
    return match.route.answer({ params: match.params, query: new URLSearchParams(request.query), body: read.value })
  }

  async function serve(socket: Socket, request: Http1Request, body: Buffer): Promise<void> {
    let response: SmallResponse
    try {
      response = await answer(request, body)
    } catch (error) {
      log.error({ err: error, path: request.path }, 'a request for health, metrics or admin could not be answered')
      response = problem(500, 'Internal Server Error')
    }
    send(socket, response, request.method === 'HEAD')
  }

  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    makeRoom(open, connections)
    open.add(socket)
    socket.once('close', () => open.delete(socket))
    socket.on('error', () => {})
    readOne(socket, (request, body) => void serve(socket, request, body))
  })
  return Object.assign(server, {
    closeAllConnections() {
      for (const socket of open) socket.destroy()
    },
  })
}

/** Whoever holds connections open cannot keep a probe out: were new ones turned away, the process would be taken for dead. */
function makeRoom(open: Set<Socket>, limit: number): void {
  const [oldest] = open
  if (oldest === undefined || open.size < limit) return
  open.delete(oldest)
  oldest.destroy()
}

/** Reads one request; what is malformed, too large or too slow is answered or closed here. */
function readOne(socket: Socket, serve: (request: Http1Request, body: Buffer) => void): void {
  let bytes: Buffer = Buffer.alloc(0)
  let head: Http1Request | undefined
  let done = false
  const chunks: Buffer[] = []
  let length = 0
  const deadline = setTimeout(() => socket.destroy(), 2 * TIMEOUT)
  socket.once('close', () => clearTimeout(deadline))

  function refuse(status: number): void {
    done = true
    send(socket, problem(status, reasonPhrase(status)), false)
  }

  /** @returns where the body begins in `bytes`, or -1 while there is no head */
  function readHead(): number {
    const end = findHeadEnd(bytes, 0)
    if (end === -1 && bytes.length <= LIMITS.bytes) return -1
    const read = end === -1 ? oversizedHead(bytes, 0, LIMITS) : readRequestHead(bytes, 0, end, LIMITS)
    if (read.ok) head = read
    else refuse(httpStatusOf(read.reason) ?? 400)
    return read.ok ? end : -1
  }

  function finish(request: Http1Request): void {
    done = true
    serve(request, Buffer.concat(chunks))
  }

  function take(request: Http1Request, reader: BodyReader, chunk: Buffer): void {
    reader.read(chunk, 0, {
      onData(data) {
        length += data.length
        if (length <= LONGEST_BODY) chunks.push(Buffer.from(data))
      },
      onEnd: () => void (length <= LONGEST_BODY && finish(request)),
    })
    if (done) return
    if (reader.fault !== undefined) refuse(400)
    else if (length > LONGEST_BODY) {
      // One byte too many is all that the answer needs to see.
      chunks.push(Buffer.alloc(LONGEST_BODY + 1))
      finish(request)
    }
  }

  let body: BodyReader | undefined
  socket.on('data', (chunk: Buffer) => {
    if (done) return
    if (head !== undefined && body !== undefined) return take(head, body, chunk)
    bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk])
    const start = readHead()
    if (start === -1 || head === undefined) return
    if (head.bodyLength === 0) return finish(head)
    body = createBodyReader(head.bodyLength, LIMITS)
    take(head, body, bytes.subarray(start))
  })
  socket.on('end', () => {
    if (!done) socket.destroy()
  })
}

export function json(value: unknown, status = 200): SmallResponse {
  return { status, contentType: 'application/json', text: `${JSON.stringify(value)}\n` }
}

/** An error as RFC 9457 has it. */
export function problem(status: number, title: string): SmallResponse {
  return { status, contentType: 'application/problem+json', text: `${JSON.stringify({ title, status })}\n` }
}

function send(socket: Socket, { status, contentType, headers, text }: SmallResponse, headOnly: boolean): void {
  const body = Buffer.from(text)
  const fields: Record<string, string> = {
    'content-type': contentType ?? 'text/plain; charset=utf-8',
    'content-length': String(body.length),
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    connection: 'close',
    ...headers,
  }
  const lines = Object.entries(fields).map(([name, value]) => `${name}: ${value}\r\n`)
  socket.cork()
  socket.write(`HTTP/1.1 ${status} ${reasonPhrase(status)}\r\n${lines.join('')}\r\n`, 'latin1')
  if (!headOnly) socket.write(body)
  socket.end()
  socket.uncork()
  // What the caller still sends is of no interest, but unread it would turn our end into a reset.
  socket.resume()
  setTimeout(() => socket.destroy(), TIMEOUT).unref()
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
function readBody(body: Buffer): { readonly value: unknown } | undefined {
  if (body.length > LONGEST_BODY) return undefined
  if (body.length === 0) return { value: undefined }
  try {
    return { value: JSON.parse(body.toString()) as unknown }
  } catch {
    return undefined
  }
}
