/** Rotation of the authorities: each step in the store, nobody cut off, everybody who is missing named. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { livesOf, prepareAuthorities } from '#ca/prepare'
import { addPrepared, cancelRotation, type RotationRules, type RotationStep, rotationStatus, takeStep } from '#ca/rotation'
import { readBundle } from '#pki/bundle'
import { generatePrivateKey, privateKeyPem } from '#pki/keys'
import { requestSvid } from '#pki/request-svid'
import { readWorkloadIdentity } from '#pki/workload-identity'
import { heldOf, keysOf, startTestCa, type Held, type JsonObject, type TestCa, TRUST_DOMAIN } from '../support/ca.ts'

const HOUR = 3_600_000
const RULES: RotationRules = { refreshHint: 1000, svidLife: 8 * HOUR }
const [A, B] = ['/ns/shop/sa/a', '/ns/shop/sa/b']

async function prepare(ca: TestCa): Promise<void> {
  const lives = livesOf(await ca.store.authorities(), TRUST_DOMAIN)
  const { records } = await prepareAuthorities({
    keys: keysOf(ca),
    trustDomain: TRUST_DOMAIN,
    now: Date.now(),
    rootTtl: lives.root,
    intermediateTtl: lives.intermediate,
  })
  await addPrepared(ca.store, records)
  await ca.ca.refresh()
}

/** @param later ms after now, for what waits for time */
async function take(ca: TestCa, step: RotationStep, { force = false, later = step === 'publish' ? 0 : 6000 } = {}) {
  const taken = await takeStep(ca.store, step, { now: Date.now() + later, rules: RULES, force })
  await ca.ca.refresh()
  return taken
}

async function status(ca: TestCa, later = 6000) {
  return rotationStatus(ca.store, Date.now() + later, RULES)
}

/** A poll that says that whatever is current is in force. */
async function poll(ca: TestCa, held: Held, instance: string) {
  const first = await ca.post('/v1/trust', { sequence: 0, instance }, { as: held })
  return (await ca.post('/v1/trust', { sequence: first.body['sequence'], instance }, { as: held })).body
}

async function renew(ca: TestCa, held: Held): Promise<Held> {
  const key = await generatePrivateKey()
  const answer = await ca.post('/v1/x509-svid', { csr: requestSvid(key) }, { as: held })
  assert.equal(answer.status, 200, answer.text)
  return heldOf(answer, privateKeyPem(key))
}

function roots(body: JsonObject): number {
  return readBundle(JSON.stringify(body['bundle']), TRUST_DOMAIN, 'answer').roots.length
}

function statesOf(ca: TestCa): readonly string[] {
  return ca.ca.publication.authorities
    .filter(({ kind }) => kind === 'x509')
    .map(({ state }) => state)
    .toSorted()
}

test('a rotation goes through its steps while sidecars follow, and ends with the new root alone', async (t) => {
  const ca = await startTestCa(t)
  const before = await ca.obtain(A)
  await poll(ca, before, 'a-1')
  assert.equal((await status(ca)).next, 'prepare')

  await prepare(ca)
  assert.deepEqual(statesOf(ca), ['active', 'prepared'])
  assert.equal(roots(await poll(ca, before, 'a-1')), 1, 'what is prepared is known here alone')

  await take(ca, 'publish')
  assert.equal((await status(ca)).behind.length, 1)
  await assert.rejects(take(ca, 'activate'), {
    code: 'ERR_CA_ROTATION',
    message: /1 sidecar has not taken the bundle/,
  })
  assert.equal(roots(await poll(ca, before, 'a-1')), 2)
  assert.deepEqual((await status(ca)).waitsFor, [])

  await take(ca, 'activate')
  const after = await renew(ca, before)
  const [oldIssuer, newIssuer] = [before, after].map((held) => readWorkloadIdentity(held).facts.issuerKeyId)
  assert.notEqual(oldIssuer, newIssuer)
  assert.equal((await poll(ca, before, 'a-1'))['renew_now'], false)

  await take(ca, 'taint')
  assert.equal((await poll(ca, before, 'a-1'))['renew_now'], true)
  assert.equal((await status(ca)).behind.length, 1, 'the bundle is there, the new certificate is not')
  await assert.rejects(take(ca, 'revoke'), { code: 'ERR_CA_ROTATION' })
  assert.equal((await poll(ca, after, 'a-1'))['renew_now'], false)

  await take(ca, 'revoke')
  assert.deepEqual(statesOf(ca), ['active', 'revoked'])
  const last = await ca.get('/v1/bundle')
  const bundle = readBundle(last.text, TRUST_DOMAIN, 'bundle')
  assert.equal(bundle.roots.length, 1)
  assert.equal(bundle.jwtKeys.length, 1)
  assert.equal((await status(ca)).next, 'prepare')
  assert.equal(
    (await ca.post('/v1/trust', { sequence: 0, instance: 'a-1' }, { as: before })).status,
    401,
    'the old certificate is nobody’s',
  )
  assert.equal((await ca.post('/v1/trust', { sequence: 0, instance: 'a-1' }, { as: { ...after } })).status, 200)
})

test("until an authority is out of the bundle the CA's own certificate is of the oldest in it: whoever missed the rotation can still ask", async (t) => {
  const ca = await startTestCa(t)
  const missed = await ca.obtain(B)
  await prepare(ca)
  for (const step of ['publish', 'activate', 'taint'] as const) {
    await take(ca, step)
    assert.equal(ca.ca.publication.own?.record.id, readWorkloadIdentity(missed).facts.issuerKeyId, step)
  }
  const back = await renew(ca, missed)
  assert.notEqual(readWorkloadIdentity(back).facts.issuerKeyId, readWorkloadIdentity(missed).facts.issuerKeyId)
  await take(ca, 'revoke')
  assert.equal(ca.ca.publication.own?.record.state, 'active')
})

test('one that is absent holds up neither activation nor taint, is named, and holds up the end only while its certificate may be valid', async (t) => {
  const ca = await startTestCa(t)
  const absent = await ca.obtain(B)
  await poll(ca, absent, 'b-1')
  await prepare(ca)
  await take(ca, 'publish')
  const pastLease = 20_000
  const found = await status(ca, pastLease)
  assert.deepEqual([found.behind.length, found.absent.map(({ instance }) => instance)], [0, ['b-1']])
  const activated = await take(ca, 'activate', { later: pastLease })
  assert.deepEqual(
    activated.leftBehind.map(({ spiffeId }) => spiffeId),
    [`spiffe://${TRUST_DOMAIN}${B}`],
  )
  await take(ca, 'taint', { later: pastLease })
  await assert.rejects(take(ca, 'revoke', { later: pastLease }), {
    code: 'ERR_CA_ROTATION',
    message: /1 absent sidecar may hold a certificate/,
  })
  // It comes back, refreshes, and nothing is left to wait for.
  const back = await renew(ca, absent)
  await poll(ca, back, 'b-1')
  assert.deepEqual((await take(ca, 'revoke')).leftBehind, [])
})

test('without what is waited for a step is taken only by force, which names who is left behind', async (t) => {
  const ca = await startTestCa(t)
  const held = await ca.obtain(A)
  await poll(ca, held, 'a-1')
  await prepare(ca)
  await take(ca, 'publish')
  const early = await status(ca, 0)
  assert.match(early.waitsFor.join(), /5 refresh hints/)
  assert.ok(early.notBefore > Date.now())
  await assert.rejects(take(ca, 'activate', { later: 0 }), { code: 'ERR_CA_ROTATION' })
  const taken = await take(ca, 'activate', { force: true, later: 0 })
  assert.deepEqual(
    taken.leftBehind.map(({ instance }) => instance),
    ['a-1'],
  )
})

test('steps out of order, and two rotations at once, are refused; what has signed nothing can be dropped', async (t) => {
  const ca = await startTestCa(t)
  for (const step of ['publish', 'activate', 'taint', 'revoke'] as const) await assert.rejects(take(ca, step), { code: 'ERR_CA_ROTATION' })
  await prepare(ca)
  await assert.rejects(prepare(ca), { code: 'ERR_CA_ROTATION', message: /prepared already/ })
  await assert.rejects(take(ca, 'activate'), { code: 'ERR_CA_ROTATION' })
  await take(ca, 'publish')
  assert.equal((await cancelRotation(ca.store, Date.now())).length, 2)
  await ca.ca.refresh()
  assert.equal(readBundle((await ca.get('/v1/bundle')).text, TRUST_DOMAIN, 'bundle').roots.length, 1)
  await prepare(ca)
})

test('two that take the same step at once take it once', async (t) => {
  const ca = await startTestCa(t)
  await prepare(ca)
  const outcomes = await Promise.allSettled(
    Array.from({ length: 8 }, () => takeStep(ca.store, 'publish', { now: Date.now(), rules: RULES, force: false })),
  )
  assert.equal(outcomes.filter(({ status: outcome }) => outcome === 'fulfilled').length, 1)
})

test('an intermediate under the same root is replaced without the root changing, and the old one is revoked by itself', async (t) => {
  const ca = await startTestCa(t)
  const { loadAuthority } = await import('#pki/authority')
  const keys = keysOf(ca)
  const root = loadAuthority({ certificatePem: ca.bundlePem, keyPem: keys.read('file:root-key.pem') })
  const before = await ca.obtain(A)
  const { records } = await prepareAuthorities({
    keys,
    trustDomain: TRUST_DOMAIN,
    now: Date.now(),
    rootTtl: 1,
    intermediateTtl: 100 * HOUR,
    root,
  })
  await addPrepared(ca.store, records)
  for (const step of ['publish', 'activate', 'taint', 'revoke'] as const) await take(ca, step)
  const { roots: left } = readBundle((await ca.get('/v1/bundle')).text, TRUST_DOMAIN, 'bundle')
  assert.deepEqual(
    left.map(({ pem }) => pem),
    [ca.bundlePem],
  )
  assert.equal((await ca.post('/v1/trust', { sequence: 0, instance: 'x' }, { as: before })).status, 401)
  assert.ok(await ca.obtain(A))
})

test('the rotation survives the process: a CA that is started again goes on where it stood', async (t) => {
  const ca = await startTestCa(t)
  await prepare(ca)
  await take(ca, 'publish')
  await ca.restart()
  assert.deepEqual(statesOf(ca), ['active', 'published'])
  await take(ca, 'activate')
  await ca.restart()
  assert.deepEqual(statesOf(ca), ['active', 'retired'])
  assert.ok(await ca.obtain(A))
})

test('a key that is gone is said where it matters, and nothing is issued without it', async (t) => {
  const ca = await startTestCa(t)
  await prepare(ca)
  await take(ca, 'publish')
  const next = ca.ca.publication.authorities.find(({ kind, state }) => kind === 'x509' && state === 'published')
  keysOf(ca).remove(next?.key ?? '')
  await take(ca, 'activate')
  assert.equal(ca.ca.publication.x509, undefined)
  const answer = await ca.post('/v1/x509-svid', {
    attestation: { type: 'join_token', token: await ca.token(A) },
    csr: requestSvid(await generatePrivateKey()),
  })
  assert.deepEqual([answer.status, answer.body['code']], [503, 'ERR_CA_NO_AUTHORITY'])
  const ready = ca.ca.checks.find(({ name }) => name === 'authority')?.run()
  assert.equal(ready?.ok, false)
  assert.match(ready?.detail ?? '', /its key cannot be read/)
})
