/** What a certificate costs the authority: attested, renewed, renewed on a connection of its own; memory with many on record; time to be ready. */
import { createHash, generateKeyPairSync } from 'node:crypto'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import process from 'node:process'
import { setTimeout as delay } from 'node:timers/promises'
import { makeJoinToken } from '#ca/attest/join-token'
import { openSqliteStore } from '#ca/store/sqlite-store'
import type { Issuance } from '#ca/store/store'
import { parseSpiffeId } from '#identity/spiffe-id'
import { privateKeyPem } from '#pki/keys'
import { requestSvid } from '#pki/request-svid'
import { AUTHORITY_DOMAIN, type AuthorityFolder, makeAuthorityFolder, type RunningServer } from '../contenders/ca.ts'
import { startAuthorityFloor } from '../contenders/ca-floor.ts'
import { cpuSeconds, residentMegabytes, tree } from '../environment/processes.ts'
import { type AuthorityCaller, type AuthorityCredentials, openAuthorityCaller } from '../load/authority.ts'
import { median } from '../median.ts'
import { SETTLE_MS } from './memory.ts'

export interface AuthorityResult {
  /** CPU µs of the authority's process for each certificate, medians. */
  readonly attested: number
  readonly renewed: number
  readonly reconnected: number
  /** CPU µs of a bare `tls.Server` for a new mutual TLS connection and one answer, with the same certificates; rounds between ours. */
  readonly connectionFloor: number
  /** Certificates a second, in the same order. */
  readonly rates: readonly number[]
  readonly readyMs: number
  /** MB. */
  readonly rssReady: number
  readonly rssFilled: number
  /** µs, by `openssl speed`: what nobody who signs and verifies once can be below. */
  readonly opensslMicros: number | undefined
  /** µs for a request verified and a certificate signed by Go's crypto/x509, in memory; undefined where Go is not here. */
  readonly goMicros: number | undefined
}

export interface AuthorityOptions {
  readonly program: string
  readonly folder: string
  readonly quick: boolean
}

const CONNECTIONS = 8
const ID = `spiffe://${AUTHORITY_DOMAIN}/ns/shop/sa/cart`
const ON_RECORD = 100_000

export async function measureAuthority({ program, folder, quick }: AuthorityOptions): Promise<AuthorityResult> {
  const authority = await makeAuthorityFolder(program, folder)
  const count = quick ? 1_000 : 8_000
  const rounds = quick ? 2 : 5
  const requests = Array.from({ length: 64 }, () => requestSvid(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey))
  const csr = (index: number): string => JSON.stringify(requests[index % requests.length])
  const starts: number[] = []
  for (let index = 0; index < (quick ? 2 : 7); index++) {
    await using running = await authority.start()
    starts.push(running.readyMs)
  }
  await using running = await authority.start()
  const settle = quick ? 300 : SETTLE_MS
  await delay(settle)
  const rssReady = residentMegabytes(tree(running.pid))
  const held = await obtain(running, authority)
  await using floor = await startAuthorityFloor(program, folder, authority.bundlePem, held)
  const results: Measured[][] = [[], [], [], []]
  for (let round = -1; round < rounds; round++) {
    const tokens = await makeTokens(authority, count)
    const attested = await measure(running, authority, undefined, count, async (caller, index) => {
      await caller.post('/v1/x509-svid', `{"attestation":{"type":"join_token","token":"${tokens[index]}"},"csr":${csr(index)}}`)
    })
    const renewed = await measure(running, authority, held, count, async (caller, index) => {
      await caller.post('/v1/x509-svid', `{"csr":${csr(index)}}`)
    })
    const reconnect = (server: RunningServer): Promise<Measured> =>
      measure(server, authority, held, count / 4, async (_, index) => {
        const own = await openAuthorityCaller(server.port, authority.bundlePem, held)
        await own.post('/v1/x509-svid', `{"csr":${csr(index)}}`)
        own.close()
      })
    const reconnected = await reconnect(running)
    const bare = await reconnect(floor)
    // The first round warms up.
    if (round >= 0) [attested, renewed, reconnected, bare].forEach((each, kind) => results[kind]?.push(each))
  }
  return {
    ...filled(results),
    readyMs: median(starts),
    rssReady,
    rssFilled: await measureFilled(authority, running, settle),
    opensslMicros: opensslMicros(),
    goMicros: goMicros(folder),
  }
}

interface Measured {
  readonly micros: number
  readonly rate: number
}

function filled(
  results: readonly (readonly Measured[])[],
): Pick<AuthorityResult, 'attested' | 'renewed' | 'reconnected' | 'connectionFloor' | 'rates'> {
  const micros = results.map((each) => median(each.map((one) => one.micros)))
  const [attested = Number.NaN, renewed = Number.NaN, reconnected = Number.NaN, connectionFloor = Number.NaN] = micros
  return { attested, renewed, reconnected, connectionFloor, rates: results.map((each) => median(each.map((one) => one.rate))) }
}

async function measure(
  { port, pid }: RunningServer,
  { bundlePem }: AuthorityFolder,
  as: AuthorityCredentials | undefined,
  count: number,
  once: (caller: AuthorityCaller, index: number) => Promise<void>,
): Promise<Measured> {
  const callers = await Promise.all(Array.from({ length: CONNECTIONS }, () => openAuthorityCaller(port, bundlePem, as)))
  const pids = tree(pid)
  const [cpu, begun] = [cpuSeconds(pids), performance.now()]
  let next = 0
  await Promise.all(
    callers.map(async (caller) => {
      for (let index = next++; index < count; index = next++) await once(caller, index)
    }),
  )
  const [spent, seconds] = [cpuSeconds(pids) - cpu, (performance.now() - begun) / 1000]
  for (const caller of callers) caller.close()
  return { micros: (spent / count) * 1e6, rate: count / seconds }
}

async function makeTokens({ database }: AuthorityFolder, count: number): Promise<readonly string[]> {
  const id = parseSpiffeId(ID)
  if (!id.ok) throw new TypeError(id.detail)
  await using store = await openSqliteStore({ file: database, role: 'tool', create: false })
  const tokens = Array.from({ length: count }, () => makeJoinToken(id.value, Date.now(), 3_600_000))
  await Promise.all(tokens.map(({ record }) => store.createJoinToken(record)))
  return tokens.map(({ text }) => text)
}

async function obtain({ port }: RunningServer, authority: AuthorityFolder): Promise<AuthorityCredentials> {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const [token] = await makeTokens(authority, 1)
  const caller = await openAuthorityCaller(port, authority.bundlePem)
  const body = await caller.post(
    '/v1/x509-svid',
    JSON.stringify({ attestation: { type: 'join_token', token }, csr: requestSvid(privateKey) }),
  )
  caller.close()
  const { svid } = JSON.parse(body) as { svid: string[] }
  return { certificatePem: svid.join(''), keyPem: privateKeyPem(privateKey) }
}

/** Fills the record up to 100,000 through the store, beside the running authority, then has it issue a little more. */
async function measureFilled({ database, bundlePem }: AuthorityFolder, running: RunningServer, settle: number): Promise<number> {
  await using store = await openSqliteStore({ file: database, role: 'tool', create: false })
  const now = Date.now()
  const missing = Math.max(0, ON_RECORD - (await store.countIssuances()))
  for (let done = 0; done < missing; done += 1000) {
    await Promise.all(Array.from({ length: Math.min(1000, missing - done) }, (_, index) => store.recordIssuance(made(done + index, now))))
  }
  const caller = await openAuthorityCaller(running.port, bundlePem)
  const tokens = await makeTokens({ database } as AuthorityFolder, 200)
  const csr = requestSvid(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey)
  for (const token of tokens) await caller.post('/v1/x509-svid', JSON.stringify({ attestation: { type: 'join_token', token }, csr }))
  caller.close()
  await delay(settle)
  return residentMegabytes(tree(running.pid))
}

function made(index: number, now: number): Issuance {
  const digest = createHash('sha256').update(`${now} ${index}`).digest('hex')
  return {
    kind: 'x509',
    serial: digest.slice(0, 32),
    spiffeId: `spiffe://${AUTHORITY_DOMAIN}/ns/shop/sa/app-${index % 500}`,
    authority: digest.slice(0, 40),
    attestedBy: 'svid',
    evidence: `certificate ${digest.slice(32)}`,
    keyHash: digest,
    notBefore: now,
    notAfter: now + 8 * 3_600_000,
    issuedAt: now,
  }
}

function opensslMicros(): number | undefined {
  const { stdout, status } = spawnSync('openssl', ['speed', '-seconds', '1', 'ecdsap256'], { encoding: 'utf8' })
  const [, sign, verify] = /ecdsa \(nistp256\)\s+([\d.]+)s\s+([\d.]+)s/.exec(stdout) ?? []
  return status === 0 && sign !== undefined && verify !== undefined ? (Number(sign) + Number(verify)) * 1e6 : undefined
}

function goMicros(folder: string): number | undefined {
  const program = join(folder, 'certificate-floor')
  const source = join(import.meta.dirname, '../contenders/certificate-floor.go')
  const env = { ...process.env, GO111MODULE: 'off', GOTOOLCHAIN: 'local', GOMAXPROCS: '1' }
  if (spawnSync('go', ['build', '-o', program, source], { stdio: 'ignore', env }).status !== 0) return undefined
  const { stdout, status } = spawnSync(program, { encoding: 'utf8', env })
  return status === 0 ? Number(stdout) : undefined
}
