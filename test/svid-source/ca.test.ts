/** Identity from the certificate authority: attested, renewed, polled for trust, and what happens when the authority is away or wrong. */
import assert from 'node:assert/strict'
import { EventEmitter, once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { type Clock, systemClock } from '#base/clock'
import type { PosternError } from '#base/errors'
import { parseSpiffeId } from '#identity/spiffe-id'
import { createCaSvidSource } from '#svid-source/ca'
import { openSvidSource } from '#svid-source/open'
import type { SvidSource } from '#svid-source/source'
import { createTestMesh } from '../support/authority.ts'
import { shiftedClock } from '../support/shifted-clock.ts'
import { createRecordingLog, type RecordingLog } from '../support/recording-log.ts'
import { type FakeCa, startFakeCa } from '../fakes/ca.ts'

interface Opened {
  readonly folder: string
  readonly source: SvidSource
  readonly log: RecordingLog
  readonly observed: readonly string[]
  readonly write: (name: string, text: string) => void
  /** Resolves with the next change of `current`; the snapshot with it is then in force. */
  readonly changed: () => Promise<unknown>
}

interface Setup {
  readonly clock?: Clock
  readonly cache?: boolean
  readonly federation?: readonly string[]
  readonly folder?: string
  readonly prepare?: (folder: string) => void
  readonly signal?: AbortSignal
  readonly log?: RecordingLog
  readonly trustDomain?: string
}

function makeFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'postern-ca-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

async function open(t: TestContext, ca: FakeCa, setup: Setup = {}): Promise<Opened> {
  const folder = setup.folder ?? makeFolder(t)
  const write = (name: string, text: string): void => writeFileSync(join(folder, name), text)
  write('bundle.pem', ca.mesh.bundlePem)
  write('token', 'secret\n')
  setup.prepare?.(folder)
  const log = setup.log ?? createRecordingLog()
  const observed: string[] = []
  const source = await createCaSvidSource({
    ca: {
      kind: 'ca',
      address: { kind: 'tcp', host: '127.0.0.1', port: ca.port },
      trustDomain: setup.trustDomain,
      bundle: join(folder, 'bundle.pem'),
      attest: { method: 'joinToken', file: join(folder, 'token') },
      cache: setup.cache === true ? join(folder, 'cache') : undefined,
    },
    federation: (setup.federation ?? []).map((trustDomain) => ({ trustDomain, bundle: join(folder, trustDomain) })),
    clock: setup.clock ?? systemClock,
    log,
    random: Math.random,
    observe: (what, result) => observed.push(`${what} ${result}`),
    tick: 50,
    interval: 30,
    ...(setup.signal === undefined ? {} : { signal: setup.signal }),
  })
  t.after(() => source.close())
  const events = new EventEmitter()
  source.applied?.(source.current)
  source.subscribe(() => {
    source.applied?.(source.current)
    events.emit('change')
  })
  return { folder, source, log, observed, write, changed: () => once(events, 'change', { signal: AbortSignal.timeout(10_000) }) }
}

const ID = 'spiffe://example.org/ns/test/sa/service'
const isPoll = ({ path }: { readonly path: string }): boolean => path === '/v1/trust'
const isIssue = ({ path }: { readonly path: string }): boolean => path === '/v1/x509-svid'

function peer(path: string, serial = 'abc'): Parameters<SvidSource['current']['trust']['revocations']['isRevoked']>[0] {
  const id = parseSpiffeId(`spiffe://example.org${path}`)
  assert.ok(id.ok)
  const certificate = {
    fingerprint: '',
    spkiHash: '',
    serial,
    notBefore: 0,
    notAfter: 0,
    sanUris: [],
    sanDns: [],
    sanEmails: [],
    issuerKeyId: '0a0b',
  }
  return { id: id.value, certificate, authorities: [] }
}

test('a join token becomes an identity, and what is trusted is known before anybody is served', async (t) => {
  await using ca = await startFakeCa()
  ca.revocations.push({ kind: 'id', value: 'spiffe://example.org/ns/test/sa/thief', authority: '', until: null })
  const { source, observed } = await open(t, ca)
  assert.equal(source.current.identity.id.uri, ID)
  assert.deepEqual(
    ca.requests.map(({ path }) => path),
    ['/v1/x509-svid', '/v1/trust'],
  )
  assert.deepEqual(ca.requests[0]!.body['attestation'], { type: 'join_token', token: 'secret' })
  assert.equal(ca.requests[0]!.peer, undefined, 'no certificate where there is none')
  assert.equal(ca.requests[1]!.peer?.id, ID)
  assert.equal(ca.requests[1]!.body['sequence'], 0, 'nothing is in force yet, so nothing is acknowledged')
  assert.equal(source.current.trust.revocations.isRevoked(peer('/ns/test/sa/thief')), true)
  assert.equal(source.current.trust.revocations.isRevoked(peer('/ns/test/sa/other')), false)
  assert.deepEqual(observed, ['renewal ok', 'poll ok'])
  const acknowledging = await ca.seen((request) => isPoll(request) && request.body['sequence'] === 1)
  assert.match(String(acknowledging.body['instance']), /^[0-9a-f-]{36}$/)
})

test('a certificate is renewed by showing the one before, each time with a new key, and never seen past its end', async (t) => {
  await using ca = await startFakeCa({ ttl: 3_000 })
  const { source, changed, log } = await open(t, ca)
  const seen = [source.current.identity]
  for (let round = 0; round < 3; round++) {
    await changed()
    const { identity, lease } = source.current
    assert.ok(seen.at(-1)!.facts.notAfter > Date.now(), 'the one before had time left')
    assert.ok(lease!.validUntil <= identity.facts.notAfter)
    seen.push(identity)
  }
  assert.equal(new Set(seen.map(({ keyPem }) => keyPem)).size, 4)
  assert.equal(new Set(seen.map(({ facts }) => facts.serial)).size, 4)
  const renewals = ca.requests.filter(isIssue).slice(1)
  assert.ok(renewals.every(({ body, peer: shown }) => body['attestation'] === undefined && shown?.id === ID))
  assert.deepEqual(
    log.lines.filter(({ level }) => level === 'warn'),
    [],
  )
})

test('while the authority is away at the start, each try says what is wrong, and the first that succeeds serves', async (t) => {
  await using ca = await startFakeCa()
  await ca.stop()
  const log = createRecordingLog()
  const opening = open(t, ca, { log })
  while (log.lines.length === 0) await new Promise((resolve) => setTimeout(resolve, 20))
  assert.match(log.lines[0]!.message, /The authority at 127\.0\.0\.1:\d+ cannot be reached: nothing listens there \(ECONNREFUSED\)\.$/)
  assert.equal(log.lines[0]!.fields['reason'], 'ERR_CA_UNREACHABLE')
  await ca.start()
  assert.equal((await opening).source.current.identity.id.uri, ID)
})

test('the wait for the first identity ends when it is told to', async (t) => {
  await using ca = await startFakeCa()
  await ca.stop()
  const ended = new AbortController()
  const opening = open(t, ca, { signal: ended.signal })
  ended.abort()
  await assert.rejects(opening, { name: 'AbortError' })
})

const WRONG: readonly (readonly [string, (ca: FakeCa) => void | Promise<void>, RegExp])[] = [
  ['a token that nobody made', (ca) => void ca.tokens.clear(), /refused: nobody made such a token \(ERR_JOIN_TOKEN_UNKNOWN\)/],
  ['an answer that is no JSON', (ca) => void (ca.answer = once200('<html>')), /something that is no JSON/],
  ['an answer without a certificate', (ca) => void (ca.answer = once200({ bundle: {} })), /`svid` is not a list/],
  ['a redirection', (ca) => void (ca.answer = onceStatus(302, { location: 'https://elsewhere/' })), /refused: .*status 302/],
  ['a fault of its own', (ca) => void (ca.answer = onceStatus(500)), /cannot answer just now/],
  [
    'a renewal time that is none',
    (ca) => void (ca.spoil = onceSpoilt((body) => void (body['renew_at'] = 'soon'))),
    /`renew_at` is not a time/,
  ],
  ['a certificate for another key', spoilCertificate, /cannot be used: The private key is not the one of the certificate/],
  ['a bundle that did not sign', spoilBundle, /would be refused by peers \(ERR_SVID_ISSUER_UNKNOWN/],
  ['control characters in a refusal', (ca) => void (ca.answer = onceProblem('a\u001b[31mb\nc')), /refused: a \[31mb c \(ERR_X\)/],
]

function first<T>(value: T): () => T | undefined {
  let used = false
  return () => (used ? undefined : ((used = true), value))
}
function once200(body: unknown): NonNullable<FakeCa['answer']> {
  return first({ body, status: 200 })
}
function onceStatus(status: number, headers: Record<string, string> = {}): NonNullable<FakeCa['answer']> {
  return first({ status, headers, body: {} })
}
function onceProblem(detail: string): NonNullable<FakeCa['answer']> {
  return first({ status: 403, body: { code: 'ERR_X', detail } })
}
function onceSpoilt(change: (body: Record<string, unknown>) => void): NonNullable<FakeCa['spoil']> {
  const isFirst = first(true)
  return (path, body) => {
    if (path === '/v1/x509-svid' && isFirst() === true) change(body)
  }
}
async function spoilCertificate(ca: FakeCa): Promise<void> {
  const other = await ca.mesh.issue('/ns/test/sa/service')
  ca.tokens.set('secret', '/ns/test/sa/service')
  ca.spoil = onceSpoilt((body) => void (body['svid'] = [other.certificatePem]))
}
async function spoilBundle(ca: FakeCa): Promise<void> {
  const other = await createTestMesh()
  ca.issuer = other
}

for (const [what, prepare, sentence] of WRONG) {
  test(`${what} is said, nothing of it goes into force, and it is tried again`, async (t) => {
    await using ca = await startFakeCa()
    await prepare(ca)
    const log = createRecordingLog()
    const opening = open(t, ca, { log })
    while (!log.lines.some(({ level }) => level === 'warn')) await new Promise((resolve) => setTimeout(resolve, 10))
    assert.match(log.lines[0]!.message, sentence)
    assert.equal(JSON.stringify(log.lines).includes('secret'), false, 'a token is never logged')
    ca.tokens.set('secret', '/ns/test/sa/service')
    ca.issuer = ca.mesh
    assert.equal((await opening).source.current.identity.id.uri, ID)
  })
}

test('who is not the authority gets neither token nor request, though its certificate is right', async (t) => {
  const mesh = await createTestMesh()
  await using ca = await startFakeCa({ mesh, path: '/ns/test/sa/thief' })
  const log = createRecordingLog()
  const ended = new AbortController()
  const opening = open(t, ca, { log, signal: ended.signal }).catch(() => {})
  while (log.lines.length === 0) await new Promise((resolve) => setTimeout(resolve, 10))
  assert.match(
    log.lines[0]!.message,
    /is not the authority: it is spiffe:\/\/example\.org\/ns\/test\/sa\/thief, not spiffe:\/\/example\.org\/postern\/ca; by the clock of this host/,
  )
  assert.deepEqual(ca.requests, [])
  ended.abort()
  await opening
})

test('an authority of other roots is refused, until the operator writes its bundle', async (t) => {
  const other = await createTestMesh()
  await using ca = await startFakeCa()
  const log = createRecordingLog()
  const folder = makeFolder(t)
  const opening = open(t, ca, { log, folder, prepare: () => writeFileSync(join(folder, 'bundle.pem'), other.bundlePem) })
  while (log.lines.length === 0) await new Promise((resolve) => setTimeout(resolve, 10))
  assert.match(log.lines[0]!.message, /is not the authority: its certificate is refused: ERR_SVID_ISSUER_UNKNOWN/)
  writeFileSync(join(folder, 'bundle.pem'), ca.mesh.bundlePem)
  assert.equal((await opening).source.current.identity.id.uri, ID)
})

test('an authority that is busy is asked again no sooner than it said', async (t) => {
  await using ca = await startFakeCa()
  ca.answer = first({ status: 503, headers: { 'retry-after': '2' }, body: { code: 'ERR_CA_BUSY', detail: 'in a moment' } })
  const { log } = await open(t, ca)
  const [refused, served] = ca.requests.filter(isIssue)
  assert.ok(served!.at - refused!.at >= 1_950, `asked again after ${served!.at - refused!.at} ms`)
  assert.match(log.lines[0]!.message, /asks to come back later: in a moment \(ERR_CA_BUSY\)\.$/)
})

test('a refused renewal falls back to attestation, and where that fails too both are said', async (t) => {
  await using ca = await startFakeCa({ ttl: 3_000 })
  const { source, log, changed } = await open(t, ca)
  const before = source.current.identity
  ca.answer = ({ path, peer: shown }) =>
    path === '/v1/x509-svid' && shown !== undefined
      ? { status: 403, body: { code: 'ERR_SVID_REVOKED', detail: 'it was revoked' } }
      : undefined
  await ca.seen((request) => isIssue(request) && request.body['attestation'] !== undefined, Date.now())
  while (!log.lines.some(({ level }) => level === 'warn')) await new Promise((resolve) => setTimeout(resolve, 10))
  const warning = log.lines.find(({ level }) => level === 'warn')!
  assert.match(warning.message, /it was revoked \(ERR_SVID_REVOKED\); and attesting anew: .*ERR_JOIN_TOKEN_UNKNOWN/)
  assert.equal(source.current.identity, before)
  assert.match(source.status()[0]!.error!, /it was revoked/)
  assert.ok(source.origin!().failures > 0)
  ca.tokens.set('secret', '/ns/test/sa/service')
  await changed()
  assert.notEqual(source.current.identity, before)
  assert.equal(source.status()[0]!.error, undefined)
})

test('a renewal under another ID is refused', async (t) => {
  await using ca = await startFakeCa({ ttl: 3_000 })
  const { source, log } = await open(t, ca)
  ca.tokens.set('secret', '/ns/test/sa/other')
  const other = await ca.mesh.issue('/ns/test/sa/other')
  ca.spoil = (path, body) => {
    if (path === '/v1/x509-svid') body['svid'] = [other.certificatePem]
  }
  while (!log.lines.some(({ level }) => level === 'warn')) await new Promise((resolve) => setTimeout(resolve, 10))
  assert.equal(source.current.identity.id.uri, ID)
})

test('a new bundle goes in with its poll, and is acknowledged once a snapshot with it is in force', async (t) => {
  const next = await createTestMesh()
  await using ca = await startFakeCa()
  const { source, changed } = await open(t, ca)
  await ca.seen((request) => isPoll(request) && request.body['sequence'] === 1)
  ca.bundlePem = ca.mesh.bundlePem + next.bundlePem
  ca.sequence = 2
  await changed()
  assert.equal(source.current.trust.roots.size, 2)
  await ca.seen((request) => isPoll(request) && request.body['sequence'] === 2)
  assert.equal(source.origin!().acknowledged, 2)
})

test('what no snapshot has put in force is not acknowledged', async (t) => {
  const next = await createTestMesh()
  await using ca = await startFakeCa()
  const { source } = await open(t, ca)
  await ca.seen((request) => isPoll(request) && request.body['sequence'] === 1)
  source.applied = () => {}
  const { trust } = source.current
  Object.defineProperty(source, 'applied', { value: undefined })
  ca.bundlePem = ca.mesh.bundlePem + next.bundlePem
  ca.sequence = 2
  while (source.current.trust === trust) await new Promise((resolve) => setTimeout(resolve, 10))
  const from = Date.now()
  for (let polls = 0; polls < 3; polls++) {
    const poll = await ca.seen(isPoll, Math.max(from, ca.requests.at(-1)!.at + 1))
    assert.equal(poll.body['sequence'], 1)
  }
})

test('a sequence that goes backwards is refused and reported, and what was in force stays', async (t) => {
  const next = await createTestMesh()
  await using ca = await startFakeCa()
  ca.bundlePem = ca.mesh.bundlePem + next.bundlePem
  ca.sequence = 7
  const { source, log } = await open(t, ca)
  ca.bundlePem = ca.mesh.bundlePem
  ca.sequence = 6
  while (!log.lines.some(({ level }) => level === 'warn')) await new Promise((resolve) => setTimeout(resolve, 10))
  assert.match(log.lines.find(({ level }) => level === 'warn')!.message, /went back from sequence 7 to 6; what came with 7 stays in force/)
  assert.equal(source.current.trust.roots.size, 2)
  assert.match(source.status()[1]!.error!, /ERR_CA_SEQUENCE/)
  ca.sequence = 8
  while (source.status()[1]!.error !== undefined) await new Promise((resolve) => setTimeout(resolve, 10))
  assert.equal(source.current.trust.roots.size, 1)
})

const REVOKED: readonly (readonly [string, unknown, boolean])[] = [
  ['an ID', { kind: 'id', value: 'spiffe://example.org/ns/test/sa/thief', authority: '', until: null }, true],
  ['a serial of an authority', { kind: 'serial', value: '0ABC', authority: '0A0B', until: '2027-01-01T00:00:00.000Z' }, true],
  ['a serial of another', { kind: 'serial', value: '0ABC', authority: '0A0C', until: null }, false],
  ['an authority by its key', { kind: 'authority', value: '0a0b', authority: '', until: null }, true],
]
for (const [what, entry, revoked] of REVOKED) {
  test(`the revocation of ${what} is in force with its poll`, async (t) => {
    await using ca = await startFakeCa()
    const { source, changed } = await open(t, ca)
    ca.revocations.push(entry)
    ca.sequence++
    await changed()
    assert.equal(source.current.trust.revocations.isRevoked(peer('/ns/test/sa/thief')), revoked)
  })
}

test('a revocation of a kind that is not known is refused: acknowledging it would say that it is enforced', async (t) => {
  await using ca = await startFakeCa()
  const { source, observed } = await open(t, ca)
  ca.revocations.push({ kind: 'hostname', value: 'x', authority: '', until: null })
  ca.sequence++
  while (!observed.includes('poll ERR_CA_ANSWER')) await new Promise((resolve) => setTimeout(resolve, 10))
  assert.equal(source.origin!().sequence, 1)
})

test('what the authority revokes and a file has revoked before is acknowledged all the same', async (t) => {
  await using ca = await startFakeCa()
  const folder = makeFolder(t)
  writeFileSync(join(folder, 'bundle.pem'), ca.mesh.bundlePem)
  writeFileSync(join(folder, 'token'), 'secret')
  writeFileSync(join(folder, 'revoked.json'), '[{"kind":"id","value":"spiffe://example.org/ns/test/sa/thief"}]')
  const source = await openSvidSource(
    {
      identity: {
        kind: 'ca',
        address: { kind: 'tcp', host: '127.0.0.1', port: ca.port },
        trustDomain: undefined,
        bundle: join(folder, 'bundle.pem'),
        attest: { method: 'joinToken', file: join(folder, 'token') },
        cache: undefined,
      },
      federation: [],
      revocations: join(folder, 'revoked.json'),
    },
    { clock: systemClock, log: createRecordingLog() },
  )
  t.after(() => source.close())
  source.applied?.(source.current)
  source.subscribe(() => source.applied?.(source.current))
  ca.revocations.push({ kind: 'id', value: 'spiffe://example.org/ns/test/sa/thief', authority: '', until: null })
  ca.sequence = 2
  await ca.seen((request) => isPoll(request) && request.body['sequence'] === 2)
  assert.equal(source.current.trust.revocations.isRevoked(peer('/ns/test/sa/thief')), true)
})

test('who is told to renew now does, soon', async (t) => {
  await using ca = await startFakeCa()
  const { source, changed } = await open(t, ca)
  const before = source.current.identity
  ca.renewNow = true
  await changed()
  ca.renewNow = false
  assert.notEqual(source.current.identity.facts.serial, before.facts.serial)
})

test('federated bundles stay as they are configured, and are read again when they change', async (t) => {
  const partner = await createTestMesh('partner.example')
  const second = await createTestMesh('partner.example')
  await using ca = await startFakeCa()
  const { source, changed, write } = await open(t, ca, {
    federation: ['partner.example'],
    prepare: (folder) => writeFileSync(join(folder, 'partner.example'), partner.bundlePem),
  })
  assert.deepEqual([...source.current.trust.bundles.keys()], ['example.org', 'partner.example'])
  write('partner.example', partner.bundlePem + second.bundlePem)
  await changed()
  assert.equal(source.current.trust.bundles.get('partner.example')!.roots.length, 2)
  write('partner.example', 'nothing')
  await source.reload()
  assert.equal(source.current.trust.bundles.get('partner.example')!.roots.length, 2)
  assert.match(source.status().find(({ input }) => input.endsWith('partner.example'))!.error!, /ERR_BUNDLE/)
})

const UNUSABLE: readonly (readonly [string, (folder: string) => void, RegExp])[] = [
  ['no bundle', (folder) => rmSync(join(folder, 'bundle.pem')), /bundle\.pem` does not exist/],
  ['a bundle that is none', (folder) => writeFileSync(join(folder, 'bundle.pem'), 'x'), /neither PEM nor a SPIFFE bundle/],
]
for (const [what, prepare, sentence] of UNUSABLE) {
  test(`${what} to verify the authority against is a fault of the configuration`, async (t) => {
    await using ca = await startFakeCa()
    await assert.rejects(open(t, ca, { prepare }), (error: PosternError) => {
      assert.match(error.message, sentence)
      return error.code === 'ERR_CONFIG_INVALID'
    })
  })
}

test('what was kept serves at once while the authority is away, and is renewed when it is back', async (t) => {
  await using ca = await startFakeCa()
  const folder = makeFolder(t)
  const first = await open(t, ca, { folder, cache: true })
  const { serial } = first.source.current.identity.facts
  first.source.close()
  await ca.stop()
  const { source, log, changed } = await open(t, ca, { folder, cache: true })
  assert.equal(source.current.identity.facts.serial, serial)
  assert.match(log.lines[0]!.message, /The identity kept on disk is in force/)
  ca.renewNow = true
  await ca.start()
  await changed()
  assert.notEqual(source.current.identity.facts.serial, serial)
  assert.equal(ca.requests.filter(({ body }) => body['attestation'] !== undefined).length, 1, 'no second token was needed')
})

test('revocations that were known are in force after a restart, before the authority is reached', async (t) => {
  await using ca = await startFakeCa()
  ca.revocations.push({ kind: 'id', value: 'spiffe://example.org/ns/test/sa/thief', authority: '', until: null })
  ca.sequence = 3
  const folder = makeFolder(t)
  const first = await open(t, ca, { folder, cache: true })
  await first.source.reload()
  first.source.close()
  await ca.stop()
  const { source } = await open(t, ca, { folder, cache: true })
  assert.equal(source.current.trust.revocations.isRevoked(peer('/ns/test/sa/thief')), true)
  assert.equal(source.origin!().sequence, 3)
})

test('a kept identity that has ended, or is of other roots, is passed over with a sentence', async (t) => {
  await using ca = await startFakeCa({ ttl: 2_000 })
  const folder = makeFolder(t)
  const first = await open(t, ca, { folder, cache: true })
  const { notAfter } = first.source.current.identity.facts
  first.source.close()
  ca.ttl = 3_600_000
  ca.tokens.set('secret', '/ns/test/sa/service')
  const later = shiftedClock()
  later.shift(notAfter - Date.now() + 1_000)
  const second = await open(t, ca, { folder, cache: true, clock: later })
  assert.match(second.log.lines[0]!.message, /passed over: the certificate of .* would be refused by peers \(ERR_SVID_EXPIRED/)
  second.source.close()
  const third = await open(t, ca, { folder, cache: true, trustDomain: 'example.org' })
  assert.match(third.log.lines[0]!.message, /kept on disk is in force/)
})

test('a cache that cannot be written costs a warning, and nothing else', async (t) => {
  await using ca = await startFakeCa()
  const { source, log } = await open(t, ca, { cache: true, prepare: (folder) => writeFileSync(join(folder, 'cache'), 'a file') })
  const warnings = log.lines.filter(({ level }) => level === 'warn').map(({ message }) => message)
  assert.match(warnings.at(-1)!, /cannot be kept in .*it is no folder/)
  assert.equal(source.current.identity.id.uri, ID)
  assert.match(source.origin!().cacheError!, /it is no folder/)
})

test('a clock that went forward makes what is due due at once, and nothing is relied upon before the authority was asked', async (t) => {
  await using ca = await startFakeCa({ ttl: 10 * 3_600_000 })
  const clock = shiftedClock()
  const { source, changed, log } = await open(t, ca, { clock })
  const { serial } = source.current.identity.facts
  assert.ok(source.current.lease!.validUntil > clock.now())
  const from = Date.now()
  clock.shift(6 * 3_600_000)
  assert.ok(source.current.lease!.validUntil < clock.now(), 'lapsed in the same turn, without a tick')
  await changed()
  assert.notEqual(source.current.identity.facts.serial, serial)
  await ca.seen((request) => isPoll(request), from)
  while (source.current.lease!.validUntil < clock.now()) await new Promise((resolve) => setTimeout(resolve, 10))
  assert.ok(log.lines.some(({ message }) => /clock went forward, or this host was suspended/.test(message)))
})

test('an authority that is away after a suspension is asked once, and what is trusted is relied upon as before', async (t) => {
  await using ca = await startFakeCa({ ttl: 10 * 3_600_000 })
  const clock = shiftedClock()
  const { source } = await open(t, ca, { clock })
  await ca.stop()
  clock.shift(3_600_000)
  assert.ok(source.current.lease!.validUntil < clock.now())
  while (source.current.lease!.validUntil < clock.now()) await new Promise((resolve) => setTimeout(resolve, 10))
})

test('a clock that is set back does not put renewal off', async (t) => {
  await using ca = await startFakeCa({ ttl: 3_000 })
  const clock = shiftedClock()
  const { changed, log, source } = await open(t, ca, { clock })
  const { serial } = source.current.identity.facts
  clock.shift(-40_000)
  await changed()
  assert.notEqual(source.current.identity.facts.serial, serial)
  assert.ok(log.lines.some(({ message }) => /clock was set back/.test(message)))
})

test('a certificate that is not valid yet by our clock is refused with both clocks in the sentence', async (t) => {
  await using ca = await startFakeCa()
  const clock = shiftedClock()
  clock.shift(-3_600_000)
  const log = createRecordingLog()
  const ended = new AbortController()
  const opening = open(t, ca, { clock, log, signal: ended.signal }).catch(() => {})
  while (log.lines.length === 0) await new Promise((resolve) => setTimeout(resolve, 10))
  assert.match(log.lines[0]!.message, /ERR_SVID_NOT_YET_VALID.*is valid from .*; by the clock of this host it is \d{4}/)
  ended.abort()
  await opening
})

test('JWT-SVIDs of our own identity are had with our certificate; what the authority refuses is an error with its code', async (t) => {
  await using ca = await startFakeCa()
  const { source } = await open(t, ca)
  const signal = AbortSignal.timeout(5_000)
  const expires = new Date(Date.now() + 300_000).toISOString()
  ca.answer = ({ path }) => (path === '/v1/jwt-svid' ? { body: { token: 'a.b.c', expires_at: expires } } : undefined)
  assert.deepEqual(await source.issueJwtSvid!(['catalog'], signal), { token: 'a.b.c', expiresAt: Date.parse(expires) })
  const { body, peer } = await ca.seen(({ path }) => path === '/v1/jwt-svid')
  assert.deepEqual([body, peer?.id], [{ audience: ['catalog'] }, source.current.identity.id.uri])
  for (const wrong of [{ token: 'a.b.c' }, { token: '', expires_at: expires }, []]) {
    ca.answer = ({ path }) => (path === '/v1/jwt-svid' ? { body: wrong } : undefined)
    await assert.rejects(source.issueJwtSvid!(['catalog'], signal), { code: 'ERR_CA_ANSWER' })
  }
  ca.answer = ({ path }) => (path === '/v1/jwt-svid' ? { status: 403, body: { title: 'Forbidden', code: 'ERR_CA_X' } } : undefined)
  await assert.rejects(source.issueJwtSvid!(['catalog'], signal), { code: 'ERR_CA_REFUSED' })
})
