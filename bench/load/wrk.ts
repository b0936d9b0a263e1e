/** Load by wrk over mutual TLS, HTTP/1.1, with a count of handshakes that presented a certificate and of sessions resumed. */
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import type { Readable } from 'node:stream'
import type { Certificates } from '../environment/certificates.ts'
import { CORES } from '../environment/cores.ts'
import { start } from '../environment/processes.ts'
import { REQUEST_PATH } from '../environment/upstream.ts'
import { parseShim } from './shim.ts'

export interface LoadOptions {
  readonly port: number
  readonly seconds: number
  readonly connections: number
  /** A new connection, hence a full handshake, for every request. */
  readonly closeEach?: boolean
  /** Ends the load before its time. */
  readonly signal?: AbortSignal
}

export interface LoadResult {
  readonly requests: number
  readonly handshakes: number
  /** Answers other than 2xx and 3xx, and failed connections, reads, writes. */
  readonly failures: number
}

export type Load = (options: LoadOptions) => Promise<LoadResult>

/** @throws when a handshake was resumed or made without the caller's certificate: then nothing comparable was measured */
export function createLoad(certificates: Certificates, shim: string): Load {
  return async ({ port, seconds, connections, closeEach = false, signal }) => {
    const args = ['-t', '1', '-c', String(connections), '-d', `${seconds}s`, '--timeout', '5s', `https://127.0.0.1:${port}${REQUEST_PATH}`]
    const child = start('wrk', closeEach ? ['-H', 'Connection: close', ...args] : args, {
      core: CORES.load,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { LD_PRELOAD: shim, BENCH_CERTIFICATE: certificates.client.certificate, BENCH_KEY: certificates.client.key },
    })
    const closed = once(child, 'close')
    // Interrupted, it still says what it counted.
    signal?.addEventListener('abort', () => child.kill('SIGINT'), { once: true })
    const [output, counts] = await Promise.all([text(child.stdout as Readable), text(child.stderr as Readable)])
    await closed
    return parseWrk(output, counts)
  }
}

/** @param output what wrk printed @param counts what the preloaded library printed */
export function parseWrk(output: string, counts: string): LoadResult {
  const requests = /^\s*(\d+) requests in /m.exec(output)
  if (requests === null) throw new Error(`wrk failed: ${counts.trim()} ${output.trim()}`)
  const handshakes = parseShim(counts)
  const errors = /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(output)
  const refused = /Non-2xx or 3xx responses: (\d+)/.exec(output)
  const failures = [...(errors?.slice(1) ?? []), ...(refused?.slice(1) ?? [])].reduce((sum, count) => sum + Number(count), 0)
  return { requests: Number(requests[1]), handshakes, failures }
}
