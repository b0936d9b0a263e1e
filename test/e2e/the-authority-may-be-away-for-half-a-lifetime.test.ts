/**
 * The authority is killed in the middle of issuing, stays away for half a lifetime, and is started again: nothing between sidecars fails,
 * everybody renews in time, renewals come back spread out, and nothing that was answered is missing, from its store or from a copy of the
 * files as a power cut would leave them. `POSTERN_CLIENTS=500` for a whole cluster.
 */
import assert from 'node:assert/strict'
import { generateKeyPairSync, X509Certificate } from 'node:crypto'
import { copyFileSync, existsSync } from 'node:fs'
import { join } from 'node:path'
import process from 'node:process'
import { test } from 'node:test'
import { openSqliteStore } from '#ca/store/sqlite-store'
import { requestSvid } from '#pki/request-svid'
import { openAuthorityCaller } from '../../bench/load/authority.ts'
import { startApp } from '../fakes/apps.ts'
import { type CaProcess, startCaProcess } from '../support/ca-process.ts'
import { type Identities, startIdentities } from '../support/identities.ts'
import { outboundTo } from '../support/outbound-entries.ts'
import { type SidecarProcess, startSidecarProcess } from '../support/sidecar-process.ts'
import { beginCalls } from '../support/steady-calls.ts'

const CLIENTS = Number(process.env['POSTERN_CLIENTS'] ?? 60)
/** Of them as whole sidecars, each a process: replicas that answer the calls of one more. */
const SERVICES = Math.max(2, Math.ceil(CLIENTS / 50))
/** Identities in one process. */
const TOGETHER = 130
/** Ms: half of it is the time in which everybody has to start, and that in which the authority is away. */
const LIFE = CLIENTS <= 60 ? 24_000 : 120_000
/** Ms that a busy machine takes to start the authority: part of the time in which it is away. */
const START = 4_000

/** Attests without end on eight connections, until the authority is gone. */
function beginIssuing(ca: CaProcess, tokens: readonly string[]): { readonly answered: string[]; readonly ended: Promise<unknown> } {
  const csr = requestSvid(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey)
  const answered: string[] = []
  let next = 0
  async function lane(): Promise<void> {
    const caller = await openAuthorityCaller(ca.port, ca.bundlePem)
    for (let index = next++; index < tokens.length; index = next++) {
      const body = JSON.stringify({ attestation: { type: 'join_token', token: tokens[index] }, csr })
      const answer = await caller.post('/v1/x509-svid', body).catch(() => undefined)
      if (answer === undefined) return
      const { svid } = JSON.parse(answer) as { svid: string[] }
      answered.push(plain(new X509Certificate(svid[0] ?? '').serialNumber))
    }
  }
  return { answered, ended: Promise.all(Array.from({ length: 8 }, lane)) }
}

/** Serials are hex; one has leading zeros where another has none. */
function plain(serial: string): string {
  return BigInt(`0x${serial}`).toString(16)
}

async function missingFrom(file: string, answered: readonly string[]): Promise<readonly string[]> {
  await using store = await openSqliteStore({ file, create: false })
  const found = new Set((await store.issuances({ limit: 1_000_000 })).map(({ serial }) => plain(serial)))
  return answered.filter((serial) => !found.has(serial))
}

/** Stops it wherever it is, copies the files of its store as they lie there, and kills it. */
async function cutPower(ca: CaProcess): Promise<string> {
  ca.suspend()
  const copy = join(ca.dir, 'cut.db')
  for (const suffix of ['', '-wal']) if (existsSync(ca.database + suffix)) copyFileSync(ca.database + suffix, copy + suffix)
  await ca.kill()
  return copy
}

async function all(identities: number, ca: CaProcess, stack: AsyncDisposableStack): Promise<readonly Identities[]> {
  const tokens = await ca.tokens(Array.from({ length: identities }, (_, index) => `/ns/load/sa/client-${index}`))
  const groups = Array.from({ length: Math.ceil(identities / TOGETHER) }, (_, index) =>
    tokens.slice(index * TOGETHER, (index + 1) * TOGETHER),
  )
  const started = groups.map(async (group) => stack.use(await startIdentities({ port: ca.port, bundle: ca.bundleFile, tokens: group })))
  return Promise.all(started)
}

const percentile = (sorted: readonly number[], share: number): number => Math.round(sorted[Math.floor((sorted.length - 1) * share)] ?? 0)

test(`${CLIENTS} callers of an authority that is killed for half a lifetime: traffic goes on, everybody renews in time, and not at once`, async (t) => {
  await using app = await startApp()
  await using stack = new AsyncDisposableStack()
  const ca = stack.use(await startCaProcess({ x509: `${LIFE / 1000}s`, poll: '2s' }))
  const services: SidecarProcess[] = []
  for (let index = 0; index < SERVICES; index++)
    services.push(stack.use(await startSidecarProcess({ app: app.port, identity: await ca.identityFor('/ns/test/sa/service') })))
  const calling = stack.use(
    await startSidecarProcess({
      identity: await ca.identityFor('/ns/test/sa/caller'),
      outbound: outboundTo(
        services.map(({ port }) => port),
        '/ns/test/sa/service',
      ),
    }),
  )
  const groups = await all(CLIENTS - SERVICES - 1, ca, stack)
  const traffic = stack.use(beginCalls(calling.outboundPorts[0] ?? 0, 20))
  const certificates = () =>
    groups.flatMap((group, number) => group.certificates.map((one) => ({ ...one, client: `${number}/${one.index}` })))

  const issuing = beginIssuing(ca, await ca.tokens(Array.from({ length: 3000 }, (_, index) => `/ns/load/sa/cut-${index}`)))
  while (issuing.answered.length < 200) await new Promise((resolve) => setTimeout(resolve, 5))
  const copy = await cutPower(ca)
  const killed = Date.now()
  await issuing.ended
  const before = certificates()
  const cutOff = [...issuing.answered, ...before.map(({ serial }) => plain(serial))]
  assert.deepEqual(await missingFrom(copy, cutOff), [], 'answered, and not in the copy')

  await new Promise((resolve) => setTimeout(resolve, Math.max(0, killed + LIFE / 2 - START - Date.now())))
  await ca.start()
  const back = Date.now()
  const held = new Map(before.map((one) => [one.client, one]))
  const firstEnd = Math.min(...[...held.values()].map(({ notAfter }) => notAfter))
  if (back > firstEnd - LIFE / 8) return t.skip(`this machine took ${back - killed} ms where ${LIFE / 2} were planned`)
  const renewed = () =>
    certificates()
      .slice(0)
      .filter(({ at }) => at > back)
  for (;;) {
    const done = new Set(renewed().map(({ client }) => client))
    const ended = [...held.values()].filter(({ client, notAfter }) => notAfter < Date.now() && !done.has(client))
    assert.deepEqual(ended, [], 'a certificate ended before it was renewed')
    if (done.size === held.size) break
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  const { answered: requests, failures } = await traffic.stop()
  assert.deepEqual(failures, [])
  for (const { at, endOfLast } of certificates()) assert.ok(endOfLast === undefined || at < endOfLast)
  for (const service of services) {
    const late = service.records.filter(
      ({ peer, time }) => Date.parse((peer as { not_after: string }).not_after) < Date.parse(time as string),
    )
    assert.deepEqual(late, [], 'the caller was seen on a certificate that had ended')
    assert.ok(service.records.length > 0, 'each replica is called')
  }
  const first = new Map(
    renewed()
      .toReversed()
      .map(({ client, at }) => [client, at - back]),
  )
  const delays = [...first.values()].toSorted((a, b) => a - b)
  const inBuckets = (size: number): number =>
    Math.max(...[...Map.groupBy(delays, (delay) => Math.floor(delay / size)).values()].map(({ length }) => length))
  t.diagnostic(
    `${CLIENTS} callers, ${SERVICES + 1} of them sidecars as processes; certificates of ${LIFE / 1000} s; away for ${back - killed} ms`,
  )
  t.diagnostic(`${requests} requests between sidecars, none failed`)
  t.diagnostic(
    `${delays.length} renewals after the return: half of them by ${percentile(delays, 0.5)} ms, 95 % by ${percentile(delays, 0.95)} ms, the last at ${percentile(delays, 1)} ms; at most ${inBuckets(100)} in 100 ms, ${inBuckets(1000)} in a second`,
  )
  assert.ok(inBuckets(100) < delays.length / 2, `${inBuckets(100)} of ${delays.length} renewals came within 100 ms`)
  const answered = [...cutOff, ...certificates().map(({ serial }) => plain(serial))]
  await ca.kill()
  assert.deepEqual(await missingFrom(ca.database, answered), [], 'answered, and not in the store')
  t.diagnostic(`${cutOff.length} issuances answered before the cut, all of them in the copy; ${answered.length} in all, none missing`)
})
