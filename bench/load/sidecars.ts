/** Sidecars as the controller sees them: connections under mutual TLS that ask for their snapshot, and ask again once they have it. */
import { once } from 'node:events'
import { connect, type TLSSocket } from 'node:tls'
import type { AuthorityCredentials } from './authority.ts'

export interface SidecarOptions {
  readonly port: number
  readonly bundlePem: string
  readonly credentials: AuthorityCredentials
  readonly namespace: string
  readonly instance: string
}

export interface SimulatedSidecar {
  readonly namespace: string
  /** Snapshots so far. */
  readonly received: number
  /** Bytes of the last one. */
  readonly size: number
  /** When it had come whole, by `performance.now()`. */
  readonly at: number
  close(): void
}

/** @param onSnapshot told of each that has come whole */
export async function openSidecar(options: SidecarOptions, onSnapshot: (of: SimulatedSidecar) => void): Promise<SimulatedSidecar> {
  const { port, bundlePem, credentials, namespace, instance } = options
  const socket: TLSSocket = connect({
    host: '127.0.0.1',
    port,
    ca: bundlePem,
    cert: credentials.certificatePem,
    key: credentials.keyPem,
    // The controller is named by its SPIFFE ID, which this client does not read: what is measured is the controller.
    checkServerIdentity: () => undefined,
    minVersion: 'TLSv1.3',
  })
  await once(socket, 'secureConnect')
  socket.on('error', () => {})
  let received = 0
  let size = 0
  let at = 0
  const sidecar: SimulatedSidecar = {
    namespace,
    get received() {
      return received
    },
    get size() {
      return size
    },
    get at() {
      return at
    },
    close: () => void socket.destroy(),
  }

  function ask(digest: string): void {
    const body = JSON.stringify({ digest, instance })
    socket.write(
      `POST /v1/snapshot HTTP/1.1\r\nhost: controller\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    )
  }

  let digest = ''
  let chunks: Buffer[] = []
  let held = 0
  let whole = -1
  socket.on('data', (chunk: Buffer) => {
    chunks.push(chunk)
    held += chunk.length
    if (whole === -1) {
      const head = chunks.length === 1 ? chunk : Buffer.concat(chunks)
      const end = head.indexOf('\r\n\r\n')
      if (end === -1) return
      const text = head.toString('latin1', 0, end)
      const status = text.slice(9, 12)
      if (status !== '200') {
        chunks = []
        held = 0
        if (status === '304') ask(digest)
        else setTimeout(ask, 100, digest)
        return
      }
      whole = end + 4 + Number(/\r\ncontent-length: (\d+)/i.exec(text)?.[1])
      size = whole - end - 4
    }
    if (held < whole) return
    const all = Buffer.concat(chunks)
    chunks = []
    held = 0
    whole = -1
    digest = /"digest":"([0-9a-f]{64})"/.exec(all.toString('latin1', all.length - size, all.length - size + 100))?.[1] ?? ''
    received++
    at = performance.now()
    ask(digest)
    onSnapshot(sidecar)
  })
  ask('')
  return sidecar
}
