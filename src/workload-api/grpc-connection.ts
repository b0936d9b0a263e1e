/**
 * One client's connection: gRPC over our own HTTP/2 codec, between a Unix socket and the handlers of @connectrpc/connect. node:http2 resets
 * requests whose `:authority` is the path of the socket, as java-spiffe sends it; here it names nothing and may be anything.
 */
import { Buffer } from 'node:buffer'
import type { Socket } from 'node:net'
import { Code, ConnectError } from '@connectrpc/connect'
import type { UniversalHandlerFn, UniversalServerResponse } from '@connectrpc/connect/protocol'
import type { Clock } from '#base/clock'
import { addHeader, createHeaderList, type HeaderList } from '#http/header-list'
import type { Log } from '#telemetry/log'
import { INTERNAL_ERROR, NO_ERROR } from '#wire/http2/protocol'
import type { Http2Request } from '#wire/http2/request-fields'
import type { Http2Resources } from '#wire/http2/resources'
import { createHttp2ServerCodec } from '#wire/http2/server-codec'
import type { Http2Stream } from '#wire/http2/stream'
import { createRequestBody, type RequestBody } from './request-body.ts'

export interface GrpcConnectionOptions {
  /** What answers a request; undefined for a path that nobody serves. */
  readonly handlerOf: (path: string) => UniversalHandlerFn | undefined
  /** Answers requests to paths that nobody serves. */
  readonly refuse: (request: Http2Request) => ConnectError
  readonly resources: Http2Resources
  readonly clock: Clock
  readonly log: Log
}

export interface GrpcConnection {
  /** No new calls; those under way go on. */
  shutdown(): void
  destroy(): void
}

interface Call {
  readonly body: RequestBody
  readonly abort: AbortController
}

const LIMITS = { bytes: 65_536, headers: 64, streams: 100 }
/** Bytes that the client has not taken from the socket: beyond it, it asks and never reads. */
const MOST_UNREAD = 1024 * 1024
/** What a call may have sent and its handler not taken yet is bounded by the initial window, 65,535. */

export function serveGrpcConnection(socket: Socket, options: GrpcConnectionOptions): GrpcConnection {
  const { clock, log } = options
  const calls = new Set<Call>()
  const codec = createHttp2ServerCodec<Call>(
    { resources: options.resources, limits: LIMITS, anyAuthority: true },
    {
      onRequest: (stream, request) => begin(stream, request),
      onBadRequest: (stream) => codec.answer(stream, { status: 400, requestId: '' }),
      onStreamRefused: () => undefined,
      onTrailers: (stream) => stream.owner?.body.end(),
      onData(stream, bytes, start, end, endStream) {
        const { owner } = stream
        if (owner === undefined) codec.connection.credit(undefined, end - start)
        // The codec reuses its bytes after this call.
        else if (end > start) owner.body.push(Uint8Array.prototype.slice.call(bytes, start, end))
        if (endStream) owner?.body.end()
      },
      onReset: (stream) => leave(stream, new ConnectError('the client cancelled the call', Code.Canceled)),
      onEnded: () => undefined,
      onStreamFault: (stream) => leave(stream, new ConnectError('the stream broke a rule of HTTP/2', Code.Canceled)),
      onCredit: () => undefined,
      onSettings: () => undefined,
      onGoaway: () => undefined,
      onFault({ reason, detail }) {
        log.debug({ reason, detail }, 'A client of the Workload API broke a rule of HTTP/2.')
        flush()
        socket.end()
      },
    },
  )

  function flush(): void {
    if (socket.destroyed || socket.writableEnded) return
    socket.cork()
    for (let piece = codec.connection.takeOutput(); piece !== undefined; piece = codec.connection.takeOutput()) socket.write(piece)
    socket.uncork()
    if (socket.writableLength > MOST_UNREAD) socket.destroy()
  }

  function begin(stream: Http2Stream<Call>, request: Http2Request): void {
    const handler = options.handlerOf(request.path)
    if (handler === undefined) return refuse(stream, request, options.refuse(request))
    const header = headersOf(request.headers)
    if (header === undefined) return refuse(stream, request, new ConnectError('metadata that is no header', Code.InvalidArgument))
    const body = createRequestBody((bytes) => {
      codec.connection.credit(stream, bytes)
      codec.connection.credit(undefined, bytes)
      flush()
    })
    if (stream.remoteClosed) body.end()
    const call: Call = { body, abort: new AbortController() }
    stream.owner = call
    calls.add(call)
    const { method, path } = request
    handler({ httpVersion: '2.0', url: `http://localhost${path}`, method, header, body, signal: call.abort.signal })
      .then((response) => respond(stream, call, response))
      .catch((error: unknown) => {
        if (!call.abort.signal.aborted) log.error({ err: error, path }, 'A call of the Workload API failed.')
        codec.connection.reset(stream, INTERNAL_ERROR)
      })
      .finally(() => {
        calls.delete(call)
        body.drop()
        flush()
      })
  }

  async function respond(stream: Http2Stream<Call>, call: Call, response: UniversalServerResponse): Promise<void> {
    const { status, header, body, trailer } = response
    if (body === undefined) return codec.answer(stream, { status, requestId: '', headers: listOf(header) })
    let begun = false
    for await (const chunk of body) {
      // The handler's own clean-up runs when the loop is left.
      if (stream.gone || call.abort.signal.aborted) return
      if (!begun) codec.begin(stream, status, listOf(header))
      begun = true
      codec.connection.sendData(stream, asBuffer(chunk), 0, chunk.length, false)
      flush()
      await sent(stream, call.abort.signal)
    }
    const trailers = listOf(trailer)
    if (begun) codec.end(stream, trailers)
    else codec.answer(stream, { status, requestId: '', headers: listOf(header, trailers) })
  }

  /** Until the client's windows have taken all of it, or it has left. */
  function sent(stream: Http2Stream<Call>, signal: AbortSignal): Promise<void> | undefined {
    if (stream.queue === undefined || signal.aborted) return undefined
    const { promise, resolve } = Promise.withResolvers<void>()
    codec.connection.afterData(stream, resolve)
    signal.addEventListener('abort', () => resolve(), { once: true })
    return promise
  }

  function refuse(stream: Http2Stream<Call>, { grpc }: Http2Request, { code, rawMessage }: ConnectError): void {
    if (!grpc) return codec.answer(stream, { status: 415, requestId: '' })
    const headers = createHeaderList()
    addHeader(headers, GRPC_MESSAGE, percentEncoded(rawMessage))
    codec.answer(stream, { status: 200, grpcStatus: code, requestId: '', headers })
  }

  function leave(stream: Http2Stream<Call>, why: ConnectError): void {
    stream.owner?.abort.abort(why)
    stream.owner?.body.drop()
  }

  function leaveAll(): void {
    for (const { abort, body } of calls) {
      abort.abort(new ConnectError('the client closed the connection', Code.Canceled))
      body.drop()
    }
    calls.clear()
  }

  socket.on('data', (bytes: Buffer) => {
    codec.connection.receive(bytes, clock.monotonic())
    flush()
  })
  socket.on('end', () => socket.end())
  socket.on('error', () => socket.destroy())
  socket.on('close', leaveAll)
  flush()

  return {
    shutdown() {
      codec.goaway(NO_ERROR)
      flush()
    },
    destroy: () => socket.destroy(),
  }
}

const GRPC_MESSAGE = 'grpc-message'

/** As gRPC over HTTP/2 asks: all but visible ASCII, and `%`. Clients show what is encoded beyond that as it came (grpc-js does). */
function percentEncoded(text: string): string {
  return text.toWellFormed().replace(/[^ -~]|%/gu, encodeURIComponent)
}

/** Undefined for what `Headers` does not take. */
function headersOf({ names, values }: HeaderList): Headers | undefined {
  const headers = new Headers()
  try {
    for (const [index, name] of names.entries()) headers.append(name, values[index] ?? '')
    return headers
  } catch {
    return undefined
  }
}

function listOf(headers: Headers | undefined, more?: HeaderList): HeaderList {
  const list = createHeaderList()
  headers?.forEach((value, name) => addHeader(list, name, name === GRPC_MESSAGE ? percentEncoded(decodeURIComponent(value)) : value))
  more?.names.forEach((name, index) => addHeader(list, name, more.values[index] ?? ''))
  return list
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
