/** Identity from files: what goes into force, together with what, and what stays while the new is no good. */
import assert from 'node:assert/strict'
import { EventEmitter, once } from 'node:events'
import { mkdtempSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { type Clock, systemClock } from '#base/clock'
import type { PosternError } from '#base/errors'
import type { InputStatus } from '#config/snapshot'
import { readLeafFacts } from '#pki/leaf-facts'
import { createFileSvidSource } from '#svid-source/files'
import type { SvidSource } from '#svid-source/source'
import { createTestMesh, type TestMesh, type TestSvid, writeSvid } from '../support/authority.ts'
import { createRecordingLog, type RecordingLog } from '../support/recording-log.ts'

interface Opened {
  readonly folder: string
  readonly source: SvidSource
  readonly log: RecordingLog
  readonly write: (name: string, content: string) => void
  /** Resolves with the next change of `current`. */
  readonly changed: () => Promise<unknown>
  readonly status: (name: string) => InputStatus
}

interface Setup {
  readonly federation?: Readonly<Record<string, string>>
  readonly clock?: Clock
  readonly prepare?: (folder: string) => void
}

async function open(t: TestContext, svid: TestSvid, { federation = {}, clock = systemClock, prepare }: Setup = {}): Promise<Opened> {
  const folder = mkdtempSync(join(tmpdir(), 'postern-svid-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const files = writeSvid(folder, svid)
  for (const [domain, content] of Object.entries(federation)) writeFileSync(join(folder, domain), content)
  prepare?.(folder)
  const log = createRecordingLog()
  const source = await createFileSvidSource({
    files: { kind: 'files', ...files },
    federation: Object.keys(federation).map((trustDomain) => ({ trustDomain, bundle: join(folder, trustDomain) })),
    clock,
    log,
    interval: 30,
  })
  t.after(() => source.close())
  const events = new EventEmitter()
  source.subscribe(() => events.emit('change'))
  return {
    folder,
    source,
    log,
    write: (name, content) => writeFileSync(join(folder, name), content),
    changed: () => once(events, 'change', { signal: AbortSignal.timeout(10_000) }),
    status(name) {
      const found = source.status().find(({ input }) => input === join(folder, name))
      assert.ok(found)
      return found
    },
  }
}

async function refusal(t: TestContext, svid: TestSvid, setup: Setup = {}): Promise<PosternError> {
  let found: PosternError | undefined
  await assert.rejects(open(t, svid, setup), (error: PosternError) => {
    found = error
    return error.code === 'ERR_CONFIG_INVALID'
  })
  return found!
}

const ID = '/ns/shop/sa/cart'

function serialOf(svid: TestSvid): string {
  const facts = readLeafFacts(svid.certificate)
  assert.ok(facts.ok)
  return facts.value.certificate.serial
}

test('certificate, key and bundle make an identity and a trust store', async (t) => {
  const mesh = await createTestMesh()
  const svid = await mesh.issue(ID)
  const { source, status } = await open(t, svid)
  assert.equal(source.current.identity.id.uri, svid.id)
  assert.equal(source.current.trust.ownTrustDomain, 'example.org')
  assert.deepEqual(
    source.status().map(({ kind, error }) => [kind, error]),
    [
      ['certificate', undefined],
      ['key', undefined],
      ['bundle', undefined],
    ],
  )
  assert.match(status('svid.pem').digest ?? '', /^[0-9a-f]{64}$/)
  assert.equal(status('key.pem').digest, undefined, 'no digest of a private key is ever shown')
  assert.equal(typeof status('key.pem').appliedAt, 'number')
})

test('certificate and key may be one file', async (t) => {
  const mesh = await createTestMesh()
  const svid = await mesh.issue(ID)
  const folder = mkdtempSync(join(tmpdir(), 'postern-svid-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const both = join(folder, 'both.pem')
  writeFileSync(both, svid.certificatePem + svid.keyPem)
  writeFileSync(join(folder, 'bundle.pem'), svid.bundlePem)
  const source = await createFileSvidSource({
    files: { kind: 'files', certificate: both, key: both, bundle: join(folder, 'bundle.pem') },
    federation: [],
    clock: systemClock,
    log: createRecordingLog(),
  })
  t.after(() => source.close())
  assert.equal(source.current.identity.id.uri, svid.id)
})

const unusable: readonly (readonly [string, (mesh: TestMesh, other: TestMesh) => Promise<Setup>, RegExp])[] = [
  [
    'a missing certificate',
    async () => ({ prepare: (folder) => unlinkSync(join(folder, 'svid.pem')) }),
    /svid\.pem:1:1: .*does not exist.*ERR_CONFIG_FILE/,
  ],
  ['a missing key', async () => ({ prepare: (folder) => unlinkSync(join(folder, 'key.pem')) }), /key\.pem:1:1: .*does not exist/],
  ['a missing bundle', async () => ({ prepare: (folder) => unlinkSync(join(folder, 'bundle.pem')) }), /bundle\.pem:1:1: .*does not exist/],
  [
    'the key of another certificate',
    async (mesh) => {
      const { keyPem } = await mesh.issue(ID)
      return { prepare: (folder) => writeFileSync(join(folder, 'key.pem'), keyPem) }
    },
    /key\.pem:1:1: .*not the one of the certificate.*ERR_IDENTITY_KEY/,
  ],
  [
    'an empty certificate file',
    async () => ({ prepare: (folder) => writeFileSync(join(folder, 'svid.pem'), '') }),
    /svid\.pem:1:1: .*ERR_IDENTITY_CERTIFICATE/,
  ],
  [
    'a bundle that is no bundle',
    async () => ({ prepare: (folder) => writeFileSync(join(folder, 'bundle.pem'), 'x') }),
    /bundle\.pem:1:1: .*ERR_BUNDLE_MALFORMED/,
  ],
  [
    'a file that is not text',
    async () => ({ prepare: (folder) => writeFileSync(join(folder, 'bundle.pem'), Buffer.from([0xff, 0xfe])) }),
    /bundle\.pem:1:1: .*is not text/,
  ],
  [
    'the bundle of another authority',
    async (_mesh, other) => ({ prepare: (folder) => writeFileSync(join(folder, 'bundle.pem'), other.bundlePem) }),
    /svid\.pem:1:1: Our own certificate would be refused by peers.*ERR_SVID_ISSUER_UNKNOWN/,
  ],
  [
    'a federated bundle that is broken',
    async () => ({ federation: { 'partner.example': '{' } }),
    /partner\.example:1:1: .*ERR_BUNDLE_MALFORMED/,
  ],
]
for (const [what, prepare, expected] of unusable) {
  test(`with ${what} there is nothing to begin with`, async (t) => {
    const [mesh, other] = await Promise.all([createTestMesh(), createTestMesh()])
    const error = await refusal(t, await mesh.issue(ID), await prepare(mesh, other))
    assert.match(error.message, expected)
    assert.match(error.message, /has an error:/, 'one fault is one line')
  })
}

test('an expired certificate is nothing to begin with', async (t) => {
  const mesh = await createTestMesh()
  const error = await refusal(t, await mesh.issue(ID), { clock: { ...systemClock, now: () => Date.now() + 2 * 3_600_000 } })
  assert.match(error.message, /svid\.pem:1:1: .*ERR_SVID_EXPIRED/)
})

test('all faults of all files are reported at once', async (t) => {
  const mesh = await createTestMesh()
  const error = await refusal(t, await mesh.issue(ID), {
    federation: { 'partner.example': '' },
    prepare(folder) {
      writeFileSync(join(folder, 'key.pem'), 'x')
      unlinkSync(join(folder, 'bundle.pem'))
    },
  })
  assert.match(error.message, /has 3 errors/)
})

test('a renewed pair goes into force, whichever file comes first', async (t) => {
  const mesh = await createTestMesh()
  for (const order of [
    ['svid.pem', 'key.pem'],
    ['key.pem', 'svid.pem'],
  ] as const) {
    const { source, write, changed, status } = await open(t, await mesh.issue(ID))
    const before = source.current
    const next = await mesh.issue(ID)
    const content = { 'svid.pem': next.certificatePem, 'key.pem': next.keyPem }
    write(order[0], content[order[0]])
    await source.reload()
    assert.equal(source.current.identity, before.identity, 'half a pair is not applied')
    assert.match(status('key.pem').error ?? '', /ERR_IDENTITY_KEY/)
    const change = changed()
    write(order[1], content[order[1]])
    await change
    assert.notEqual(source.current.identity.facts.serial, before.identity.facts.serial)
    assert.equal(source.current.trust, before.trust, 'the store remembers what it verified')
    assert.equal(status('key.pem').error, undefined)
  }
})

test('half a pair is said once in the log, not at every look', async (t) => {
  const mesh = await createTestMesh()
  const { source, write, log } = await open(t, await mesh.issue(ID))
  write('key.pem', (await mesh.issue(ID)).keyPem)
  await source.reload()
  await source.reload()
  await source.reload()
  assert.deepEqual(
    log.lines.map(({ level }) => level),
    ['warn'],
  )
})

test('the swap of ..data by which Kubernetes renews a volume goes into force as a whole', async (t) => {
  const mesh = await createTestMesh()
  const folder = mkdtempSync(join(tmpdir(), 'postern-svid-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const version = async (name: string): Promise<void> => void writeSvid(join(folder, name), await mesh.issue(ID))
  await version('..one')
  symlinkSync('..one', join(folder, '..data'))
  for (const name of ['svid.pem', 'key.pem', 'bundle.pem']) symlinkSync(`..data/${name}`, join(folder, name))
  const log = createRecordingLog()
  const source = await createFileSvidSource({
    files: { kind: 'files', certificate: join(folder, 'svid.pem'), key: join(folder, 'key.pem'), bundle: join(folder, 'bundle.pem') },
    federation: [],
    clock: systemClock,
    log,
  })
  t.after(() => source.close())
  const { serial } = source.current.identity.facts
  const change = new Promise<void>((resolve) => void source.subscribe(resolve))
  await version('..two')
  symlinkSync('..two', join(folder, '..data_tmp'))
  renameSync(join(folder, '..data_tmp'), join(folder, '..data'))
  await change
  assert.notEqual(source.current.identity.facts.serial, serial)
})

test('a vanished file leaves the last good identity in force, and its return ends the complaint', async (t) => {
  const mesh = await createTestMesh()
  const svid = await mesh.issue(ID)
  const { source, write, folder, status } = await open(t, svid)
  const before = source.current.identity
  unlinkSync(join(folder, 'svid.pem'))
  await source.reload()
  assert.equal(source.current.identity, before)
  assert.match(status('svid.pem').error ?? '', /does not exist/)
  assert.equal(typeof status('svid.pem').failedAt, 'number')
  write('svid.pem', svid.certificatePem)
  await source.reload()
  assert.equal(source.current.identity, before)
  assert.equal(status('svid.pem').error, undefined)
})

test('a new root goes into force before the certificate that needs it', async (t) => {
  const [old, next] = await Promise.all([createTestMesh(), createTestMesh()])
  const { source, write } = await open(t, await old.issue(ID))
  const renewed = await next.issue(ID)
  write('svid.pem', renewed.certificatePem)
  write('key.pem', renewed.keyPem)
  await source.reload()
  assert.equal(source.current.trust.roots.size, 1)
  assert.notEqual(source.current.identity.certificatePem, renewed.certificatePem, 'peers would refuse it')
  write('bundle.pem', old.bundlePem + next.bundlePem)
  await source.reload()
  assert.equal(source.current.trust.roots.size, 2)
  assert.equal(source.current.identity.facts.serial, serialOf(renewed))
})

test('a root that was withdrawn is trusted no more, though our own certificate comes from it', async (t) => {
  const [old, next] = await Promise.all([createTestMesh(), createTestMesh()])
  const { source, write, status } = await open(t, await old.issue(ID))
  const { identity, trust } = source.current
  write('bundle.pem', next.bundlePem)
  await source.reload()
  assert.notEqual(source.current.trust, trust)
  assert.equal(source.current.identity, identity)
  assert.match(status('svid.pem').error ?? '', /would be refused by peers/)
  assert.equal(status('bundle.pem').error, undefined)
})

test('a broken bundle stays out, and the certificate beside it goes in', async (t) => {
  const mesh = await createTestMesh()
  const { source, write, status } = await open(t, await mesh.issue(ID))
  const { identity, trust } = source.current
  const next = await mesh.issue(ID)
  write('bundle.pem', 'broken')
  write('svid.pem', next.certificatePem)
  write('key.pem', next.keyPem)
  await source.reload()
  assert.equal(source.current.trust, trust)
  assert.notEqual(source.current.identity, identity)
  assert.match(status('bundle.pem').error ?? '', /ERR_BUNDLE_MALFORMED/)
})

test('federated bundles are kept apart and change one by one', async (t) => {
  const [own, partner, successor] = await Promise.all([
    createTestMesh(),
    createTestMesh('partner.example'),
    createTestMesh('partner.example'),
  ])
  const { source, write, status } = await open(t, await own.issue(ID), { federation: { 'partner.example': partner.bundlePem } })
  assert.deepEqual([...source.current.trust.bundles.keys()], ['example.org', 'partner.example'])
  write('partner.example', successor.bundlePem)
  await source.reload()
  const fingerprint = (mesh: TestMesh): boolean =>
    [...source.current.trust.roots.values()].some(({ pem }) => pem.trim() === mesh.bundlePem.trim())
  assert.deepEqual([fingerprint(own), fingerprint(partner), fingerprint(successor)], [true, false, true])
  write('partner.example', own.bundlePem)
  await source.reload()
  assert.match(status('partner.example').error ?? '', /ERR_BUNDLE_AUTHORITY/, 'the root of one domain is none of another')
  assert.deepEqual([fingerprint(own), fingerprint(successor)], [true, true])
  assert.equal(status('bundle.pem').error, undefined)
})

test('a certificate of another trust domain goes in with its bundle, or not at all', async (t) => {
  const [own, moved] = await Promise.all([createTestMesh(), createTestMesh('moved.example')])
  const { source, write, changed } = await open(t, await own.issue(ID))
  const before = source.current
  const next = await moved.issue(ID)
  write('svid.pem', next.certificatePem)
  write('key.pem', next.keyPem)
  await source.reload()
  assert.equal(source.current.identity, before.identity)
  assert.equal(source.current.trust, before.trust)
  const change = changed()
  write('bundle.pem', next.bundlePem)
  await change
  assert.equal(source.current.identity.id.trustDomain, 'moved.example')
  assert.equal(source.current.trust.ownTrustDomain, 'moved.example')
})

test('a certificate that is not valid yet goes into force when it is, without a change of its file', async (t) => {
  const mesh = await createTestMesh()
  let ahead = 0
  const clock: Clock = { ...systemClock, now: () => Date.now() + ahead }
  const { source, write, changed, status } = await open(t, await mesh.issue(ID, { ttl: 9 * 3_600_000 }), { clock })
  const next = await mesh.issue(ID, { now: Date.now() + 3_600_000 })
  write('svid.pem', next.certificatePem)
  write('key.pem', next.keyPem)
  await source.reload()
  assert.match(status('svid.pem').error ?? '', /ERR_SVID_NOT_YET_VALID/)
  const change = changed()
  ahead = 3_600_000
  await change
  assert.equal(source.current.identity.facts.serial, serialOf(next))
})

test('files that say the same as before change nothing', async (t) => {
  const mesh = await createTestMesh()
  const svid = await mesh.issue(ID)
  const { source, write } = await open(t, svid)
  const { identity, trust } = source.current
  write('svid.pem', `${svid.certificatePem}\n`)
  write('bundle.pem', `${svid.bundlePem}\n`)
  let changes = 0
  source.subscribe(() => changes++)
  await source.reload()
  assert.equal(source.current.identity, identity)
  assert.equal(source.current.trust, trust)
  assert.equal(changes, 0)
})

test('after close nothing is told any more', async (t) => {
  const mesh = await createTestMesh()
  const { source, write } = await open(t, await mesh.issue(ID))
  let changes = 0
  source.subscribe(() => changes++)
  source.close()
  const next = await mesh.issue(ID)
  write('svid.pem', next.certificatePem)
  write('key.pem', next.keyPem)
  await source.reload()
  assert.equal(changes, 0)
})
