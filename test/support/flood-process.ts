/** The process that `startFlooder` forks: dials, floods, and dials again when it is thrown out. */
import process from 'node:process'
import { type FloodOrder, FLOODS } from './floods.ts'
import { openRawHttp2, type RawHttp2 } from './http2-client.ts'
import { settings } from './http2-frames.ts'

let current: FloodOrder | undefined
let caller: RawHttp2 | undefined
let connections = 0

async function flood(order: FloodOrder): Promise<void> {
  const bytes = FLOODS[order.kind]?.()
  if (bytes === undefined) throw new TypeError(`there is no flood called ${order.kind}`)
  current = order
  connections = 0
  while (current === order) {
    caller = await openRawHttp2(order.port, order.svid, settings(), order.from).catch(() => undefined)
    if (caller === undefined) continue
    if (++connections === 1) process.send?.(connections)
    caller.socket.write(bytes)
    await caller.closed
  }
}

process.on('message', (message: FloodOrder | 'stop') => {
  if (message === 'stop') {
    current = undefined
    caller?.socket.destroy()
    process.send?.(connections)
  } else void flood(message)
})
process.on('disconnect', () => process.exit())
