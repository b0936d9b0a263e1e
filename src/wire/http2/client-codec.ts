/**
 * The upstream's side: writes requests, reads responses (RFC 9113 §8). The upstream is told SETTINGS_HEADER_TABLE_SIZE 0, so that its
 * header blocks can be read and passed on without a table.
 */
import { Buffer } from 'node:buffer'
import type { HeaderList } from '#http/header-list'
import type { Http2ConnectionHandler, Http2ConnectionOptions } from './connection-handler.ts'
import { Http2Connection } from './connection.ts'
import { beginBlock, endBlock } from './frame-writer.ts'
import { FIELD_CODE_BYTES, HpackEncoder, UPDATE_BYTES } from './hpack/encoder.ts'
import {
  CLIENT_PREFACE,
  COMPRESSION_ERROR,
  type Http2Fault,
  http2Fault,
  LARGEST_31_BIT,
  PROTOCOL_ERROR,
  SETTING_ENABLE_PUSH,
  SETTING_HEADER_TABLE_SIZE,
  SETTING_MAX_HEADER_LIST_SIZE,
  STREAM_CLOSED,
} from './protocol.ts'
import type { PeerSettings } from './peer-settings.ts'
import { ResponseBlock } from './response-block.ts'
import type { Http2Stream } from './stream.ts'

/** A request as it is sent on: only what is in here, in this order. Texts are latin1. */
export interface OutgoingRequest {
  readonly method: string
  readonly scheme: string
  readonly authority: string
  /** With its query. */
  readonly path: string
  readonly headers: HeaderList
  /** Further headers after those, set by ourselves. */
  readonly ours: HeaderList | undefined
  readonly teTrailers: boolean
  /** Names of headers never to be indexed, beside those that never are. */
  readonly sensitive: ReadonlySet<string> | undefined
}

export interface Http2ClientOptions extends Http2ConnectionOptions {
  /** Of a response's list of fields, decoded. */
  readonly headBytes: number
}

export interface Http2ClientHandler<T> extends Http2ConnectionHandler<T> {
  /** 1xx but 101. */
  onInformational(stream: Http2Stream<T>, block: ResponseBlock): void
  /** The final head. Whether a body follows says `stream.remoteClosed`. */
  onResponse(stream: Http2Stream<T>, block: ResponseBlock): void
  onTrailers(stream: Http2Stream<T>, block: ResponseBlock): void
}

export interface Http2ClientCodec<T> {
  readonly connection: Http2Connection<T>
  /** False once the upstream allows no further stream now, is going away or is gone. */
  readonly available: boolean
  /** Opens a stream with its head. Only while `available`. @param endStream nothing follows */
  open(request: OutgoingRequest, endStream: boolean): Http2Stream<T>
  /** Trailers end the request, behind the data that waits. */
  sendTrailers(stream: Http2Stream<T>, trailers: HeaderList): void
}

/** 103 Early Hints comes once or twice; more is a flood. */
const MOST_INFORMATIONAL = 16

export function createHttp2ClientCodec<T>(options: Http2ClientOptions, handler: Http2ClientHandler<T>): Http2ClientCodec<T> {
  const encoder = new HpackEncoder()
  const block = new ResponseBlock(options.resources.scratch, options.headBytes)
  let goingAway = false
  const connection = new Http2Connection<T>(
    'client',
    options,
    options.headBytes,
    {
      onData: (stream, bytes, start, end, endStream) => handler.onData(stream, bytes, start, end, endStream),
      onReset: (stream, code) => handler.onReset(stream, code),
      onStreamFault: (stream, fault) => handler.onStreamFault(stream, fault),
      onCredit: (stream, increment) => handler.onCredit(stream, increment),
      onSent: handler.onSent,
      onSettings(settings: PeerSettings) {
        encoder.setLimit(settings.headerTableSize)
        handler.onSettings(settings)
      },
      onGoaway(lastStreamId, code) {
        goingAway = true
        handler.onGoaway(lastStreamId, code)
      },
      onEnded: (stream) => handler.onEnded(stream),
      onFault: (fault) => handler.onFault(fault),
    },
    readBlock,
  )
  connection.output.reserve(CLIENT_PREFACE.length)
  connection.output.position += connection.output.bytes.write(CLIENT_PREFACE, connection.output.position, 'latin1')
  connection.announce({}, [SETTING_HEADER_TABLE_SIZE, 0, SETTING_ENABLE_PUSH, 0, SETTING_MAX_HEADER_LIST_SIZE, options.headBytes])

  function readBlock(streamId: number, bytes: Buffer, start: number, end: number, endStream: boolean): Http2Fault | undefined {
    const stream = connection.streams.get(streamId)
    if (stream === undefined) {
      if (connection.endingOf(streamId) === 'reset-by-us') return undefined
      const opened = (streamId & 1) === 1 && streamId <= connection.lastOwnStream
      return opened
        ? http2Fault(STREAM_CLOSED, 'ERR_HTTP2_STREAM_STATE', 'HEADERS on a closed stream')
        : http2Fault(PROTOCOL_ERROR, 'ERR_HTTP2_STREAM_STATE', 'HEADERS on a stream that was never opened')
    }
    if (stream.remoteClosed) {
      connection.failStream(stream, http2Fault(STREAM_CLOSED, 'ERR_HTTP2_STREAM_STATE', 'HEADERS after END_STREAM'))
      return undefined
    }
    const fault = block.read(bytes, start, end, stream.headed) ?? readHead(stream, endStream)
    if (fault !== undefined) {
      block.release()
      if (fault.code === COMPRESSION_ERROR) return fault
      connection.failStream(stream, fault)
      return undefined
    }
    deliver(stream, endStream)
    block.release()
    return undefined
  }

  /** What a block that is sound in itself may be wrong for in this place. */
  function readHead(stream: Http2Stream<T>, endStream: boolean): Http2Fault | undefined {
    if (stream.headed) {
      if (!endStream) return wrongResponse('trailers without END_STREAM')
      return stream.expected > 0 ? http2Fault(PROTOCOL_ERROR, 'ERR_HTTP2_CONTENT_LENGTH', 'trailers before the end of the body') : undefined
    }
    const { status, contentLength } = block
    if (status >= 200) {
      // Set to 0 beforehand for HEAD, whose Content-Length is about another response.
      if (stream.expected === 0 || status === 204 || status === 304) stream.expected = 0
      else if (endStream && contentLength > 0)
        return http2Fault(PROTOCOL_ERROR, 'ERR_HTTP2_CONTENT_LENGTH', 'content-length without a body')
      else stream.expected = contentLength
      return undefined
    }
    if (status === 101) return wrongResponse('101 over HTTP/2')
    if (endStream) return wrongResponse('an informational response that ends the stream')
    return ++stream.informational > MOST_INFORMATIONAL ? wrongResponse('too many informational responses') : undefined
  }

  function deliver(stream: Http2Stream<T>, endStream: boolean): void {
    if (!stream.headed && block.status < 200) return handler.onInformational(stream, block)
    stream.remoteClosed = endStream
    if (stream.headed) handler.onTrailers(stream, block)
    else {
      stream.headed = true
      handler.onResponse(stream, block)
    }
    connection.settle(stream)
  }

  function write(headers: HeaderList, sensitive: ReadonlySet<string> | undefined): void {
    const { names, values } = headers
    for (let index = 0; index < names.length; index++) {
      const name = names[index] ?? ''
      encoder.write(connection.output, name, values[index] ?? '', sensitive?.has(name))
    }
  }

  return {
    connection,
    get available() {
      return (
        !goingAway &&
        connection.fault === undefined &&
        connection.streams.size < connection.peer.maxConcurrentStreams &&
        connection.lastOwnStream < LARGEST_31_BIT - 1
      )
    },
    open(request, endStream) {
      const id = connection.lastOwnStream === 0 ? 1 : connection.lastOwnStream + 2
      connection.lastOwnStream = id
      const stream = connection.open(id)
      if (request.method === 'HEAD') stream.expected = 0
      const { output } = connection
      const { method, scheme, authority, path, headers, ours } = request
      let capacity = UPDATE_BYTES + method.length + scheme.length + authority.length + path.length + 48 + 5 * FIELD_CODE_BYTES
      capacity += charactersOf(headers)
      if (ours !== undefined) capacity += charactersOf(ours)
      const start = beginBlock(output, capacity)
      encoder.begin(output)
      encoder.write(output, ':method', method)
      encoder.write(output, ':scheme', scheme)
      encoder.write(output, ':authority', authority)
      encoder.write(output, ':path', path)
      write(headers, request.sensitive)
      if (ours !== undefined) write(ours, request.sensitive)
      if (request.teTrailers) encoder.write(output, 'te', 'trailers')
      endBlock(output, start, id, endStream)
      connection.endHeaders(stream, endStream)
      return stream
    },
    sendTrailers(stream, trailers) {
      connection.afterData(stream, () => {
        if (trailers.names.length === 0) return connection.sendData(stream, NO_BYTES, 0, 0, true)
        const start = beginBlock(connection.output, UPDATE_BYTES + charactersOf(trailers))
        encoder.begin(connection.output)
        write(trailers, undefined)
        endBlock(connection.output, start, stream.id, true)
        connection.endHeaders(stream, true)
      })
    },
  }
}

const NO_BYTES = Buffer.alloc(0)

/** An upper bound on what a list takes in a block. */
function charactersOf({ names, values }: HeaderList): number {
  let bytes = 0
  for (let index = 0; index < names.length; index++) {
    bytes += (names[index]?.length ?? 0) + (values[index]?.length ?? 0) + FIELD_CODE_BYTES
  }
  return bytes
}

function wrongResponse(detail: string): Http2Fault {
  return http2Fault(PROTOCOL_ERROR, 'ERR_UPSTREAM_RESPONSE', detail)
}
