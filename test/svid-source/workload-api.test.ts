/** An identity from a SPIFFE Workload API: our own server stands in for an agent, and an agent that breaks the rules is made of grpc-js. */
import assert from 'node:assert/strict'
import { afterEach, test } from 'node:test'
import { status } from '@grpc/grpc-js'
import { systemClock } from '#base/clock'
import { parseSpiffeId, type SpiffeId } from '#identity/spiffe-id'
import { createWorkloadApiSvidSource } from '#svid-source/workload-api'
import { createTestMesh, type TestSvid } from '../support/authority.ts'
import { type Answer, startFakeAgent } from '../fakes/workload-api-agent.ts'
import { createRecordingLog, type RecordedLine, type RecordingLog } from '../support/recording-log.ts'
import { startWorkloadApi } from '../support/workload-api-server.ts'
import { createJwtAuthority, createWorkloadSource, stateOf } from '../support/workload-source.ts'
import type { SvidSource } from '#svid-source/source'

const mesh = await createTestMesh()
const partner = await createTestMesh('partner.example')
const [cart, admin] = await Promise.all([mesh.issue('/ns/shop/sa/cart'), mesh.issue('/ns/shop/sa/admin')])

interface Opened {
  readonly source: SvidSource
  readonly log: RecordingLog
}

function idOf(uri: string): SpiffeId {
  const parsed = parseSpiffeId(uri)
  assert.ok(parsed.ok)
  return parsed.value
}

const opened: SvidSource[] = []
afterEach(() => opened.splice(0).forEach((source) => source.close()))

interface Wish {
  readonly id?: string
  readonly hint?: string
  readonly endpointSocket?: string
  readonly signal?: AbortSignal
  readonly patience?: number
}

async function open(socket: string | undefined, { id, hint, ...more }: Wish = {}): Promise<Opened> {
  const log = createRecordingLog()
  const source = await createWorkloadApiSvidSource({
    config: {
      kind: 'workloadApi',
      socket: socket === undefined ? undefined : { kind: 'unix', path: socket },
      id: id === undefined ? undefined : idOf(id),
      hint,
    },
    clock: systemClock,
    log,
    random: () => 0,
    ...more,
  })
  opened.push(source)
  return { source, log }
}

/** Resolves once a line was logged that `match` takes. */
async function logged(log: RecordingLog, match: (line: RecordedLine) => boolean): Promise<RecordedLine> {
  for (;;) {
    const found = log.lines.find(match)
    if (found !== undefined) return found
    await new Promise((resolve) => setImmediate(resolve))
  }
}

async function until(source: SvidSource, condition: () => boolean): Promise<void> {
  while (!condition()) {
    const { promise, resolve } = Promise.withResolvers<void>()
    const end = source.subscribe(resolve)
    await promise
    end()
  }
}

/** Of an agent that answers with this to one call of FetchX509SVID after the other. */
const answerOf = (svids: readonly TestSvid[], changes: object = {}): Answer => ({
  message: {
    svids: svids.map((svid) => ({
      spiffe_id: svid.id,
      x509_svid: Buffer.concat(svid.chain),
      x509_svid_key: keyDer(svid),
      bundle: mesh.root.certificate,
      ...changes,
    })),
  },
})
const keyDer = ({ keyPem }: TestSvid): Buffer => Buffer.from(keyPem.replace(/-----.*-----|\s/g, ''), 'base64')

test('E-2: the identity, its own bundle and the federated ones come over the socket, and F-5: none is merged', async () => {
  await using agent = await startWorkloadApi(createWorkloadSource(stateOf([cart], [mesh, partner])))
  const { source } = await open(agent.socket)
  const { identity, trust } = source.current
  assert.equal(identity.id.uri, cart.id)
  assert.deepEqual(identity.chain, cart.chain)
  assert.deepEqual([...trust.bundles.keys()], ['example.org', 'partner.example'])
  assert.equal(trust.bundles.get('partner.example')!.roots[0]!.trustDomain, 'partner.example')
})

test('E-8: without a socket in the document it is where SPIFFE_ENDPOINT_SOCKET says, and nowhere without that', async () => {
  await using agent = await startWorkloadApi(createWorkloadSource(stateOf([cart], [mesh])))
  const { source } = await open(undefined, { endpointSocket: `unix://${agent.socket}` })
  assert.equal(source.current.identity.id.uri, cart.id)
  await assert.rejects(open(undefined), { code: 'ERR_WORKLOAD_API_ENDPOINT' })
})

test('a renewal goes into force as it is pushed, and what did not change stays the same object', async () => {
  const served = createWorkloadSource(stateOf([cart], [mesh]))
  await using agent = await startWorkloadApi(served)
  const { source } = await open(agent.socket)
  const { trust } = source.current
  const renewed = await mesh.issue('/ns/shop/sa/cart')
  served.set(stateOf([renewed], [mesh]))
  await until(source, () => source.current.identity.certificatePem === renewed.certificatePem)
  assert.equal(source.current.trust, trust)
})

test('W-7, W-8: a federated bundle that is absent from the newest message is dropped', async () => {
  const served = createWorkloadSource(stateOf([cart], [mesh, partner]))
  await using agent = await startWorkloadApi(served)
  const { source } = await open(agent.socket)
  const { identity } = source.current
  served.set(stateOf([cart], [mesh]))
  await until(source, () => !source.current.trust.federated)
  assert.equal(source.current.identity, identity)
})

test('W-11, W-25: authorities come from X.509 messages alone, and keys for tokens from JWT bundles alone', async () => {
  const { jwk } = createJwtAuthority()
  await using agent = await startWorkloadApi(createWorkloadSource(stateOf([cart], [mesh], [jwk])))
  const { source } = await open(agent.socket)
  await until(source, () => source.current.trust.bundles.get('example.org')!.jwtKeys.length > 0)
  const { roots, jwtKeys } = source.current.trust.bundles.get('example.org')!
  assert.deepEqual(jwtKeys, [jwk])
  assert.deepEqual(
    roots.map(({ der }) => der),
    [mesh.root.certificate],
  )
})

test('keys of a JWT bundle without `use`, as SPIRE writes them, are taken; those of another use are not', async () => {
  const { use: _, ...bare } = createJwtAuthority('bare').jwk
  const other = { ...createJwtAuthority('other').jwk, use: 'x509-svid', x5c: [mesh.root.certificate.toString('base64')] }
  await using agent = await startFakeAgent({
    FetchX509SVID: [answerOf([cart])],
    FetchJWTBundles: [{ message: { bundles: { 'spiffe://example.org': Buffer.from(JSON.stringify({ keys: [bare, other] })) } } }],
  })
  const { source } = await open(agent.socket)
  await until(source, () => source.current.trust.bundles.get('example.org')!.jwtKeys.length > 0)
  assert.deepEqual(source.current.trust.bundles.get('example.org')!.jwtKeys, [{ use: 'jwt-svid', ...bare }])
})

test('a broken JWT bundle keeps no certificate from going into force', async () => {
  await using agent = await startFakeAgent({
    FetchX509SVID: [answerOf([cart])],
    FetchJWTBundles: [{ message: { bundles: { 'spiffe://example.org': Buffer.from('{"keys":[{"kty":"EC"}]}') } } }],
  })
  const { source, log } = await open(agent.socket)
  await logged(log, ({ message }) => /left out/.test(message))
  assert.match(source.status()[1]!.error!, /JWT bundle of example\.org/)
  assert.equal(source.current.identity.id.uri, cart.id)
})

test('W-3: after a restart of the agent the new certificate comes by itself; until then the last good one stays', async () => {
  const served = createWorkloadSource(stateOf([cart], [mesh]))
  await using agent = await startWorkloadApi(served)
  const { source, log } = await open(agent.socket)
  await agent.api.close()
  assert.equal(source.current.identity.id.uri, cart.id)
  const renewed = await mesh.issue('/ns/shop/sa/cart')
  await agent.restart(createWorkloadSource(stateOf([renewed], [mesh])))
  await until(source, () => source.current.identity.certificatePem === renewed.certificatePem)
  assert.ok(log.lines.some(({ level, message }) => level === 'warn' && /last good identity stays/.test(message)))
  assert.equal(source.status()[0]!.error, undefined)
})

test('E-14, E-15, W-17: an agent that starts later, is not ready or has no identity yet is asked again', async () => {
  const served = createWorkloadSource(undefined)
  await using agent = await startWorkloadApi(served)
  const opening = open(agent.socket)
  await agent.api.close()
  await agent.restart(createWorkloadSource(stateOf([], [mesh])))
  await agent.restart(createWorkloadSource(stateOf([cart], [mesh])))
  const { source } = await opening
  assert.equal(source.current.identity.id.uri, cart.id)
})

test('the wait for an identity ends with the signal', async () => {
  await using agent = await startWorkloadApi(createWorkloadSource(undefined))
  const stop = new AbortController()
  const opening = open(agent.socket, { signal: stop.signal })
  stop.abort(new Error('told to end'))
  await assert.rejects(opening, /told to end/)
})

test('the wait ends with what failed last where patience is limited', async () => {
  await using agent = await startWorkloadApi(createWorkloadSource(stateOf([], [mesh])))
  await assert.rejects(open(agent.socket, { patience: 100 }), { code: 'ERR_WORKLOAD_API_DENIED' })
  await assert.rejects(open(`${agent.socket}.none`, { patience: 100 }), { code: 'ERR_WORKLOAD_API_UNREACHABLE' })
})

for (const [what, wish] of [
  ['id', { id: admin.id }],
  ['hint', { hint: 'second' }],
  ['both', { id: admin.id, hint: 'second' }],
] as const) {
  test(`of several identities the one with the ${what} of the document is taken`, async () => {
    const offered = [
      { ...cart, hint: 'first' },
      { ...admin, hint: 'second' },
    ]
    await using agent = await startWorkloadApi(createWorkloadSource(stateOf(offered, [mesh])))
    const { source } = await open(agent.socket, wish)
    assert.equal(source.current.identity.id.uri, admin.id)
  })
}

test('W-16: of equal hints the first is taken', async () => {
  await using agent = await startFakeAgent({ FetchX509SVID: [answerOf([admin, cart], { hint: 'same' })] })
  const { source } = await open(agent.socket, { hint: 'same' })
  assert.equal(source.current.identity.id.uri, admin.id)
})

test('several identities of which none was chosen keep the sidecar from starting, with a sentence that lists them', async () => {
  await using agent = await startWorkloadApi(createWorkloadSource(stateOf([{ ...cart, hint: 'a' }, admin], [mesh])))
  await assert.rejects(open(agent.socket), {
    code: 'ERR_WORKLOAD_API_CHOICE',
    message:
      /several identities: spiffe:\/\/example\.org\/ns\/shop\/sa\/cart \(`a`\), spiffe:\/\/example\.org\/ns\/shop\/sa\/admin\. Name one/,
  })
})

test('W-18: an identity that is no longer offered is not replaced by another; it stays to its end, and the status says so', async () => {
  const served = createWorkloadSource(stateOf([cart], [mesh]))
  await using agent = await startWorkloadApi(served)
  const { source, log } = await open(agent.socket, { id: cart.id })
  served.set(stateOf([admin], [mesh]))
  await logged(log, ({ fields }) => fields['reason'] === 'ERR_WORKLOAD_API_CHOICE')
  assert.match(source.status()[0]!.error!, /offers no identity with the ID .*cart, but .*admin/)
  assert.equal(source.current.identity.id.uri, cart.id)
})

for (const code of [status.INVALID_ARGUMENT, status.UNIMPLEMENTED]) {
  test(`E-6, W-31: what the agent refuses for good (${status[code]}) is not asked again, and keeps the sidecar from starting`, async () => {
    await using agent = await startFakeAgent({ FetchX509SVID: [{ code }] })
    await assert.rejects(open(agent.socket), { code: 'ERR_WORKLOAD_API_REFUSED' })
    assert.equal(agent.calls('FetchX509SVID'), 1)
  })
}

test('after a refusal for good the next reload asks again', async () => {
  const renewed = await mesh.issue('/ns/shop/sa/cart')
  await using agent = await startFakeAgent({ FetchX509SVID: [{ ...answerOf([cart]), code: status.UNIMPLEMENTED }, answerOf([renewed])] })
  const { source, log } = await open(agent.socket)
  await logged(log, ({ fields }) => fields['reason'] === 'ERR_WORKLOAD_API_REFUSED')
  assert.equal(agent.calls('FetchX509SVID'), 1)
  await source.reload()
  await until(source, () => source.current.identity.certificatePem === renewed.certificatePem)
})

const foreign = await (await createTestMesh()).issue('/ns/shop/sa/cart')
const past = await mesh.issue('/ns/shop/sa/cart', { now: Date.now() - 1_800_000, ttl: 600_000 })
const UNUSABLE: readonly (readonly [string, Answer, RegExp])[] = [
  ['W-9: no identity in it', { message: { svids: [] } }, /`svids` is empty/],
  ['W-9: an empty ID', answerOf([cart], { spiffe_id: '' }), /`svids\[0\]\.spiffe_id` is empty/],
  ['W-9: an empty chain', answerOf([cart], { x509_svid: Buffer.alloc(0) }), /x509_svid` is empty/],
  ['W-9: an empty key', answerOf([cart], { x509_svid_key: Buffer.alloc(0) }), /x509_svid_key` is empty/],
  ['W-9: an empty bundle', answerOf([cart], { bundle: Buffer.alloc(0) }), /bundle` is empty/],
  ['another ID than its certificate', answerOf([cart], { spiffe_id: admin.id }), /it calls .*cart .*admin/],
  ['a chain that is no DER', answerOf([cart], { x509_svid: Buffer.from('nonsense') }), /is not DER/],
  ['a chain with something behind it', answerOf([cart], { x509_svid: Buffer.concat([...cart.chain, Buffer.of(0)]) }), /is not DER/],
  ['the key of another', answerOf([cart], { x509_svid_key: keyDer(admin) }), /ERR_IDENTITY_KEY|private key is not the one/],
  ['a certificate that has ended', answerOf([past]), /peers would refuse .*EXPIRED/],
  ['a certificate of an authority that is not in its bundle', answerOf([foreign]), /peers would refuse/],
  ['a bundle without authority', answerOf([cart], { bundle: cart.certificate }), /cannot be an authority/],
]
for (const [what, answer, reason] of UNUSABLE) {
  test(`a message with ${what} is discarded with a word, and the last good identity stays`, async () => {
    await using agent = await startFakeAgent({ FetchX509SVID: [{ ...answerOf([cart]), next: answer }] })
    const { source, log } = await open(agent.socket)
    const { fields } = await logged(log, ({ level }) => level === 'warn')
    assert.match(String(fields['detail']), reason)
    assert.equal(source.current.identity.certificatePem, cart.certificatePem)
  })
}

test('a federated bundle that cannot be used is left out with a word; the rest goes into force', async () => {
  const answer = answerOf([cart])
  const message = {
    ...answer.message,
    federated_bundles: {
      'spiffe://partner.example': partner.root.certificate,
      'spiffe://broken.example': Buffer.from('x'),
      'https://other.example': partner.root.certificate,
    },
  }
  await using agent = await startFakeAgent({ FetchX509SVID: [{ message }] })
  const { source } = await open(agent.socket)
  assert.deepEqual([...source.current.trust.bundles.keys()], ['example.org', 'partner.example'])
  assert.match(source.status()[1]!.error!, /broken\.example[^]*https:\/\/other\.example/)
})

test('no key, and no byte of one, is ever logged', async () => {
  await using agent = await startFakeAgent({
    FetchX509SVID: [{ ...answerOf([cart]), next: answerOf([cart], { x509_svid_key: keyDer(admin).subarray(1) }) }],
  })
  const { log } = await open(agent.socket)
  await logged(log, ({ level }) => level === 'warn')
  const text = JSON.stringify(log.lines)
  for (const { keyPem } of [cart, admin]) assert.ok(!text.includes(keyPem.split('\n')[1]!.slice(0, 40)))
})

test('JWT-SVIDs of our own identity are had through the agent', async () => {
  const authority = createJwtAuthority()
  await using agent = await startWorkloadApi(createWorkloadSource(stateOf([cart], [mesh], [authority.jwk]), authority.issue))
  const { source } = await open(agent.socket)
  const { token, expiresAt } = await source.issueJwtSvid!(['catalog'], AbortSignal.timeout(5_000))
  const { sub, aud, exp } = JSON.parse(Buffer.from(token.split('.')[1]!, 'base64url').toString())
  assert.deepEqual([sub, aud, exp * 1000], [cart.id, ['catalog'], expiresAt])
})

test('a closed source leaves nothing behind', async () => {
  const served = createWorkloadSource(stateOf([cart], [mesh]))
  await using agent = await startWorkloadApi(served)
  const { source } = await open(agent.socket)
  source.close()
  await agent.api.close()
  assert.equal(served.listeners, 0)
})
