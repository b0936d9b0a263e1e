/**
 * The SPIFFE Workload API and Envoy's SDS on a Unix socket (SPIFFE_Workload_Endpoint §3, §5). Whoever may open the socket is the workload:
 * nothing else is asked of the caller, so who may open it is decided by the mode of the socket and of the folders above it.
 */
import { createServer, type Server } from 'node:net'
import { Code, ConnectError, createConnectRouter, type HandlerContext } from '@connectrpc/connect'
import type { UniversalHandlerFn } from '@connectrpc/connect/protocol'
import type { Clock } from '#base/clock'
import { headerValue } from '#http/header-list'
import type { Log } from '#telemetry/log'
import { listenPrivately, type SocketAccess } from '#telemetry/private-socket'
import { createHttp2Resources } from '#wire/http2/resources'
import { isWorkloadRequest, refuseOthers } from './entitlement.ts'
import { SecretDiscoveryService } from './generated/envoy/service/secret/v3/sds_pb.ts'
import {
  ServerReflection as ReflectionV1,
  type ServerReflectionRequest,
  type ServerReflectionResponse,
} from './generated/grpc/reflection/v1/reflection_pb.ts'
import { ServerReflection as ReflectionV1Alpha } from './generated/grpc/reflection/v1alpha/reflection_pb.ts'
import { SpiffeWorkloadAPI } from './generated/spiffe/workload_pb.ts'
import { type GrpcConnection, serveGrpcConnection } from './grpc-connection.ts'
import { createJwtService } from './jwt-service.ts'
import { createSecretService } from './secret-service.ts'
import type { WorkloadSource } from './source.ts'
import { createX509Service } from './x509-service.ts'

export interface WorkloadApiOptions {
  /** Absolute path of the socket. */
  readonly socket: string
  /** Who may open it. Default `owner`. */
  readonly access?: SocketAccess
  /** Of the document, for messages. */
  readonly key: string
  readonly source: WorkloadSource
  readonly clock: Clock
  readonly log: Log
}

export interface WorkloadApi {
  /** Ends every call with Unavailable, so that clients come back, and removes the socket. */
  close(): Promise<void>
}

const SECURITY_HEADER = 'workload.spiffe.io'
/** A request holds a token or a list of names. */
const LONGEST_REQUEST = 262_144
/** Of one workload. */
const MOST_CONNECTIONS = 128
/** Ms for the last answers to go out. */
const CLOSE_MS = 250

/** @throws PosternError ERR_LISTEN */
export async function serveWorkloadApi(options: WorkloadApiOptions): Promise<WorkloadApi> {
  const { log, clock } = options
  const ending = new AbortController()
  const handlers = createHandlers(options, ending.signal)
  const connections = new Set<GrpcConnection>()
  const resources = createHttp2Resources()
  const server: Server = createServer((socket) => {
    const connection = serveGrpcConnection(socket, {
      handlerOf: (path) => handlers.get(path),
      refuse({ path, headers }) {
        const isSpiffe = path.startsWith(`/${SpiffeWorkloadAPI.typeName}/`)
        if (isSpiffe && !isWorkloadRequest(headerValue(headers, SECURITY_HEADER))) return refuseOthers()
        return new ConnectError('this method is not served here', Code.Unimplemented)
      },
      resources,
      clock,
      log,
    })
    connections.add(connection)
    socket.once('close', () => connections.delete(connection))
  })
  server.maxConnections = MOST_CONNECTIONS
  await listenPrivately(server, options.socket, options.key, options.access)
  return {
    async close() {
      ending.abort(new ConnectError('the server is ending; connect again', Code.Unavailable))
      for (const connection of connections) connection.shutdown()
      const { promise, resolve } = Promise.withResolvers<void>()
      // Closing a server removes its socket.
      server.close(() => resolve())
      const cut = setTimeout(() => {
        for (const connection of connections) connection.destroy()
      }, CLOSE_MS)
      await promise
      clearTimeout(cut)
    },
  }
}

function createHandlers({ source, clock, log }: WorkloadApiOptions, shutdownSignal: AbortSignal): ReadonlyMap<string, UniversalHandlerFn> {
  const router = createConnectRouter({
    connect: false,
    grpcWeb: false,
    acceptCompression: [],
    readMaxBytes: LONGEST_REQUEST,
    shutdownSignal,
  })
  router.service(SpiffeWorkloadAPI, { ...createX509Service(source, clock), ...createJwtService(source, clock, log) }, { requestGate })
  router.service(SecretDiscoveryService, createSecretService(source, clock, log))
  for (const service of REFLECTIONS) router.service(service, { serverReflectionInfo: reflect })
  return new Map(router.handlers.map((handler) => [handler.requestPath, handler]))
}

const REFLECTIONS = [ReflectionV1, ReflectionV1Alpha]
const SERVICES = [SpiffeWorkloadAPI, SecretDiscoveryService, ...REFLECTIONS]

async function* reflect(requests: AsyncIterable<ServerReflectionRequest>): AsyncGenerator<ServerReflectionResponse> {
  const { answerReflection } = await import('./reflection.ts')
  for await (const request of requests) yield answerReflection(request, SERVICES)
}

function requestGate({ requestHeader }: HandlerContext): void {
  if (!isWorkloadRequest(requestHeader.get(SECURITY_HEADER))) throw refuseOthers()
}
