/** Asks the app what the kubelet would ask it: the kubelet has no certificate, and its questions are exactly the configured ones. */
import { once } from 'node:events'
import { connect as connectHttp2 } from 'node:http2'
import { request } from 'node:http'
import { connect, type Socket } from 'node:net'
import { connectTarget } from '#base/sockets'
import type { ProbeConfig } from '#config/mesh-document'

export interface ProbeAnswer {
  readonly ok: boolean
  /** One sentence, for the kubelet's events. */
  readonly detail: string
}

const HOST = '127.0.0.1'

/** The app may listen on either loopback. */
function connectTo(port: number): Socket {
  return connect(connectTarget({ kind: 'tcp', host: 'localhost', port }))
}

/** Never throws. */
export async function askApp({ ask, timeout }: ProbeConfig): Promise<ProbeAnswer> {
  const signal = AbortSignal.timeout(timeout)
  try {
    if (ask.kind === 'tcp') return await askTcp(ask.port, signal)
    return ask.kind === 'http' ? await askHttp(ask, signal) : await askGrpc(ask, signal)
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    return {
      ok: false,
      detail: signal.aborted ? `the app did not answer within ${timeout} ms` : `the app cannot be asked: ${code ?? message}`,
    }
  }
}

async function askTcp(port: number, signal: AbortSignal): Promise<ProbeAnswer> {
  const socket = connectTo(port)
  try {
    await once(socket, 'connect', { signal })
    return { ok: true, detail: '' }
  } finally {
    socket.on('error', () => {})
    socket.destroy()
  }
}

type Question<K> = Extract<ProbeConfig['ask'], { readonly kind: K }>

/** As the kubelet does it: a status from 200 to 399 is good, redirects are not followed. */
async function askHttp({ port, path, headers }: Question<'http'>, signal: AbortSignal): Promise<ProbeAnswer> {
  const outgoing = request({ host: HOST, port, path, signal, createConnection: () => connectTo(port) })
  outgoing.setHeader('user-agent', 'kube-probe/postern')
  for (const { name, value } of headers) outgoing.setHeader(name, value)
  outgoing.end()
  const [response] = await once(outgoing, 'response')
  response.destroy()
  const ok = response.statusCode >= 200 && response.statusCode < 400
  return { ok, detail: ok ? '' : `the app answered with status ${response.statusCode}` }
}

const SERVING = 1

/** grpc.health.v1.Health/Check: the question is one string, the answer one number. */
async function askGrpc({ port, service }: Question<'grpc'>, signal: AbortSignal): Promise<ProbeAnswer> {
  const session = connectHttp2(`http://${HOST}:${port}`, { createConnection: () => connectTo(port) })
  session.on('error', () => {})
  try {
    const stream = session.request(
      { ':method': 'POST', ':path': '/grpc.health.v1.Health/Check', 'content-type': 'application/grpc', te: 'trailers' },
      { signal },
    )
    const name = Buffer.from(service)
    const message = name.length === 0 ? name : Buffer.concat([Buffer.of(0x0a, name.length), name])
    stream.end(Buffer.concat([Buffer.of(0, 0, 0, 0, message.length), message]))
    let status = ''
    const note = (headers: Readonly<Record<string, unknown>>): void => {
      if (typeof headers['grpc-status'] === 'string') status = headers['grpc-status']
    }
    stream.on('response', note)
    stream.on('trailers', note)
    const chunks: Buffer[] = []
    for await (const chunk of stream as AsyncIterable<Buffer>) chunks.push(chunk)
    if (status !== '' && status !== '0') return { ok: false, detail: `the app answered with grpc-status ${status}` }
    const answer = Buffer.concat(chunks)
    const ok = answer[5] === 0x08 && answer[6] === SERVING
    return { ok, detail: ok ? '' : 'the app is not serving' }
  } finally {
    session.destroy()
  }
}
