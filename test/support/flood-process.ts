/** The process that `startFlood` forks: dials, floods, and dials again when it is thrown out. */
import process from 'node:process'
import { FLOODS, type FloodOptions } from './floods.ts'
import { openRawHttp2 } from './http2-client.ts'

let connections = 0

async function flood({ kind, port, svid }: FloodOptions): Promise<never> {
  const bytes = FLOODS[kind]?.()
  if (bytes === undefined) throw new TypeError(`there is no flood called ${kind}`)
  for (;;) {
    const caller = await openRawHttp2(port, svid).catch(() => undefined)
    if (caller === undefined) continue
    if (++connections === 1) process.send?.('begun')
    caller.socket.write(bytes)
    await caller.closed
  }
}

process.on('message', (message: FloodOptions | 'stop') => {
  if (message === 'stop') process.send?.(connections)
  else void flood(message)
})
process.on('disconnect', () => process.exit())
