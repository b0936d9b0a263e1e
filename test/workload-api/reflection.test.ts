/** gRPC Server Reflection on the socket, in both versions that tools ask for. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fromBinary } from '@bufbuild/protobuf'
import { FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt'
import { createTestMesh } from '../support/authority.ts'
import { type Message, reflectionClient } from '../support/workload-api-client.ts'
import { startWorkloadApi } from '../support/workload-api-server.ts'
import { createWorkloadSource, stateOf } from '../support/workload-source.ts'

const mesh = await createTestMesh()
const source = createWorkloadSource(stateOf([await mesh.issue('/ns/shop/sa/cart')], [mesh]))

const namesOf = (answer: Message): string[] =>
  answer.file_descriptor_response.file_descriptor_proto.map((bytes: Buffer) => fromBinary(FileDescriptorProtoSchema, bytes).name)

for (const version of ['v1', 'v1alpha'] as const) {
  test(`E-18: server reflection (${version}) lists the services, and gives their files with all that these import`, async () => {
    await using served = await startWorkloadApi(source)
    using client = reflectionClient(served.socket, version)
    await using stream = client.open('ServerReflectionInfo')
    const ask = async (question: object): Promise<Message> => {
      stream.write({ host: 'here', ...question })
      return stream.next()
    }
    const { valid_host, list_services_response } = await ask({ list_services: '*' })
    assert.equal(valid_host, 'here')
    assert.deepEqual(
      list_services_response.service.map(({ name }: Message) => name),
      [
        'SpiffeWorkloadAPI',
        'envoy.service.secret.v3.SecretDiscoveryService',
        'grpc.reflection.v1.ServerReflection',
        'grpc.reflection.v1alpha.ServerReflection',
      ],
    )
    for (const symbol of ['SpiffeWorkloadAPI', 'SpiffeWorkloadAPI.FetchX509SVID', 'X509SVID']) {
      assert.deepEqual(namesOf(await ask({ file_containing_symbol: symbol })), ['spiffe/workload.proto', 'google/protobuf/struct.proto'])
    }
    assert.equal(namesOf(await ask({ file_containing_symbol: 'envoy.service.secret.v3.SecretDiscoveryService' })).length, 5)
    assert.deepEqual(namesOf(await ask({ file_by_filename: 'google/rpc/status.proto' })), ['google/rpc/status.proto'])
    for (const question of [
      { file_containing_symbol: 'SpiffeWorkloadAPI.Nothing' },
      { file_by_filename: '/etc/passwd' },
      { file_containing_extension: { containing_type: 'X509SVID', extension_number: 1 } },
      {},
    ]) {
      assert.equal((await ask(question)).error_response.error_code, 5)
    }
    stream.end()
    await assert.rejects(stream.next(), /the stream ended/)
  })
}
