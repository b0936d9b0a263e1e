/** An agent that says what it is told to, right or wrong: @grpc/grpc-js under the Workload API. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as grpc from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'

/** To one call. With a `code` the call ends with that; without, it stays open. */
export interface Answer {
  readonly message?: object
  /** After `message`, as soon as it is written. */
  readonly next?: Answer
  readonly code?: grpc.status
}

type Method = 'FetchX509SVID' | 'FetchJWTBundles'

export interface FakeAgent extends AsyncDisposable {
  readonly socket: string
  /** How often a method was called. */
  calls(method: Method): number
}

const PROTO = join(import.meta.dirname, '../../src/workload-api/proto')

/** @param script the answers to one call after the other; the last is repeated. Without any, calls stay open. */
export async function startFakeAgent(script: Partial<Readonly<Record<Method, readonly Answer[]>>>): Promise<FakeAgent> {
  const dir = mkdtempSync(join(tmpdir(), 'postern-agent-'))
  const socket = join(dir, 'agent.sock')
  const counts = new Map<string, number>()
  const definition = grpc.loadPackageDefinition(loadSync('spiffe/workload.proto', { includeDirs: [PROTO], keepCase: true }))
  const { service } = definition['SpiffeWorkloadAPI'] as grpc.ServiceClientConstructor
  const server = new grpc.Server()

  function say(call: grpc.ServerWritableStream<object, object>, { message, next, code }: Answer): void {
    if (message !== undefined) call.write(message)
    if (next !== undefined) say(call, next)
    if (code !== undefined) call.emit('error', { code, details: `status ${code}` })
  }
  const handle =
    (method: Method) =>
    (call: grpc.ServerWritableStream<object, object>): void => {
      const count = (counts.get(method) ?? 0) + 1
      counts.set(method, count)
      if (call.metadata.get('workload.spiffe.io')[0] !== 'true') return say(call, { code: grpc.status.INVALID_ARGUMENT })
      const answers = script[method] ?? []
      const answer = answers[count - 1] ?? answers.at(-1)
      if (answer !== undefined) say(call, answer)
    }
  server.addService(service, { FetchX509SVID: handle('FetchX509SVID'), FetchJWTBundles: handle('FetchJWTBundles') })
  await new Promise<void>((resolve, reject) =>
    server.bindAsync(`unix:${socket}`, grpc.ServerCredentials.createInsecure(), (error) => (error === null ? resolve() : reject(error))),
  )
  return {
    socket,
    calls: (method) => counts.get(method) ?? 0,
    async [Symbol.asyncDispose]() {
      server.forceShutdown()
      rmSync(dir, { recursive: true, force: true })
    },
  }
}
