/** gRPC Server Reflection over the services of this socket: what tools like grpcurl ask before they call (SPIFFE_Workload_Endpoint §7). */
import { create, createRegistry, type DescFile, type DescService, type MessageInitShape, toBinary } from '@bufbuild/protobuf'
import { FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt'
import { Code } from '@connectrpc/connect'
import {
  type ServerReflectionRequest,
  type ServerReflectionResponse,
  ServerReflectionResponseSchema,
} from './generated/grpc/reflection/v1/reflection_pb.ts'

type Answer = NonNullable<MessageInitShape<typeof ServerReflectionResponseSchema>['messageResponse']>

/** The two versions of the protocol have the same messages. */
export function answerReflection(request: ServerReflectionRequest, services: readonly DescService[]): ServerReflectionResponse {
  return create(ServerReflectionResponseSchema, {
    validHost: request.host,
    originalRequest: request,
    messageResponse: answerTo(request.messageRequest, services),
  })
}

function answerTo(asked: ServerReflectionRequest['messageRequest'], services: readonly DescService[]): Answer {
  switch (asked.case) {
    case 'listServices':
      return { case: 'listServicesResponse', value: { service: services.map(({ typeName }) => ({ name: typeName })) } }
    case 'fileByFilename':
      return files(filesOf(services).find(({ proto }) => proto.name === asked.value))
    case 'fileContainingSymbol':
      return files(fileOfSymbol(asked.value, services))
    case 'fileContainingExtension':
    case 'allExtensionNumbersOfType':
    case undefined:
    default:
      return notFound('there are no extensions')
  }
}

function fileOfSymbol(symbol: string, services: readonly DescService[]): DescFile | undefined {
  const registry = createRegistry(...filesOf(services))
  const found = registry.get(symbol)
  if (found !== undefined) return found.file
  const [, name = '', method = ''] = /^(.*)[./]([^./]*)$/.exec(symbol) ?? []
  const service = registry.getService(name)
  return service?.methods.some((one) => one.name === method) === true ? service.file : undefined
}

/** Of the services, and whatever they import. */
function filesOf(services: readonly DescService[]): readonly DescFile[] {
  const all = new Set<DescFile>()
  const add = (file: DescFile): void => {
    if (all.has(file)) return
    all.add(file)
    file.dependencies.forEach(add)
  }
  for (const { file } of services) add(file)
  return [...all]
}

function files(file: DescFile | undefined): Answer {
  if (file === undefined) return notFound('no such file or symbol')
  const needed = new Set<DescFile>()
  const add = (one: DescFile): void => {
    needed.add(one)
    one.dependencies.forEach(add)
  }
  add(file)
  const fileDescriptorProto = [...needed].map(({ proto }) => toBinary(FileDescriptorProtoSchema, proto))
  return { case: 'fileDescriptorResponse', value: { fileDescriptorProto } }
}

function notFound(errorMessage: string): Answer {
  return { case: 'errorResponse', value: { errorCode: Code.NotFound, errorMessage } }
}
