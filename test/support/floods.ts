/** Floods of HTTP/2 frames by a process of its own: `startFlooder` here, the flooder in `flood-process.ts`. */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import type { TestSvid } from './authority.ts'
import { requestBlock } from './http2-client.ts'
import { data, frame, headers, hpackInteger, hpackString, ping, reset, settings, windowUpdate } from './http2-frames.ts'

const block = requestBlock('/', [], 'POST')
const times = (count: number, make: (index: number) => Buffer): Buffer =>
  Buffer.concat(Array.from({ length: count }, (_, index) => make(index)))
const streams = (count: number, more: (stream: number) => Buffer): Buffer =>
  times(count, (index) => Buffer.concat([headers(2 * index + 1, block), more(2 * index + 1)]))
const open = headers(1, block, false)

/** By name: what is sent on each connection, behind preface and SETTINGS. */
export const FLOODS: Readonly<Record<string, () => Buffer>> = {
  'rapid reset': () => streams(10_000, reset),
  'provoked resets': () => streams(10_000, (stream) => windowUpdate(stream, 0x7fff_ffff)),
  CONTINUATION: () => Buffer.concat([frame('HEADERS', 0, 1, block), times(5000, () => frame('CONTINUATION', 0, 1, Buffer.alloc(100)))]),
  PING: () => times(20_000, () => ping()),
  SETTINGS: () => times(20_000, () => settings([4, 65_535])),
  'empty DATA': () => Buffer.concat([open, times(20_000, () => data(1, 0))]),
  WINDOW_UPDATE: () => Buffer.concat([open, times(20_000, () => windowUpdate(0, 1))]),
  'HPACK bombs': () => {
    const insert = Buffer.concat([Buffer.from([0x40]), hpackString(Buffer.from('cookie')), hpackString(Buffer.alloc(3900, 'v'))])
    const bomb = Buffer.concat([block, insert, times(20, () => hpackInteger(62, 7, 0x80))])
    return times(3000, (index) => headers(2 * index + 1, bomb))
  },
}

export type FloodOrder = {
  readonly kind: string
  readonly port: number
  readonly svid: Pick<TestSvid, 'certificatePem' | 'keyPem' | 'bundlePem'>
  /** Source address, of 127.0.0.0/8. */
  readonly from: string
}

export interface Flooder extends AsyncDisposable {
  /** Resolves when the flood has begun. A connection that is ended is followed by another. */
  begin(order: FloodOrder): Promise<void>
  /** @returns connections that were flooded, one after the other */
  stop(): Promise<number>
}

export function startFlooder(): Flooder {
  const child = fork(join(import.meta.dirname, 'flood-process.ts'), { execArgv: [] })
  const exited = once(child, 'exit')
  async function ask(order: FloodOrder | 'stop'): Promise<number> {
    child.send(order)
    const reply = await Promise.race([once(child, 'message'), exited.then(() => undefined)])
    if (reply === undefined) throw new Error('The process of the flooder ended.')
    return Number(reply[0])
  }
  return {
    begin: async (order) => void (await ask(order)),
    stop: () => ask('stop'),
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL')
      await exited
    },
  }
}
