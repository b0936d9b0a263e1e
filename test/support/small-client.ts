/** Requests to the small servers (health, metrics, admin), to the byte where a test needs it. */
import { request } from 'node:http'
import { connect } from 'node:net'
import type { Server } from 'node:net'

export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly text: string
  readonly json: () => unknown
}

export interface Ask {
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
}

/** @param target a port of 127.0.0.1, or the path of a Unix socket */
export function ask(target: number | string, path: string, { method = 'GET', headers = {}, body }: Ask = {}): Promise<Answer> {
  const to = typeof target === 'string' ? { socketPath: target } : { host: '127.0.0.1', port: target }
  return new Promise((resolve, reject) => {
    const asked = request({ ...to, path, method, headers, agent: false }, (response) => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => (text += chunk))
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text, json: () => JSON.parse(text) as unknown }),
      )
    })
    asked.on('error', reject)
    asked.end(body)
  })
}

/** Sends bytes as they are and resolves with all that comes back until the connection ends. */
export function askRaw(port: number, bytes: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => socket.write(bytes))
    let text = ''
    socket.on('data', (chunk: Buffer) => (text += chunk.toString()))
    socket.on('error', () => undefined)
    socket.on('close', () => resolve(text))
  })
}

export async function listenAnywhere(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  return typeof address === 'object' && address !== null ? address.port : 0
}
