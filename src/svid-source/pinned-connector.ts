/** Connections of undici whose server must prove one SPIFFE ID, by our own verdict, before a byte of a request is sent. */
import { isIP, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type { Clock } from '#base/clock'
import type { TcpAddress } from '#base/units'
import { verifyPeerSocket } from '#pki/peer-from-socket'
import { clientTlsOptions } from '#pki/tls-options'
import type { TrustStore } from '#pki/trust-store'
import type { WorkloadIdentity } from '#pki/workload-identity'

export interface PinnedConnectorOptions {
  readonly address: TcpAddress
  /** Undefined: without a certificate. */
  readonly identity: WorkloadIdentity | undefined
  readonly trust: TrustStore
  /** SPIFFE ID of the server. */
  readonly expected: string
  readonly clock: Clock
  /** Ms until the handshake must be over. */
  readonly timeout: number
  /** The error for a server that is somebody else. @param why ends a sentence */
  readonly stranger: (why: string) => Error
}

type Connected = (...args: [error: null, socket: Socket] | [error: Error, socket: null]) => void

/** For `connect` of an undici client. */
export function pinnedConnector(options: PinnedConnectorOptions): (options: unknown, done: Connected) => void {
  const { address, identity, trust, expected, clock, timeout, stranger } = options
  const tls = clientTlsOptions(identity, trust, { alpnProtocols: ['http/1.1'] })
  return (_options, done) => {
    const { host, port } = address
    const socket = connectTls({ host, port, ...(isIP(host) === 0 ? { servername: host } : {}), ...tls })
    let settled = false
    const settle = (error: Error | null): void => {
      if (settled) return
      settled = true
      clearTimeout(timer)
      socket.off('error', onError)
      if (error === null) return done(null, socket)
      socket.on('error', () => {})
      socket.destroy()
      done(error, null)
    }
    const onError = (error: Error): void => settle(error)
    const timer = setTimeout(() => settle(Object.assign(new Error('timeout'), { code: 'ETIMEDOUT' })), timeout)
    socket.setNoDelay(true)
    socket.on('error', onError)
    socket.once('close', () => settle(Object.assign(new Error('closed'), { code: 'ECONNRESET' })))
    socket.once('secureConnect', () => {
      const verdict = verifyPeerSocket(socket, trust, clock.now(), { role: 'server' })
      if (!verdict.ok) settle(stranger(`its certificate is refused: ${verdict.reason}${verdict.detail && ` (${verdict.detail})`}`))
      else if (verdict.value.id.uri !== expected) settle(stranger(`it is ${verdict.value.id.uri}, not ${expected}`))
      else settle(null)
    })
  }
}
