/** Load by h2load over mutual TLS, HTTP/2 or HTTP/1.1, with the same count of handshakes as wrk's. */
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import type { Readable } from 'node:stream'
import type { Certificates } from '../environment/certificates.ts'
import { CORES } from '../environment/cores.ts'
import { start } from '../environment/processes.ts'
import { parseShim } from './shim.ts'
import type { Load, LoadResult } from './wrk.ts'

/** What is asked, and how. */
export interface Call {
  readonly path: string
  /** HTTP/1.1 otherwise. */
  readonly http2: boolean
  /** At a time on each connection. */
  readonly streams: number
  /** A file that is posted. */
  readonly body?: string
  readonly headers?: readonly string[]
}

export interface Http2Load {
  /** For a time. */
  readonly during: (call: Call) => Load
  /** A number of requests. */
  readonly times: (call: Call, port: number, requests: number, connections: number) => Promise<LoadResult>
}

/** @throws when a handshake was resumed or made without the caller's certificate: then nothing comparable was measured */
export function createHttp2Load(certificates: Certificates, shim: string): Http2Load {
  const run = async (
    { path, http2, streams, body, headers = [] }: Call,
    port: number,
    args: readonly string[],
    signal?: AbortSignal,
  ): Promise<LoadResult> => {
    const child = start(
      'h2load',
      [
        ...(http2 ? [] : ['--h1']),
        ...['-t', '1', '-m', String(streams), '--connection-active-timeout', '300', '--connection-inactivity-timeout', '60'],
        ...(body === undefined ? [] : ['-d', body]),
        ...headers.flatMap((header) => ['-H', header]),
        ...args,
        `https://127.0.0.1:${port}${path}`,
      ],
      {
        core: CORES.load,
        stdio: ['ignore', 'pipe', 'pipe'],
        env: { LD_PRELOAD: shim, BENCH_CERTIFICATE: certificates.client.certificate, BENCH_KEY: certificates.client.key },
      },
    )
    const closed = once(child, 'close')
    signal?.addEventListener('abort', () => child.kill('SIGINT'), { once: true })
    const [output, counts] = await Promise.all([text(child.stdout as Readable), text(child.stderr as Readable)])
    await closed
    return parseH2load(output, counts)
  }
  return {
    during:
      (call) =>
      ({ port, seconds, connections, closeEach = false, signal }) => {
        if (closeEach) throw new TypeError('h2load keeps its connections')
        return run(call, port, ['-c', String(connections), '-D', String(seconds)], signal)
      },
    times: (call, port, requests, connections) => run(call, port, ['-c', String(connections), '-n', String(requests)]),
  }
}

/** @param output what h2load printed @param counts what the preloaded library printed */
export function parseH2load(output: string, counts: string): LoadResult {
  const requests = /^requests: (\d+) total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed, /m.exec(output)
  const codes = /^status codes: \d+ 2xx, \d+ 3xx, (\d+) 4xx, (\d+) 5xx$/m.exec(output)
  if (requests === null || codes === null) throw new Error(`h2load failed: ${counts.trim()} ${output.trim()}`)
  const handshakes = parseShim(counts)
  const [total = 0, done = 0, , failed = 0] = requests.slice(1).map(Number)
  const refused = codes.slice(1).reduce((sum, count) => sum + Number(count), 0)
  return { requests: done, handshakes, failures: Math.max(failed, refused) + total - done }
}
