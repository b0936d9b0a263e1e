/** Ports: a free one to give to a process, and waiting until a process answers on it. */
import { once } from 'node:events'
import { connect, createServer, type AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import type { ChildProcess } from 'node:child_process'

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

/** Whether something accepts connections. */
export function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    socket.once('error', () => resolve(false))
    socket.once('connect', () => {
      resolve(true)
      socket.destroy()
    })
  })
}

/** Asks until `ready` says so. @throws when the process ends, or after a while */
export async function waitUntil(
  ready: () => Promise<boolean>,
  process: ChildProcess,
  what: string,
  { every = 2, seconds = 20 }: { readonly every?: number; readonly seconds?: number } = {},
): Promise<void> {
  const deadline = performance.now() + seconds * 1000
  while (!(await ready())) {
    if (process.exitCode !== null || process.signalCode !== null)
      throw new Error(`${what} ended with ${process.signalCode ?? process.exitCode}.`)
    if (performance.now() > deadline) throw new Error(`${what} was not ready in ${seconds} s.`)
    await delay(every)
  }
}
