/** What an HTTP/2 app does with a request that is to stay open: answers the head and a first byte, and ends it when it is told. */
import type { IncomingHttpHeaders, ServerHttp2Stream } from 'node:http2'

export interface HeldStreams {
  readonly onStream: (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void
  /** Those begun and not ended. */
  readonly open: ReadonlySet<ServerHttp2Stream>
  /** How many were begun so far. */
  readonly begun: number
  /** Resolves once so many have begun. */
  reached(count: number): Promise<void>
  /** Ends all with a body of `begun ended` and, for gRPC, trailers. */
  finish(): void
}

export function holdStreams(): HeldStreams {
  const open = new Set<ServerHttp2Stream>()
  const waiting: { readonly count: number; readonly resolve: () => void }[] = []
  let begun = 0
  return {
    open,
    get begun() {
      return begun
    },
    onStream(stream) {
      open.add(stream)
      stream.on('close', () => open.delete(stream))
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }))
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true })
      stream.write('begun ')
      stream.resume()
      begun++
      for (const { count, resolve } of waiting) if (begun >= count) resolve()
    },
    reached(count) {
      return begun >= count ? Promise.resolve() : new Promise((resolve) => void waiting.push({ count, resolve }))
    },
    finish() {
      for (const stream of open) stream.end('ended')
    },
  }
}
