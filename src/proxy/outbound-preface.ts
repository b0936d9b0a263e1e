/** Tells the app's HTTP/2 from its HTTP/1.1 by the first bytes of a connection, where a listener takes both (RFC 9113 §3.4). */
import type { Socket } from 'node:net'
import { CLIENT_PREFACE } from '#wire/http2/protocol'
import type { OutboundListenerState } from './outbound-service.ts'
import type { ConnectionDescription, LiveConnection } from './registry.ts'

const PREFACE = Buffer.from(CLIENT_PREFACE, 'latin1')

export class UndecidedConnection implements LiveConnection {
  readonly #socket: Socket
  readonly #listener: OutboundListenerState
  readonly #sourceIp: string
  readonly #decided: (protocol: 'http1' | 'http2') => void
  readonly #openedAt: number
  #bytes: Buffer | undefined

  /** @param decided called once, unless the connection ends before; whoever is given it reads the first bytes again */
  constructor(socket: Socket, listener: OutboundListenerState, sourceIp: string, decided: (protocol: 'http1' | 'http2') => void) {
    this.#socket = socket
    this.#listener = listener
    this.#sourceIp = sourceIp
    this.#decided = decided
    this.#openedAt = listener.clock.now()
    socket.on('data', this.#onData)
    socket.on('end', this.#onEnd)
    socket.on('error', this.#onError)
    socket.on('close', this.#onClose)
  }

  tick(now: number): void {
    const { timeouts } = this.#listener
    if (now - this.#openedAt > (this.#bytes === undefined ? timeouts.idle : timeouts.head)) this.#socket.destroy()
  }

  revalidate(): void {}

  drain(): void {
    if (this.#bytes === undefined) this.#socket.destroy()
  }

  cutAtDrainEnd(): void {
    this.#socket.destroy()
  }

  describe(): ConnectionDescription {
    return {
      listener: this.#listener.name,
      direction: 'outbound',
      protocol: 'both',
      peer: undefined,
      sourceIp: this.#sourceIp,
      openedAt: this.#openedAt,
      notAfter: undefined,
      exchange: undefined,
    }
  }

  readonly #onData = (chunk: Buffer): void => {
    const bytes = this.#bytes === undefined ? chunk : Buffer.concat([this.#bytes, chunk])
    this.#bytes = bytes
    const compared = Math.min(bytes.length, PREFACE.length)
    const alike = bytes.compare(PREFACE, 0, compared, 0, compared) === 0
    if (alike && compared < PREFACE.length) return
    const socket = this.#socket
    socket.pause()
    socket.removeListener('data', this.#onData)
    socket.removeListener('end', this.#onEnd)
    socket.removeListener('error', this.#onError)
    socket.removeListener('close', this.#onClose)
    socket.unshift(bytes)
    this.#decided(alike ? 'http2' : 'http1')
    this.#listener.registry.remove(this)
    socket.resume()
  }

  readonly #onEnd = (): void => void this.#socket.destroy()

  readonly #onError = (): void => {}

  readonly #onClose = (): void => {
    this.#listener.registry.remove(this)
    this.#listener.connectionClosed()
  }
}
