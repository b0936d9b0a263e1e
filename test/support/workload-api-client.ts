/** @grpc/grpc-js against the Workload API and Envoy's SDS, from our own .proto files: an implementation of gRPC that is not ours. */
import { join } from 'node:path'
import * as grpc from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'

const PROTO = join(import.meta.dirname, '../../src/workload-api/proto')

const loaded = grpc.loadPackageDefinition(
  loadSync(
    [
      'spiffe/workload.proto',
      'envoy/service/secret/v3/sds.proto',
      'envoy/extensions/transport_sockets/tls/v3/secret.proto',
      'grpc/reflection/v1/reflection.proto',
      'grpc/reflection/v1alpha/reflection.proto',
    ],
    {
      includeDirs: [PROTO],
      keepCase: true,
      defaults: true,
    },
  ),
) as unknown as {
  readonly SpiffeWorkloadAPI: grpc.ServiceClientConstructor
  readonly grpc: {
    readonly reflection: Readonly<Record<'v1' | 'v1alpha', Readonly<Record<'ServerReflection', grpc.ServiceClientConstructor>>>>
  }
  readonly envoy: {
    readonly service: { readonly secret: { readonly v3: { readonly SecretDiscoveryService: grpc.ServiceClientConstructor } } }
    readonly extensions: {
      readonly transport_sockets: {
        readonly tls: { readonly v3: Readonly<Record<'Secret' | 'SPIFFECertValidatorConfig', { deserialize(bytes: Buffer): object }>> }
      }
    }
  }
}

/** Decodes what stands in an `Any`. */
export function decodeTls(type: 'Secret' | 'SPIFFECertValidatorConfig', bytes: Buffer): Message {
  return loaded.envoy.extensions.transport_sockets.tls.v3[type].deserialize(bytes) as Message
}

// oxlint-disable-next-line typescript/no-explicit-any -- messages of a schema that is read at run time
export type Message = any

export interface TestStream extends AsyncDisposable {
  /** The next message, or the error that ended the stream. */
  next(): Promise<Message>
  /** Resolves with the error that ends the stream. @throws if a message comes first, or the end without one */
  failure(): Promise<grpc.ServiceError>
  /** Of a stream in both directions. */
  write(message: Message): void
  end(): void
  cancel(): void
}

export interface TestClient extends Disposable {
  /** @throws grpc.ServiceError */
  call(method: string, message?: Message, options?: { readonly header?: string | undefined }): Promise<Message>
  open(method: string, message?: Message, options?: { readonly header?: string | undefined }): TestStream
  /** An empty message to any path; resolves with the error. @throws if there is none */
  refused(path: string, options?: { readonly header?: string | undefined }): Promise<grpc.ServiceError>
}

export interface TestClientOptions {
  /** What stands in `:authority`; that of grpc-js unless said. */
  readonly authority?: string
}

/** @param socket path */
export function workloadApiClient(socket: string, options: TestClientOptions = {}): TestClient {
  return makeClient(loaded.SpiffeWorkloadAPI, socket, options, 'true')
}

export function secretClient(socket: string, options: TestClientOptions = {}): TestClient {
  return makeClient(loaded.envoy.service.secret.v3.SecretDiscoveryService, socket, options, undefined)
}

export function reflectionClient(socket: string, version: 'v1' | 'v1alpha'): TestClient {
  return makeClient(loaded.grpc.reflection[version].ServerReflection, socket, {}, undefined)
}

function makeClient(
  Client: grpc.ServiceClientConstructor,
  socket: string,
  { authority }: TestClientOptions,
  usual: string | undefined,
): TestClient {
  const client = new Client(`unix:${socket}`, grpc.credentials.createInsecure(), {
    'grpc.enable_retries': 0,
    ...(authority === undefined ? {} : { 'grpc.default_authority': authority }),
  })
  const metadata = (header = usual): grpc.Metadata => {
    const made = new grpc.Metadata()
    if (header !== undefined && header !== '') made.set('workload.spiffe.io', header)
    return made
  }
  return {
    call(method, message = {}, { header } = {}) {
      const { promise, resolve, reject } = Promise.withResolvers<Message>()
      // eslint-disable-next-line typescript/no-unsafe-call
      ;(client as Message)[method](message, metadata(header), (error: grpc.ServiceError | null, answer: Message) =>
        error === null ? resolve(answer) : reject(error),
      )
      return promise
    },
    open(method, message, { header } = {}) {
      const isBoth = Client.service[method]!.requestStream
      const stream = isBoth ? (client as Message)[method](metadata(header)) : (client as Message)[method](message ?? {}, metadata(header))
      return followStream(stream as grpc.ClientDuplexStream<Message, Message>)
    },
    refused(path, { header } = {}) {
      const { promise, resolve, reject } = Promise.withResolvers<grpc.ServiceError>()
      const nothing = (): Buffer => Buffer.alloc(0)
      client.makeUnaryRequest(path, nothing, nothing, {}, metadata(header), (error) =>
        error === null ? reject(new Error(`${path} was answered`)) : resolve(error),
      )
      return promise
    },
    [Symbol.dispose]: () => client.close(),
  }
}

function followStream(stream: grpc.ClientDuplexStream<Message, Message>): TestStream {
  const events: ({ readonly message: Message } | { readonly error: grpc.ServiceError } | 'end')[] = []
  let wake: (() => void) | undefined
  const push = (event: (typeof events)[number]): void => {
    events.push(event)
    wake?.()
  }
  stream.on('data', (message) => push({ message }))
  stream.on('error', (error: grpc.ServiceError) => push({ error }))
  stream.on('end', () => push('end'))
  async function event(): Promise<(typeof events)[number]> {
    for (;;) {
      const found = events.shift()
      if (found !== undefined) return found
      const { promise, resolve } = Promise.withResolvers<void>()
      wake = resolve
      await promise
    }
  }
  return {
    async next() {
      const found = await event()
      if (found === 'end') throw new Error('the stream ended')
      if ('error' in found) throw found.error
      return found.message
    },
    async failure() {
      let found = await event()
      // grpc-js says `end` before the status.
      if (found === 'end') found = await event()
      if (found === 'end' || !('error' in found)) throw new Error('the stream did not fail')
      return found.error
    },
    write: (message) => void stream.write(message),
    end: () => void stream.end(),
    cancel: () => stream.cancel(),
    async [Symbol.asyncDispose]() {
      stream.cancel()
    },
  }
}
