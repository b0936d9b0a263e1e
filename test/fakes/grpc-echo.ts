/** A gRPC service on `@grpc/grpc-js`, unmodified, with messages that are bare bytes, and the client of it. */
import * as grpc from '@grpc/grpc-js'

const bytes = (value: Buffer): Buffer => value
const method = (name: string, requestStream: boolean, responseStream: boolean) => ({
  path: `/test.Echo/${name}`,
  requestStream,
  responseStream,
  requestSerialize: bytes,
  requestDeserialize: bytes,
  responseSerialize: bytes,
  responseDeserialize: bytes,
})

export const ECHO = {
  /** The message back; its metadata `x-…` in head and trailers. An `x-fail` of a status fails with it. */
  unary: method('Unary', false, false),
  /** How many messages and bytes there were, as `count bytes`. */
  collect: method('Collect', true, false),
  /** As many messages as the request says, each with its number. */
  repeat: method('Repeat', false, true),
  /** Each message back. */
  chat: method('Chat', true, true),
  /** Never answers; is told when it is cancelled. */
  wait: method('Wait', false, false),
} as const satisfies grpc.ServiceDefinition

export interface EchoServer extends AsyncDisposable {
  readonly port: number
  /** Resolves with the metadata of the first call of `wait` that was cancelled. */
  readonly cancelled: Promise<grpc.Metadata>
  /** Resolves when `wait` is called first. */
  readonly waiting: Promise<void>
}

const LARGE = 64 * 1024 * 1024

export async function startEchoServer(): Promise<EchoServer> {
  const server = new grpc.Server({ 'grpc.max_receive_message_length': LARGE })
  const cancelled = Promise.withResolvers<grpc.Metadata>()
  const waiting = Promise.withResolvers<void>()
  server.addService(ECHO, {
    unary(call: grpc.ServerUnaryCall<Buffer, Buffer>, answer: grpc.sendUnaryData<Buffer>) {
      const own = new grpc.Metadata()
      for (const [name, value] of Object.entries(call.metadata.getMap())) if (name.startsWith('x-')) own.set(name, value)
      const [fail] = call.metadata.get('x-fail')
      if (fail !== undefined) {
        const failure: object = { code: Number(fail), details: 'as asked: 100 % “schräg”', metadata: own }
        return answer(failure)
      }
      call.sendMetadata(own)
      answer(null, call.request, own)
    },
    collect(call: grpc.ServerReadableStream<Buffer, Buffer>, answer: grpc.sendUnaryData<Buffer>) {
      let count = 0
      let length = 0
      call.on('data', (message: Buffer) => {
        count++
        length += message.length
      })
      call.on('end', () => answer(null, Buffer.from(`${count} ${length}`)))
    },
    repeat(call: grpc.ServerWritableStream<Buffer, Buffer>) {
      for (let index = 0; index < Number(call.request.toString()); index++) call.write(Buffer.from(String(index)))
      call.end()
    },
    chat(call: grpc.ServerDuplexStream<Buffer, Buffer>) {
      call.on('data', (message: Buffer) => call.write(message))
      call.on('end', () => call.end())
      call.on('error', () => {})
    },
    wait(call: grpc.ServerUnaryCall<Buffer, Buffer>) {
      waiting.resolve()
      call.on('cancelled', () => cancelled.resolve(call.metadata))
    },
  })
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    )
  })
  return {
    port,
    cancelled: cancelled.promise,
    waiting: waiting.promise,
    [Symbol.asyncDispose]() {
      server.forceShutdown()
      return Promise.resolve()
    },
  }
}

const EchoConstructor = grpc.makeGenericClientConstructor(ECHO, 'Echo')

export interface EchoClient extends Disposable {
  unary(message: Buffer, metadata?: grpc.Metadata, options?: grpc.CallOptions): Promise<EchoAnswer>
  wait(options?: grpc.CallOptions): { readonly call: grpc.ClientUnaryCall; readonly answer: Promise<EchoAnswer> }
  collect(): { readonly call: grpc.ClientWritableStream<Buffer>; readonly answer: Promise<Buffer> }
  repeat(count: number): grpc.ClientReadableStream<Buffer>
  chat(): grpc.ClientDuplexStream<Buffer, Buffer>
}

export interface EchoAnswer {
  readonly message: Buffer | undefined
  readonly code: number
  readonly details: string
  readonly head: Readonly<Record<string, grpc.MetadataValue>>
  readonly trailers: Readonly<Record<string, grpc.MetadataValue>>
}

interface Raw extends grpc.Client {
  unary: Unary
  wait: Unary
  collect: (done: (error: grpc.ServiceError | null, message?: Buffer) => void) => grpc.ClientWritableStream<Buffer>
  repeat: (message: Buffer) => grpc.ClientReadableStream<Buffer>
  chat: () => grpc.ClientDuplexStream<Buffer, Buffer>
}

type Unary = (
  message: Buffer,
  metadata: grpc.Metadata,
  options: grpc.CallOptions,
  done: (error: grpc.ServiceError | null, message?: Buffer) => void,
) => grpc.ClientUnaryCall

/** `using` it closes it. */
export function createEchoClient(port: number): EchoClient {
  const raw = new EchoConstructor(`127.0.0.1:${port}`, grpc.credentials.createInsecure(), {
    'grpc.max_receive_message_length': LARGE,
  }) as unknown as Raw

  function start(
    unary: Unary,
    message: Buffer,
    metadata = new grpc.Metadata(),
    options: grpc.CallOptions = {},
  ): { readonly call: grpc.ClientUnaryCall; readonly answer: Promise<EchoAnswer> } {
    const { promise, resolve } = Promise.withResolvers<EchoAnswer>()
    let head = {}
    let trailers = {}
    let received: Buffer | undefined
    const call = unary.call(raw, message, metadata, options, (_, got) => {
      received = got
    })
    call.on('metadata', (got: grpc.Metadata) => {
      head = got.getMap()
    })
    call.on('status', (status: grpc.StatusObject) => {
      trailers = status.metadata.getMap()
      setImmediate(() => resolve({ message: received, code: status.code, details: status.details, head, trailers }))
    })
    return { call, answer: promise }
  }

  return {
    unary: (message, metadata, options) => start(raw.unary, message, metadata, options).answer,
    wait: (options) => start(raw.wait, Buffer.alloc(0), new grpc.Metadata(), options),
    collect() {
      const { promise, resolve, reject } = Promise.withResolvers<Buffer>()
      return {
        call: raw.collect((error, message) => (error === null ? resolve(message ?? Buffer.alloc(0)) : reject(error))),
        answer: promise,
      }
    },
    repeat: (count) => raw.repeat(Buffer.from(String(count))),
    chat: () => raw.chat(),
    [Symbol.dispose]: () => raw.close(),
  }
}
