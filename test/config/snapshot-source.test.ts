/** Snapshots: what goes into force on a change, what stays, and what is said about it. */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { systemClock } from '#base/clock'
import type { PosternError } from '#base/errors'
import type { InputStatus, ReloadReport, Snapshot, SnapshotSource } from '#config/snapshot'
import { createSnapshotSource } from '#config/snapshot-source'
import { openSvidSource } from '#svid-source/open'
import { createTestMesh, type TestMesh, writeSvid } from '../support/authority.ts'
import { createRecordingLog, type RecordingLog } from '../support/recording-log.ts'

const ID = '/ns/shop/sa/catalog'
/** Longer than any poll of these tests: what is in force then went in by `reload`. */
const NEVER = 60_000

function sidecar(spec = '', inbound = ''): string {
  return `apiVersion: postern.dev/v1
kind: Sidecar
metadata: { name: catalog, namespace: shop }
spec:
  identity: { files: { certificate: svid.pem, key: key.pem, bundle: bundle.pem } }
  inbound:
    - listen: 127.0.0.1:7443
      app: 127.0.0.1:8080
${inbound}  policies: [policies/]
${spec}`
}

function policy(name: string, path = `/${name}`): string {
  return `apiVersion: postern.dev/v1
kind: Policy
metadata: { name: ${name}, namespace: shop }
spec:
  rules:
    - allow: { and: [{ http_path: ${path} }] }
`
}

interface Opened {
  readonly folder: string
  readonly mesh: TestMesh
  readonly source: SnapshotSource
  readonly log: RecordingLog
  readonly reports: readonly ReloadReport[]
  readonly write: (name: string, content: string) => void
  readonly remove: (name: string) => void
  /** Resolves with the next snapshot. */
  readonly next: () => Promise<Snapshot>
  readonly status: (name: string) => InputStatus | undefined
  readonly names: () => readonly string[]
}

async function open(t: TestContext, files: Readonly<Record<string, string>> = {}, interval = NEVER): Promise<Opened> {
  const folder = mkdtempSync(join(tmpdir(), 'postern-snapshot-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const write = (name: string, content: string): void => {
    mkdirSync(join(folder, name, '..'), { recursive: true })
    writeFileSync(join(folder, name), content)
  }
  const mesh = await createTestMesh()
  writeSvid(folder, await mesh.issue(ID))
  for (const [name, content] of Object.entries({ 'postern.yaml': sidecar(), 'policies/a.yaml': policy('a'), ...files }))
    write(name, content)
  const log = createRecordingLog()
  const reports: ReloadReport[] = []
  const source = await createSnapshotSource({
    file: join(folder, 'postern.yaml'),
    openIdentity: (config) => openSvidSource(config, { clock: systemClock, log }),
    clock: systemClock,
    log,
    interval,
    onReload: (report) => reports.push(report),
  })
  t.after(() => source.close())
  return {
    folder,
    mesh,
    source,
    log,
    reports,
    write,
    remove: (name) => rmSync(join(folder, name), { recursive: true }),
    next: () => {
      const { promise, resolve } = Promise.withResolvers<Snapshot>()
      const end = source.subscribe((snapshot) => {
        end()
        resolve(snapshot)
      })
      return promise
    },
    status: (name) => source.status().find(({ input }) => input === join(folder, name)),
    names: () => source.current.documents.map(({ name }) => name),
  }
}

test('the first snapshot holds everything, and cannot be changed', async (t) => {
  const { source, status } = await open(t)
  const { current } = source
  assert.equal(current.generation, 1)
  assert.match(current.digest, /^[0-9a-f]{64}$/)
  assert.ok(current.digest.startsWith(current.shortDigest))
  assert.equal(current.identity.id.uri, `spiffe://example.org${ID}`)
  assert.equal(current.trust.ownTrustDomain, 'example.org')
  assert.deepEqual(
    current.policies.map(({ rules }) => rules),
    [1],
  )
  assert.ok(Object.isFrozen(current))
  assert.deepEqual(
    source.status().map(({ kind, error }) => [kind, error]),
    ['sidecar', 'policy', 'certificate', 'key', 'bundle'].map((kind) => [kind, undefined]),
  )
  assert.equal(typeof status('policies/a.yaml')?.appliedAt, 'number')
  assert.equal(source.lastReload.successful, true)
})

test('the digest says what is in force: equal inputs, equal digests, wherever they lie', async (t) => {
  const one = await open(t)
  const two = await open(t)
  for (const name of ['svid.pem', 'key.pem', 'bundle.pem']) {
    two.write(name, readFileSync(join(one.folder, name), 'utf8'))
  }
  await two.source.reload()
  assert.equal(two.source.current.digest, one.source.current.digest)
  one.write('policies/a.yaml', `${policy('a')}# \n`)
  await one.source.reload()
  assert.notEqual(one.source.current.digest, two.source.current.digest)
})

test('a configuration with faults keeps the sidecar from starting, and says all of them', async (t) => {
  await assert.rejects(
    open(t, {
      'postern.yaml': sidecar('  polcies: []\n'),
      'policies/b.yaml': 'allow: {',
    }),
    (error: PosternError) => {
      assert.equal(error.code, 'ERR_CONFIG_INVALID')
      assert.match(error.message, /postern\.yaml:10:3: .*`polcies`.*`policies`/)
      return true
    },
  )
  await assert.rejects(open(t, { 'policies/b.yaml': 'allow: {', 'bundle.pem': 'x', 'policies/c.yaml': 'x: 1' }), (error: PosternError) => {
    assert.match(error.message, /has \d errors:/)
    for (const part of ['policies/b.yaml:1:9', 'policies/c.yaml:1:1', 'bundle.pem:1:1'])
      assert.ok(error.message.includes(part), error.message)
    return true
  })
})

test('a changed policy goes into force, with a new generation and digest', async (t) => {
  const { source, write, names } = await open(t)
  const before = source.current
  write('policies/b.yaml', policy('b'))
  const report = await source.reload()
  assert.deepEqual([report.changed, report.generation, report.problems], [true, 2, []])
  assert.deepEqual(names(), ['shop/a', 'shop/b'])
  assert.notEqual(source.current.digest, before.digest)
  assert.equal(before.documents.length, 1, 'the old snapshot is what it was')
  assert.equal(source.current.policies[0]!.rules, 2)
})

test('a changed policy is noticed without being told', async (t) => {
  const { write, next, names } = await open(t, {}, 30)
  const snapshot = next()
  write('policies/a.yaml', policy('renamed'))
  await snapshot
  assert.deepEqual(names(), ['shop/renamed'])
})

test('the swap of ..data by which Kubernetes updates a volume goes into force as one snapshot', async (t) => {
  const { folder, source, next, names } = await open(t, {
    'postern.yaml': sidecar().replace('policies/', 'volume/'),
    'volume/..one/a.yaml': policy('a'),
    'volume/..one/b.yaml': policy('b'),
  })
  assert.deepEqual(names(), [], 'the versions themselves are not read')
  const volume = (name: string): string => join(folder, 'volume', name)
  symlinkSync('..one', volume('..data'))
  for (const name of ['a.yaml', 'b.yaml']) symlinkSync(`..data/${name}`, volume(name))
  await source.reload()
  assert.deepEqual(names(), ['shop/a', 'shop/b'])
  mkdirSync(volume('..two'))
  for (const name of ['a', 'b']) writeFileSync(join(volume('..two'), `${name}.yaml`), policy(`new-${name}`))
  symlinkSync('..two', volume('..data_tmp'))
  const snapshot = next()
  renameSync(volume('..data_tmp'), volume('..data'))
  await snapshot
  assert.deepEqual(names(), ['shop/new-a', 'shop/new-b'])
})

test('a policy that fails leaves its last good version in force, and lets others go in', async (t) => {
  const { source, write, names, status, log } = await open(t)
  const digest = status('policies/a.yaml')?.digest
  write('policies/a.yaml', 'allow: { and: [{ spifee_id: x }] }\n')
  write('policies/b.yaml', policy('b'))
  const report = await source.reload()
  assert.deepEqual(names(), ['shop/a', 'shop/b'])
  assert.equal(report.changed, true)
  assert.match(report.problems[0]!.message, /spifee_id/)
  const failed = status('policies/a.yaml')
  assert.equal(failed?.digest, digest, 'what is in force')
  assert.match(failed?.error ?? '', /^1:18: .*spifee_id.*\(ERR_POLICY_/)
  assert.equal(typeof failed?.failedAt, 'number')
  assert.equal(source.lastReload.successful, false)
  const complaint = log.lines.find(({ level }) => level === 'error')
  assert.match(JSON.stringify(complaint?.fields['errors']), /policies\/a\.yaml:1:18/)

  write('policies/a.yaml', policy('a2'))
  await source.reload()
  assert.deepEqual(names(), ['shop/a2', 'shop/b'])
  assert.equal(status('policies/a.yaml')?.error, undefined)
  assert.equal(source.lastReload.successful, true)
})

test('a new policy that fails is not in force, and is said', async (t) => {
  const { source, write, names, status } = await open(t)
  write('policies/b.yaml', 'deny: x')
  const report = await source.reload()
  assert.equal(report.changed, false)
  assert.deepEqual(names(), ['shop/a'])
  assert.equal(status('policies/b.yaml')?.digest, undefined)
  assert.ok(status('policies/b.yaml')?.error)
})

test('a fault stays in the status while other files change', async (t) => {
  const { source, write, status, log } = await open(t)
  write('policies/a.yaml', 'deny: x')
  await source.reload()
  const failedAt = status('policies/a.yaml')?.failedAt
  write('policies/b.yaml', policy('b'))
  await source.reload()
  assert.equal(status('policies/a.yaml')?.failedAt, failedAt)
  assert.ok(status('policies/a.yaml')?.error)
  assert.equal(source.lastReload.successful, false)
  assert.equal(log.lines.filter(({ level }) => level === 'error').length, 1, 'said once')
})

test('a policy that is deleted is out of force', async (t) => {
  const { source, remove, names, status } = await open(t, { 'policies/b.yaml': policy('b') })
  remove('policies/a.yaml')
  await source.reload()
  assert.deepEqual(names(), ['shop/b'])
  assert.equal(status('policies/a.yaml'), undefined)
})

test('a folder of policies that vanishes as a whole leaves its policies in force', async (t) => {
  const { source, remove, write, names, status } = await open(t)
  const before = source.current
  remove('policies')
  const report = await source.reload()
  assert.equal(report.changed, false)
  assert.equal(source.current, before)
  assert.deepEqual(names(), ['shop/a'])
  assert.match(status('policies')?.error ?? '', /does not exist/)
  write('policies/a.yaml', policy('back'))
  await source.reload()
  assert.deepEqual(names(), ['shop/back'])
  assert.equal(status('policies'), undefined)
})

test('no policy at all is a snapshot that refuses', async (t) => {
  const { source, remove } = await open(t)
  remove('policies/a.yaml')
  await source.reload()
  assert.equal(source.current.policies[0]!.enforced, false)
})

test('a bad sidecar document stays out, and policies go in all the same', async (t) => {
  const { source, write, names, status } = await open(t)
  const { config } = source.current
  write('postern.yaml', `${sidecar()}  drain: soon\n`)
  write('policies/b.yaml', policy('b'))
  const report = await source.reload()
  assert.equal(source.current.config, config)
  assert.deepEqual(names(), ['shop/a', 'shop/b'])
  assert.equal(report.changed, true)
  assert.match(status('postern.yaml')?.error ?? '', /^10:10: `spec\.drain` must be a time span/)
})

test('a deleted sidecar document leaves all in force', async (t) => {
  const { source, remove, status } = await open(t)
  const before = source.current
  remove('postern.yaml')
  await source.reload()
  assert.equal(source.current, before)
  assert.match(status('postern.yaml')?.error ?? '', /does not exist/)
})

test('limits, timeouts, paths, forwarders and drain change live', async (t) => {
  const { source, write } = await open(t)
  write(
    'postern.yaml',
    sidecar(
      '  drain: 5s\n  forwarders: [spiffe://example.org/gateway]\n',
      '      limits: { streams: 7 }\n      timeouts: { idle: 9s }\n      paths: { allow: [params] }\n',
    ),
  )
  const report = await source.reload()
  const { config } = source.current
  assert.deepEqual(report.needsRestart, [])
  assert.equal(config.drain, 5000)
  assert.equal(config.forwarders.length, 1)
  assert.equal(config.inbound[0]!.limits.streams, 7)
  assert.equal(config.inbound[0]!.timeouts.idle, 9000)
  assert.ok(config.inbound[0]!.paths.allow.has('params'))
})

test('what needs a restart stays as it was and is named; the rest of the document goes in', async (t) => {
  const { source, write, log } = await open(t)
  write('postern.yaml', sidecar('  drain: 5s\n  health: 127.0.0.1:9\n').replace('7443', '7444').replace('name: catalog', 'name: other'))
  const report = await source.reload()
  const { config } = source.current
  assert.deepEqual(report.needsRestart, ['metadata.name', 'spec.health', 'spec.inbound[0].listen'])
  assert.equal(config.drain, 5000)
  assert.equal(config.name, 'catalog')
  assert.equal(config.inbound[0]!.listen.port, 7443)
  assert.notEqual(config.health?.kind === 'tcp' && config.health.port, 9)
  assert.ok(log.lines.some(({ level, message }) => level === 'warn' && message.includes('restart')))
  assert.equal(source.lastReload.successful, false)
  write('postern.yaml', sidecar())
  assert.deepEqual((await source.reload()).needsRestart, [])
  assert.equal(source.lastReload.successful, true)
})

test('a listener more waits for a restart, and leaves the others alone', async (t) => {
  const { source, write } = await open(t)
  write('postern.yaml', sidecar('', '      limits: { streams: 7 }\n    - { listen: 127.0.0.1:7444, app: 127.0.0.1:8081 }\n'))
  const report = await source.reload()
  assert.deepEqual(report.needsRestart, ['spec.inbound'])
  assert.equal(source.current.config.inbound.length, 1)
  assert.equal(source.current.config.inbound[0]!.limits.streams, 128)
})

test('a renewed certificate makes a snapshot of its own, with the same policies', async (t) => {
  const { source, folder, mesh, next } = await open(t)
  const before = source.current
  const snapshot = next()
  writeSvid(folder, await mesh.issue(ID))
  const renewed = await snapshot
  assert.equal(renewed.generation, 2)
  assert.equal(renewed.policies, before.policies)
  assert.equal(renewed.trust, before.trust)
  assert.notEqual(renewed.identity, before.identity)
  assert.notEqual(renewed.digest, before.digest)
})

test('a federation that comes with a reload goes into force', async (t) => {
  const partner = await createTestMesh('partner.example')
  const { source, write } = await open(t)
  write('partner.pem', partner.bundlePem)
  write('postern.yaml', sidecar('  federation: { partner.example: { bundle: partner.pem } }\n'))
  await source.reload()
  assert.deepEqual([...source.current.trust.bundles.keys()], ['example.org', 'partner.example'])
  assert.equal(source.lastReload.successful, true)
})

test('an identity that cannot be used leaves the old one in force, and goes in when it can', async (t) => {
  const { source, write, status, mesh, folder, next } = await open(t)
  const before = source.current
  write('postern.yaml', sidecar('  drain: 5s\n').replaceAll('svid.pem', 'new/svid.pem').replace('key: key', 'key: new/key'))
  const report = await source.reload()
  assert.equal(source.current.identity, before.identity)
  assert.equal(source.current.config.drain, 5000, 'the rest of the document goes in')
  assert.deepEqual(source.current.config.identity, before.config.identity)
  assert.match(report.problems[0]!.message, /new\/svid\.pem` does not exist/)
  assert.match(status('postern.yaml')?.error ?? '', /new\/svid\.pem/)
  const snapshot = next()
  const svid = await mesh.issue('/ns/shop/sa/renamed')
  mkdirSync(join(folder, 'new'))
  write('new/svid.pem', svid.certificatePem)
  write('new/key.pem', svid.keyPem)
  assert.equal((await snapshot).identity.id.uri, svid.id)
})

test('listeners share compiled policies unless a policy tells them apart by port', async (t) => {
  const second = '    - { listen: 127.0.0.1:7444, app: 127.0.0.1:8081 }\n'
  const { source, write } = await open(t, { 'postern.yaml': sidecar('', second) })
  const [one, two] = source.current.policies
  assert.equal(one, two)
  write('policies/b.yaml', policy('b').replace('spec:\n', 'spec:\n  target: { ports: [8081] }\n'))
  await source.reload()
  assert.deepEqual(
    source.current.policies.map(({ rules }) => rules),
    [1, 2],
  )
  write('policies/b.yaml', policy('b').replace('spec:\n', 'spec:\n  target: { ports: [7443] }\n'))
  await source.reload()
  assert.deepEqual(
    source.current.policies.map(({ rules }) => rules),
    [2, 1],
  )
})

test('two policies of one name are both in force, with a warning', async (t) => {
  const { source, write } = await open(t)
  write('policies/b.yaml', policy('a', '/b'))
  const report = await source.reload()
  assert.deepEqual(
    report.problems.map(({ severity, code }) => [severity, code]),
    [['warning', 'ERR_CONFIG_DUPLICATE_NAME']],
  )
  assert.equal(source.current.policies[0]!.rules, 2)
  assert.equal(source.lastReload.successful, true)
})

test('a reload without change changes nothing', async (t) => {
  const { source, reports } = await open(t)
  const before = source.current
  const report = await source.reload()
  assert.equal(report.changed, false)
  assert.equal(source.current, before)
  assert.equal(reports.length, 1)
})

test('reloads that are asked for at once end with the newest content', async (t) => {
  const { source, write, names } = await open(t)
  write('policies/a.yaml', policy('one'))
  const first = source.reload()
  write('policies/a.yaml', policy('two'))
  await Promise.all([first, source.reload(), source.reload(), source.reload()])
  assert.deepEqual(names(), ['shop/two'])
  assert.ok(source.current.generation <= 3, 'three wishes during one reload are one more')
})

test('listeners are told of both snapshots, and not after they or the source ended', async (t) => {
  const { source, write } = await open(t)
  const told: [number, number][] = []
  const end = source.subscribe((next, previous) => void told.push([next.generation, previous.generation]))
  write('policies/b.yaml', policy('b'))
  await source.reload()
  end()
  write('policies/c.yaml', policy('c'))
  await source.reload()
  assert.deepEqual(told, [[2, 1]])
  source.subscribe(() => told.push([0, 0]))
  source.close()
  write('policies/d.yaml', policy('d'))
  await source.reload()
  assert.deepEqual(told, [[2, 1]])
})
