/** Callers over HTTP/2 with a certificate: Node's own client, and bare frames for what no client would send. */
import { type ClientHttp2Session, connect, type OutgoingHttpHeaders, type Settings } from 'node:http2'
import type { Socket } from 'node:net'
import type { ConnectionOptions, TLSSocket } from 'node:tls'
import type { TestSvid } from './authority.ts'
import { createFrameCutter } from './frame-cutter.ts'
import { ACK, type Fields, type Frame, literals, PREFACE, settings, settingsAck } from './http2-frames.ts'
import { dial } from './mtls-client.ts'

type Credentials = Pick<TestSvid, 'certificatePem' | 'keyPem' | 'bundlePem'>

/** `using` it ends it with the test. @param localAddress of the caller, of 127.0.0.0/8 */
export function openSession(
  port: number,
  svid: Credentials,
  own: Settings = {},
  localAddress = '127.0.0.1',
): ClientHttp2Session & Disposable {
  const session = connect(`https://127.0.0.1:${port}`, {
    cert: svid.certificatePem,
    key: svid.keyPem,
    rejectUnauthorized: false,
    ALPNProtocols: ['h2'],
    settings: own,
    // Else it resets its own streams that are given a large body at once.
    maxSessionMemory: 1000,
    // Passed on to `tls.connect`; the types of Node do not know.
    ...({ localAddress } as object),
  })
  session.on('error', () => {})
  return Object.assign(session, { [Symbol.dispose]: () => session.destroy() })
}

/** The same without TLS, for an app that calls its own sidecar. @param createConnection to something else than the port */
export function openPlainSession(port: number, createConnection?: () => Socket): ClientHttp2Session & Disposable {
  const session = connect(`http://127.0.0.1:${port}`, createConnection === undefined ? {} : { createConnection })
  session.on('error', () => {})
  return Object.assign(session, { [Symbol.dispose]: () => session.destroy() })
}

export interface StreamAnswer {
  readonly headers: Readonly<Record<string, string | string[] | number | undefined>>
  readonly trailers: Readonly<Record<string, string | string[] | undefined>>
  readonly body: string
  /** Of RST_STREAM, either way. */
  readonly code: number
}

/** One request. Resolves when its stream is closed, however that happens. */
export function ask(session: ClientHttp2Session, headers: OutgoingHttpHeaders, body?: string | Buffer): Promise<StreamAnswer> {
  return new Promise((resolve) => {
    const stream = session.request(headers, { endStream: body === undefined })
    let answer: StreamAnswer['headers'] = {}
    let trailers: StreamAnswer['trailers'] = {}
    const chunks: Buffer[] = []
    stream.on('response', (got) => {
      answer = { ...got }
    })
    stream.on('trailers', (got) => {
      trailers = { ...got }
    })
    stream.on('data', (chunk: Buffer) => chunks.push(chunk))
    stream.on('error', () => {})
    stream.on('close', () => resolve({ headers: answer, trailers, body: Buffer.concat(chunks).toString(), code: stream.rstCode ?? 0 }))
    if (body !== undefined) stream.end(body)
  })
}

/** Headers of a gRPC call. */
export function grpcHeaders(path: string): Record<string, string> {
  return { ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers' }
}

export interface RawHttp2 extends Disposable {
  readonly socket: TLSSocket
  /** Of the sidecar, in order. */
  readonly frames: readonly Frame[]
  write(...frames: readonly Buffer[]): void
  /** Resolves with the first frame that `match` takes, past or coming; undefined once the connection is closed without. */
  frame(match: (frame: Frame) => boolean): Promise<Frame | undefined>
  /** Resolves with the error code of GOAWAY, `undefined` if there was none, once the connection is closed. */
  readonly closed: Promise<number | undefined>
}

/** A connection with the preface and SETTINGS sent; SETTINGS of the sidecar are acknowledged. */
export async function openRawHttp2(
  port: number,
  svid: Credentials,
  first: Buffer = settings(),
  localAddress = '127.0.0.1',
): Promise<RawHttp2> {
  const socket = await dial(port, svid, { ALPNProtocols: ['h2'], localAddress } as ConnectionOptions)
  socket.on('end', () => socket.destroy())
  const frames: Frame[] = []
  const waiting = new Set<(frame: Frame | undefined) => void>()
  const write = (...written: readonly Buffer[]): void => void (socket.writable && socket.write(Buffer.concat(written)))
  const cut = createFrameCutter((frame) => {
    if (frame.type === 'SETTINGS' && (frame.flags & ACK) === 0) write(settingsAck())
    frames.push(frame)
    for (const look of waiting) look(frame)
  })
  socket.on('data', cut)
  const closed = new Promise<number | undefined>((resolve) => {
    socket.once('close', () => {
      for (const look of waiting) look(undefined)
      resolve(frames.findLast(({ type }) => type === 'GOAWAY')?.payload.readUInt32BE(4))
    })
  })
  write(PREFACE, first)
  return {
    socket,
    frames,
    write,
    closed,
    frame(match) {
      const found = frames.find(match)
      if (found !== undefined || socket.destroyed) return Promise.resolve(found)
      return new Promise((resolve) => {
        const look = (frame: Frame | undefined): void => {
          if (frame !== undefined && !match(frame)) return
          waiting.delete(look)
          resolve(frame)
        }
        waiting.add(look)
      })
    },
    [Symbol.dispose]: () => void socket.destroy(),
  }
}

/** A header block of a request, without any table. */
export function requestBlock(path = '/', more: Fields = [], method = 'GET'): Buffer {
  return literals([[':method', method], [':scheme', 'https'], [':authority', 'h'], [':path', path], ...more])
}
