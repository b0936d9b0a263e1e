/** Resident memory of a fresh process: when ready, and with idle connections that have each carried one request. */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect as connectHttp2 } from 'node:http2'
import { setTimeout as delay } from 'node:timers/promises'
import { connect, type TLSSocket } from 'node:tls'
import type { Contender, Setup } from '../contenders/contender.ts'
import { REQUEST_PATH } from '../environment/upstream.ts'

export interface MemoryResult {
  readonly name: string
  /** MB (10^6 bytes). */
  readonly ready: number
  readonly loaded: number
  readonly connections: number
}

/** What a start or handshakes leave behind is given back some seconds later (V8's page pool: 8 s): ms to wait before memory is read. */
export const SETTLE_MS = 12_000

/** Opened at once. */
const BATCH = 20

/** @param settleMs before each reading */
export async function measureMemory(contender: Contender, setup: Setup, connections: number, settleMs: number): Promise<MemoryResult> {
  await using running = await contender.start(setup)
  await delay(settleMs)
  const ready = running.residentMegabytes()
  const sockets: TLSSocket[] = []
  try {
    while (sockets.length < connections) {
      const count = Math.min(BATCH, connections - sockets.length)
      sockets.push(...(await Promise.all(Array.from({ length: count }, () => openConnection(running.port, setup)))))
    }
    await delay(settleMs)
    const closed = sockets.filter((socket) => socket.readableEnded || socket.destroyed).length
    if (closed > 0) throw new Error(`${contender.name} closed ${closed} of ${connections} idle connections.`)
    return { name: contender.name, ready, loaded: running.residentMegabytes(), connections }
  } finally {
    for (const socket of sockets) socket.destroy()
  }
}

/** A connection that has been answered once. */
async function openConnection(port: number, { certificates: { client }, protocol }: Setup): Promise<TLSSocket> {
  const socket = connect({
    port,
    host: '127.0.0.1',
    cert: readFileSync(client.certificate),
    key: readFileSync(client.key),
    // Whom we reach is not in question here; that the server verifies us is.
    rejectUnauthorized: false,
    minVersion: 'TLSv1.3',
    ecdhCurve: 'X25519',
    ALPNProtocols: [protocol === 'http2' ? 'h2' : 'http/1.1'],
  })
  await once(socket, 'secureConnect')
  await (protocol === 'http2' ? askHttp2(socket) : askHttp1(socket))
  socket.on('error', () => {})
  return socket
}

async function askHttp1(socket: TLSSocket): Promise<void> {
  socket.write(`GET ${REQUEST_PATH} HTTP/1.1\r\nHost: catalog.shop\r\n\r\n`)
  let answer = ''
  while (answer.length < 1024) {
    const [chunk] = (await once(socket, 'data')) as [Buffer]
    answer += chunk.toString('latin1')
  }
  if (!answer.startsWith('HTTP/1.1 200 ')) throw new Error(`An idle connection was answered ${answer.slice(0, 40)}`)
  socket.resume()
}

async function askHttp2(socket: TLSSocket): Promise<void> {
  const session = connectHttp2('https://catalog.shop', { createConnection: () => socket })
  session.on('error', () => {})
  const request = session.request({ ':path': REQUEST_PATH })
  const [headers] = (await once(request, 'response')) as [Record<string, unknown>]
  if (headers[':status'] !== 200) throw new Error(`An idle connection was answered ${String(headers[':status'])}`)
  request.resume()
  await once(request, 'end')
}
