/** A certificate authority in this process, in a folder of its own, with the store it has in production; and callers of its API. */
import { randomFillSync } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { type Clock, systemClock } from '#base/clock'
import { openAuthorityKeys } from '#ca/authority-keys'
import { makeJoinToken } from '#ca/attest/join-token'
import { type RunningCa, startCa } from '#ca/ca'
import { openSqliteStore, type SqliteStore } from '#ca/store/sqlite-store'
import { authorityFiles, makeAuthority } from '#certs-tooling/authority-folder'
import { CA_DEFAULTS, type CaConfig } from '#config/ca-config'
import { createRandomHex } from '#http/random-hex'
import { parseSpiffeId } from '#identity/spiffe-id'
import { generatePrivateKey, privateKeyPem } from '#pki/keys'
import { requestSvid } from '#pki/request-svid'
import { createMetrics, type Metrics } from '#telemetry/metrics'
import { call, createMtlsAgent } from './mtls-client.ts'
import { createRecordingLog, type RecordingLog } from './recording-log.ts'

export interface TestCa {
  readonly ca: RunningCa
  readonly store: SqliteStore
  readonly config: CaConfig
  readonly folder: string
  readonly log: RecordingLog
  readonly records: RecordingLog
  readonly metrics: Metrics
  /** PEM of the root it began with. */
  readonly bundlePem: string
  /** A join token for an ID of the trust domain. @param ttl ms; 10 min unless said */
  readonly token: (path: string, ttl?: number) => Promise<string>
  /** Posts JSON. */
  readonly post: (path: string, body: unknown, options?: PostOptions) => Promise<CaAnswer>
  readonly get: (path: string, headers?: Readonly<Record<string, string>>) => Promise<CaAnswer>
  /** Attests with a join token. */
  readonly obtain: (path: string) => Promise<Held>
  /** Stops it and starts it again on the same folder, with another clock if one is given. */
  readonly restart: (clock?: Clock) => Promise<void>
}

// oxlint-disable-next-line typescript/no-explicit-any -- answers, whose form is what the tests look at
export type JsonObject = Readonly<Record<string, any>>

export interface Held {
  readonly certificatePem: string
  readonly keyPem: string
  readonly bundlePem: string
  readonly answer: JsonObject
}

export interface PostOptions {
  readonly as?: Pick<Held, 'certificatePem' | 'keyPem'> | undefined
  readonly headers?: Readonly<Record<string, string>>
}

export interface CaAnswer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly body: JsonObject
  readonly text: string
}

export interface TestCaOptions {
  readonly clock?: Clock
  readonly config?: Partial<Omit<CaConfig, 'file' | 'store' | 'keys'>>
  /** Ms. */
  readonly intermediateTtl?: number
}

export const TRUST_DOMAIN = 'example.org'

/** Ended with the test. */
export async function startTestCa(t: Pick<TestContext, 'after'>, options: TestCaOptions = {}): Promise<TestCa> {
  const folder = mkdtempSync(join(tmpdir(), 'postern-ca-'))
  const keysFolder = join(folder, 'keys')
  mkdirSync(keysFolder)
  const made = await makeAuthority({
    trustDomain: TRUST_DOMAIN,
    now: (options.clock ?? systemClock).now(),
    rootTtl: 3650 * 86_400_000,
    intermediateTtl: options.intermediateTtl ?? 365 * 86_400_000,
  })
  for (const { path, content } of authorityFiles(keysFolder, made)) writeFileSync(path, content)
  const config: CaConfig = {
    file: join(folder, 'ca.yaml'),
    trustDomain: TRUST_DOMAIN,
    listen: { kind: 'tcp', host: '127.0.0.1', port: 0 },
    health: undefined,
    store: { kind: 'sqlite', file: join(folder, 'ca.db'), keep: CA_DEFAULTS.keep },
    keys: { kind: 'file', folder: keysFolder },
    svid: CA_DEFAULTS.svid,
    attest: { joinToken: { max: 86_400_000 }, serviceAccountToken: [], oidc: [] },
    limits: { ...CA_DEFAULTS.limits, issuancesPerMinute: 60_000, burst: 10_000 },
    refreshHint: 1000,
    poll: 5000,
    bundleEndpoint: undefined,
    ...options.config,
  }
  const log = createRecordingLog()
  const records = createRecordingLog()
  let metrics = createMetrics()
  let clock = options.clock ?? systemClock
  let store = await openSqliteStore({ file: config.store.kind === 'sqlite' ? config.store.file : '' })

  const start = (): Promise<RunningCa> =>
    startCa({ config, store, clock, log, records, metrics, random: Math.random, randomHex: createRandomHex(randomFillSync) })
  let ca = await start()
  t.after(async () => {
    await ca.close(0)
    metrics.close()
    await store[Symbol.asyncDispose]()
    rmSync(folder, { recursive: true, force: true })
  })

  const bundlePem = made.root.certificatePem
  const send = async (method: string, path: string, body: string | undefined, { as, headers = {} }: PostOptions): Promise<CaAnswer> => {
    using agent = createMtlsAgent(
      { ...(as ?? { certificatePem: '', keyPem: '' }), bundlePem },
      as === undefined ? { cert: '', key: '' } : {},
    )
    const { status, headers: got, body: text } = await call(ca.port, agent, path, { method, headers, ...(body !== undefined && { body }) })
    return { status, headers: got, text, body: parse(text) }
  }
  const post: TestCa['post'] = (path, body, postOptions = {}) =>
    send('POST', path, typeof body === 'string' ? body : JSON.stringify(body), {
      ...postOptions,
      headers: { 'content-type': 'application/json', ...postOptions.headers },
    })
  const token: TestCa['token'] = async (path, ttl = 600_000) => {
    const id = parseSpiffeId(`spiffe://${TRUST_DOMAIN}${path}`)
    if (!id.ok) throw new Error(id.detail)
    const { text, record } = makeJoinToken(id.value, clock.now(), ttl)
    await store.createJoinToken(record)
    return text
  }
  return {
    get ca() {
      return ca
    },
    get store() {
      return store
    },
    get metrics() {
      return metrics
    },
    config,
    folder,
    log,
    records,
    bundlePem,
    token,
    post,
    get: (path, headers = {}) => send('GET', path, undefined, { headers }),
    async obtain(path) {
      const key = await generatePrivateKey()
      const attestation = { type: 'join_token', token: await token(path) }
      const answer = await post('/v1/x509-svid', { attestation, csr: requestSvid(key) })
      if (answer.status !== 200) throw new Error(answer.text)
      return heldOf(answer, privateKeyPem(key))
    },
    async restart(next = clock) {
      await ca.close(0)
      metrics.close()
      await store[Symbol.asyncDispose]()
      clock = next
      metrics = createMetrics()
      store = await openSqliteStore({ file: config.store.kind === 'sqlite' ? config.store.file : '' })
      ca = await start()
    },
  }
}

export function heldOf({ body }: CaAnswer, keyPem: string): Held {
  const roots = (body['bundle'].keys as { use: string; x5c?: string[] }[]).filter(({ use }) => use === 'x509-svid')
  const pem = roots.map(
    ({ x5c = [] }) => `-----BEGIN CERTIFICATE-----\n${(x5c[0] ?? '').replace(/.{1,64}/g, '$&\n')}-----END CERTIFICATE-----\n`,
  )
  return { certificatePem: body['svid'].join(''), keyPem, bundlePem: pem.join(''), answer: body }
}

/** Keys of a folder, for steps of a rotation. */
export function keysOf({ config }: Pick<TestCa, 'config'>): ReturnType<typeof openAuthorityKeys> {
  return openAuthorityKeys(config.keys.folder)
}

function parse(text: string): JsonObject {
  try {
    return JSON.parse(text) as JsonObject
  } catch {
    return {}
  }
}
