/** Callers in a process of their own, so that what they cost is not taken for the sidecar's: `startLoad` here, the callers in `load-process.ts`. */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import type { TestSvid } from './authority.ts'

export interface LoadOptions {
  readonly port: number
  readonly svid: Pick<TestSvid, 'certificatePem' | 'keyPem'>
  /** Connections, each with one request at a time. */
  readonly connections: number
  /** Of all connections together, at even times; `idle`: each asks once and then stays silent; as many as are answered unless said. */
  readonly perSecond?: number | 'idle'
  /** Asked for in turn; `/` unless said. */
  readonly paths?: readonly string[]
  /** HTTP/2, one stream at a time on each connection. Not with `idle`, nor with `redial`. */
  readonly http2?: boolean
}

export interface LoadResult {
  readonly requests: number
  /** By status; 0 stands for a connection that broke. */
  readonly statuses: Readonly<Record<string, number>>
  /** Of requests answered since the last `mark`, ms from when they were due. */
  readonly p50: number
  readonly p99: number
  readonly longest: number
}

export interface Load extends AsyncDisposable {
  /** Figures since the last mark, or the start; the load goes on. Statuses are of the whole run. */
  mark(): Promise<LoadResult>
  /** Every connection is closed, and opened again at once. Resolves when all of them have been answered. @returns ms that took */
  redial(): Promise<number>
  /** Lets running requests end. */
  stop(): Promise<LoadResult>
}

export type LoadOrder = { readonly order: 'start'; readonly options: LoadOptions } | { readonly order: 'mark' | 'redial' | 'stop' }
export type LoadReply = { readonly result: LoadResult } | { readonly milliseconds: number } | { readonly started: true }

/** Resolves when every connection has been answered once. */
export async function startLoad(options: LoadOptions): Promise<Load> {
  const child = fork(join(import.meta.dirname, options.http2 === true ? 'http2-load-process.ts' : 'load-process.ts'), { execArgv: [] })
  const exited = once(child, 'exit')
  async function ask(order: LoadOrder): Promise<LoadReply> {
    child.send(order)
    const reply = await Promise.race([once(child, 'message'), exited.then(() => undefined)])
    if (reply === undefined) throw new Error('The process of the callers ended.')
    return reply[0] as LoadReply
  }
  async function result(order: 'mark' | 'stop'): Promise<LoadResult> {
    const reply = await ask({ order })
    if (!('result' in reply)) throw new Error('The callers did not answer what they were asked.')
    return reply.result
  }
  await ask({ order: 'start', options })
  return {
    mark: () => result('mark'),
    async redial() {
      const reply = await ask({ order: 'redial' })
      return 'milliseconds' in reply ? reply.milliseconds : NaN
    },
    stop: () => result('stop'),
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL')
      await exited
    },
  }
}
