/** Two authorities on one PostgreSQL and one folder of keys, as replicas run: they issue and rotate at once. */
import assert from 'node:assert/strict'
import { randomFillSync } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test, type TestContext } from 'node:test'
import { systemClock } from '#base/clock'
import { openAuthorityKeys } from '#ca/authority-keys'
import { makeJoinToken } from '#ca/attest/join-token'
import { type RunningCa, startCa } from '#ca/ca'
import { livesOf, prepareAuthorities } from '#ca/prepare'
import { addPrepared, takeStep } from '#ca/rotation'
import { openPostgresStore } from '#ca/store/postgres-store'
import type { Store } from '#ca/store/store'
import { authorityFiles, makeAuthority } from '#certs-tooling/authority-folder'
import { CA_DEFAULTS, type CaConfig } from '#config/ca-config'
import { createRandomHex } from '#http/random-hex'
import { parseSpiffeId } from '#identity/spiffe-id'
import { generatePrivateKey, privateKeyPem } from '#pki/keys'
import { requestSvid } from '#pki/request-svid'
import { createMetrics } from '#telemetry/metrics'
import { TRUST_DOMAIN } from '../support/ca.ts'
import { call, createMtlsAgent } from '../support/mtls-client.ts'
import { temporaryFolder } from '../support/openssl.ts'
import { NO_PGBOUNCER, startPgBouncer } from '../support/pgbouncer.ts'
import { NO_POSTGRES, type PostgresCluster, startPostgres } from '../support/postgres-cluster.ts'
import { createRecordingLog } from '../support/recording-log.ts'

const DAY = 86_400_000
const CALLERS = 8
const RENEWALS = 12
const RULES = { refreshHint: 1000, svidLife: 8 * 3_600_000 }

let cluster: PostgresCluster | undefined
before(async () => {
  if (NO_POSTGRES === false) cluster = await startPostgres()
})
after(() => cluster?.close())

interface Replica {
  readonly ca: RunningCa
  readonly store: Store
}

interface Held {
  readonly certificatePem: string
  readonly keyPem: string
}

async function startReplica(t: TestContext, config: CaConfig): Promise<Replica> {
  if (config.store.kind !== 'postgres') throw new TypeError('Replicas share a PostgreSQL.')
  const store = await openPostgresStore(config.store)
  const metrics = createMetrics()
  const [log, records] = [createRecordingLog(), createRecordingLog()]
  const randomHex = createRandomHex(randomFillSync)
  const ca = await startCa({ config, store, clock: systemClock, log, records, metrics, random: Math.random, randomHex })
  t.after(async () => {
    await ca.close(0)
    metrics.close()
    await store[Symbol.asyncDispose]()
  })
  return { ca, store }
}

async function ask({ ca }: Replica, bundlePem: string, body: object, as?: Held): Promise<Held> {
  const key = await generatePrivateKey()
  using agent = createMtlsAgent({ ...(as ?? { certificatePem: '', keyPem: '' }), bundlePem }, as === undefined ? { cert: '', key: '' } : {})
  const answer = await call(ca.port, agent, '/v1/x509-svid', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ ...body, csr: requestSvid(key) }),
  })
  assert.equal(answer.status, 200, answer.body)
  return { certificatePem: (JSON.parse(answer.body) as { svid: string[] }).svid.join(''), keyPem: privateKeyPem(key) }
}

const WAYS = [
  { way: 'on PostgreSQL', pooled: false, skip: NO_POSTGRES },
  // As small a pool as one of them wants alone.
  { way: 'behind one PgBouncer that pools by transaction', pooled: true, skip: NO_POSTGRES === false ? NO_PGBOUNCER : NO_POSTGRES },
] as const

for (const { way, pooled, skip } of WAYS)
  test(
    `two replicas ${way} issue and rotate at once: no request fails, no serial is there twice, one rotation takes place`,
    { skip },
    async (t) => {
      const direct = cluster!.createDatabase(pooled ? 'pooled' : 'replicas')
      await using bouncer = pooled ? await startPgBouncer(cluster!.host, { pool_mode: 'transaction', default_pool_size: '3' }) : undefined
      const url = bouncer?.url('pooled') ?? direct
      const keys = temporaryFolder(t)
      const made = await makeAuthority({ trustDomain: TRUST_DOMAIN, now: Date.now(), rootTtl: 3650 * DAY, intermediateTtl: 365 * DAY })
      for (const { path, content } of authorityFiles(keys, made)) writeFileSync(path, content)
      const config: CaConfig = {
        ...CA_DEFAULTS,
        file: join(keys, 'ca.yaml'),
        trustDomain: TRUST_DOMAIN,
        listen: { kind: 'tcp', host: '127.0.0.1', port: 0 },
        health: undefined,
        store: { kind: 'postgres', url, passwordFile: undefined, tls: 'off', ca: undefined, keep: DAY },
        keys: { kind: 'file', folder: keys },
        attest: { joinToken: { max: DAY }, serviceAccountToken: [], oidc: [] },
        limits: { ...CA_DEFAULTS.limits, issuancesPerMinute: 60_000, burst: 10_000 },
        refreshHint: 1000,
        poll: 5000,
        bundleEndpoint: undefined,
      }
      // Both find an empty store, and one authority comes of it.
      const replicas = await Promise.all([startReplica(t, config), startReplica(t, config)])
      const [first, second] = replicas
      assert.equal((await first.store.authorities()).filter(({ kind }) => kind === 'x509').length, 1)

      const caller = async (index: number): Promise<void> => {
        const id = parseSpiffeId(`spiffe://${TRUST_DOMAIN}/ns/shop/sa/app-${index}`)
        assert.ok(id.ok)
        const { text, record } = makeJoinToken(id.value, Date.now(), 60_000)
        await first.store.createJoinToken(record)
        const attestation = { type: 'join_token', token: text }
        let held = await ask(replicas[index % 2]!, made.root.certificatePem, { attestation })
        for (let round = 0; round < RENEWALS; round++) held = await ask(replicas[(index + round) % 2]!, made.root.certificatePem, {}, held)
      }
      /** What both are asked for at once, one does. */
      const takenOnce = async (step: (replica: Replica) => Promise<unknown>): Promise<void> => {
        const outcomes = await Promise.allSettled(replicas.map(step))
        assert.deepEqual(outcomes.map(({ status }) => status).toSorted(), ['fulfilled', 'rejected'])
        for (const outcome of outcomes) if (outcome.status === 'rejected') assert.equal(outcome.reason.code, 'ERR_CA_ROTATION')
        await Promise.all(replicas.map(({ ca }) => ca.refresh()))
      }
      /** Up to the new authority's signing, which callers of the old one survive. */
      const rotate = async (): Promise<void> => {
        const lives = livesOf(await first.store.authorities(), TRUST_DOMAIN)
        await takenOnce(async ({ store }) => {
          const span = { now: Date.now(), rootTtl: lives.root, intermediateTtl: lives.intermediate }
          const { records } = await prepareAuthorities({ keys: openAuthorityKeys(keys), trustDomain: TRUST_DOMAIN, ...span })
          await addPrepared(store, records)
        })
        const now = Date.now()
        await takenOnce(({ store }) => takeStep(store, 'publish', { now, rules: RULES, force: false }))
        await takenOnce(({ store }) => takeStep(store, 'activate', { now: now + 6 * RULES.refreshHint, rules: RULES, force: false }))
      }

      await Promise.all([rotate(), ...Array.from({ length: CALLERS }, (_, index) => caller(index))])
      assert.deepEqual(
        first.ca.publication.authorities.map(({ id, state }) => [id, state]),
        second.ca.publication.authorities.map(({ id, state }) => [id, state]),
      )
      const states = first.ca.publication.authorities.filter(({ kind }) => kind === 'x509').map(({ state }) => state)
      assert.deepEqual(states.toSorted(), ['active', 'retired'])
      assert.equal(first.ca.publication.x509?.record.id, second.ca.publication.x509?.record.id)

      const issued = await second.store.issuances({ limit: 1000 })
      assert.equal(issued.length, CALLERS * (1 + RENEWALS))
      assert.equal(new Set(issued.map(({ serial }) => serial)).size, issued.length)
    },
  )
