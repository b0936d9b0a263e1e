/** The Workload API of the authority: workloads on its machine, attested by the socket that they may open. */
import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { status } from '@grpc/grpc-js'
import { livesOf, prepareAuthorities } from '#ca/prepare'
import { addPrepared, takeStep } from '#ca/rotation'
import { parseSpiffeId } from '#identity/spiffe-id'
import { advanceableClock } from '../support/advanceable-clock.ts'
import { keysOf, startTestCa, TRUST_DOMAIN } from '../support/ca.ts'
import { type Message, workloadApiClient } from '../support/workload-api-client.ts'

const HOUR = 3_600_000
const CART = `spiffe://${TRUST_DOMAIN}/ns/shop/sa/cart`
const WEB = `spiffe://${TRUST_DOMAIN}/ns/shop/sa/web`

function socketOf(folder: string, name: string, id: string, access: 'owner' | 'group' = 'owner') {
  const parsed = parseSpiffeId(id)
  if (!parsed.ok) throw new Error(parsed.detail)
  return { id: parsed.value, listen: { kind: 'unix', path: join(folder, name) }, access } as const
}

/** A running authority with a socket for the cart and one for the web. */
async function setup(t: TestContext, options: Parameters<typeof startTestCa>[1] = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'postern-local-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const workloadApi = [socketOf(folder, 'cart.sock', CART), socketOf(folder, 'web.sock', WEB, 'group')]
  const ca = await startTestCa(t, { ...options, config: { ...options.config, workloadApi } })
  return { ca, cart: join(folder, 'cart.sock'), web: join(folder, 'web.sock') }
}

/** The leaf of an answer of FetchX509SVID. */
function leafOf(answer: Message): X509Certificate {
  return new X509Certificate(answer.svids[0].x509_svid as Buffer)
}

test('whoever opens a socket is its identity, gets a certificate of the authority, and each is on record', async (t) => {
  const { ca, cart, web } = await setup(t)
  assert.deepEqual([statSync(cart).mode & 0o777, statSync(web).mode & 0o777], [0o600, 0o660])
  for (const [socket, id] of [
    [cart, CART],
    [web, WEB],
  ] as const) {
    using client = workloadApiClient(socket)
    await using stream = client.open('FetchX509SVID')
    const answer = await stream.next()
    assert.equal(answer.svids.length, 1)
    assert.equal(answer.svids[0].spiffe_id, id)
    const leaf = leafOf(answer)
    assert.equal(leaf.subjectAltName, `URI:${id}`)
    assert.deepEqual(answer.svids[0].bundle, new X509Certificate(ca.bundlePem).raw)
    const [issuance] = await ca.store.issuances({ spiffeId: id, limit: 1 })
    assert.deepEqual([issuance?.attestedBy, issuance?.evidence], ['socket', `unix:${socket}`])
    assert.equal(BigInt(`0x${leaf.serialNumber}`), BigInt(`0x${issuance?.serial}`))
    const record = ca.records.lines.find(({ fields }) => fields['id'] === id)
    assert.deepEqual([record?.message, record?.fields['attested_by'], record?.fields['serial']], ['issued', 'socket', issuance?.serial])
  }
})

test('certificates are renewed at half of their life with another key, and so after the clock was set back', async (t) => {
  const clock = advanceableClock()
  const { cart } = await setup(t, { clock })
  using client = workloadApiClient(cart)
  await using stream = client.open('FetchX509SVID')
  const first = await stream.next()
  clock.advance(4 * HOUR + 1000)
  const second = await stream.next()
  assert.notDeepEqual(second.svids[0].x509_svid_key, first.svids[0].x509_svid_key)
  assert.ok(Date.parse(leafOf(second).validTo) > Date.parse(leafOf(first).validTo) + 3 * HOUR)
  clock.advance(-4 * HOUR)
  const third = await stream.next()
  assert.ok(Date.parse(leafOf(third).validTo) < Date.parse(leafOf(second).validTo) - 3 * HOUR)
})

test('JWT-SVIDs are minted for the audience asked for, on record, good by the keys that are published', async (t) => {
  const { ca, cart, web } = await setup(t)
  using client = workloadApiClient(cart)
  using other = workloadApiClient(web)
  {
    await using stream = client.open('FetchX509SVID')
    await stream.next()
  }
  const { svids } = await client.call('FetchJWTSVID', { audience: ['reports'] })
  assert.equal(svids[0].spiffe_id, CART)
  const { spiffe_id: holder } = await other.call('ValidateJWTSVID', { audience: 'reports', svid: svids[0].svid })
  assert.equal(holder, CART)
  const again = await client.call('FetchJWTSVID', { audience: ['reports'] })
  assert.equal(again.svids[0].svid, svids[0].svid, 'kept for half of its life')
  const issuances = await ca.store.issuances({ spiffeId: CART, limit: 10 })
  assert.deepEqual(issuances.map(({ kind, attestedBy }) => `${kind} by ${attestedBy}`).toSorted(), ['jwt by socket', 'x509 by socket'])
})

test('one identity is given so many JWT-SVIDs as any caller of the API', async (t) => {
  const { cart } = await setup(t, { config: { limits: { issuancesPerMinute: 1, burst: 3, inFlight: 10, connections: 10 } } })
  using client = workloadApiClient(cart)
  {
    await using stream = client.open('FetchX509SVID')
    await stream.next()
  }
  for (const audience of ['a', 'b', 'c']) await client.call('FetchJWTSVID', { audience: [audience] })
  await assert.rejects(client.call('FetchJWTSVID', { audience: ['d'] }), { code: status.UNAVAILABLE })
})

test('a revoked identity is shown to nobody, gets no other, and is back when the revocation is withdrawn; others go on', async (t) => {
  const { ca, cart, web } = await setup(t)
  using client = workloadApiClient(cart)
  using other = workloadApiClient(web)
  {
    await using stream = client.open('FetchX509SVID')
    await stream.next()
  }
  const revocation = { kind: 'id', value: CART, authority: '', reason: 'lost', revokedAt: Date.now(), until: Infinity } as const
  await ca.store.revoke(revocation)
  await ca.ca.refresh()
  {
    await using stream = client.open('FetchX509SVID')
    assert.equal((await stream.failure()).code, status.UNAVAILABLE)
    await using fine = other.open('FetchX509SVID')
    assert.equal((await fine.next()).svids[0].spiffe_id, WEB)
  }
  await assert.rejects(client.call('FetchJWTSVID', { audience: ['x'] }), { code: status.UNAVAILABLE })
  await ca.store.withdraw(revocation)
  await ca.ca.refresh()
  await using stream = client.open('FetchX509SVID')
  assert.equal((await stream.next()).svids[0].spiffe_id, CART)
})

test('through a rotation, bundles come as they are published, and certificates of a tainted authority are renewed at once', async (t) => {
  const { ca, cart } = await setup(t)
  using client = workloadApiClient(cart)
  await using stream = client.open('FetchX509SVID')
  const before = await stream.next()
  const lives = livesOf(await ca.store.authorities(), TRUST_DOMAIN)
  const made = { keys: keysOf(ca), trustDomain: TRUST_DOMAIN, now: Date.now(), rootTtl: lives.root, intermediateTtl: lives.intermediate }
  await addPrepared(ca.store, (await prepareAuthorities(made)).records)
  await ca.ca.refresh()
  const take = async (step: 'publish' | 'activate' | 'taint' | 'revoke') => {
    await takeStep(ca.store, step, { now: Date.now() + 6000, rules: { refreshHint: 1000, svidLife: 8 * HOUR }, force: true })
    await ca.ca.refresh()
  }
  await take('publish')
  const published = await stream.next()
  assert.ok(published.svids[0].bundle.length > before.svids[0].bundle.length, 'both roots')
  assert.deepEqual(published.svids[0].x509_svid, before.svids[0].x509_svid)
  await take('activate')
  await take('taint')
  // Each step publishes something, such as another order of the roots.
  const until = async (isIt: (answer: Message) => boolean): Promise<Message> => {
    for (;;) {
      const answer = await stream.next()
      if (isIt(answer)) return answer
    }
  }
  const renewed = await until(({ svids }) => !svids[0].x509_svid.equals(before.svids[0].x509_svid))
  await take('revoke')
  const after = await until(({ svids }) => svids[0].bundle.length < published.svids[0].bundle.length)
  assert.deepEqual(after.svids[0].x509_svid, renewed.svids[0].x509_svid)
  assert.equal(leafOf(after).checkIssued(new X509Certificate(after.svids[0].x509_svid.subarray(leafOf(after).raw.length))), true)
})

test('the end of the authority ends the streams, and removes the sockets', async (t) => {
  const { ca, cart, web } = await setup(t)
  using client = workloadApiClient(cart)
  await using stream = client.open('FetchX509SVID')
  await stream.next()
  await ca.restart()
  assert.equal((await stream.failure()).code, status.UNAVAILABLE)
  assert.ok(existsSync(cart))
  await ca.ca.close(0)
  assert.deepEqual([existsSync(cart), existsSync(web)], [false, false])
})
