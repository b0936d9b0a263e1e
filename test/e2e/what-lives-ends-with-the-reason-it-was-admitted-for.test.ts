/** A gRPC stream, a WebSocket, a TCP tunnel and a download of two callers: what changes for one is felt by that one alone, and recorded. */
import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { readLeafFacts } from '#pki/leaf-facts'
import { createTestMesh, type TestMesh, type TestSvid } from '../support/authority.ts'
import { sendRaw } from '../support/mtls-client.ts'
import { DAY, keepCalling, type LongLived, startLongLived } from '../support/long-lived.ts'

const HOUR = 3_600_000
const both = '- allow: { and: [service_account: { in: [kept, gone] }] }\n'

interface Case {
  readonly title: string
  readonly reason: string
  /** What the record says of what changed. */
  readonly detail: RegExp
  readonly policy?: string
  readonly spec?: string
  /** The other authority is that of another trust domain. */
  readonly partner?: boolean
  /** The other caller's certificate, if it is not of the same authority. */
  readonly gone?: (mesh: TestMesh, other: TestMesh) => Promise<TestSvid>
  readonly prepare?: (mesh: TestMesh, other: TestMesh) => Readonly<Record<string, string>>
  readonly change: (world: LongLived, gone: TestSvid) => void
}

/** So many hours from now, as `H:MM` in UTC. */
function timeOfDay(hours: number): string {
  const at = new Date(Date.now() + hours * HOUR)
  return `${at.getUTCHours()}:${String(at.getUTCMinutes()).padStart(2, '0')}`
}

const CASES: readonly Case[] = [
  {
    title: 'policy flips',
    reason: 'ERR_POLICY_NO_ALLOW',
    detail: /^decided again: the policies changed; it was allowed by #1 of policy$/,
    change: ({ sidecar }) => sidecar.write('policy.yaml', '- allow: { and: [service_account: kept] }\n'),
  },
  {
    title: 'a deny rule comes',
    reason: 'ERR_POLICY_DENIED',
    detail: /^decided again: the policies changed/,
    change: ({ sidecar }) => sidecar.write('policy.yaml', `${both}- deny: { and: [service_account: gone] }\n`),
  },
  {
    title: 'the policy is for another service now',
    reason: 'ERR_POLICY_NO_ALLOW',
    detail: /^decided again: the policies changed/,
    policy: `apiVersion: postern.dev/v1\nkind: Policy\nmetadata: { name: a }\nspec:\n  target: { service: service }\n  rules: [{ allow: { and: [service_account: gone] } }]\n---\nallow: { and: [service_account: kept] }\n`,
    change: ({ sidecar }) =>
      sidecar.write(
        'policy.yaml',
        `apiVersion: postern.dev/v1\nkind: Policy\nmetadata: { name: a }\nspec:\n  target: { service: other }\n  rules: [{ allow: { and: [service_account: gone] } }]\n---\nallow: { and: [service_account: kept] }\n`,
      ),
  },
  {
    title: 'a window of time_of_day ends',
    reason: 'ERR_POLICY_NO_ALLOW',
    detail: /^decided again: time passed; it was allowed by #1 of policy$/,
    policy: `- allow: { and: [service_account: gone, time_of_day: { timezone: UTC, after: "${timeOfDay(-2)}", before: "${timeOfDay(2)}" }] }\n- allow: { and: [service_account: kept] }\n`,
    change: ({ clock }) => clock.advance(3 * HOUR),
  },
  {
    title: 'a certificate ends',
    reason: 'ERR_CERTIFICATE_ENDED',
    detail: /^the certificate of the caller ended at \d{4}-/,
    gone: (mesh) => mesh.issue('/ns/test/sa/gone', { ttl: HOUR }),
    change: ({ clock }) => clock.advance(2 * HOUR),
  },
  {
    title: 'a root is removed',
    reason: 'ERR_TRUST_WITHDRAWN',
    detail: /^the root [0-9a-f]{16} is gone from the bundle of example\.org$/,
    gone: (_mesh, other) => other.issue('/ns/test/sa/gone', { ttl: DAY }),
    prepare: (mesh, other) => ({ 'bundle.pem': mesh.bundlePem + other.bundlePem }),
    change: ({ sidecar, mesh }) => sidecar.write('bundle.pem', mesh.bundlePem),
  },
  {
    title: 'an identity is revoked',
    reason: 'ERR_SVID_REVOKED',
    detail: /^spiffe:\/\/example\.org\/ns\/test\/sa\/gone$/,
    spec: '  revocations: revoked.json\n',
    prepare: () => ({ 'revoked.json': '[]' }),
    change: ({ sidecar }) => sidecar.write('revoked.json', '[{ "kind": "id", "value": "spiffe://example.org/ns/test/sa/gone" }]'),
  },
  {
    title: 'one certificate is revoked',
    reason: 'ERR_SVID_REVOKED',
    detail: /sa\/gone$/,
    spec: '  revocations: revoked.json\n',
    prepare: () => ({ 'revoked.json': '[]' }),
    change({ sidecar, mesh }, gone) {
      const { serialNumber: value } = new X509Certificate(gone.certificatePem)
      const authority = readLeafFacts(new X509Certificate(mesh.issuer.certificatePem).raw)
      assert.ok(authority.ok)
      sidecar.write('revoked.json', JSON.stringify([{ kind: 'serial', value, authority: authority.value.extensions.subjectKeyId }]))
    },
  },
  {
    title: 'a federation is removed',
    reason: 'ERR_TRUST_WITHDRAWN',
    detail: /^there is no bundle of partner\.example any more$/,
    partner: true,
    gone: (_mesh, other) => other.issue('/ns/test/sa/gone', { ttl: DAY }),
    spec: '  federation: { partner.example: { bundle: partner.pem } }\n',
    prepare: (_mesh, other) => ({ 'partner.pem': other.bundlePem }),
    change({ sidecar }) {
      const text = readFileSync(join(sidecar.dir, 'sidecar.yaml'), 'utf8')
      sidecar.write('sidecar.yaml', text.replace(/ {2}federation:.*\n/, ''))
    },
  },
]

for (const { title, reason, detail, policy = both, change, ...rest } of CASES) {
  test(`${title}: all four are cut and recorded, those of others go on`, async () => {
    const mesh = await createTestMesh()
    const other = await createTestMesh(rest.partner === true ? 'partner.example' : 'example.org')
    const files = Object.entries(rest.prepare?.(mesh, other) ?? {})
    await using world = await startLongLived({
      mesh,
      policy,
      ...(rest.spec === undefined ? {} : { spec: rest.spec }),
      prepare: (dir) => void files.forEach(([name, text]) => writeFileSync(join(dir, name), text)),
    })
    const { sidecar } = world
    const keptSvid = await mesh.issue('/ns/test/sa/kept', { ttl: DAY })
    const goneSvid = await (rest.gone?.(mesh, other) ?? mesh.issue('/ns/test/sa/gone', { ttl: DAY }))
    const withAll = (svid: TestSvid): TestSvid => ({ ...svid, bundlePem: mesh.bundlePem })
    await using kept = await world.hold(withAll(keptSvid))
    await using gone = await world.hold(withAll(goneSvid))
    await kept.exchange()
    await gone.exchange()

    const calling = keepCalling(world.ports.http1, withAll(keptSvid), gone.allEnded)
    change(world, goneSvid)
    await gone.allEnded
    assert.ok((await calling) > 0, 'every call of the other was allowed meanwhile')
    assert.equal(kept.ended.size, 0)
    await kept.exchange()

    const records = (await sidecar.records()).filter((record) => JSON.stringify(record['peer']).includes('sa/gone'))
    assert.deepEqual(
      records.map((record) => record['reason']),
      [reason, reason, reason, reason],
      JSON.stringify(records),
    )
    for (const record of records) assert.match(String(record['detail']), detail)
    assert.deepEqual(records.map((record) => String(record['protocol'])).toSorted(), ['http1', 'http1', 'http2', 'tcp'])
    assert.equal(
      (await sidecar.records()).some((record) => JSON.stringify(record['peer']).includes('sa/kept') && record['reason'] !== undefined),
      false,
    )
  })
}

test('our own certificate is renewed: nothing is cut', async () => {
  const mesh = await createTestMesh()
  await using world = await startLongLived({ mesh, policy: both })
  const svid = await mesh.issue('/ns/test/sa/kept', { ttl: DAY })
  await using kept = await world.hold(svid)
  const next = await mesh.issue('/ns/test/sa/service', { ttl: 10 * DAY })
  const renewed = Promise.withResolvers<void>()
  const calling = keepCalling(world.ports.http1, svid, renewed.promise)
  world.sidecar.write('key.pem', next.keyPem)
  world.sidecar.write('svid.pem', next.certificatePem)
  await world.sidecar.source.reload()
  assert.equal(world.sidecar.source.current.identity.certificatePem, next.certificatePem)
  await kept.exchange()
  renewed.resolve()
  assert.ok((await calling) > 0)
  assert.equal(kept.ended.size, 0)
})

test('a listener that drains lets what runs finish, takes nothing new on it, and cuts the rest when the time is over', async () => {
  const mesh = await createTestMesh()
  await using world = await startLongLived({ mesh, policy: both, expiry: 'onExpiry: drain', spec: '  drain: 1h\n' })
  const { sidecar, clock } = world
  await using kept = await world.hold(await mesh.issue('/ns/test/sa/kept', { ttl: DAY }))
  await using gone = await world.hold(await mesh.issue('/ns/test/sa/gone', { ttl: DAY }))
  await sidecar.setPolicy('- allow: { and: [service_account: kept] }\n')
  clock.advance(HOUR / 2)
  await gone.exchange()
  assert.equal(gone.ended.size, 0, 'all four go on for now')

  world.finishDownloads()
  const finished = await sidecar.record((record) => record['path'] === '/download' && JSON.stringify(record['peer']).includes('sa/gone'))
  assert.deepEqual([finished['decision'], finished['reason'], finished['status']], ['allow', undefined, 200])
  assert.match(String(finished['detail']), /^was draining: ERR_POLICY_NO_ALLOW, decided again: the policies changed/)

  clock.advance(HOUR)
  await gone.allEnded
  const cut = (await sidecar.records()).filter((record) => record['reason'] !== undefined)
  assert.deepEqual(
    cut.map((record) => `${String(record['protocol'])} ${String(record['decision'])} ${String(record['reason'])}`).toSorted(),
    ['http1', 'http2', 'tcp'].map((protocol) => `${protocol} deny ERR_POLICY_NO_ALLOW`),
  )
  assert.equal(gone.grpcStatus, '7')
  assert.deepEqual([...kept.ended], ['download'], 'which the app had finished')
})

test('who is revoked is cut by a listener that drains, too, and comes back no more', async () => {
  const mesh = await createTestMesh()
  await using world = await startLongLived({
    mesh,
    policy: both,
    expiry: 'onExpiry: drain',
    spec: '  drain: 1h\n  revocations: revoked.json\n',
    prepare: (dir) => writeFileSync(join(dir, 'revoked.json'), '[]'),
  })
  const svid = await mesh.issue('/ns/test/sa/gone', { ttl: DAY })
  await using gone = await world.hold(svid)
  world.sidecar.write('revoked.json', '[{ "kind": "id", "value": "spiffe://example.org/ns/test/sa/gone" }]')
  await gone.allEnded
  assert.equal(await sendRaw(world.ports.http1, svid, 'GET /short HTTP/1.1\r\nhost: h\r\n\r\n'), '')
  const record = await world.sidecar.record((entry) => entry['msg'] === 'handshake')
  assert.equal(record['reason'], 'ERR_SVID_REVOKED')

  const { generation } = world.sidecar.source.current
  world.sidecar.write('revoked.json', '[{ "kind": "idd", "value": "spiffe://example.org/x" }]')
  await world.sidecar.source.reload()
  assert.equal(world.sidecar.source.current.generation, generation, 'a list that is half understood changes nothing')
  assert.match(JSON.stringify(world.sidecar.source.status()), /entry 1 is none of the kinds/)
})
