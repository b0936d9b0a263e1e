/**
 * Between a kubelet and its API server: everything passes as it is, but the time from which pod certificates are to be renewed, which the kubelet is
 * told has come. The API server lets no signer name one that is nearer than ten minutes.
 *
 *   kubelet ──▶ 127.0.0.1:PORT ──▶ 127.0.0.1:6443          node refresh-sooner.ts FOLDER-OF-KEYS PORT
 */
import { readFileSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import { Agent, createServer, request } from 'node:https'
import { join } from 'node:path'
import process from 'node:process'
import { pipeline, Transform } from 'node:stream'

const API = { host: '127.0.0.1', port: 6443 } as const
const [keys = '', port] = process.argv.slice(2)
const file = (name: string): Buffer => readFileSync(join(keys, name))
const agent = new Agent({ keepAlive: true, ca: file('ca.crt'), cert: file('node.crt'), key: file('node.key') })

/** Earlier than the kubelet's jitter of five minutes. */
const DUE = '2000-01-01T00:00:00Z'

/** Events of a watch are lines; a list is one without an end. */
function sooner(): Transform {
  let rest = ''
  const changed = (text: string): string => text.replaceAll(/"beginRefreshAt":"[^"]*"/g, `"beginRefreshAt":"${DUE}"`)
  return new Transform({
    transform(chunk: Buffer, _, done) {
      const lines = (rest + chunk.toString('latin1')).split('\n')
      rest = lines.pop() ?? ''
      done(null, Buffer.from(lines.map((line) => `${changed(line)}\n`).join(''), 'latin1'))
    },
    flush(done) {
      done(null, Buffer.from(changed(rest), 'latin1'))
    },
  })
}

const server = createServer({ cert: file('apiserver.crt'), key: file('apiserver.key') }, (incoming, response) => {
  const { 'accept-encoding': _, ...headers } = incoming.headers
  const outgoing = request({ ...API, agent, method: incoming.method, path: incoming.url, headers })
  outgoing.on('error', () => response.destroy())
  outgoing.on('response', (answer: IncomingMessage) => {
    const { 'content-length': length, ...others } = answer.headers
    const certificates = incoming.url?.includes('/podcertificaterequests') === true
    response.writeHead(answer.statusCode ?? 502, certificates || length === undefined ? others : answer.headers)
    response.flushHeaders()
    if (certificates) pipeline(answer, sooner(), response, () => {})
    else pipeline(answer, response, () => {})
  })
  pipeline(incoming, outgoing, () => {})
  response.on('close', () => outgoing.destroy())
})
server.requestTimeout = 0
server.listen(Number(port), API.host)
