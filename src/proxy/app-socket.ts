/** Connects to the app, on loopback or a Unix socket. */
import { connect, type Socket } from 'node:net'
import { connectTarget } from '#base/sockets'
import type { Address } from '#base/units'
import type { OnRead } from './http1-upstream.ts'

/** Errors with code ERR_UPSTREAM_CONNECT_TIMEOUT where it takes longer. */
export function connectApp(app: Address, timeoutMs: number, onread: OnRead): Socket {
  const socket = connect({ ...connectTarget(app), noDelay: true, allowHalfOpen: true, onread })
  const timer = setTimeout(() => {
    socket.destroy(Object.assign(new Error('no connection in time'), { code: 'ERR_UPSTREAM_CONNECT_TIMEOUT' }))
  }, timeoutMs)
  const settled = (): void => clearTimeout(timer)
  socket.once('connect', settled)
  socket.once('close', settled)
  return socket
}
