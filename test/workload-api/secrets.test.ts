/** Envoy's Secret Discovery Service, spoken as Envoy speaks it, with @grpc/grpc-js (xDS transport protocol). */
import assert from 'node:assert/strict'
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { test } from 'node:test'
import { status } from '@grpc/grpc-js'
import { createTestMesh } from '../support/authority.ts'
import { decodeTls, type Message, secretClient, type TestStream } from '../support/workload-api-client.ts'
import { startWorkloadApi } from '../support/workload-api-server.ts'
import { createWorkloadSource, stateOf } from '../support/workload-source.ts'

const TYPE = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret'
const mesh = await createTestMesh()
const partner = await createTestMesh('partner.example')
const [cart, admin] = await Promise.all([mesh.issue('/ns/shop/sa/cart'), mesh.issue('/ns/shop/sa/admin')])

const secretsOf = ({ resources }: Message): Message[] =>
  resources.map((resource: Message) => {
    const any = resource.resource ?? resource
    assert.equal(any.type_url, TYPE)
    return decodeTls('Secret', any.value)
  })
const namesOf = (message: Message): string[] => secretsOf(message).map(({ name }) => name)
const leafOf = (message: Message): string =>
  new X509Certificate(secretsOf(message)[0].tls_certificate.certificate_chain.inline_bytes).raw.toString('hex')

/** What a secret trusts: trust domain → certificates. */
function trustOf(secret: Message): Record<string, string> {
  const { name, typed_config } = secret.validation_context.custom_validator_config
  assert.equal(name, 'envoy.tls.cert_validator.spiffe')
  const { trust_domains } = decodeTls('SPIFFECertValidatorConfig', typed_config.value)
  return Object.fromEntries(trust_domains.map((domain: Message) => [domain.name, domain.trust_bundle.inline_bytes.toString()]))
}

/** A stream that has subscribed. */
async function subscribed(stream: TestStream, names: readonly string[]): Promise<Message> {
  stream.write({ node: { id: 'envoy' }, resource_names: names, type_url: TYPE })
  return stream.next()
}

const acknowledge = (stream: TestStream, { version_info, nonce }: Message, names: readonly string[], more: object = {}): void =>
  stream.write({ version_info, response_nonce: nonce, resource_names: names, type_url: TYPE, ...more })

for (const name of ['default', cart.id]) {
  test(`the certificate is had under the name ${name}`, async () => {
    await using served = await startWorkloadApi(createWorkloadSource(stateOf([cart, admin], [mesh, partner])))
    using client = secretClient(served.socket)
    await using stream = client.open('StreamSecrets')
    const [secret] = secretsOf(await subscribed(stream, [name]))
    assert.equal(secret.name, name)
    const { certificate_chain, private_key } = secret.tls_certificate
    assert.equal(certificate_chain.inline_bytes.toString(), cart.certificatePem)
    assert.ok(new X509Certificate(cart.certificate).checkPrivateKey(createPrivateKey(private_key.inline_bytes)))
  })
}

for (const [name, domains] of [
  ['ROOTCA', ['example.org']],
  ['spiffe://example.org', ['example.org']],
  ['spiffe://partner.example', ['partner.example']],
  ['ALL', ['example.org', 'partner.example']],
] as const) {
  test(`${name} is the authorities of ${domains.join(' and ')}, each for itself`, async () => {
    await using served = await startWorkloadApi(createWorkloadSource(stateOf([cart], [mesh, partner])))
    using client = secretClient(served.socket)
    const [secret] = secretsOf(await client.call('FetchSecrets', { resource_names: [name] }))
    const bundles: Record<string, string> = { 'example.org': mesh.bundlePem, 'partner.example': partner.bundlePem }
    assert.equal(secret.name, name)
    assert.deepEqual(trustOf(secret), Object.fromEntries(domains.map((domain) => [domain, bundles[domain]])))
  })
}

test('who asks for no name gets everything', async () => {
  await using served = await startWorkloadApi(createWorkloadSource(stateOf([cart, admin], [mesh, partner])))
  using client = secretClient(served.socket)
  assert.deepEqual(namesOf(await client.call('FetchSecrets')), [cart.id, admin.id, 'spiffe://example.org', 'spiffe://partner.example'])
})

test('a renewal is pushed after it was acknowledged, under a new version and nonce', async () => {
  const source = createWorkloadSource(stateOf([cart], [mesh]))
  await using served = await startWorkloadApi(source)
  using client = secretClient(served.socket)
  await using stream = client.open('StreamSecrets')
  const first = await subscribed(stream, ['default'])
  acknowledge(stream, first, ['default'])
  const renewed = await mesh.issue('/ns/shop/sa/cart')
  source.set(stateOf([renewed], [mesh]))
  const second = await stream.next()
  assert.equal(leafOf(second), renewed.certificate.toString('hex'))
  assert.notEqual(second.version_info, first.version_info)
  assert.notEqual(second.nonce, first.nonce)
})

test('a change that does not concern the subscription is not sent, and an acknowledgement is not answered', async () => {
  const source = createWorkloadSource(stateOf([cart], [mesh]))
  await using served = await startWorkloadApi(source)
  using client = secretClient(served.socket)
  await using stream = client.open('StreamSecrets')
  acknowledge(stream, await subscribed(stream, ['ROOTCA']), ['ROOTCA'])
  source.set(stateOf([admin], [mesh]))
  source.set(stateOf([admin], [partner]))
  assert.deepEqual(Object.keys(trustOf(secretsOf(await stream.next())[0])), ['partner.example'])
})

test('a refusal is logged, and what was refused is not sent again until it changes', async () => {
  const source = createWorkloadSource(stateOf([cart], [mesh]))
  await using served = await startWorkloadApi(source)
  using client = secretClient(served.socket)
  await using stream = client.open('StreamSecrets')
  const first = await subscribed(stream, ['default'])
  acknowledge(stream, first, ['default'], { version_info: '', error_detail: { code: 3, message: 'no such\ncurve' } })
  // Answered after the refusal, which came before it on the same connection.
  await client.call('FetchSecrets')
  source.set(stateOf([cart], [mesh]))
  source.set(stateOf([admin], [mesh]))
  assert.equal(leafOf(await stream.next()), admin.certificate.toString('hex'))
  const line = served.log.lines.find(({ message }) => /Envoy refused/.test(message))
  assert.equal(line?.fields['detail'], 'no such\\u000acurve')
})

test('other names on the same stream are answered at once', async () => {
  await using served = await startWorkloadApi(createWorkloadSource(stateOf([cart], [mesh])))
  using client = secretClient(served.socket)
  await using stream = client.open('StreamSecrets')
  const first = await subscribed(stream, ['default'])
  acknowledge(stream, first, ['default', 'ROOTCA'])
  assert.deepEqual(namesOf(await stream.next()), ['default', 'ROOTCA'])
})

test('what answers an older message is passed over', async () => {
  const source = createWorkloadSource(stateOf([cart], [mesh]))
  await using served = await startWorkloadApi(source)
  using client = secretClient(served.socket)
  await using stream = client.open('StreamSecrets')
  const first = await subscribed(stream, ['default'])
  source.set(stateOf([admin], [mesh]))
  const second = await stream.next()
  acknowledge(stream, first, ['ROOTCA'])
  acknowledge(stream, second, ['default', 'ROOTCA'])
  assert.deepEqual(namesOf(await stream.next()), ['default', 'ROOTCA'])
})

test('after a reconnect equal content has the version it had, and is sent all the same', async () => {
  await using served = await startWorkloadApi(createWorkloadSource(stateOf([cart], [mesh])))
  using client = secretClient(served.socket)
  const first = await client.call('FetchSecrets', { resource_names: ['default'], type_url: TYPE })
  await using stream = client.open('StreamSecrets')
  stream.write({ version_info: first.version_info, resource_names: ['default'], type_url: TYPE })
  assert.equal((await stream.next()).version_info, first.version_info)
})

for (const [what, request, pattern] of [
  ['a name that nothing stands under', { resource_names: ['default', 'nobody\n'], type_url: TYPE }, /no secret is named nobody\\u000a;/],
  ['the SPIFFE ID of another workload', { resource_names: [admin.id], type_url: TYPE }, /no secret is named/],
  [
    'another type of resource',
    { resource_names: ['x'], type_url: 'type.googleapis.com/envoy.config.cluster.v3.Cluster' },
    /only resources of type/,
  ],
  ['257 names', { resource_names: Array.from({ length: 257 }, (_, index) => `n${index}`), type_url: TYPE }, /more than 256/],
] as const) {
  test(`${what} is InvalidArgument, on a stream and alone`, async () => {
    await using served = await startWorkloadApi(createWorkloadSource(stateOf([cart], [mesh])))
    using client = secretClient(served.socket)
    await using stream = client.open('StreamSecrets')
    stream.write(request)
    const { code, details } = await stream.failure()
    assert.equal(code, status.INVALID_ARGUMENT)
    assert.match(details, pattern)
    await assert.rejects(client.call('FetchSecrets', request), { code: status.INVALID_ARGUMENT })
  })
}

test('without identity it is PermissionDenied, while one is on its way Unavailable', async () => {
  const source = createWorkloadSource(stateOf([], [mesh]))
  await using served = await startWorkloadApi(source)
  using client = secretClient(served.socket)
  await assert.rejects(client.call('FetchSecrets'), { code: status.PERMISSION_DENIED })
  source.set(undefined)
  await assert.rejects(client.call('FetchSecrets'), { code: status.UNAVAILABLE })
})

test('a stream that Envoy half-closes ends well, and nothing is left of it', async () => {
  const source = createWorkloadSource(stateOf([cart], [mesh]))
  await using served = await startWorkloadApi(source)
  using client = secretClient(served.socket)
  const stream = client.open('StreamSecrets')
  await subscribed(stream, ['default'])
  assert.equal(source.listeners, 1)
  stream.end()
  await assert.rejects(stream.next(), /the stream ended/)
  assert.equal(source.listeners, 0)
})

test('incremental: what is subscribed to is sent, changes alone after that, and what is gone is named', async () => {
  const source = createWorkloadSource(stateOf([cart], [mesh, partner]))
  await using served = await startWorkloadApi(source)
  using client = secretClient(served.socket)
  await using stream = client.open('DeltaSecrets')
  const names = ['default', 'spiffe://partner.example', 'nobody']
  stream.write({ type_url: TYPE, resource_names_subscribe: names, initial_resource_versions: { default: 'old' } })
  const first = await stream.next()
  assert.deepEqual(namesOf(first), ['default', 'spiffe://partner.example'])
  assert.deepEqual(
    first.resources.map(({ name }: Message) => name),
    ['default', 'spiffe://partner.example'],
  )
  assert.deepEqual(first.removed_resources, ['nobody'])
  stream.write({ type_url: TYPE, response_nonce: first.nonce })
  source.set(stateOf([admin], [mesh, partner]))
  const second = await stream.next()
  assert.deepEqual([namesOf(second), second.removed_resources], [['default'], []])
  source.set(stateOf([admin], [mesh]))
  const third = await stream.next()
  assert.deepEqual([namesOf(third), third.removed_resources], [[], ['spiffe://partner.example']])
  stream.write({ type_url: TYPE, resource_names_unsubscribe: ['default'], resource_names_subscribe: ['ROOTCA'] })
  assert.deepEqual(namesOf(await stream.next()), ['ROOTCA'])
  source.set(stateOf([cart], [mesh]))
  stream.write({ type_url: TYPE, resource_names_subscribe: ['ROOTCA'] })
  assert.deepEqual(namesOf(await stream.next()), ['ROOTCA'], 'not default, which was unsubscribed from')
})
