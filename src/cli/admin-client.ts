/** Asks a running sidecar on its admin address. */
import { request } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { resolve } from 'node:path'
import { PosternError } from '#base/errors'
import { type Address, formatAddress, isLoopback, parseAddress } from '#base/units'
import { usage } from './arguments.ts'

export interface AdminAnswer {
  readonly status: number
  readonly body: unknown
}

const TIMEOUT = 10_000
const LONGEST_ANSWER = 64 * 1024 * 1024

/** @param text `unix:path`, relative to `cwd`, or loopback `host:port`. @throws ERR_USAGE */
export function parseAdminAddress(text: string, cwd: string): Address {
  const address = parseAddress(text)
  if (address === undefined || !isLoopback(address)) {
    throw usage(`\`--admin ${text}\` is no admin address: give \`unix:/path\` or \`127.0.0.1:port\`, as in \`spec.admin\`.`)
  }
  return address.kind === 'unix' ? { kind: 'unix', path: resolve(cwd, address.path) } : address
}

/** @throws ERR_ADMIN_UNREACHABLE */
export function askAdmin(address: Address, path: string, method: 'GET' | 'POST' = 'GET'): Promise<AdminAnswer> {
  const { promise, resolve: answer, reject } = Promise.withResolvers<AdminAnswer>()
  const fail = (cause: unknown): void => reject(unreachable(address, cause))
  const target = address.kind === 'unix' ? { socketPath: address.path } : { host: address.host, port: address.port }
  const asked = request({ ...target, method, path, headers: { host: 'localhost' }, agent: false, timeout: TIMEOUT }, (response) => {
    readBody(response).then((body) => answer({ status: response.statusCode ?? 0, body }), fail)
  })
  asked.on('timeout', () => asked.destroy(new Error('no answer within 10 s')))
  asked.on('error', fail)
  asked.end()
  return promise
}

async function readBody(response: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of response as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > LONGEST_ANSWER) throw new Error('the answer is too long for a sidecar')
    chunks.push(chunk)
  }
  return JSON.parse(Buffer.concat(chunks).toString())
}

function unreachable(address: Address, cause: unknown): PosternError {
  const { code, message } = cause as NodeJS.ErrnoException
  return new PosternError('ERR_ADMIN_UNREACHABLE', `No sidecar answers on ${formatAddress(address)}: ${explain(code, message)}`, { cause })
}

function explain(code: string | undefined, message: string): string {
  switch (code) {
    case 'ENOENT':
      return 'there is no such socket. Name the one in `spec.admin` with `--admin unix:PATH`, or run this beside the sidecar’s document.'
    case 'ECONNREFUSED':
      return 'nothing listens there. Check that the sidecar runs, and its `spec.admin`.'
    case 'EACCES':
      return 'permission denied. The socket is for the user that the sidecar runs as.'
    default:
      return `${message}. Check that this is the admin address of a sidecar.`
  }
}
