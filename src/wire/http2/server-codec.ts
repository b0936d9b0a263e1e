/** The caller's side: reads requests, writes responses (RFC 9113 §8). Bytes in, events and bytes out. */
import type { Buffer } from 'node:buffer'
import { type Refusal, refusal } from '#base/result'
import type { HeaderList } from '#http/header-list'
import { type LocalAnswer, writeHead, writeLocalAnswer, writeRelayedBlock, writeTrailers } from './block-writer.ts'
import type { Http2ConnectionHandler, Http2ConnectionOptions } from './connection-handler.ts'
import { Http2Connection } from './connection.ts'
import { type DecodeOutcome, HpackDecoder } from './hpack/decoder.ts'
import type { Http2Limits } from './limits.ts'
import {
  COMPRESSION_ERROR,
  ENHANCE_YOUR_CALM,
  type Http2Fault,
  http2Fault,
  LARGEST_31_BIT,
  NO_ERROR,
  PROTOCOL_ERROR,
  REFUSED_STREAM,
  SETTING_MAX_HEADER_LIST_SIZE,
  STREAM_CLOSED,
} from './protocol.ts'
import { RequestFields, type Http2Request } from './request-fields.ts'
import type { ResponseBlock } from './response-block.ts'
import type { Http2Stream } from './stream.ts'
import { TrailerFields } from './trailer-fields.ts'

export interface Http2ServerOptions extends Http2ConnectionOptions {
  readonly limits: Http2Limits
  /**
   * Takes whatever stands in `:authority`, or that it is absent. For sockets where it names nothing: gRPC clients write the socket's path
   * there in several spellings. Default false.
   */
  readonly anyAuthority?: boolean
}

export interface Http2ServerHandler<T> extends Http2ConnectionHandler<T> {
  /** A well-formed head. Whether a body follows says `stream.remoteClosed`. */
  onRequest(stream: Http2Stream<T>, request: Http2Request): void
  /** A head that cannot be served. Unless it is answered in the call, the stream is reset with PROTOCOL_ERROR and the caller charged. */
  onBadRequest(stream: Http2Stream<T>, refusal: Refusal): void
  /** A stream that was refused because it was one too many; it has none of its own. */
  onStreamRefused(streamId: number, refusal: Refusal): void
  /** Trailers, after which nothing follows on the stream. */
  onTrailers(stream: Http2Stream<T>, trailers: HeaderList): void
}

export interface Http2ServerCodec<T> {
  readonly connection: Http2Connection<T>
  /** Answers without an upstream and, if the request is unfinished, resets the stream with NO_ERROR. */
  answer(stream: Http2Stream<T>, answer: LocalAnswer): void
  /** Begins a response of our own; data goes over `connection.sendData`, and `end` is what ends it. */
  begin(stream: Http2Stream<T>, status: number, headers: HeaderList): void
  /** Ends a response of our own with trailers, which overtake no data; if the request is unfinished, the stream is reset with NO_ERROR. */
  end(stream: Http2Stream<T>, trailers: HeaderList): void
  /** Passes a head on. Only during the call that brought the block. @param requestId `''` to add none */
  relayHead(stream: Http2Stream<T>, block: ResponseBlock, requestId: string, endStream: boolean): void
  /** Passes trailers on, which end the stream; they overtake no data. Only during the call that brought the block. */
  relayTrailers(stream: Http2Stream<T>, block: ResponseBlock): void
  /** Ends a response with trailers of our own, in front of data that waits: that is dropped. */
  cutWithTrailers(stream: Http2Stream<T>, trailers: HeaderList): void
  /** The first half of a graceful end: callers open no more streams, those under way are served (RFC 9113 §6.8). */
  shutdown(): void
  /** The other half: streams that come from now on are ignored. */
  goaway(code?: number): void
}

/** What a list of fields above the limit is charged: it costs us as much to read as many small ones, and one mistake is none. */
const TOO_LARGE_CHARGE = 20

const IGNORED = { onField: (): void => undefined }

export function createHttp2ServerCodec<T>(options: Http2ServerOptions, handler: Http2ServerHandler<T>): Http2ServerCodec<T> {
  const { limits, resources } = options
  const decoder = new HpackDecoder(resources.scratch, limits.bytes)
  const requestFields = new RequestFields(limits.headers, options.anyAuthority)
  const trailerFields = new TrailerFields(limits.headers)
  let lastAccepted = LARGEST_31_BIT
  const connection = new Http2Connection<T>('server', options, limits.bytes, handler, readBlock)
  connection.announce({ streams: limits.streams }, [SETTING_MAX_HEADER_LIST_SIZE, limits.bytes])

  /** Every block is decoded, also those of streams that are refused: the table must stay right. */
  function readBlock(streamId: number, bytes: Buffer, start: number, end: number, endStream: boolean): Http2Fault | undefined {
    const stream = connection.streams.get(streamId)
    if (stream !== undefined) return readTrailers(stream, bytes, start, end, endStream)
    if ((streamId & 1) === 0) return http2Fault(PROTOCOL_ERROR, 'ERR_HTTP2_STREAM_STATE', 'a stream of an even number')
    if (streamId <= connection.lastPeerStream) return readStray(streamId, bytes, start, end)
    connection.lastPeerStream = streamId
    return readRequest(streamId, bytes, start, end, endStream)
  }

  function readRequest(streamId: number, bytes: Buffer, start: number, end: number, endStream: boolean): Http2Fault | undefined {
    requestFields.begin()
    const outcome = decoder.decode(bytes, start, end, requestFields)
    const fault = connectionFault(outcome)
    if (fault !== undefined) return fault
    if (streamId > lastAccepted) {
      // Announced as never to be processed; what follows on it is credited as that of any stream that we reset.
      connection.refuse(streamId, REFUSED_STREAM)
      return undefined
    }
    if (connection.streams.size >= limits.streams) {
      connection.refuse(streamId, REFUSED_STREAM)
      connection.charge()
      handler.onStreamRefused(streamId, refusal('ERR_HTTP2_STREAM_LIMIT', `more than ${limits.streams}`))
      return undefined
    }
    const stream = connection.open(streamId)
    stream.headed = true
    stream.remoteClosed = endStream
    const request =
      outcome === 'too-large'
        ? refusal('ERR_HTTP_HEAD_TOO_LARGE', `more than ${limits.bytes} bytes decoded`)
        : requestFields.finish(endStream)
    if (request.ok) {
      stream.expected = request.contentLength
      handler.onRequest(stream, request)
      return undefined
    }
    connection.charge(outcome === 'too-large' ? TOO_LARGE_CHARGE : 1)
    handler.onBadRequest(stream, request)
    connection.reset(stream, PROTOCOL_ERROR)
    return undefined
  }

  function readTrailers(stream: Http2Stream<T>, bytes: Buffer, start: number, end: number, endStream: boolean): Http2Fault | undefined {
    trailerFields.begin()
    const outcome = decoder.decode(bytes, start, end, trailerFields)
    const fault = connectionFault(outcome)
    if (fault !== undefined) return fault
    const wrong = trailersFault(stream, outcome, endStream)
    if (wrong !== undefined) {
      if (outcome === 'too-large') connection.charge(TOO_LARGE_CHARGE)
      connection.failStream(stream, wrong)
      return undefined
    }
    const trailers = trailerFields.finish()
    if (!trailers.ok) {
      connection.failStream(stream, http2Fault(PROTOCOL_ERROR, trailers.reason, trailers.detail))
      return undefined
    }
    stream.remoteClosed = true
    handler.onTrailers(stream, trailers.headers)
    connection.settle(stream)
    return undefined
  }

  /** A block for a stream that is closed, or that was passed over. */
  function readStray(streamId: number, bytes: Buffer, start: number, end: number): Http2Fault | undefined {
    const outcome = decoder.decode(bytes, start, end, IGNORED)
    const fault = connectionFault(outcome)
    if (fault !== undefined) return fault
    connection.charge(outcome === 'too-large' ? TOO_LARGE_CHARGE : 1)
    const ending = connection.endingOf(streamId)
    if (ending === 'reset-by-us') return undefined
    if (ending === undefined) return http2Fault(PROTOCOL_ERROR, 'ERR_HTTP2_STREAM_STATE', 'a stream with a lower number than one before')
    return http2Fault(STREAM_CLOSED, 'ERR_HTTP2_STREAM_STATE', 'HEADERS on a closed stream')
  }

  function connectionFault(outcome: DecodeOutcome): Http2Fault | undefined {
    if (outcome === 'malformed') return http2Fault(COMPRESSION_ERROR, 'ERR_HTTP2_COMPRESSION', decoder.detail)
    if (outcome === 'flood')
      return http2Fault(ENHANCE_YOUR_CALM, 'ERR_HTTP2_HEADER_FLOOD', 'a decoded list many times larger than the limit')
    return undefined
  }

  return {
    connection,
    answer(stream, answer) {
      if (stream.gone || stream.localClosed || connection.fault !== undefined) return
      writeLocalAnswer(connection.output, stream.id, answer)
      connection.endHeaders(stream, true)
      connection.reset(stream, NO_ERROR)
    },
    begin(stream, status, headers) {
      if (stream.gone || stream.localClosed || connection.fault !== undefined) return
      writeHead(connection.output, stream.id, status, headers)
    },
    end(stream, trailers) {
      if (stream.gone || stream.localClosed || connection.fault !== undefined) return
      connection.afterData(stream, () => {
        writeTrailers(connection.output, stream.id, trailers)
        connection.endHeaders(stream, true)
        connection.reset(stream, NO_ERROR)
      })
    },
    relayHead(stream, block, requestId, endStream) {
      if (stream.gone || stream.localClosed || connection.fault !== undefined) return
      writeRelayedBlock(connection.output, stream.id, block, requestId, endStream)
      connection.endHeaders(stream, endStream)
    },
    relayTrailers(stream, block) {
      if (stream.gone || stream.localClosed || connection.fault !== undefined) return
      if (stream.queue === undefined) {
        writeRelayedBlock(connection.output, stream.id, block, '', true)
        connection.endHeaders(stream, true)
        return
      }
      const copy = block.copy()
      connection.afterData(stream, () => {
        writeRelayedBlock(connection.output, stream.id, copy, '', true)
        connection.endHeaders(stream, true)
      })
    },
    cutWithTrailers(stream, trailers) {
      if (stream.gone || stream.localClosed || connection.fault !== undefined) return
      writeTrailers(connection.output, stream.id, trailers)
      connection.endHeaders(stream, true)
      connection.reset(stream, NO_ERROR)
    },
    shutdown: () => connection.goaway(LARGEST_31_BIT),
    goaway(code = NO_ERROR) {
      lastAccepted = Math.min(lastAccepted, connection.lastPeerStream)
      connection.goaway(lastAccepted, code)
    },
  }
}

function trailersFault<T>(stream: Http2Stream<T>, outcome: DecodeOutcome, endStream: boolean): Http2Fault | undefined {
  if (stream.remoteClosed) return http2Fault(STREAM_CLOSED, 'ERR_HTTP2_STREAM_STATE', 'HEADERS after END_STREAM')
  if (!endStream) return http2Fault(PROTOCOL_ERROR, 'ERR_HTTP2_FRAME', 'trailers without END_STREAM')
  if (stream.expected > 0) return http2Fault(PROTOCOL_ERROR, 'ERR_HTTP2_CONTENT_LENGTH', 'trailers before the end of the body')
  if (outcome === 'too-large') return http2Fault(PROTOCOL_ERROR, 'ERR_HTTP_HEAD_TOO_LARGE', 'trailers')
  return undefined
}
